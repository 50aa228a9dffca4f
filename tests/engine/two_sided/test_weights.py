"""Weights come back from a file, from those of earlier versions as well."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from infill_engine.models.two_sided.network import load_network
from infill_engine.models.two_sided.ngram_table import to_arrays
from infill_engine.models.two_sided.weights import read_metadata
from tests.engine.two_sided.networks import CONFIG, model, table


def test_weights_come_back_from_a_file(tmp_path: Path) -> None:
    made = model().float()
    path = tmp_path / "weights.safetensors"
    tensors = {name: tensor.half() for name, tensor in made.state_dict().items()}
    save_file(tensors, path, {"config": CONFIG.to_json()})

    read = load_network(path)

    assert read.config == CONFIG
    for name, tensor in read.state_dict().items():
        assert torch.equal(tensor, tensors[name].float())


def test_a_file_of_before_0_2_loads_as_one_of_today(tmp_path: Path) -> None:
    former = {
        "induction": "echo",
        "induction_length": "echo_length",
        "ngram": "recall",
        "ngram_level": "recall_level",
    }
    config = replace(CONFIG, ngram_table=True)
    tensors = model(config).float().state_dict() | {
        name: torch.tensor(array) for name, array in to_arrays(table()).items()
    }
    head = {"length_up": torch.zeros(32, 32), "length_down": torch.zeros(14, 32)}
    older = {former.get(name, name): tensor for name, tensor in tensors.items()}
    named = {"new": tensors, "old": older | head}
    options = {"new": "ngram_table", "old": "recall"}
    thresholds = {"new": "show_threshold", "old": "worth_showing"}
    for age, of_age in named.items():
        metadata = {
            "config": config.to_json().replace("ngram_table", options[age]),
            thresholds[age]: "0.25",
        }
        save_file(of_age, tmp_path / age, metadata)
    assert set(named["old"]) ^ set(named["new"]) == {*former, *former.values(), *head}

    old, new = (load_network(tmp_path / age) for age in ("old", "new"))

    assert old.config == new.config == config
    assert old.state_dict().keys() == new.state_dict().keys()
    for name, tensor in old.state_dict().items():
        assert torch.equal(tensor, new.state_dict()[name])
    assert old.table is not None
    assert (old.table.keys == table().keys).all()
    for age in named:
        assert read_metadata(tmp_path / age)["show_threshold"] == "0.25"
