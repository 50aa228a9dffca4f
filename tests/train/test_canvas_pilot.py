"""The canvas model's pilot: bigrams begin as nothing, learn, and go where they should."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.training_pass import training_pass
from infill_engine.tokenizer import MASK
from tests.train.tiny import CONFIG, TINY, VOCABULARY, shard_set, write_shards
from train.batches import Batch, BatchShape, batch, tensors
from train.canvas_pilot import Bigrams, CanvasLearner, CanvasPilot, ops_with
from train.pilot import Run, train

PILOT = CanvasPilot(
    minutes=5.0, every=5.0, tokens=512, muon_lr=0.02, bigrams=0.03, measured=2, max_steps=12
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


def drawn(folder: Path, least_masked: float = 0.0) -> Batch:
    return batch(
        shard_set(folder / "train-000.npz"),
        np.random.default_rng(0),
        tokens=256,
        shape=BatchShape(row=128, canvas=16, share=1.0),
        vocab_size=VOCABULARY,
        least_masked=least_masked,
    )


@torch.no_grad()
def test_bigrams_begin_as_nothing_and_reach_what_was_read_after_them(folder: Path) -> None:
    torch.manual_seed(0)
    network = TwoSidedNetwork(TINY)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    data = tensors(drawn(folder))
    bigrams = Bigrams(TINY.num_layers, TINY.d_model)

    def passed(with_bigrams: bool) -> tuple[torch.Tensor, ...]:
        names = ("rows", "start", "end", "noisy", "lengths")
        hints = (data["prefix_hints"], data["suffix_hints"], data["canvas_hints"])
        ops = ops_with(bigrams if with_bigrams else None, network, data)
        return training_pass(network, *(data[name] for name in names), hints=hints, ops=ops)

    plain = passed(False)
    for one, other in zip(plain, passed(True), strict=True):
        torch.testing.assert_close(one, other)
    # One pair of tokens of the first row, forward only.
    at, rows = 40, data["rows"]
    pair = int(rows[0, at - 1]) * VOCABULARY + int(rows[0, at])
    bigrams.table[pair % 16_381] = 1.0
    prefix, suffix, canvas = passed(True)
    pairs = rows[0, :-1] * VOCABULARY + rows[0, 1:]
    first = int((pairs == pair).nonzero()[0]) + 1

    torch.testing.assert_close(suffix, plain[1])
    torch.testing.assert_close(prefix[0, :first], plain[0][0, :first])
    assert not torch.allclose(prefix[0, first], plain[0][0, first], atol=1e-3)
    late = data["start"][0] > first
    assert not torch.allclose(canvas[0, late], plain[2][0, late], atol=1e-4)
    torch.testing.assert_close(canvas[0, ~late], plain[2][0, ~late])


def test_no_canvas_has_less_masked_than_was_asked_for(folder: Path) -> None:
    free = drawn(folder, least_masked=0.9)
    share = (free.noisy == MASK).sum() / (~free.pinned).sum()

    assert share > 0.93
    np.testing.assert_array_equal(free.clean, drawn(folder).clean)


def learned(folder: Path, out: Path, config: CanvasPilot) -> Run:
    torch.manual_seed(0)
    network = TwoSidedNetwork(TINY)
    held_out = shard_set(folder / "val.npz")
    learner = CanvasLearner(
        network,
        shard_set(folder / "train-000.npz"),
        held_out,
        config,
        shapes=CONFIG.shapes,
        measured_in=CONFIG.shapes[0],
    )
    return train(learner, out, config)


def test_it_learns_and_goes_on_where_it_was_stopped(folder: Path, tmp_path: Path) -> None:
    whole = learned(folder, tmp_path / "whole", PILOT)
    learned(folder, tmp_path / "parts", replace(PILOT, max_steps=6))
    parts = learned(folder, tmp_path / "parts", PILOT)

    for name, figure in whole.curve[-1].figures.items():
        assert figure.gain > 0.05, name
        assert parts.curve[-1].figures[name].nats == pytest.approx(figure.nats, rel=0.05)
