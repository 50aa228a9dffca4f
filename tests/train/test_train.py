"""Training on a thimble of data: batches are what the recipe says, the loss falls, runs resume."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from infill_engine.models.two_sided.layers import TwoSidedConfig
from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.weights import load_network
from infill_engine.tokenizer import BOS, END, EOS, FIRST_TAG, MASK, PAD
from train.batches import Batch, Corpus, Shape, batch
from train.export import DEFAULT_EXTRA, export
from train.shards import save, shard_of
from train.train import FusedHead, TrainConfig, orthogonalised, rate, train

VOCABULARY = 120
LINE_BREAK = 60
TINY = TwoSidedConfig(
    vocab_size=VOCABULARY,
    d_model=32,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    d_ff=48,
    max_positions=512,
)
CONFIG = TrainConfig(
    minutes=100.0,
    tokens=256,
    shapes=(Shape(row=128, canvas=16, share=0.7), Shape(row=64, canvas=8, share=0.3)),
    warmup_steps=5,
    dtype="float32",
    compile=False,
    ema=0.9,
    max_steps=30,
    val_infills=3,
)


def document(rng: np.random.Generator) -> tuple[list[int], int, list[tuple[int, int, int]]]:
    """Lines that repeat a pattern: there is something to learn."""
    ids: list[int] = []
    spans = []
    for _ in range(int(rng.integers(12, 40))):
        first = int(rng.integers(61, 100))
        line = [first, first + 1, first + 2, first + 3, LINE_BREAK]
        spans += [(len(ids) + 1, len(ids) + 4, 0), (len(ids) + 2, len(ids) + 2, 6)]
        ids += line
    return ids, 0, spans


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shards"
    folder.mkdir()
    rng = np.random.default_rng(0)
    save(shard_of([document(rng) for _ in range(40)]), folder / "train-000.npz")
    save(shard_of([document(rng) for _ in range(10)]), folder / "val.npz")
    return folder


@pytest.fixture(scope="module")
def corpus(data: Path) -> Corpus:
    breaks = np.zeros(VOCABULARY, np.bool_)
    breaks[LINE_BREAK] = True
    return Corpus([data / "train-000.npz"], breaks)


def drawn(corpus: Corpus, seed: int = 0, canvas: int = 16) -> Batch:
    return batch(
        corpus,
        np.random.default_rng(seed),
        tokens=2048,
        shape=Shape(row=128, canvas=canvas, share=1.0),
        vocab_size=VOCABULARY,
    )


def test_rows_go_from_sentinel_to_sentinel(corpus: Corpus) -> None:
    data = drawn(corpus)

    for row, length in zip(data.rows, data.lengths, strict=True):
        assert row[:2].tolist() == [BOS, FIRST_TAG]
        assert row[length - 1] == EOS
        assert (row[length:] == PAD).all()
        assert (row[2 : length - 1] >= LINE_BREAK).all()


def test_without_pins_a_canvas_is_its_span_and_then_end(corpus: Corpus) -> None:
    data = drawn(corpus)

    for row, m in np.argwhere(~data.pinned.any(-1)):
        span = data.rows[row, data.start[row, m] : data.end[row, m]].tolist()
        expected = (span + [END] * 16)[:16]

        assert data.clean[row, m].tolist() == expected


def test_with_pins_the_canvas_still_spells_its_span(corpus: Corpus) -> None:
    seen = 0
    for seed in range(5):
        data = drawn(corpus, seed)
        for row, m in np.argwhere(data.pinned.any(-1)):
            span = data.rows[row, data.start[row, m] : data.end[row, m]].tolist()
            cells = data.clean[row, m]
            assert cells[cells != END].tolist() == span
            seen += 1

    assert seen > 10


def test_the_end_run_weighs_as_one_token(corpus: Corpus) -> None:
    data = drawn(corpus)
    ends = (data.clean == END) & (data.noisy == MASK)
    weights = np.where(ends, data.weight, 0.0).sum(-1)

    # Beside masked ENDs there may be corrupted ones, which share that one token's weight.
    assert (weights <= 1 + 1e-5).all()
    assert weights[data.all_mask & ~data.pinned.any(-1)] == pytest.approx(1.0)


def test_many_canvases_are_all_mask_and_some_cells_are_wrong(corpus: Corpus) -> None:
    data = drawn(corpus, canvas=8)
    wrong = (data.noisy != MASK) & (data.noisy != data.clean)

    assert 0.15 < data.all_mask.mean() < 0.5
    assert 0.01 < wrong.mean() < 0.1


def test_fused_head_has_the_gradients_of_cross_entropy() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(50, 8, requires_grad=True)
    embed = torch.randn(30, 8, requires_grad=True)
    target, weight = torch.randint(30, (50,)), torch.rand(50)

    total, each = FusedHead.apply(hidden, embed, target, weight)
    total.backward()
    found = (hidden.grad, embed.grad)
    hidden.grad = embed.grad = None
    plain = torch.nn.functional.cross_entropy(hidden @ embed.T, target, reduction="none")
    (plain * weight).sum().backward()

    torch.testing.assert_close(each, plain.detach())
    torch.testing.assert_close(found, (hidden.grad, embed.grad))


@pytest.mark.parametrize("shape", [(2, 16, 48), (3, 64, 16), (1, 32, 32)])
def test_muon_updates_are_nearly_orthogonal(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))

    assert (values > 0.3).all()
    assert (values < 1.4).all()


def test_the_rate_warms_up_stays_and_falls_to_zero() -> None:
    config = replace(CONFIG, warmup_steps=10, decay=0.4)

    assert rate(0, 0.0, config) == pytest.approx(0.1)
    assert rate(100, 0.5, config) == 1.0
    assert rate(100, 0.8, config) == pytest.approx(0.5)
    assert rate(100, 1.0, config) == 0.0


def logged(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_tiny_run_learns_resumes_and_exports(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = train(TwoSidedNetwork(TINY), data, tmp_path, CONFIG)
    second = train(TwoSidedNetwork(TINY), data, tmp_path, replace(CONFIG, max_steps=60))
    export(tmp_path, tmp_path / "weights", DEFAULT_EXTRA)

    steps = [line["step"] for line in logged(tmp_path) if "positions_per_s" in line]
    assert steps == [20, 30, 40, 60]
    assert first["prefix"] < 4.6  # of ln 120 = 4.8 at the start
    for name in ("prefix", "suffix", "canvas"):
        assert second[name] < first[name] - 0.2

    model = load_network(tmp_path / "weights" / "default.safetensors")
    assert model.config == TINY
    card = (tmp_path / "weights" / "MODEL_CARD.md").read_text()
    assert "| steps | 60 |" in card
    assert "nothing visible" in card


def test_a_run_can_start_from_weights_alone(data: Path, tmp_path: Path) -> None:
    train(TwoSidedNetwork(TINY), data, tmp_path / "one", CONFIG)
    export(tmp_path / "one", tmp_path / "weights", DEFAULT_EXTRA)
    weights = tmp_path / "weights" / "default.safetensors"
    config = replace(CONFIG, max_steps=1, muon_lr=0.0, adam_lr=0.0)

    fresh = train(TwoSidedNetwork(TINY), data, tmp_path / "two", config)
    continued = train(TwoSidedNetwork(TINY), data, tmp_path / "three", config, weights=weights)

    assert continued["prefix"] < fresh["prefix"] - 0.1
