"""The table of languages: names, grammars, and a source file of each."""

import os
import subprocess
import sys
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
        *(("Python", "python"), ("c++", "cpp"), ("jsonc", "jsonc"), ("Klingon", "klingon")),
        *(("make", "makefile"), ("containerfile", "dockerfile"), ("pgsql", "sql"), ("", "")),
        *(("django-html", "htmldjango"), ("jinja-html", "htmldjango"), ("jinja2", "jinja")),
    ],
)
def test_the_usual_names_of_a_language_are_known(alias: str, expected: str) -> None:
    assert expected == language_of(alias).id


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("a/Makefile", "makefile"), ("rules.mk", "makefile"), ("Dockerfile", "dockerfile")),
        *(("dev.Dockerfile", "dockerfile"), ("README.md", "markdown"), ("a.html.j2", "jinja")),
        *(("a.mdx", "markdown"), ("build.sbt", "scala"), ("build.gradle.kts", "kotlin")),
        *(("a/tsconfig.app.json", "jsonc"), ("a/.vscode/x.json", "jsonc"), ("x.json", "json")),
        *(("a.less", "scss"), ("a.klingon", "plaintext"), ("Makefile.txt", "plaintext")),
    ],
)
def test_a_language_is_known_by_the_name_of_its_file(name: str, expected: str) -> None:
    assert expected == language_id_of(name)


def test_a_grammar_is_loaded_when_its_language_is_met() -> None:
    code = (
        "import sys, infill_ls.completion.pipeline\n"
        "from infill_ls.syntax.language import language_of\n"
        "language_of('kotlin').grammar\n"
        "print(*(name for name in sys.modules if name.startswith('tree_sitter_')))"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
    )

    assert {"tree_sitter_kotlin"} == {name.partition(".")[0] for name in done.stdout.split()}
