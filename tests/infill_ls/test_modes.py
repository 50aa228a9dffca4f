"""Which mode holds for a document."""

import pytest

from infill_ls.client_settings import parse
from infill_ls.documents import Document
from infill_ls.modes import languages_in, mistake_in_mode, settings_at
from infill_ls.settings import TRIGGERS, Settings

FOLDERS = ("/home/me/project", "/home/me/other")


@pytest.mark.parametrize(
    ("modes", "file", "expected"),
    [
        ([], "a.py", "automatic"),
        (["python: subtle"], "a.py", "subtle"),
        (["Python: subtle"], "a.py", "subtle"),
        (["python: subtle"], "a.go", "automatic"),
        (["vendor/: off"], "vendor/a/b.py", "off"),
        (["vendor/: off"], "src/vendor/b.py", "off"),
        (["/vendor/: off"], "src/vendor/b.py", "automatic"),
        (["*.min.js: off", "javascript: subtle"], "a.min.js", "subtle"),
        (["javascript: subtle", "*.min.js: off"], "a.min.js", "off"),
        (["docs/**/*.py : onDemand"], "docs/a/b.py", "onDemand"),
        (["{one,two}/*.py: eol-only"], "two/b.py", "eol-only"),
        (["python: nonsense"], "a.py", "automatic"),
    ],
)
def test_the_last_entry_that_fits_decides(modes: list[str], file: str, expected: str) -> None:
    language = {"py": "python", "go": "go", "js": "javascript"}[file.rpartition(".")[2]]
    uri = f"file:///home/me/project/{file}"
    document = Document(uri=uri, version=1, language_id=language, text="")

    assert settings_at(Settings(modes=tuple(modes)), document, FOLDERS).trigger == expected


def test_what_an_entry_is_about_is_a_language_or_a_pattern() -> None:
    modes = ["vendor: off", "Python: subtle", "src/: off", "*.py: off", "go: loud", "go"]

    assert languages_in(modes) == ("vendor", "Python")


def test_what_says_nothing_is_told() -> None:
    _, messages = parse({"modes": ["python: loud", "python", "docs/: off", "[a: off"]})

    assert len(messages) == 3
    assert '"loud" is none of automatic, subtle' in messages[0]
    assert "WHAT: MODE" in messages[1]
    assert [mistake_in_mode(f"go: {mode}") for mode in TRIGGERS] == [""] * len(TRIGGERS)
