"""Self-distillation: its cached passes are the training pass; a run learns, resumes, exports."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from infill_engine.models.two_sided.config import TwoSidedConfig
from infill_engine.models.two_sided.network import TwoSidedNetwork, load_network
from infill_engine.models.two_sided.training_pass import TrainingOps, training_pass
from infill_engine.tokenizer import MASK
from tests.train.tiny import LINE_BREAK, shard_set
from train.batches import BatchShape, batch, tensors
from train.config import TrainConfig
from train.decode import canvas_states, decode, encode_rows
from train.distil import DEFAULTS, Distillation, distil, divergences
from train.export import DEFAULT_EXTRA, export
from train.fused import canvas_attention_fused, causal_attention_fused
from train.shards import save, shard_of
from train.train import train

TINY = TwoSidedConfig(
    vocab_size=90,
    d_model=32,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    d_ff=48,
    max_positions=256,
)
CONFIG = TrainConfig(
    minutes=100.0,
    tokens=448,
    shapes=(BatchShape(row=64, canvas=8, share=1.0),),
    warmup_steps=5,
    dtype="float32",
    compile=False,
    ema=0.9,
    max_steps=60,
    val_infills=0,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lines that count up from their first token, with a hole in each."""
    folder = tmp_path_factory.mktemp("data") / "shards"
    folder.mkdir()
    rng = np.random.default_rng(0)

    def document() -> tuple[list[int], int, list[tuple[int, int, int]]]:
        ids: list[int] = []
        spans = []
        for _ in range(24):
            first = int(rng.integers(61, 80))
            spans.append((len(ids) + 1, len(ids) + 4, 0))
            ids += [first, first + 1, first + 2, first + 3, LINE_BREAK]
        return ids, 0, spans

    save(shard_of([document() for _ in range(40)]), folder / "train-000.npz")
    save(shard_of([document() for _ in range(10)]), folder / "val.npz")
    return folder


@pytest.fixture(scope="module")
def weights(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    train(TwoSidedNetwork(TINY), data, run, CONFIG)
    export(run, run / "weights", DEFAULT_EXTRA)
    return run / "weights" / "default.safetensors"


def drawn(data: Path, seed: int = 0) -> dict[str, Tensor]:
    return tensors(
        batch(
            shard_set(data / "train-000.npz", TINY.vocab_size),
            np.random.default_rng(seed),
            tokens=448,
            shape=BatchShape(row=64, canvas=8, share=1.0),
            vocab_size=TINY.vocab_size,
        )
    )


def trained_pass(model: TwoSidedNetwork, data: dict[str, Tensor], ops: TrainingOps) -> Tensor:
    canvas: Tensor = training_pass(
        model,
        *(data[name] for name in ("rows", "start", "end", "noisy", "lengths")),
        hints=(data["prefix_hints"], data["suffix_hints"], data["canvas_hints"]),
        ops=ops,
    )[2]
    return canvas


@torch.no_grad()
def test_passes_over_rows_read_once_are_the_training_pass(data: Path, weights: Path) -> None:
    model, one = load_network(weights, dtype=torch.float64), drawn(data)
    sides = encode_rows(model, one)

    expected = trained_pass(model, one, TrainingOps())

    torch.testing.assert_close(canvas_states(model, sides, one["noisy"]), expected)
    fused = trained_pass(
        model,
        one,
        TrainingOps(
            causal_attention=causal_attention_fused, canvas_attention=canvas_attention_fused
        ),
    )
    torch.testing.assert_close(fused, expected)


def test_decoding_keeps_pins_and_leaves_nothing_open(data: Path, weights: Path) -> None:
    one = drawn(data)
    decoded = decode(load_network(weights), one, 6)
    pinned = one["pinned"]

    assert pinned.any()
    assert (decoded.final != MASK).all()
    for state in (*decoded.states, decoded.final):
        assert (state[pinned] == one["clean"][pinned]).all()
    assert (decoded.states[0][~pinned] == MASK).all()
    assert 1 < len(decoded.states) <= 6
    # What is decided may be corrected, but is never opened again.
    for earlier, later in zip(decoded.states, decoded.states[1:], strict=False):
        assert ((later == MASK) <= (earlier == MASK)).all()


def test_the_divergence_is_that_of_the_whole_distributions() -> None:
    torch.manual_seed(0)
    hidden, other = torch.randn(30, 8, requires_grad=True), torch.randn(30, 8)
    embed, other_embed = torch.randn(20, 8), torch.randn(20, 8)

    found = divergences(hidden, embed, other, other_embed)
    expected = torch.nn.functional.kl_div(
        (other @ other_embed.T).log_softmax(-1), (hidden @ embed.T).log_softmax(-1),
        reduction="none", log_target=True,
    ).sum(-1)  # fmt: skip

    torch.testing.assert_close(found, expected)
    assert divergences(other, embed, other, embed).abs().max() < 1e-5
    assert torch.autograd.grad(found.sum(), hidden)[0].abs().sum() > 0


def test_the_student_meets_its_own_wrong_proposals(
    data: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.distil.SURE", 9.0)  # nats; so small a teacher is never surer
    config = replace(CONFIG, stream_weight=(0.3, 0.3))
    teacher = load_network(weights)
    objective = Distillation(teacher, config, steps=6, weight=0.5, ops=TrainingOps())
    # It knows nothing yet, so that its proposals are wrong.
    student, one = TwoSidedNetwork(TINY), drawn(data)

    found = objective(student, one, 0.0)
    own = objective.own
    assert own is not None
    found.total.backward()
    proposed = (own != MASK) & (own != one["clean"]) & ~one["pinned"]
    again = objective.states(one)

    assert proposed.any(-1).float().mean() > 0.5
    assert ((again == own) & proposed).any()
    assert found.parts["divergence"] > 0
    assert teacher.embed.grad is None


def test_a_run_learns_resumes_measures_and_exports(
    data: Path, weights: Path, tmp_path: Path
) -> None:
    config = replace(
        DEFAULTS,
        **{name: getattr(CONFIG, name) for name in ("tokens", "shapes", "dtype", "compile")},
        muon_lr=0.01,
        max_steps=40,
        ema=0.9,
    )
    distil(weights, data, tmp_path, replace(config, max_steps=20), steps=6, canvases=1)
    found = distil(weights, data, tmp_path, config, steps=6, canvases=256)
    export(tmp_path, tmp_path / "weights", DEFAULT_EXTRA)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [line["canvas"] for line in lines if "divergence" in line]

    assert [line["step"] for line in lines if "divergence" in line] == [20, 40]
    assert losses[1] < losses[0]
    assert lines[-1] == {"event": "steps", **found}
    assert found["after"]["canvases"] == found["before"]["canvases"] > 100
    assert 0.1 < found["after"]["2"] <= 1
    assert load_network(tmp_path / "weights" / "default.safetensors").config == TINY
