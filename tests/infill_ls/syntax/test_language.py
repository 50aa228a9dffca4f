"""The table of languages: names, grammars, and a source file of each."""

from pathlib import Path

import pytest

from infill_ls.syntax.language import LANGUAGES, language_id_of, language_of
from tests.infill_ls.syntax.sources import FILES, SOURCES, num_problems


def test_every_language_with_a_grammar_has_a_source_file_without_errors() -> None:
    expected = {each.id for each in LANGUAGES if each.grammar_function}

    assert expected == set(SOURCES)
    assert not [name for name, text in SOURCES.items() if num_problems(text, name)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_name_tells_its_language(path: Path) -> None:
    assert path.stem == language_id_of(str(path))


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        *(("jsx", "javascriptreact"), ("bash", "shellscript"), ("tsx", "typescriptreact")),
        *(
            ("Python", "python"),
            ("c++", "cpp"),
            ("jsonc", "json"),
            ("Klingon", "klingon"),
            ("", ""),
        ),
    ],
)
def test_the_usual_names_of_a_language_are_known(alias: str, expected: str) -> None:
    assert expected == language_of(alias).id
