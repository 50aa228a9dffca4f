"""What is done with a text that the parser does not take: closers, shorter texts, blamed spans."""

import pytest

from infill_ls.completion.attempt import missing_closers, shorter, widened
from infill_ls.syntax.language import language_of

PYTHON = language_of("python")


@pytest.mark.parametrize(
    ("before", "text", "after", "expected"),
    [
        ("f(", "a", "\n", ")"),
        ("f(g[", "a", "\n", "])"),
        ("f(", "a", ")\n", ""),
        ("def f():\n    x = (\n    y(", "a", "\n)", ")"),
        ("f(", "a,\nb", "\n", ""),
        ("f(", "a,", "\n", ""),
        ("f(", "'a", "\n", ""),
        ("if (a) {\n", "b", "\n", ""),
        ("x = ", "1", "\n", ""),
    ],
)
def test_closers_that_lack_on_the_line(before: str, text: str, after: str, expected: str) -> None:
    assert expected == missing_closers(before, text, after, PYTHON)


def test_a_text_is_cut_at_lines_then_at_tokens() -> None:
    cuts = list(shorter("foo(a.b)\nbar\nbaz", 16))

    assert cuts[:2] == ["foo(a.b)\nbar", "foo(a.b)"]
    assert cuts[2:] == ["foo(a.b", "foo(a.", "foo(a", "foo(", "foo"]
    assert list(shorter("foo(a.b)\nbar\nbaz", 5)) == ["foo(a", "foo(", "foo"]


@pytest.mark.parametrize(
    ("text", "start", "end", "expected"),
    [
        ("foo(bar, baz)", 5, 6, "bar"),
        ("foo(bar, baz)", 7, 7, "bar"),
        ("foo bar", 3, 3, "foo"),
        ("foo", 3, 3, "foo"),
        ("😀 + é", 4, 5, "é"),
    ],
)
def test_a_blamed_span_grows_to_tokens(text: str, start: int, end: int, expected: str) -> None:
    low, high = widened(text, start, end)

    assert low <= start
    assert end <= high
    assert expected in text[low:high]
