"""Echoes against their definition, written out slowly."""

import random

import pytest

from infill_engine.models.two_sided.induction import (
    MOST,
    NOTHING,
    Echo,
    Echoes,
    canvas_echoes,
    stream_echoes,
)


def common_end(a: list[int], b: list[int]) -> int:
    n = 0
    while n < min(len(a), len(b), MOST) and a[-1 - n] == b[-1 - n]:
        n += 1
    return n


def expected(text: list[int]) -> Echo:
    """The last earlier place of the longest of the last three, two tokens or one."""
    for n in (3, 2, 1):
        for at in range(len(text) - 1, n - 1, -1):
            if len(text) >= n and text[at - n : at] == text[-n:]:
                return text[at], common_end(text[:at], text)
    return NOTHING


@pytest.mark.parametrize("seed", range(8))
def test_pushing_and_popping_leaves_the_echoes_of_what_is_there(seed: int) -> None:
    rng = random.Random(seed)
    echoes = Echoes()
    for _ in range(40):
        echoes.extend(rng.choices(range(4), k=rng.randint(0, 9)))
        echoes.truncate(rng.randint(len(echoes.ids) // 2, len(echoes.ids)))
        assert echoes.found == [expected(echoes.ids[: i + 1]) for i in range(len(echoes.ids))]
        assert stream_echoes(echoes.ids) == echoes.found


@pytest.mark.parametrize("seed", range(40))
def test_a_canvas_hears_what_followed_the_longest_match(seed: int) -> None:
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
    heard = canvas_echoes(prefix, suffix, size)
    assert heard == [(token, n) for token in found if n] + [NOTHING] * (size - len(found) * bool(n))
