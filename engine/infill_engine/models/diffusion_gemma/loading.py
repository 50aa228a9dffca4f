"""From a checkpoint's files to a `Network` on a device, through transformers' own loading path."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infill_engine.config import EngineConfig
from infill_engine.errors import ModelError
from infill_engine.models.adapter import Adapter, read_adapter
from infill_engine.models.checkpoint import (
    METHOD,
    Checkpoint,
    first_line,
    lacking,
    weight_files,
)
from infill_engine.models.diffusion_gemma.checkpoint import inspect_checkpoint, narrowed
from infill_engine.models.diffusion_gemma.network import Network
from infill_engine.models.diffusion_gemma.quantised import quantise_model, teach_transformers
from infill_engine.models.finite import check_finite, not_finite
from infill_engine.models.hub import find_checkpoint
from infill_engine.models.nvfp4 import Nvfp4Files
from infill_engine.models.placement import check_memory, chosen_device, too_large
from infill_engine.models.quantised import quantise
from infill_engine.progress import LoadProgress, silent
from infill_engine.remedies import installing

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
    """The weights of a checkpoint, with an adapter's added, quantised on the way when that is asked
    for. Sets the threads.

    Raises ModelError when the files are damaged or the machine is too small.
    """
    return Network(load_model(checkpoint, config, progress))


def load_model(
    checkpoint: Checkpoint, config: EngineConfig, progress: LoadProgress = silent
) -> Any:
    """The same as transformers' module, whose parameters want no gradient."""
    adapter = read_adapter(Path(config.adapter).expanduser()) if config.adapter else None
    device = chosen_device(config)
    torch.set_num_threads(config.threads or min(4, torch.get_num_threads()))
    _check_fp8(checkpoint, device)
    # Quantised here, the weights pass through main memory first, one layer at a time after that.
    format_to_make = checkpoint.asked if checkpoint.stored is None else None
    check_memory(checkpoint, checkpoint.need, checkpoint.dtype, device)
    if format_to_make:
        files = sum(path.stat().st_size for path in checkpoint.folder.glob("*.safetensors"))
        check_memory(checkpoint, files, "stored", torch.device("cpu"))
    straight = format_to_make is None and device.type != "cpu"
    try:
        model, missing = _read(checkpoint, device if straight else None, progress)
        if adapter is not None and not missing:
            _add(adapter, model, checkpoint)
        if format_to_make:
            stage = f"quantising to {format_to_make}"
            quantise_model(
                model, format_to_make, device, progress=lambda done: progress(stage, done)
            )
            model.to(device)
    except torch.OutOfMemoryError as error:
        raise too_large(checkpoint, checkpoint.need, checkpoint.dtype, device, None) from error
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
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        check_finite(name, tensor, checkpoint.folder)
    return model


def _add(adapter: Adapter, model: Any, checkpoint: Checkpoint) -> None:
    """What was learned, to the weights of both passes; mostly they share them."""
    decoder, encoder = "model.decoder.", "model.encoder.language_model."
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name in adapter.pairs:
        if name not in parameters or parameters[name].dim() != 2:
            raise ModelError(
                f"the adapter is also of {name}, which {checkpoint.folder} has not; name the model "
                "that it was trained on"
            )
        both = [parameters[each] for each in {name, name.replace(decoder, encoder)} & {*parameters}]
        with torch.no_grad():
            for weight in {each.data_ptr(): each for each in both}.values():
                weight.copy_(adapter.merged(name, weight))


def _read(
    checkpoint: Checkpoint, device: torch.device | None, progress: LoadProgress
) -> tuple[Any, list[str]]:
    """transformers' model with the weights on a device, None being main memory; and the names of
    weights that the files lack."""
    from huggingface_hub.errors import StrictDataclassError

    model_class = _model_class()
    if checkpoint.stored:
        teach_transformers()
    source: dict[str, Any] = {"pretrained_model_name_or_path": str(checkpoint.folder)}
    if checkpoint.nvfp4:
        source = _widened(checkpoint, progress)
    with _progress_of_transformers(progress):
        try:
            model, found = model_class.from_pretrained(
                **source,
                dtype=getattr(torch, checkpoint.computed),
                device_map=None if device is None else {"": device},
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
        except StrictDataclassError as error:  # none of Python's own
            raise ValueError(str(error)) from error
    model.eval().requires_grad_(False)
    # Nothing here looks at images.
    model.model.encoder.vision_tower = model.model.encoder.embed_vision = None
    return model, sorted(key for key in found["missing_keys"] if "vision" not in key)


def _widened(checkpoint: Checkpoint, progress: LoadProgress) -> dict[str, Any]:
    """What `from_pretrained` takes for weights in NVFP4: all of them, the experts in our format."""
    config = _model_class().config_class.from_pretrained(str(checkpoint.folder))
    # What it names reads files, and these are read here.
    del config.quantization_config
    if checkpoint.stored:
        config.quantization_config = {"quant_method": METHOD, "format": checkpoint.stored}
    files = Nvfp4Files(weight_files(checkpoint.folder))
    weights: dict[str, Tensor] = {}
    count = len([*files.shapes()])
    cpu = torch.device("cpu")
    for at, (name, tensor) in enumerate(files.tensors(getattr(torch, checkpoint.computed)), 1):
        if checkpoint.stored and narrowed(name, checkpoint.stored):
            made, error = quantise(tensor, checkpoint.stored, cpu)
            if not math.isfinite(error):
                raise not_finite(name, checkpoint.folder)
            weights[name], weights[f"{name}_scale"] = made.codes, made.scale
        else:
            weights[name] = tensor
        progress("reading NVFP4", at / count)
    return {"pretrained_model_name_or_path": None, "config": config, "state_dict": weights}


def _model_class() -> Any:
    import transformers

    if not hasattr(transformers, "DiffusionGemmaForBlockDiffusion"):
        raise ModelError(
            f"transformers {transformers.__version__} does not know DiffusionGemma; "
            f"{installing('gpu')} adds 5.17 or later, which does"
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


def _check_fp8(checkpoint: Checkpoint, device: torch.device) -> None:
    if checkpoint.format != "fp8" or device.type != "cuda":
        return
    if torch.cuda.get_device_capability(device) < FP8_CAPABILITY:
        raise ModelError(
            f"{torch.cuda.get_device_name(device)} cannot compute with fp8 (it needs compute "
            "capability 8.9); set dtype to int4 or bfloat16"
        )


@torch.inference_mode()
def noise_logits(folder: Path, device: str) -> Tensor:
    """Logits [64, V] of a canvas of noise after a prompt of noise, on the CPU."""
    network = load_network(EngineConfig(model=str(folder), device=device))
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(network.vocab_size, (1, 128), generator=generator)
    canvas = torch.randint(network.vocab_size, (1, 64), generator=generator)
    memory = network.encode(prompt)
    context = network.context(memory, canvas.shape[1])
    hidden = network.decode(canvas.to(network.device), None, context)
    return network.logits(hidden[0]).cpu()
