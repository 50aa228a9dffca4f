"""A weights file: its configuration and its arrays. Knows what files were before.

The format is safetensors with the configuration as JSON in the metadata, beside numbers of the
training and "show_threshold".
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infill_engine import mapped
from infill_engine.models.two_sided.config import TwoSidedConfig
from infill_engine.models.two_sided.induction import MAX_MATCH
from infill_engine.models.two_sided.ngram_table import ARRAYS, FORMER_KEYS, LEVELS

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
    metadata = mapped.read_metadata(path)
    return {FORMER_METADATA.get(name, name): value for name, value in metadata.items()}


def read_weights(path: Path) -> tuple[TwoSidedConfig, dict[str, NDArray[Any]], dict[str, str]]:
    """Config, arrays and metadata of a weights file; arrays in the dtype they are stored in, or
    float32 for bfloat16. They are mapped: read from the file when they are looked at, and not
    writable.

    Raises OSError, SafetensorError or ValueError where the file is no such file, and KeyError or
    TypeError where its configuration is none.
    """
    metadata = read_metadata(path)
    described: dict[str, Any] = json.loads(metadata["config"])
    if not isinstance(described, dict):
        raise TypeError(f"its configuration is {described!r:.40}")
    options = {FORMER_OPTIONS.get(name, name): value for name, value in described.items()}
    arrays = {
        FORMER_NAMES.get(name, name): array
        for name, array in mapped.read_arrays(path).items()
        if name not in FORMER_HEAD
    }
    return TwoSidedConfig(**options), arrays, metadata


def shapes(config: TwoSidedConfig) -> dict[str, tuple[int, ...]]:
    """What a network's weights are called, and their shapes."""
    d, ff, (kv, parts, head) = config.d_model, config.d_ff, config.split
    found: dict[str, tuple[int, ...]] = {
        "embed": (config.vocab_size, d),
        "stream": (3, d),
        "induction": (d, d),
        "induction_length": (MAX_MATCH + 1, d),
    }
    if config.ngram_table:
        found |= {"ngram": (d, d), "ngram_level": (LEVELS + 1, d)}
    matrices = {"qkv": (kv * parts * head, d), "out": (d, d), "up": (2 * ff, d), "down": (d, ff)}
    for layer in range(config.num_layers):
        found |= {f"blocks.{layer}.{name}": shape for name, shape in matrices.items()}
    return found


def check_finite(weights: Mapping[str, NDArray[Any]]) -> None:
    """Raises ValueError where a weight is NaN or infinite."""
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinity")


def weights_in(
    config: TwoSidedConfig, arrays: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """A file's arrays without those of the n-gram table.

    Raises ValueError where they are not exactly what the configuration asks for.
    """
    of_table = (*ARRAYS, FORMER_KEYS)
    found = {name: array for name, array in arrays.items() if name not in of_table}
    wanted = shapes(config)
    for name in sorted(wanted.keys() | found.keys()):
        if name not in wanted:
            raise ValueError(f"{name} is no weight of this network")
        if name not in found:
            raise ValueError(f"{name} is missing")
        if found[name].shape != wanted[name]:
            raise ValueError(f"{name} is {found[name].shape} and should be {wanted[name]}")
    return found
