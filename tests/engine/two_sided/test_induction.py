"""InductionIndex against their definition, written out slowly."""

import random

import pytest

from infill_engine.models.two_sided.induction import (
    MAX_MATCH,
    NO_INDUCTION_HINT,
    InductionHint,
    InductionIndex,
    canvas_induction_hints,
    stream_induction_hints,
)


def common_end(a: list[int], b: list[int]) -> int:
    n = 0
    while n < min(len(a), len(b), MAX_MATCH) and a[-1 - n] == b[-1 - n]:
        n += 1
    return n


def expected(text: list[int]) -> InductionHint:
    """The last earlier place of the longest of the last three, two tokens or one."""
    for n in (3, 2, 1):
        for at in range(len(text) - 1, n - 1, -1):
            if len(text) >= n and text[at - n : at] == text[-n:]:
                return text[at], common_end(text[:at], text)
    return NO_INDUCTION_HINT


@pytest.mark.parametrize("seed", range(8))
def test_pushing_and_popping_leaves_the_hints_of_what_is_there(seed: int) -> None:
    rng = random.Random(seed)
    index = InductionIndex()
    for _ in range(40):
        index.extend(rng.choices(range(4), k=rng.randint(0, 9)))
        index.truncate(rng.randint(len(index.ids) // 2, len(index.ids)))
        assert index.found == [expected(index.ids[: i + 1]) for i in range(len(index.ids))]
        assert stream_induction_hints(index.ids) == index.found
        fresh = InductionIndex()
        fresh.extend(index.ids)
        assert index._ends == fresh._ends, "what was typed and deleted must be forgotten"


@pytest.mark.parametrize("seed", range(40))
def test_a_canvas_is_told_what_followed_the_longest_match(seed: int) -> None:
    rng = random.Random(seed)
    prefix = rng.choices(range(5), k=rng.randint(1, 40))
    suffix = rng.choices(range(5), k=rng.randint(1, 40))
    size = rng.choice((1, 4, 60))
    places = [
        (common_end(prefix[:at], prefix), prefix[at : at + size]) for at in range(1, len(prefix))
    ][::-1] + [
        (common_end(suffix[:at], prefix), suffix[at : at + size]) for at in range(1, len(suffix))
    ]
    n, found = max(places, key=lambda place: place[0], default=(0, []))
    hints = canvas_induction_hints(prefix, suffix, size)
    assert hints == [(token, n) for token in found if n] + [NO_INDUCTION_HINT] * (
        size - len(found) * bool(n)
    )
