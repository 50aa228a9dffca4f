"""The next word and the next lines of a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infill_ls.completion.parts import UNITS, beginning


@pytest.mark.parametrize(
    ("text", "unit", "count", "expected"),
    [
        ("foo(bar)", "word", 1, "foo"),
        ("foo(bar)", "word", 2, "foo("),
        ("  größe = 1", "word", 1, "  größe"),
        ("), x", "word", 1, "),"),
        ("\n    return x", "word", 1, "\n    return"),
        ("a\nb\nc", "line", 1, "a"),
        ("a\nb\nc", "line", 2, "a\nb"),
        ("\n\n    b\nc", "line", 1, "\n\n    b"),
        ("a\n\n    b\nc", "line", 2, "a\n\n    b"),
        ("a\nb", "line", 9, "a\nb"),
        ("a\nb", "all", 1, "a\nb"),
        ("   ", "word", 1, "   "),
    ],
)
def test_beginnings(text: str, unit: str, count: int, expected: str) -> None:
    assert beginning(text, unit, count) == expected


@given(st.text("aé(. \n", min_size=1, max_size=12), st.sampled_from(UNITS))
def test_parts_one_after_the_other_are_the_whole(text: str, unit: str) -> None:
    taken = ""
    for _ in range(len(text)):
        taken += beginning(text[len(taken) :], unit) if taken != text else ""
        assert text.startswith(taken)

    assert taken == text
