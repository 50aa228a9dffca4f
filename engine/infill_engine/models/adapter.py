"""A LoRA adapter as PEFT lays it out: what fine-tuning adds to some matrices of a checkpoint.

    adapter_config.json           its rank and scale
    adapter_model.safetensors     base_model.model.NAME.lora_A.weight [r, K], lora_B [N, r]

It is merged into the weights while these are read, before they become fewer bits.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from infill_engine.errors import ModelError
from infill_engine.models.checkpoint import first_line, read_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
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
    """Raises ModelError where there is none, or one of another kind."""
    told = read_json(folder / CONFIG)
    try:
        tensors = load_file(folder / WEIGHTS)
        rank = int(told["r"])
        scale = float(told["lora_alpha"]) / rank
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder} holds no LoRA adapter ({first_line(error)}); name a folder with {CONFIG} "
            f"and {WEIGHTS}"
        ) from error
    pairs = {}
    for key, down in tensors.items():
        name = key.removeprefix(PREFIX).removesuffix(DOWN)
        up = tensors.get(f"{PREFIX}{name}{UP}")
        if key.endswith(DOWN) and up is not None:
            pairs[f"{name}.weight"] = (down, up)
    if 2 * len(pairs) != len(tensors) or told.get("use_dora") or told.get("use_rslora"):
        raise ModelError(
            f"{folder} holds more than plain LoRA; merge it into the weights with PEFT, and name "
            "those as the model"
        )
    return Adapter(rank=rank, scale=scale, pairs=pairs)


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
    partial = folder / f".{WEIGHTS}"
    save_file(tensors, partial)
    partial.replace(folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(told, indent=2), encoding="utf-8")
