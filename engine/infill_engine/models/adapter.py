"""A LoRA adapter as PEFT lays it out: what fine-tuning adds to some matrices of a checkpoint.

    adapter_config.json           its rank and scale
    adapter_model.safetensors     base_model.model.NAME.lora_A.weight [r, K], lora_B [N, r]

It is merged into the weights while these are read, before they become fewer bits.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from infill_engine.config import EngineConfig
from infill_engine.errors import ModelError
from infill_engine.models.checkpoint import first_line, read_json
from infill_engine.models.finite import check_finite
from infill_engine.models.writing import write_whole

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
# What PEFT's file says of forms of LoRA that are more than one product of one rank and scale.
MORE = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "fan_in_fan_out")
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """For matrices by their names in the checkpoint: down [r, K], up [N, r]; what is added to a
    matrix is scale * up @ down."""

    rank: int
    scale: float
    pairs: dict[str, tuple[Tensor, Tensor]]

    def merged(self, name: str, matrix: Tensor) -> Tensor:
        """A matrix [N, K] with what was learned of it; as it was where nothing was."""
        if name not in self.pairs:
            return matrix
        down, up = (each.to(matrix.device) for each in self.pairs[name])
        if (len(up), down.shape[1]) != tuple(matrix.shape):
            raise ModelError(
                f"the adapter's {name} is {[len(up), down.shape[1]]}, the model's "
                f"{list(matrix.shape)}; name the model that it was trained on"
            )
        return (matrix.float() + self.scale * (up.float() @ down.float())).to(matrix.dtype)


def read_adapter(folder: Path) -> Adapter:
    """Raises ModelError where there is none, one of another kind, or one that is damaged."""
    told = _config(folder / CONFIG)
    try:
        tensors = load_file(folder / WEIGHTS)
        rank, alpha = int(told["r"]), float(told["lora_alpha"])
        if rank < 1 or not tensors or not math.isfinite(alpha):
            raise ValueError(f"{len(tensors)} tensors, r {rank}, lora_alpha {alpha}")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder} holds no LoRA adapter ({first_line(error)}); name a folder with {CONFIG} "
            f"and {WEIGHTS}"
        ) from error
    pairs = {}
    for key, tensor in tensors.items():
        check_finite(key, tensor, folder)
        name = key.removeprefix(PREFIX).removesuffix(DOWN)
        up = tensors.get(f"{PREFIX}{name}{UP}")
        if key.endswith(DOWN) and up is not None:
            pairs[f"{name}.weight"] = (tensor, up)
    halves = [key for key in tensors if key.endswith((DOWN, UP))]
    if 2 * len(pairs) < len(halves):
        raise ModelError(
            f"{folder} has {len(halves)} halves of products in {WEIGHTS} for {len(pairs)} whole "
            "ones; copy it again from where it was trained"
        )
    if 2 * len(pairs) != len(tensors) or any(map(told.get, MORE)):
        raise ModelError(
            f"{folder} holds more than plain LoRA; merge it into the weights with PEFT, and name "
            "those as the model"
        )
    for name, (down, up) in pairs.items():
        if down.dim() != 2 or up.dim() != 2 or not len(down) == up.shape[1] == rank:
            raise ModelError(
                f"{folder} has {list(up.shape)} times {list(down.shape)} for {name}, and {CONFIG} "
                f"says rank {rank}; take both files of one run"
            )
    return Adapter(rank=rank, scale=alpha / rank, pairs=pairs)


def _config(path: Path) -> dict[str, Any]:
    """What PEFT's file says, nothing where there is none; a ModelError where it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read as JSON ({first_line(error)}); copy it again from where it was "
            "trained"
        ) from error
    return found


def described(config: EngineConfig) -> str:
    """What `EngineInfo` says of an adapter, "" where there is none."""
    if config.adapter is None:
        return ""
    told = read_json(Path(config.adapter).expanduser() / CONFIG)
    base = told.get("base_model_name_or_path")
    trained = f", trained on {base}" if base else ""
    return f"{config.adapter}: LoRA of rank {told.get('r')}{trained}"


def write_adapter(folder: Path, adapter: Adapter, model: str) -> None:
    """As `read_adapter` and PEFT read it; `model` is what it was trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {
        "peft_type": "LORA",
        "base_model_name_or_path": model,
        "r": adapter.rank,
        "lora_alpha": adapter.scale * adapter.rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({name.split(".")[-2] for name in adapter.pairs}),
    }
    tensors = {}
    for name, (down, up) in adapter.pairs.items():
        key = PREFIX + name.removesuffix(".weight")
        tensors[key + DOWN] = down.detach().to("cpu", torch.float32).contiguous()
        tensors[key + UP] = up.detach().to("cpu", torch.float32).contiguous()
    write_whole(folder / WEIGHTS, lambda partial: save_file(tensors, partial))
    (folder / CONFIG).write_text(json.dumps(told, indent=2), encoding="utf-8")
