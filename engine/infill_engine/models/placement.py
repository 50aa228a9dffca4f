"""Which device a model runs on, and whether its weights fit there."""

from typing import get_args

import torch

from infill_engine import machine
from infill_engine.config import EngineConfig, Format
from infill_engine.errors import ModelError
from infill_engine.models.checkpoint import Checkpoint
from infill_engine.remedies import named

# On a GPU, beside the weights: keys and values of a few prompts, the head's output, graphs.
WORK_SPACE = 3 << 30


def chosen_device(config: EngineConfig, *, mps: bool = False) -> torch.device:
    """What `config.device` names; `mps` says whether the model runs on Apple's GPUs."""
    has_mps = mps and torch.backends.mps.is_available()
    if config.device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if has_mps else "cpu")
    kind = config.device.partition(":")[0]
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not has_mps):
        raise ModelError(f"{named('device', config.device)} is not available here; use cpu or auto")
    try:
        return torch.device(config.device)
    except RuntimeError as error:
        raise ModelError(
            f"{named('device', config.device)} is none of auto, cpu, cuda, cuda:N, mps"
        ) from error


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free for weights; None where it cannot be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return machine.free_memory()


def check_memory(
    checkpoint: Checkpoint,
    need: int,
    dtype: str,
    device: torch.device,
    work_space: int = WORK_SPACE,
) -> None:
    """Raises ModelError where so many bytes, and the work space beside them, are not free."""
    free = free_memory(device)
    if free is not None and need + (work_space if device.type == "cuda" else 0) > free:
        raise too_large(checkpoint, need, dtype, device, free)


def too_large(
    checkpoint: Checkpoint, need: int, dtype: str, device: torch.device, free: int | None
) -> ModelError:
    smaller = " or ".join(name for name in get_args(Format) if name not in dtype)
    has = "less than that" if free is None else f"{free / 2**30:.1f} GiB"
    return ModelError(
        f"{checkpoint.folder} needs {need / 2**30:.1f} GiB as {dtype}, and "
        f"{device} has {has} free; make a smaller copy with "
        f"python -m infill_engine.models.quantise (--format {smaller}), close what else uses the "
        "memory, or name a served model's URL"
    )


def check_no_adapter(config: EngineConfig) -> None:
    """Raises ModelError where there is one and MLX computes."""
    if config.adapter:
        raise ModelError(
            "an adapter is not added in MLX; merge it into the weights with PEFT, and name "
            "those as the model"
        )
