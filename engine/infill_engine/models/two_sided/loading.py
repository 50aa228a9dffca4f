"""From a configuration to the embedded model: where its files are, what they are kept in.

Torch is imported only where it computes: in another precision than the compiled routines', on a
GPU, or where there are none of them.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from infill_engine.config import EngineConfig
from infill_engine.errors import ModelError
from infill_engine.models.two_sided.config import MATRICES, Precision, TwoSidedConfig
from infill_engine.models.two_sided.denoiser import TwoSidedDenoiser
from infill_engine.models.two_sided.inference import Computing, InferenceNetwork
from infill_engine.models.two_sided.ngram_table import from_arrays
from infill_engine.models.two_sided.weights import (
    check_finite,
    read_metadata,
    read_weights,
    weights_in,
)
from infill_engine.remedies import named
from infill_engine.tokenizer import Tokenizer
from infill_kernels.blocks import Blocks, Shape
from infill_kernels.heads import Head, Matrix, fits
from infill_kernels.native import INT8, multiplies_integers, native

WEIGHTS = Path(__file__).parents[2] / "weights"
# Two threads that sleep while they wait take twice as long for a step as one alone, and two that
# spin fifty times as long once something else wants a core (engine/train/LOG.md).
THREADS = 1
# What the weights of the autoregressive baseline (benchmarks/ar_baseline) say they are.
AR_BASELINE = ("ar-baseline", "ar-twin")


def _precision(config: EngineConfig, device: str) -> Precision:
    """What weights are kept in. Raises ModelError where the embedded model knows no such form."""
    if config.dtype == "auto":
        if device != "cpu":
            return "float32"
        if native()[0] is not None:
            return "bfloat16"  # the compiled routines are made for it
        from infill_engine.models.two_sided.packed import fastest

        return fastest()
    for known in get_args(Precision):
        if config.dtype == known and (device == "cpu" or known == "float32"):
            return cast(Precision, known)
    raise ModelError(
        f"{named('dtype', config.dtype)} on {device} is not for the embedded model, which is "
        "float32, bfloat16 or int8 on a CPU and float32 elsewhere; leave dtype unset"
    )


def load_default(config: EngineConfig) -> TwoSidedDenoiser:
    """The embedded model, or another two-sided one in a folder or file that `config.model` names.

    Raises ModelError when the files are missing or damaged or the device is not there.
    """
    if config.model in AR_BASELINE:
        raise _no_ar_baseline(config.model)
    path = WEIGHTS / "default.safetensors"
    if config.model != "default":
        path = Path(config.model).expanduser()
        path = path / "default.safetensors" if path.is_dir() else path
    if not path.is_file() or path.suffix == ".gguf":
        raise _no_weights(path)
    network, tokenizer = load_model(config, path)
    metadata = read_metadata(path)
    if metadata.get("architecture") in AR_BASELINE:
        raise _no_ar_baseline(str(path))
    try:
        show_threshold = float(metadata.get("show_threshold", 0.0))
    except ValueError as error:
        raise _unreadable(path, error) from error
    return TwoSidedDenoiser(network, tokenizer, config, str(path), show_threshold)


def _no_weights(path: Path) -> ModelError:
    """Of what was named as the model, and by which name it would be of use."""
    folder = path.parent
    if path.suffix == ".gguf" and path.is_file():
        return ModelError(
            f"{path} is a GGUF file, which is no model that infills here; as a judge it ranks and "
            f"goes on with what the embedded model drafts: --judge {path} (infill.judge)"
        )
    if (folder / "adapter_config.json").is_file():
        return ModelError(
            f"{folder} is an adapter; name it with --adapter (infill.adapter), and as the model "
            "what it was trained on"
        )
    if any(folder.glob("model*.safetensors")):
        return ModelError(f"{folder} has weights and no config.json; download it again")
    return ModelError(
        f"no weights at {path}; name a folder or *.safetensors file of the embedded "
        "architecture (--model or infill.model), or default, which is shipped"
    )


def _no_ar_baseline(model: str) -> ModelError:
    return ModelError(
        f"{model} is the autoregressive baseline, which is no part of infill-ls; a checkout of the "
        f"project measures it: python -m benchmarks.quality --model {model}"
    )


def _unreadable(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{path} is not a readable model of the embedded architecture ({error}); "
        "install infill-ls again, or name another file (--model, infill.model)"
    )


def load_model(config: EngineConfig, path: Path) -> tuple[InferenceNetwork, Tokenizer]:
    """The network in a file, and the tokenizer beside it or else the embedded one.

    Sets torch's threads where torch computes. Raises ModelError when a file is damaged or the
    device is not there.
    """
    device = _device(config.device)
    precision = _precision(config, device)
    beside = path.parent / "tokenizer.json"
    tokenizer = Tokenizer(beside if beside.is_file() else WEIGHTS / "tokenizer.json")
    try:
        network = load_inference(path, precision, device, config.threads or THREADS)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    if tokenizer.vocab_size > network.config.vocab_size:
        raise ModelError(
            f"{path} has {network.config.vocab_size} tokens but its tokenizer has "
            f"{tokenizer.vocab_size}; put the tokenizer.json it was trained with beside it"
        )
    return network, tokenizer


def _device(wanted: str) -> str:
    if wanted in ("auto", "cpu"):
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise ModelError(f"{named('device', wanted)} is not available here; use cpu or auto")
    return wanted


def load_inference(
    path: Path, precision: Precision, device: str = "cpu", threads: int = THREADS
) -> InferenceNetwork:
    """The network in a file. bfloat16 and int8 are computed by what was compiled for this CPU,
    where that could be done and its sizes fit; the rest by torch.

    Raises as `read_weights` and `weights_in` do.
    """
    config, arrays, _ = read_weights(path)
    weights = weights_in(config, arrays)
    if path.parent != WEIGHTS:  # what is shipped is whole, and is read when it is looked at
        check_finite(weights)
    table = from_arrays(arrays) if config.ngram_table else None
    level, reason = native()
    compiled = precision != "float32" and level is not None
    if compiled and device == "cpu":
        if fits(config.d_model, config.head_dim, config.d_ff):
            computing = _compiled(config, weights, precision, reason, threads)
            return InferenceNetwork(config, weights, computing, table)
        reason = "its sizes are no multiples of 32"
    from infill_engine.models.two_sided.plain import in_torch

    if level is not None and precision == "float32":
        reason = "float32 was asked for"
    return in_torch(
        config, weights, precision, table=table, device=device, threads=threads, reason=reason
    )


def _compiled(
    config: TwoSidedConfig,
    weights: Mapping[str, NDArray[Any]],
    precision: Precision,
    reason: str,
    threads: int,
) -> Computing:
    """What the compiled routines compute; long reads in several threads, the rest in one."""
    kept_in = "int16" if multiplies_integers() and precision == "bfloat16" else precision
    matrix = partial(Matrix.of, form=INT8 if precision == "int8" else None)
    kv, parts, head = config.split
    blocks = [
        [matrix(weights[f"blocks.{layer}.{name}"]) for name in MATRICES]
        for layer in range(config.num_layers)
    ]
    return Computing(
        blocks=Blocks(blocks, Shape(kv=kv, group=parts - 2, head=head), threads=threads),
        head=Head(matrix(weights["embed"])),
        multiply=matrix,
        cached=np.dtype(np.uint16),
        kept_in=kept_in,
        kernels=reason,
        threads=threads,
    )
