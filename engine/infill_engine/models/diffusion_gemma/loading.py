"""From a checkpoint's files to a `Network` on a device, through transformers' own loading path."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

import torch

from infill_engine import machine
from infill_engine.config import EngineConfig, Format
from infill_engine.errors import ModelError
from infill_engine.models.diffusion_gemma.checkpoint import (
    Checkpoint,
    first_line,
    inspect_checkpoint,
    lacking,
)
from infill_engine.models.diffusion_gemma.hub import find_checkpoint
from infill_engine.models.diffusion_gemma.network import Network
from infill_engine.models.diffusion_gemma.quantised import quantise_model, teach_transformers
from infill_engine.progress import LoadProgress, silent

# On a GPU, beside the weights: keys and values of a few prompts, the head's output, graphs.
WORK_SPACE = 3 << 30
# Compute capability of the first chips that multiply fp8.
FP8_CAPABILITY = (8, 9)


def load_network(config: EngineConfig, progress: LoadProgress = silent) -> Network:
    """The two passes that `config.model` names, without text.

    Raises ModelError when they cannot be had, read, or fitted to this machine.
    """
    folder = find_checkpoint(config.model, progress)
    return load_weights(inspect_checkpoint(folder, config), config, progress)


def load_weights(
    checkpoint: Checkpoint, config: EngineConfig, progress: LoadProgress = silent
) -> Network:
    """The weights of a checkpoint, quantised on the way when that is asked for. Sets the threads.

    Raises ModelError when the files are damaged or the machine is too small.
    """
    device = _device(config)
    torch.set_num_threads(config.threads or min(4, torch.get_num_threads()))
    _check_fp8(checkpoint, device)
    # Quantised here, the weights pass through main memory first, one layer at a time after that.
    format_to_make = checkpoint.asked if checkpoint.stored is None else None
    _check_memory(checkpoint, checkpoint.need, checkpoint.dtype, device)
    if format_to_make:
        files = sum(path.stat().st_size for path in checkpoint.folder.glob("*.safetensors"))
        _check_memory(checkpoint, files, "stored", torch.device("cpu"))
    straight = format_to_make is None and device.type != "cpu"
    try:
        model, missing = _read(checkpoint, device if straight else None, progress)
        if format_to_make:
            stage = f"quantising to {format_to_make}"
            quantise_model(
                model, format_to_make, device, progress=lambda done: progress(stage, done)
            )
            model.to(device)
    except torch.OutOfMemoryError as error:
        raise _too_large(checkpoint, checkpoint.need, checkpoint.dtype, device, None) from error
    except ImportError as error:
        raise lacking(error) from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{checkpoint.folder} cannot be loaded: {first_line(error)}; download it again, or "
            "save it anew with save_pretrained()"
        ) from error
    # transformers fills what it misses with random numbers, which would look like a bad model.
    if missing:
        raise ModelError(
            f"{checkpoint.folder} lacks {len(missing)} weights, {missing[0]} for one; download it "
            "again"
        )
    return Network(model)


def _read(
    checkpoint: Checkpoint, device: torch.device | None, progress: LoadProgress
) -> tuple[Any, list[str]]:
    """transformers' model with the weights on a device, None being main memory; and the names of
    weights that the files lack."""
    model_class = _model_class()
    if checkpoint.stored:
        teach_transformers()
    with _progress_of_transformers(progress):
        model, found = model_class.from_pretrained(
            str(checkpoint.folder),
            dtype=getattr(torch, checkpoint.computed),
            device_map=None if device is None else {"": device},
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    model.eval().requires_grad_(False)
    # Nothing here looks at images.
    model.model.encoder.vision_tower = model.model.encoder.embed_vision = None
    return model, sorted(key for key in found["missing_keys"] if "vision" not in key)


def _model_class() -> Any:
    import transformers

    if not hasattr(transformers, "DiffusionGemmaForBlockDiffusion"):
        raise ModelError(
            f"transformers {transformers.__version__} does not know DiffusionGemma; "
            "pip install --upgrade 'infill-ls[gpu]' (transformers 5.17 or later)"
        )
    return transformers.DiffusionGemmaForBlockDiffusion


@contextmanager
def _progress_of_transformers(progress: LoadProgress) -> Iterator[None]:
    """Reports transformers' own bar over the weights instead of drawing it."""
    from transformers.utils import logging

    def watch(factory: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if named.get("desc") != "Loading weights" or not given or not hasattr(given[0], "__len__"):
            return factory(*given, **named)
        return _counted(given[0], progress)

    before = logging.set_tqdm_hook(watch)
    try:
        yield
    finally:
        logging.set_tqdm_hook(before)


def _counted(items: Any, progress: LoadProgress) -> Iterator[Any]:
    for at, item in enumerate(items):
        yield item
        progress("loading weights", (at + 1) / len(items))


def _device(config: EngineConfig) -> torch.device:
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.device.partition(":")[0] == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device={config.device!r} is not available here; use cpu or auto")
    try:
        return torch.device(config.device)
    except RuntimeError as error:
        raise ModelError(f"device={config.device!r} is none of auto, cpu, cuda, cuda:N") from error


def _check_fp8(checkpoint: Checkpoint, device: torch.device) -> None:
    if checkpoint.experts != "fp8" or device.type != "cuda":
        return
    if torch.cuda.get_device_capability(device) < FP8_CAPABILITY:
        raise ModelError(
            f"{torch.cuda.get_device_name(device)} cannot compute with fp8 (it needs compute "
            "capability 8.9); set dtype to int4 or bfloat16"
        )


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free for weights; None where it cannot be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return machine.free_memory()


def _check_memory(checkpoint: Checkpoint, need: int, dtype: str, device: torch.device) -> None:
    free = free_memory(device)
    work_space = WORK_SPACE if device.type == "cuda" else 0
    if free is not None and need + work_space > free:
        raise _too_large(checkpoint, need, dtype, device, free)


def _too_large(
    checkpoint: Checkpoint, need: int, dtype: str, device: torch.device, free: int | None
) -> ModelError:
    smaller = " or ".join(name for name in get_args(Format) if name not in dtype)
    has = "less than that" if free is None else f"{free / 2**30:.1f} GiB"
    return ModelError(
        f"{checkpoint.folder} needs {need / 2**30:.1f} GiB as {dtype}, and "
        f"{device} has {has} free; make a smaller copy with "
        f"python -m infill_engine.models.diffusion_gemma.quantise "
        f"(--format {smaller}), close what else uses the memory, or name a served model's URL"
    )
