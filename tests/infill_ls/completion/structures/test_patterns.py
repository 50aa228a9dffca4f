"""The string nearest to a text that patterns match."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infill_ls.completion.structures.formats import FORMATS, RIGHT
from infill_ls.completion.structures.patterns import UnsupportedPattern, is_found, nearest


@pytest.mark.parametrize(
    ("pattern", "near", "expected"),
    [
        (r"^(red|green|blue)$", "grene", "green"),
        (r"^[A-Z]{2}-\d{4}$", "ab12", "AB-1200"),
        (r"^\d+$", "12", "12"),  # what matches stays
        (r"ing$", "walk", "waing"),  # it need not match from the start
        (r"^a$|^bb$", "b", "a"),
        (r"^[^@\s]+@[^@\s]+$", "bob at x", "bobat@x"),
    ],
)
def test_nearest(pattern: str, near: str, expected: str) -> None:
    found = nearest([pattern], near)

    assert found is not None
    assert re.search(pattern, found)
    assert abs(len(found) - len(expected)) <= 1 or found == expected


@pytest.mark.parametrize("near", ["", "x", "grene", "GREEN", "12"])
def test_bounds_on_length_and_a_given_beginning_are_kept(near: str) -> None:
    found = nearest([r"^[a-z0-9]+$", "7"], near, begin="ab", least=6, most=8)

    assert found is not None
    assert found.startswith("ab")
    assert "7" in found
    assert 6 <= len(found) <= 8


@pytest.mark.parametrize(
    ("patterns", "bounds"),
    [
        ([r"^a{3}$"], {"most": 2}),
        ([r"^a$", r"^b$"], {}),
        ([r"^a"], {"begin": "b"}),
        ([r"^$"], {"least": 1}),
    ],
)
def test_where_there_is_none_none_is_said(patterns: list[str], bounds: dict[str, object]) -> None:
    assert nearest(patterns, "abc", **bounds) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", r"\bword", "(", "a{2000}b{3000}"])
def test_what_no_automaton_can_do_is_refused(pattern: str) -> None:
    with pytest.raises(UnsupportedPattern, match="it "):
        nearest([pattern], "ab")


@pytest.mark.parametrize("name", FORMATS)
def test_formats_can_be_made_of_anything_and_are_right_then(name: str) -> None:
    for near in ("", "2024-13-45", "Bob Jones <bob>", "::", "http:/x y"):
        found = nearest([FORMATS[name]], near)

        assert found is not None
        assert re.search(RIGHT.get(name, FORMATS[name]), found)


PIECES = st.sampled_from(["a", "[b-d]", r"\d", "(x|yz)", "[^a-y]", r"\w", "."])
REPEATED = st.tuples(PIECES, st.sampled_from(["", "*", "+", "?", "{2}", "{1,3}"])).map("".join)
ANCHORED = st.tuples(
    st.sampled_from(["", "^"]),
    st.lists(REPEATED, max_size=4).map("".join),
    st.sampled_from(["", "$"]),
).map("".join)


@settings(max_examples=30, deadline=None)
@given(st.lists(ANCHORED, max_size=2), st.text(max_size=6), st.integers(0, 5), st.integers(5, 9))
def test_what_is_found_is_matched_and_what_matches_is_kept(
    patterns: list[str], near: str, least: int, most: int
) -> None:
    found = nearest(patterns, near, least=least, most=most)

    if found is not None:
        assert all(re.search(each, found) for each in patterns)
        assert least <= len(found) <= most
    ascii_only = near.isascii() and "\n" not in near  # \w and \d mean ASCII here
    if ascii_only and least <= len(near) and all(re.search(each, near) for each in patterns):
        assert found == near


LOOKS = st.sampled_from(["(?=a)", "(?!ab)", "(?<=a)", "(?<!1.)", r"\b", r"\B", "^", "$"])
NESTED = st.recursive(
    REPEATED | LOOKS,
    lambda inner: (
        st.tuples(inner, inner).map("".join)
        | st.tuples(inner, inner, st.sampled_from(["", "*", "+?", "{1,2}"])).map(
            lambda parts: f"(?:{parts[0]}|{parts[1]}){parts[2]}"
        )
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(NESTED, st.text("ab1xyz_ é\u0663", min_size=1, max_size=8))
def test_what_is_found_is_what_re_finds(pattern: str, text: str) -> None:
    assert is_found(pattern, text) == bool(re.search(pattern, text))


def test_nothing_repeated_any_number_of_times_is_nothing() -> None:
    assert is_found("^(?:){4000000000}()*(){3,4000000000}a$", "a")
