"""Training on very little data: the loss falls, runs resume and are exported."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from infill_engine import ModelError
from infill_engine.models.two_sided.network import TwoSidedNetwork, load_network
from tests.train.tiny import CONFIG, TINY, write_shards
from train.export import DEFAULT_EXTRA, export
from train.train import train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


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


def test_weights_of_another_network_are_named(data: Path, tmp_path: Path) -> None:
    train(TwoSidedNetwork(TINY), data, tmp_path / "one", replace(CONFIG, max_steps=1))
    export(tmp_path / "one", tmp_path / "weights", DEFAULT_EXTRA)
    weights = tmp_path / "weights" / "default.safetensors"
    deeper = TwoSidedNetwork(replace(TINY, num_layers=3))

    with pytest.raises(ModelError, match=r"has no blocks\.2\..*give weights of this network"):
        train(deeper, data, tmp_path / "two", CONFIG, weights=weights)


def test_a_checkpoint_under_former_names_is_resumed_and_exported(
    data: Path, tmp_path: Path
) -> None:
    former = {"induction": "echo", "induction_length": "echo_length"}
    train(TwoSidedNetwork(TINY), data, tmp_path, replace(CONFIG, max_steps=2))
    path = tmp_path / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    before = state["average"]
    state["config"]["recall"] = state["config"].pop("ngram_table")
    for part in ("model", "average"):
        state[part] = {former.get(name, name): each for name, each in state[part].items()}
        state[part]["length_up"] = torch.zeros(32, 32)
    assert state["average"].keys() != before.keys()
    torch.save(state, path)

    export(tmp_path, tmp_path / "weights", DEFAULT_EXTRA)
    train(TwoSidedNetwork(TINY), data, tmp_path, replace(CONFIG, max_steps=3))

    loaded = load_network(tmp_path / "weights" / "default.safetensors")
    torch.testing.assert_close(loaded.induction, before["induction"].half().float())
    assert torch.load(path, weights_only=True)["average"].keys() == before.keys()
    assert logged(tmp_path)[-1]["step"] == 3
