"""Which files are of use at a place."""

import pytest

from infill_ls.completion.workspace import index as index_module
from infill_ls.completion.workspace.index import Index, Typed, file_of

FILLER = "def helper_{0}(argument_{0}):\n    return argument_{0}\n"


def typed(before: str, path: str = "/r/app/main.py", language: str = "python") -> Typed:
    return Typed(path=path, language_id=language, before=before, after="")


def indexed(files: dict[str, str]) -> Index:
    index = Index()
    for path, text in files.items():
        index.put(path, text)
    return index


def first(index: Index, where: Typed, **changed: str) -> str:
    opened = {"/" + name: file_of(name, text, "python") for name, text in changed.items()}
    return next(iter(index.ranked(where, opened, set()))).text


def test_what_shares_rare_names_comes_before_what_shares_common_ones() -> None:
    common = "import logging\nlogger = logging.getLogger(__name__)\n"
    rare = "class InvoiceLine:\n    pass\n"
    index = indexed(
        {
            **{f"/r/x/{n}.py": common + FILLER.format(n) for n in range(8)},
            "/r/y/invoice.py": rare,
        }
    )

    assert first(index, typed(f"{common}line = InvoiceLine(")) == rare


@pytest.mark.parametrize(
    ("path", "before"),
    [
        ("/r/far/away/models.py", "from away.models import Model\n"),
        ("/r/tests/test_main.py", ""),
        ("/r/app/sibling.py", ""),
    ],
)
def test_imports_tests_and_siblings_come_first(path: str, before: str) -> None:
    files = {f"/r/x/{n}.py": FILLER.format(n) for n in range(5)}
    index = indexed({**files, path: FILLER.format("wanted")})

    assert first(index, typed(before + "x = ")) == FILLER.format("wanted")


def test_other_languages_and_the_file_itself_are_left_out() -> None:
    index = indexed({"/r/app/main.py": "itself = 1\n", "/r/b.go": "package b\n", "/r/c.py": "c\n"})

    assert [file.text for file in index.ranked(typed("itself"), {}, set())] == ["c\n"]


def test_open_documents_are_as_they_are_now_and_edited_ones_come_first() -> None:
    index = indexed({"/r/a.py": "old text\n", "/r/b.py": "other\n"})
    opened = {path: file_of(path, text) for path, text in
              {"/r/a.py": "new text\n", "/r/b.py": "other\n"}.items()}  # fmt: skip
    found = [file.text for file in index.ranked(typed("x"), opened, {"/r/b.py"})]

    assert found == ["other\n", "new text\n"]


def test_a_file_that_changes_or_goes_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "MAX_FILES", 2)
    monkeypatch.setattr(index_module, "MAX_CHARACTERS", 10)
    index = indexed({"/a.py": "12345", "/b.py": "123456"})

    assert (list(index.files), index.characters) == (["/a.py"], 5)  # there is no room for both
    index.put("/a.py", "123")
    index.put("/b.py", "123456")
    index.put("/c.py", "")
    assert (list(index.files), index.characters) == (["/a.py", "/b.py"], 9)
    assert index.full
    index.put("/a.py", None)
    assert (list(index.files), index.characters) == (["/b.py"], 6)
