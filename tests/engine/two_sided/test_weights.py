"""Weights come back from a file, from those of earlier versions as well."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from infill_engine import EngineConfig, ModelError
from infill_engine.models.two_sided.loading import load_default
from infill_engine.models.two_sided.network import load_network
from infill_engine.models.two_sided.ngram_table import to_arrays
from infill_engine.models.two_sided.weights import read_metadata, read_weights
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
    keys = torch.tensor(table().keys.view(np.int32))
    older = {name: each for name, each in older.items() if name != "table.steps"}
    named = {"new": tensors, "old": older | head | {"table.keys": keys}}
    options = {"new": "ngram_table", "old": "recall"}
    thresholds = {"new": "show_threshold", "old": "worth_showing"}
    for age, of_age in named.items():
        metadata = {
            "config": config.to_json().replace("ngram_table", options[age]),
            thresholds[age]: "0.25",
        }
        save_file(of_age, tmp_path / age, metadata)
    changed = {*former, *former.values(), *head, "table.keys", "table.steps"}
    assert set(named["old"]) ^ set(named["new"]) == changed

    old, new = (load_network(tmp_path / age) for age in ("old", "new"))

    assert old.config == new.config == config
    assert old.state_dict().keys() == new.state_dict().keys()
    for name, tensor in old.state_dict().items():
        assert torch.equal(tensor, new.state_dict()[name])
    assert old.table is not None
    assert (old.table.keys == table().keys).all()
    for age in named:
        assert read_metadata(tmp_path / age)["show_threshold"] == "0.25"


def test_arrays_stay_in_the_file_and_bfloat16_is_read_as_float32(tmp_path: Path) -> None:
    made = model().float()
    path = tmp_path / "weights.safetensors"
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        tensors = {name: tensor.to(dtype) for name, tensor in made.state_dict().items()}
        save_file(tensors, path, {"config": CONFIG.to_json()})

        _, arrays, _ = read_weights(path)

        assert arrays.keys() == tensors.keys()
        for name, array in arrays.items():
            assert array.flags.writeable == (dtype == torch.bfloat16), "or else it is a copy"
            assert torch.equal(torch.tensor(array).double(), tensors[name].double())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"stream": None}, "stream is missing"),
        ({"echoes": torch.zeros(2)}, "echoes is no weight of this network"),
        ({"embed": torch.full((100, 32), torch.nan)}, "embed holds NaN or infinity"),
        ({"embed": torch.zeros(4, 32)}, r"embed is \(4, 32\) and should be \(100, 32\)"),
        ({"embed": torch.zeros(100, 32, dtype=torch.bool)}, "embed is of BOOL, which is none of"),
    ],
)
def test_weights_of_another_network_are_refused_by_name(
    changed: dict[str, torch.Tensor | None], said: str, tmp_path: Path
) -> None:
    tensors = {**model().float().state_dict(), **changed}
    path = tmp_path / "default.safetensors"
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, path, {"config": CONFIG.to_json()})

    with pytest.raises(ModelError, match=f"not a readable model .*{said}"):
        load_default(EngineConfig(model=str(path)))


@pytest.mark.parametrize("size", [0, 7, 500, 5000])
def test_half_a_file_is_refused(size: int, tmp_path: Path) -> None:
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_file(model().float().state_dict(), whole, {"config": CONFIG.to_json()})
    half.write_bytes(whole.read_bytes()[:size])

    with pytest.raises(ModelError, match="not a readable model"):
        load_default(EngineConfig(model=str(half)))


def test_what_is_no_model_is_told_what_it_is_good_for(tmp_path: Path) -> None:
    gguf, adapter, unnamed = tmp_path / "x.gguf", tmp_path / "adapter", tmp_path / "unnamed"
    gguf.write_bytes(b"GGUF")
    for folder, name in ((adapter, "adapter_config.json"), (unnamed, "model.safetensors")):
        folder.mkdir()
        (folder / name).write_text("{}")
    for named, said in (
        (gguf, f"as a judge .*--judge {gguf}"),
        (adapter, "is an adapter; name it with --adapter"),
        (unnamed, r"has weights and no config\.json; download it again"),
    ):
        with pytest.raises(ModelError, match=said):
            load_default(EngineConfig(model=str(named)))
