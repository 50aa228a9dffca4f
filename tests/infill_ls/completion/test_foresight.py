"""Where the next request is likely to be."""

import pytest

from infill_ls.completion.foresight import foreseen, indentation_after
from infill_ls.completion.worker import Query
from infill_ls.documents import Document
from infill_ls.server.policy import limits_of
from infill_ls.settings import Settings


def query(text: str) -> Query:
    """At the bar."""
    document = Document(uri="file:///a.py", version=1, language_id="python", text="")
    document = document.replaced(0, 0, text.replace("|", ""), version=1)
    return Query(
        document=document, offset=text.index("|"), limits=limits_of(Settings(), invoked=False)
    )


def places(text: str, shown: str = "") -> list[str]:
    return [
        each.document.text[: each.offset] + "|" + each.document.text[each.offset :]
        for each in foreseen(query(text), shown)
    ]


@pytest.mark.parametrize(
    ("text", "shown", "found"),
    [
        ("x = |\ny\n", "f(1)", ["x = f(1)|\ny\n", "x = f(1)\n|\ny\n"]),
        ("x = f(|)\n", "1", ["x = f(1|)\n"]),  # something follows: no line ends there
        ("x = f(1)|\n", "", ["x = f(1)\n|\n"]),
        ("x = na|\n", "", []),  # within a word nobody ends a line
        ("    |\n", "", []),
        ("if a|:\r\n", "", []),
        ("if a:|\r\n", "", ["if a:\r\n    |\r\n"]),
        ("x = |", "(\n  1,\n)", ["x = (\n  1,\n)|", "x = (\n  1,\n)\n|"]),
    ],
)
def test_behind_what_is_shown_and_on_the_next_line(text: str, shown: str, found: list[str]) -> None:
    assert places(text, shown) == found


@pytest.mark.parametrize(
    ("line", "unit", "indentation"),
    [
        ("    def f(self):", "    ", "        "),
        ("\tif (a) {", "\t", "\t\t"),
        ("        return x", "    ", "    "),
        ("        return f(", "    ", "            "),
        ("  return x;", "  ", "  "),
        ("  x = 1", "  ", "  "),
    ],
)
def test_indentation_as_editors_put_it(line: str, unit: str, indentation: str) -> None:
    assert indentation_after(line, unit) == indentation
