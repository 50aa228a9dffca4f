"""Batches are what the recipe says: rows, canvases, noise and weights."""

import numpy as np
import pytest

from infill_engine.tokenizer import BOS, END, EOS, FIRST_TAG, MASK, PAD
from tests.train.tiny import LINE_BREAK, VOCABULARY, shard_set, write_shards
from train.batches import Batch, BatchShape, batch
from train.windows import ShardSet


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return shard_set(write_shards(tmp_path_factory.mktemp("data") / "shards") / "train-000.npz")


def drawn(shards: ShardSet, seed: int = 0, canvas: int = 16) -> Batch:
    return batch(
        shards,
        np.random.default_rng(seed),
        tokens=2048,
        shape=BatchShape(row=128, canvas=canvas, share=1.0),
        vocab_size=VOCABULARY,
    )


def test_rows_go_from_sentinel_to_sentinel(shards: ShardSet) -> None:
    data = drawn(shards)

    for row, length in zip(data.rows, data.lengths, strict=True):
        assert row[:2].tolist() == [BOS, FIRST_TAG]
        assert row[length - 1] == EOS
        assert (row[length:] == PAD).all()
        assert (row[2 : length - 1] >= LINE_BREAK).all()


def test_without_pins_a_canvas_is_its_span_and_then_end(shards: ShardSet) -> None:
    data = drawn(shards)

    for row, m in np.argwhere(~data.pinned.any(-1)):
        span = data.rows[row, data.start[row, m] : data.end[row, m]].tolist()
        expected = (span + [END] * 16)[:16]

        assert data.clean[row, m].tolist() == expected


def test_with_pins_the_canvas_still_spells_its_span(shards: ShardSet) -> None:
    seen = 0
    for seed in range(5):
        data = drawn(shards, seed)
        for row, m in np.argwhere(data.pinned.any(-1)):
            span = data.rows[row, data.start[row, m] : data.end[row, m]].tolist()
            cells = data.clean[row, m]
            assert cells[cells != END].tolist() == span
            seen += 1

    assert seen > 10


def test_the_end_run_weighs_as_one_token(shards: ShardSet) -> None:
    data = drawn(shards)
    ends = (data.clean == END) & (data.noisy == MASK)
    weights = np.where(ends, data.weight, 0.0).sum(-1)

    # Beside masked ENDs there may be corrupted ones, which share that one token's weight.
    assert (weights <= 1 + 1e-5).all()
    assert weights[data.all_mask & ~data.pinned.any(-1)] == pytest.approx(1.0)


def test_many_canvases_are_all_mask_and_some_cells_are_wrong(shards: ShardSet) -> None:
    data = drawn(shards, canvas=8)
    wrong = (data.noisy != MASK) & (data.noisy != data.clean)

    assert 0.15 < data.all_mask.mean() < 0.5
    assert 0.01 < wrong.mean() < 0.1
