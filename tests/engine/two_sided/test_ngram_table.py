"""What the table says: longer contexts first, the same whenever it is asked, and chained onward."""

import random

import numpy as np
import pytest

from infill_engine.models.two_sided.ngram_table import (
    LEVEL_EDGES,
    LEVELS,
    MAX_ORDER,
    NO_NGRAM_HINT,
    NgramTable,
    context,
    contexts,
    from_arrays,
    packed,
    to_arrays,
)

Table = dict[tuple[int, ...], tuple[int, float]]


def table_of(table: Table) -> NgramTable:
    keys = np.array([contexts(np.array(ids), len(ids))[0] for ids in table], np.uint32)
    tokens, shares = zip(*table.values(), strict=True)
    values = packed(np.array(tokens), np.array(shares))
    order = np.argsort(keys)
    return NgramTable(keys[order], values[order])


def expected(table: Table, ids: list[int]) -> tuple[int, int]:
    for order in range(min(MAX_ORDER, len(ids)), 0, -1):
        if found := table.get(tuple(ids[-order:])):
            token, share = found
            return token, 1 + sum(share >= edge for edge in LEVEL_EDGES)
    return NO_NGRAM_HINT


def random_table(rng: random.Random) -> Table:
    made: Table = {}
    for _ in range(300):
        ids = tuple(rng.choices(range(8), k=rng.randint(1, MAX_ORDER)))
        made[ids] = rng.randrange(8), rng.random()
    return made


@pytest.mark.parametrize("seed", range(3))
def test_the_longest_context_that_was_kept_speaks(seed: int) -> None:
    rng = random.Random(seed)
    table = random_table(rng)
    ngrams, ids = table_of(table), rng.choices(range(9), k=60)

    found = ngrams.after(ids)

    assert found == [expected(table, ids[: i + 1]) for i in range(len(ids))]
    assert set(map(len, table)) == set(range(1, MAX_ORDER + 1))
    # Asked later, for the end alone, it says the same.
    for start in (1, 2, 5, 59):
        assert ngrams.after(ids, start) == found[start:]
    assert ngrams.after(ids, 60) == []


def test_it_goes_on_from_what_it_said_itself() -> None:
    table: Table = {(1, 2): (3, 0.5), (2, 3): (4, 0.95), (9, 3): (8, 0.5)}

    assert table_of(table).onward([9, 1, 2], 4) == [
        (3, 4),
        (4, LEVELS),
        NO_NGRAM_HINT,
        NO_NGRAM_HINT,
    ]
    assert table_of(table).onward([7], 2) == [NO_NGRAM_HINT, NO_NGRAM_HINT]
    assert table_of(table).onward([1, 2], 1) == [(3, 4)]


def test_levels_are_the_shares_they_stand_for() -> None:
    shares = np.array([0.0, 0.2, 0.54, 0.55, 0.92, 1.0])
    table = {(i,): (6143, share) for i, share in enumerate(shares.tolist())}

    found = [table_of(table).after([i])[0] for i in range(6)]

    assert found == [(6143, 1), (6143, 2), (6143, 4), (6143, 5), (6143, 8), (6143, 8)]


def test_an_empty_table_knows_nothing() -> None:
    nothing = NgramTable(np.zeros(0, np.uint32), np.zeros(0, np.uint16))

    assert nothing.after([1, 2]) == [NO_NGRAM_HINT] * 2
    assert nothing.onward([1, 2], 3) == [NO_NGRAM_HINT] * 3


@pytest.mark.parametrize("most", [1 << 32, 1 << 15])
def test_tensors_keep_it(most: int) -> None:
    """However far its keys are from each other."""
    random_one = table_of(random_table(random.Random(0)))
    ngrams = NgramTable(random_one.keys % np.uint32(most - 1), random_one.values)
    ngrams.keys.sort()
    again = from_arrays(to_arrays(ngrams))

    assert again.keys.dtype == np.uint32
    assert again.values.dtype == np.uint16
    assert (again.keys == ngrams.keys).all()
    assert (again.values == ngrams.values).all()


def test_contexts_of_different_lengths_and_neighbours_have_different_keys() -> None:
    ids = np.arange(2000)
    keys = np.concatenate([contexts(ids, order) for order in range(1, MAX_ORDER + 1)])

    assert len(np.unique(keys)) == len(keys)
    assert [context(ids[i : i + 3].tolist()) for i in range(1998)] == contexts(ids, 3).tolist()
    # Evenly spread: every sixteenth of the range holds about a sixteenth.
    counts = np.bincount(keys >> 28, minlength=16)
    assert counts.min() > 0.8 * len(keys) / 16
