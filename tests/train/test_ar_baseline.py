"""The baseline on very little data: its rows are what it reads, it learns, resumes, loads."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.ar_baseline.reading import in_reading_order, states
from benchmarks.systems import load
from infill_engine import EngineConfig, InfillRequest
from infill_engine.models.two_sided.config import TwoSidedConfig
from infill_engine.models.two_sided.induction import stream_induction_hints
from infill_engine.models.two_sided.inference import InferenceNetwork
from infill_engine.models.two_sided.loading import WEIGHTS
from infill_engine.models.two_sided.network import TwoSidedNetwork, load_network
from infill_engine.models.two_sided.training_pass import TrainingOps
from infill_engine.tokenizer import BOS, END, EOS, FIRST_TAG, PAD, Tokenizer
from tests.train.tiny import CONFIG, TINY, shard_set, write_shards
from train import ar_baseline, validation
from train import train as two_sided
from train.ar_baseline import (
    BaselineBatch,
    batch,
    exact_match,
    export,
    losses,
    opened,
    train,
    validate,
)
from train.batches import BatchShape, tensors
from train.shards import save, shard_of
from train.windows import ShardSet


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


def held_out(data: Path) -> ShardSet:
    return shard_set(data / "val.npz")


def drawn(data: Path, row: int = 128) -> BaselineBatch:
    rng, shape = np.random.default_rng(0), BatchShape(row=row, canvas=16, share=1.0)
    return batch(held_out(data), rng, tokens=row * 60, shape=shape)


def test_a_row_is_suffix_prefix_middle_and_end() -> None:
    row, cursor = opened([61, 62, 63, 64, 65], FIRST_TAG, 1, 3)
    at_the_start, first = opened([61, 62], FIRST_TAG, 0, 1)

    assert row == [BOS, FIRST_TAG, 64, 65, EOS, 61, 62, 63, END]
    assert row[cursor] == 61  # the last token that is known
    assert at_the_start[first] == EOS


def test_rows_are_windows_with_a_hole_and_some_have_none(data: Path) -> None:
    found = drawn(data)
    shard = held_out(data).shards[0]
    everything = " ".join(map(str, shard.tokens.tolist()))
    plain = 0
    for ids, cursor, middle in zip(
        found.rows.tolist(), found.cursor.tolist(), found.middle, strict=True
    ):
        end = ids.index(EOS)
        suffix, rest = ids[2:end], [token for token in ids[end + 1 :] if token != PAD]
        assert ids[:2] == [BOS, FIRST_TAG]
        if cursor == len(ids):
            plain += 1
            assert middle.sum() == 0
            assert suffix == []
            text = rest
        else:
            assert rest[-1] == END
            assert ids[cursor + int(middle.sum())] == END
            text = rest[:-1] + suffix
        assert " ".join(map(str, text)) in everything

    assert 0 < plain < len(found.rows) / 3


def test_every_token_is_predicted_and_those_of_the_middle_weigh_more(data: Path) -> None:
    found = drawn(data)
    lengths = (found.rows != PAD).sum(-1)

    for row, n in enumerate(lengths):
        weight, middle = found.weight[row], found.middle[row] > 0
        assert (weight[n - 1 :] == 0).all()
        assert (weight[: n - 1][~middle[: n - 1]] == 1).all()
        assert (weight[middle] == ar_baseline.MIDDLE_WEIGHT).all()
        assert found.hints[row, :n].tolist() == [
            [*hint, 0, 0] for hint in stream_induction_hints(found.rows[row, :n].tolist())
        ]
    assert found.lengths.tolist() == lengths.tolist()


def test_the_loss_is_cross_entropy_and_its_parts_are_nats_per_token(data: Path) -> None:
    torch.manual_seed(0)
    model, found = TwoSidedNetwork(TINY), drawn(data)
    torch.nn.init.normal_(model.embed, std=0.5)
    result = losses(model, tensors(found), dtype=torch.float32, ops=TrainingOps())
    result.total.backward()  # type: ignore[no-untyped-call]

    rows, cursor, hints, weight = (
        torch.from_numpy(each) for each in (found.rows, found.cursor, found.hints, found.weight)
    )
    logits = states(model, rows, cursor, hints) @ model.embed.T
    each = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten(), reduction="none"
    ).view(len(rows), -1)
    middle = torch.from_numpy(found.middle)[:, :-1] > 0
    context = (weight[:, :-1] > 0) & ~middle

    torch.testing.assert_close(result.total, (each * weight[:, :-1]).sum() / weight.sum())
    assert result.parts["middle"].item() == pytest.approx(each[middle].mean().item(), rel=1e-4)
    assert result.parts["context"].item() == pytest.approx(each[context].mean().item(), rel=1e-4)
    assert result.positions == found.rows.size
    assert model.stream.grad is not None
    assert model.stream.grad[2].abs().sum() > 0  # the middle's own stream


def test_exact_match_asks_for_the_holes_that_the_two_sided_model_is_asked_for(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, list[object]] = {"two-sided": [], "baseline": []}

    def infill_greedily(
        network: InferenceNetwork, prefix: list[int], suffix: list[int], **_: int
    ) -> list[int]:
        asked["two-sided"].append((prefix, suffix))
        return []

    real = ar_baseline.write

    def write(model, place, sides, rules):  # type: ignore[no-untyped-def]
        asked["baseline"].append((list(sides.prefix_ids), list(sides.suffix_ids)))
        assert in_reading_order(sides)[:2] == [BOS, FIRST_TAG]
        return real(model, place, sides, rules)

    monkeypatch.setattr(validation, "infill_greedily", infill_greedily)
    monkeypatch.setattr(ar_baseline, "write", write)
    validation.exact_match(TwoSidedNetwork(TINY), held_out(data), 5)
    found = exact_match(TwoSidedNetwork(TINY), held_out(data), 5)

    assert asked["baseline"] == asked["two-sided"]
    assert found["tail_count"] == 5


def test_validation_is_the_same_at_every_call(data: Path) -> None:
    torch.manual_seed(0)
    model = TwoSidedNetwork(TINY)

    assert validate(model, held_out(data), CONFIG) == validate(model, held_out(data), CONFIG)


def logged(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_tiny_run_learns_resumes_and_exports(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = replace(CONFIG, val_infills=20)
    first = train(TwoSidedNetwork(TINY), data, tmp_path, config)
    second = train(TwoSidedNetwork(TINY), data, tmp_path, replace(config, max_steps=90))
    again = train(TwoSidedNetwork(TINY), data, tmp_path, replace(config, max_steps=90))
    path = export(tmp_path, tmp_path / "weights")

    steps = [line["step"] for line in logged(tmp_path) if "positions_per_s" in line]
    end = [line for line in logged(tmp_path) if line.get("event") == "end"][-1]
    assert steps == [20, 30, 40, 60, 80, 90]
    assert end["positions"] == 90 * 256
    for name in ("val_middle", "val_context"):
        assert second[name] < first[name] - 0.2
    assert again == {name: each for name, each in second.items() if name.startswith("val_")}
    assert load_network(path).config == TINY


def test_a_run_can_start_from_two_sided_weights(data: Path, tmp_path: Path) -> None:
    two_sided.train(TwoSidedNetwork(TINY), data, tmp_path / "one", CONFIG)
    weights = export(tmp_path / "one", tmp_path)
    still = replace(CONFIG, max_steps=1, muon_lr=0.0, adam_lr=0.0)

    fresh = train(TwoSidedNetwork(TINY), data, tmp_path / "two", still)
    continued = train(TwoSidedNetwork(TINY), data, tmp_path / "three", still, weights=weights)

    assert continued["val_context"] < fresh["val_context"] - 0.1


def test_what_is_exported_is_loaded_as_a_baseline_and_writes(tmp_path: Path) -> None:
    tokenizer = Tokenizer(WEIGHTS / "tokenizer.json")
    text = "def area(width, height):\n    return width * height\n\n\n"
    ids = tokenizer.encode(text)
    line = tokenizer.encode(text.split("\n")[0])
    folder = tmp_path / "shards"
    folder.mkdir()
    spans = [(at, len(line), 0) for at in range(1, len(line))]
    for name in ("train-000", "val"):
        save(shard_of([(ids, 0, spans)] * 4), folder / f"{name}.npz")
    network = TwoSidedConfig(
        vocab_size=tokenizer.vocab_size, d_model=32, num_layers=1, num_heads=2, d_ff=48
    )
    shapes = (BatchShape(row=48, canvas=16, share=1.0),)
    train(
        TwoSidedNetwork(network),
        folder,
        tmp_path / "run",
        replace(CONFIG, shapes=shapes, tokens=192, max_steps=100, adam_lr=0.05),
    )
    path = export(tmp_path / "run", tmp_path / "run")

    engine = load(EngineConfig(model=str(path)))
    request = InfillRequest(prefix="def area(", suffix=text[24:], language_id="python")
    *_, draft = engine.infill(replace(request, max_lines=1))

    assert engine.describe().model == "ar-baseline"
    assert draft.text == "width, height):"
