"""Source files of every language, and what a plain parse says of a text, for tests."""

from pathlib import Path

from tree_sitter import Parser, Tree

from infill_engine.budget import UNLIMITED
from infill_ls.documents import Document
from infill_ls.syntax.check import Verdict, check
from infill_ls.syntax.language import language_of
from infill_ls.syntax.parse import parse_code, utf8
from infill_ls.syntax.trees import Trees

FILES = sorted((Path(__file__).parents[2] / "data" / "languages").iterdir())
SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in FILES}
LARGE = {
    "python": "".join(
        f"def f{i}(a, b):\n    # {i}\n    x = [a, {{'k': b}}]\n    if x:\n"
        f"        return g(x, {i})\n    return None\n\n\n"
        for i in range(400)
    ),
    "java": "package a;\n\nclass A {\n"
    + "".join(
        f"  int f{i}(int a) {{\n    int x = g(a, {i});\n    return x;\n  }}\n\n" for i in range(600)
    )
    + "}\n",
    "json": "[\n" + ",\n".join(f'  {{"a": [{i}, 2], "b": "x"}}' for i in range(900)) + "\n]\n",
    "go": "package a\n\n"
    + "".join(f"func f{i}(a int) int {{\n\tx := g(a, {i})\n\treturn x\n}}\n\n" for i in range(600)),
    "php": "<?php\n\nnamespace A;\n\n"
    + "".join(f"function f{i}($a) {{\n    return g($a, [{i}]);\n}}\n\n" for i in range(600)),
    "yaml": "".join(f"k{i}:\n  - a: {i}\n    b: [1, 2]\n  - c\n" for i in range(900)),
    "css": "".join(f".a{i} > b {{\n  width: calc(1px + {i}px);\n}}\n\n" for i in range(600)),
}


def document(text: str, language_id: str = "python", version: int = 1) -> Document:
    return Document(
        uri=f"file:///{language_id}", version=version, language_id=language_id, text=text
    )


def marked(source: str, language_id: str) -> tuple[Document, int]:
    before, after = source.split("‸")
    return document(before + after, language_id), len(before)


def fresh(text: str, language_id: str) -> Tree:
    language = language_of(language_id)
    assert language.grammar is not None
    return parse_code(Parser(language.grammar), utf8(text), language, budget=UNLIMITED)


def num_problems(text: str, language_id: str) -> int:
    """By a walk over every node, which `problems` avoids."""
    count, stack = 0, [fresh(text, language_id).root_node]
    while stack:
        node = stack.pop()
        count += node.is_error or node.is_missing
        stack += node.children
    return count


def verdict(source: str, text: str, language_id: str = "python") -> Verdict:
    point = Trees().point(*marked(source, language_id))

    assert point is not None
    return check(point, text)
