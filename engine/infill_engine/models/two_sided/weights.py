"""A weights file: a configuration and tensors in, the network out. Knows what files were before.

The format is safetensors with the configuration as JSON in the metadata, beside numbers of the
training and "show_threshold".
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from infill_engine.models.two_sided.layers import TwoSidedConfig
from infill_engine.models.two_sided.network import PACKED, TwoSidedNetwork
from infill_engine.models.two_sided.ngram_table import TENSORS, from_tensors
from infill_engine.models.two_sided.packed import Precision

# What files of before version 0.2 call tensors, options and metadata that have other names now.
FORMER_NAMES = {
    "echo": "induction",
    "echo_length": "induction_length",
    "recall": "ngram",
    "recall_level": "ngram_level",
}
# A head that was to guess a hole's length: choosing the canvas by it never helped, as
# engine/train/LOG.md has it.
FORMER_HEAD = ("length_up", "length_down")
FORMER_OPTIONS = {"recall": "ngram_table"}
FORMER_METADATA = {"worth_showing": "show_threshold"}


def read_metadata(path: Path) -> dict[str, str]:
    """A file's metadata under the names of today."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    return {FORMER_METADATA.get(name, name): value for name, value in metadata.items()}


def read_weights(path: Path) -> tuple[TwoSidedConfig, dict[str, Tensor], dict[str, str]]:
    """Config, tensors and metadata of a weights file; tensors in the dtype they are stored in."""
    metadata = read_metadata(path)
    with safe_open(path, framework="pt") as file:
        tensors = {
            FORMER_NAMES.get(name, name): file.get_tensor(name)
            for name in file.keys()  # noqa: SIM118
            if name not in FORMER_HEAD
        }
    options = {
        FORMER_OPTIONS.get(name, name): value
        for name, value in json.loads(metadata["config"]).items()
    }
    return TwoSidedConfig(**options), tensors, metadata


def load_network(
    path: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    precision: Precision | None = None,
) -> TwoSidedNetwork:
    """The network with the weights of a file, ready for inference.

    `precision` packs them for the CPU, with activations in float32.
    """
    config, tensors, _ = read_weights(path)
    model = TwoSidedNetwork(config, fresh=False)
    if config.ngram_table:
        model.table = from_tensors(tensors)
    # What is packed is packed from the file, which is mapped; the embedding's rows stay there.
    mapped = (*PACKED, "embed") if precision else ()
    state = {
        name: tensor.to(device, None if name.rpartition(".")[2] in mapped else dtype)
        for name, tensor in tensors.items()
        if name not in TENSORS
    }
    model.load_state_dict(state, assign=True)
    model = model.eval().requires_grad_(False)
    return model.pack(precision) if precision else model
