"""The embedded judge from its file, or the reason why there is none."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from infill_engine.errors import ModelError
from infill_engine.judge.calibration import read_calibration
from infill_engine.judge.judge import JudgeInfo
from infill_engine.judge.llama import LlamaJudge
from infill_engine.judge.network import Llama, LlamaConfig
from infill_engine.judge.vocabulary import JudgeVocabulary
from infill_engine.machine import physical_cores
from infill_engine.mapped import read_arrays, read_metadata
from infill_engine.models.two_sided.inference import Floats
from infill_kernels.blocks import Blocks, Shape
from infill_kernels.heads import Head, Matrix
from infill_kernels.native import native, room
from infill_kernels.q4 import PANEL, together

WEIGHTS = Path(__file__).parents[1] / "weights"
# How a file names the codes of a matrix, and the numbers of all, in the order of their names.
CODES, NUMBERS = ".codes", "numbers"
MEASURED = 16  # tokens of the pass that is measured
# Milliseconds of a token, above which what the judge finds in the time there is does not pay.
SLOWEST_MS = 8.0
# Threads that read a place together which nobody was at before: two thirds of the time of one alone
# (train/LOG.md), and the rest of the cores is left to the user.
READERS = 2


def load_embedded(threads: int | None = None) -> tuple[LlamaJudge | None, str]:
    """The one that is shipped; None where this CPU is too slow for it or it cannot be read, and the
    reason."""
    level, reason = native()
    if level is None:  # in float32 it takes half a gigabyte
        return None, f"off: {reason}; --judge {WEIGHTS} computes it in plain torch"
    try:
        judge = load_llama(threads=threads)
    except ModelError as error:
        return None, f"off: {error}"
    taken = judge.describe().token_ms
    if taken > SLOWEST_MS:
        return None, (
            f"off: a token takes {taken:.1f} ms on this CPU, more than {SLOWEST_MS:.0f}; "
            f"--judge {WEIGHTS} uses it all the same"
        )
    return judge, ""


def load_llama(folder: Path = WEIGHTS, threads: int | None = None) -> LlamaJudge:
    """Of judge.safetensors and judge_tokenizer.json in a folder. So many `threads` read a long text
    together, by default READERS where there are cores for them; plain torch has its own.
    Raises ModelError."""
    path = folder / "judge.safetensors"
    level, reason = native()
    try:
        metadata, tensors = read_tensors(path)
        config = LlamaConfig(**json.loads(metadata["config"]))
        if level is None:
            network = _in_torch(config, tensors)
        else:
            network = _compiled(config, tensors, threads or min(READERS, physical_cores()))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AssertionError) as error:
        remedy = (
            "install infill-ls again, or name another"
            if folder == WEIGHTS
            else "name a folder with judge.safetensors and judge_tokenizer.json, or a GGUF file"
        )
        raise ModelError(
            f"cannot read the judge {path}: {error!r}; {remedy} (--judge, infill.judge)"
        ) from error
    network.token_ms = token_ms(network)
    vocabulary = JudgeVocabulary(folder / "judge_tokenizer.json")
    if len(vocabulary) != config.vocab_size:
        raise ModelError(
            f"{path} has {config.vocab_size} tokens and its tokenizer {len(vocabulary)}; "
            "take both from the same release"
        )
    return LlamaJudge(
        network,
        vocabulary,
        JudgeInfo(
            name="llama",
            parameters=config.num_parameters,
            dtype="float32" if level is None else "int4",
            source=str(path),
            kernels=f"plain torch: {reason}" if level is None else reason,
            token_ms=network.token_ms,
            calibration=read_calibration(folder / "judge_calibration.json"),
        ),
    )


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """Metadata and tensors of a judge.safetensors, matrices as panels. Raises as `read_arrays`
    does, and KeyError or AssertionError where it is another file."""
    metadata, stored = read_metadata(path), read_arrays(path)
    numbers = stored.pop(NUMBERS)
    tensors: dict[str, NDArray[Any]] = {}
    at = 0
    for name in sorted(stored):
        if not name.endswith(CODES):
            tensors[name] = stored[name].copy()  # what is mapped can go: it is read once
            continue
        codes = stored.pop(name)
        count = codes.shape[0] * codes.shape[1]
        into = room(count * PANEL)
        tensors[name.removesuffix(CODES)] = together(codes, numbers[:, at : at + count], into)
        at += count
    return metadata, tensors


def token_ms(network: Llama) -> float:
    """Milliseconds of a token in a pass of some, the best of three: this thread's own time, for a
    machine that is busy now will not stay so."""
    taken = []
    for _ in range(3):
        prefix = network.prefix(MEASURED)
        started = time.thread_time()
        network.push(prefix, list(range(MEASURED)))
        taken.append(time.thread_time() - started)
    return min(taken) * 1e3 / MEASURED


def _compiled(config: LlamaConfig, tensors: Mapping[str, Any], threads: int) -> Llama:
    names = [f"blocks.{layer}." for layer in range(config.num_layers)]
    blocks = Blocks(
        [
            [Matrix.of_panels(tensors[name + part], size) for part, size in config.outputs.items()]
            for name in names
        ],
        Shape(
            kv=config.num_kv_heads,
            group=config.group,
            head=config.head_dim,
            normed=False,
            epsilon=config.norm_epsilon,
        ),
        [[tensors[f"{name}{part}_norm"] for part in ("attention", "mlp")] for name in names],
        tensors["norm"],
        threads,
    )
    matrix = Matrix.of_panels(tensors["head"], config.vocab_size)

    def embed(ids: NDArray[np.int32]) -> Floats:
        rows = matrix.rows(ids)
        found: Floats = rows[:, : config.d_model] + rows[:, config.d_model :]
        return found

    return Llama(config, blocks, Head(matrix), embed, np.dtype(np.uint16), threads)


def _in_torch(config: LlamaConfig, tensors: Mapping[str, Any]) -> Llama:
    from infill_engine.judge.plain import llama_in_torch

    return llama_in_torch(config, tensors)
