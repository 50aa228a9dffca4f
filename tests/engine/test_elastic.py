"""Holes that grow and shrink: what is decided stays in its order, and pins stay where they are."""

from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infill_engine.canvas import PINNED, Canvas, fill_ids
from infill_engine.elastic import Elastic
from infill_kernels.rows import RowStatistics

MASK, EXPAND, DELETE, ABSENT, VOCAB = 1, 2, 3, 20, 20
NOISE = Elastic(mask_id=MASK, expand_id=EXPAND, delete_id=DELETE)
TEXT = st.integers(5, VOCAB - 1)
HOLE = st.tuples(
    st.lists(st.one_of(st.sampled_from([MASK, MASK, EXPAND, DELETE]), TEXT), max_size=8),
    st.integers(0, 4),
)


def canvas_of(parts: list[tuple[list[int], int]], make: Any = torch.tensor) -> Canvas:
    """Holes with some cells that are not there, a pinned token before and after each."""
    token_ids, hole = [9], [PINNED]
    for number, (cells, spare) in enumerate(parts):
        token_ids += [*cells, *[ABSENT] * spare, 10 + number]
        hole += [number] * (len(cells) + spare) + [PINNED]
    return Canvas(
        token_ids=make([token_ids]),
        hole=make([hole]),
        ends=make([False] * VOCAB + [True]),
        end_id=ABSENT,
    )


def stats_of(canvas: Canvas, best: int = 7) -> RowStatistics:
    """The entropy of a cell is its place, so that it is seen where it goes."""
    like = torch.ones(canvas.token_ids.shape)
    place = torch.arange(like.shape[1], dtype=torch.float32)[None]
    return RowStatistics(place, best * like.long(), best * like.long(), like)


def settled(canvas: Canvas) -> tuple[Any, Any, RowStatistics]:
    undecided = canvas.token_ids == MASK
    return NOISE.settle(canvas.token_ids, undecided, stats_of(canvas), canvas)


def expected(cells: list[int], spare: int) -> list[int]:
    """A hole's tokens after it, with as many expansions as have room, from the left."""
    end = cells.index(DELETE) if DELETE in cells else len(cells)
    left = [t for at, t in enumerate(cells) if t != DELETE and not (at > end and t == MASK)]
    room = len(cells) + spare - len(left)
    tokens: list[int] = []
    for token in left:
        if token != EXPAND:
            tokens.append(token)
        else:
            tokens += [MASK] * (1 + (room > 0))
            room -= room > 0
    return tokens


@given(
    st.lists(HOLE, min_size=1, max_size=3).filter(lambda holes: all(len(c) + n for c, n in holes))
)
@settings(max_examples=150, deadline=None)
def test_a_step_leaves_what_was_decided_in_order_and_pins_in_place(
    parts: list[tuple[list[int], int]],
) -> None:
    canvas = canvas_of(parts)

    token_ids, undecided, moved = settled(canvas)

    pins = canvas.hole == PINNED
    assert torch.equal(token_ids[pins], canvas.token_ids[pins])
    assert fill_ids(token_ids, canvas, 0) == [expected(*part) for part in parts]
    assert torch.equal(undecided, (token_ids == MASK) & ~pins)
    for number in range(len(parts)):
        there = (token_ids[0, canvas.hole[0] == number] != ABSENT).tolist()
        assert there == sorted(there, reverse=True), "what is not there stands behind"
    # A cell takes its statistics along; one that is not there has none.
    text = (token_ids < ABSENT) & (token_ids > DELETE)
    before = canvas.token_ids[0][moved.entropy[0].long()]
    assert torch.equal(before[text[0]], token_ids[text])
    assert not bool(moved.entropy[token_ids == ABSENT].any())


def test_numpy_says_the_same_as_torch() -> None:
    parts = [([EXPAND, 5, MASK, DELETE, MASK, 6], 3), ([MASK, EXPAND], 0)]
    torches, arrays = canvas_of(parts), canvas_of(parts, np.array)
    stats = RowStatistics(*(each.numpy() for each in stats_of(torches)))

    ids, undecided, moved = NOISE.settle(arrays.token_ids, arrays.token_ids == MASK, stats, arrays)

    their_ids, their_undecided, their_moved = settled(torches)
    assert isinstance(ids, np.ndarray)
    assert ids.tolist() == their_ids.tolist()
    assert undecided.tolist() == their_undecided.tolist()
    assert moved.entropy.tolist() == their_moved.entropy.tolist()


def test_a_canvas_starts_with_the_cells_that_are_there() -> None:
    canvas = canvas_of([([MASK, MASK], 3)])

    started = NOISE.start(canvas, torch.Generator())

    assert started.tolist() == [[9, MASK, MASK, ABSENT, ABSENT, ABSENT, 10]]
    assert NOISE.open(started, canvas).tolist() == [[False, True, True, *[False] * 4]]


def test_what_is_given_out_midway_has_neither_ends_nor_expansions() -> None:
    canvas = canvas_of([([5, MASK, MASK, 6], 2)])

    def read(best: list[int]) -> list[list[int]]:
        stats = stats_of(canvas)._replace(best=torch.tensor([[0, 5, *best, 6, 0, 0, 0]]))
        return fill_ids(NOISE.read(canvas.token_ids, stats, canvas), canvas, 0)

    assert read([7, 8]) == [[5, 7, 8, 6]]
    assert read([EXPAND, 8]) == [[5, 8, 6]]
    assert read([DELETE, 8]) == [[5, 6]]
    assert read([7, DELETE]) == [[5, 7, 6]]
