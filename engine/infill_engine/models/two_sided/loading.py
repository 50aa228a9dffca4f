"""From a configuration to the embedded model: where its files are, what they are kept in."""

from pathlib import Path
from typing import cast, get_args

import torch
from safetensors import SafetensorError

from infill_engine.config import EngineConfig
from infill_engine.errors import ModelError
from infill_engine.models.two_sided.denoiser import TwoSidedDenoiser
from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.packed import Precision, fastest
from infill_engine.models.two_sided.weights import load_network, read_metadata
from infill_engine.tokenizer import Tokenizer

WEIGHTS = Path(__file__).parents[2] / "weights"
# Two threads that sleep while they wait take twice as long for a step as one alone, and two that
# spin fifty times as long once something else wants a core (engine/train/LOG.md).
THREADS = 1
# What the weights of the autoregressive baseline (benchmarks/ar_baseline) say they are.
AR_BASELINE = ("ar-baseline", "ar-twin")


def _precision(config: EngineConfig, device: str) -> Precision:
    """What weights are kept in. Raises ModelError where the embedded model knows no such form."""
    if config.dtype == "auto":
        return fastest() if device == "cpu" else "float32"
    for known in get_args(Precision):
        if config.dtype == known and (device == "cpu" or known == "float32"):
            return cast(Precision, known)
    raise ModelError(
        f"dtype={config.dtype!r} on {device} is not for the embedded model, which is float32, "
        "bfloat16 or int8 on a CPU and float32 elsewhere; leave dtype unset"
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
    if not path.is_file():
        raise ModelError(
            f'no weights at {path}; set infill.model to "default", or to a folder or '
            "*.safetensors file of the embedded architecture"
        )
    network, tokenizer = load_model(config, path)
    metadata = read_metadata(path)
    if metadata.get("architecture") in AR_BASELINE:
        raise _no_ar_baseline(str(path))
    show_threshold = float(metadata.get("show_threshold", 0.0))
    return TwoSidedDenoiser(network, tokenizer, config, str(path), show_threshold)


def _no_ar_baseline(model: str) -> ModelError:
    return ModelError(
        f"{model} is the autoregressive baseline, which is no part of infill-ls; a checkout of the "
        f"project measures it: python -m benchmarks.quality --model {model}"
    )


def load_model(config: EngineConfig, path: Path) -> tuple[TwoSidedNetwork, Tokenizer]:
    """The network in a file, and the tokenizer beside it or else the embedded one.

    Sets the threads. Raises ModelError when a file is damaged or the device is not there.
    """
    if config.device not in ("auto", "cpu") and not torch.cuda.is_available():
        raise ModelError(f"device={config.device!r} is not available here; use cpu or auto")
    device = "cpu" if config.device == "auto" else config.device
    torch.set_num_threads(config.threads or THREADS)
    precision = _precision(config, device)
    beside = path.parent / "tokenizer.json"
    tokenizer = Tokenizer(beside if beside.is_file() else WEIGHTS / "tokenizer.json")
    try:
        network = load_network(path, device=device, precision=precision)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"{path} is not a readable model of the embedded architecture ({error}); "
            "install infill-ls again, or point infill.model at another file"
        ) from error
    if tokenizer.vocab_size > network.config.vocab_size:
        raise ModelError(
            f"{path} has {network.config.vocab_size} tokens but its tokenizer has "
            f"{tokenizer.vocab_size}; put the tokenizer.json it was trained with beside it"
        )
    return network, tokenizer
