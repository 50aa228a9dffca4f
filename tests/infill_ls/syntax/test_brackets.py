"""Brackets and quotes of fragments, told apart from those in strings and comments."""

import pytest

from infill_ls.syntax.brackets import balance, fits
from infill_ls.syntax.language import language_of

PYTHON = language_of("python")
OPEN = balance("'", PYTHON).state


@pytest.mark.parametrize(
    ("text", "language_id", "closers", "openers", "quote"),
    [
        ("f(a, [1", "python", "", "([", ""),
        ("a) + b]", "python", ")]", "", ""),
        ("f(')')", "python", "", "", ""),
        ("f(# )\n", "python", "", "(", ""),
        ("x = 'a", "python", "", "", "'"),
        ('"""a (', "python", "", "", '"""'),
        ("'a\nb(", "python", "", "(", ""),
        ("fn<'a>(&'a b, '(')", "rust", "", "", ""),
        ("`a ${b", "javascript", "", "", "`"),
        ("/* ( */ a)", "c", ")", "", ""),
        ("echo $# (", "shellscript", "", "(", ""),
        ("don't (", "yaml", "", "(", ""),
        ("(", "klingon", "", "(", ""),
    ],
)
def test_brackets_are_counted_outside_of_strings_and_comments(
    text: str, language_id: str, closers: str, openers: str, quote: str
) -> None:
    found = balance(text, language_of(language_id))

    assert (closers, openers, quote) == (found.closers, found.openers, found.state.quote)


def test_brackets_are_counted_on_from_an_open_string() -> None:
    assert balance("a) + 'b' + (", PYTHON, OPEN).openers == ""
    assert balance("a') + (", PYTHON, OPEN).closers == ")"


@pytest.mark.parametrize(
    ("source", "text", "language_id", "expected"),
    [
        ("a = ‸\nb\n", "f(x)", "scss", True),
        ("a = ‸\nb\n", "f(x", "scss", False),
        ("a = f(‸)\n", "x)", "scss", False),
        ("a = f(‸\n)\n", "x)", "scss", False),
        ("a = f(‸\nb\n", "x)", "scss", True),
        # a closer far below that is no partner of what the line opens
        ("a = f(‸\nb\n) = (\n", "x)", "scss", True),
        ("a = f(‸\nb\n) = (\n", "x))", "scss", False),
        ("a = f(‸\n  b\n) = (\n", "x)", "scss", False),
        ("a(‸\n  b\n}\n) = (\n", "x) {", "scss", True),
        ("/* a‸\nb\n) = (\n", "x */", "scss", True),
        ("/* a‸\nb */\n", "x */\n(", "scss", False),
        # a string that ends with its line
        ("a = ‸\nb\n", '"x"', "scss", True),
        ("a = ‸\nb\n", '"x', "scss", False),
        ('a = "‸\nb\n', "x", "scss", True),
        ('a = "‸"\n', 'x" "y', "scss", True),
        ('a = "‸"\n', 'x"', "scss", False),
        # one that may go on
        ("SELECT ‸\nFROM 'b'\n", "'x", "sql", False),
        ("SELECT ‸\nFROM b'\n", "'x\n", "sql", True),
        # comments
        ("‸\n", "-- it's (", "sql", True),
        ("‸\n", "--[[ it's\n( ]]", "lua", True),
        ("‸\n", "echo a#(", "makefile", False),
        ("‸\n", "echo a #(", "makefile", True),
    ],
)
def test_what_a_text_opens_is_closed(
    source: str, text: str, language_id: str, expected: bool
) -> None:
    before, after = source.split("‸")

    assert expected == fits(before, text, after, language_of(language_id))
