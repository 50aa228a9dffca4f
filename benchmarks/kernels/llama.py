"""A whole pass of a Llama with random weights of 4 bits: ours, and llama.cpp's on the same weights.

llama.cpp is what `pip install xllamacpp` brings; it reads a GGUF file that is written here, and
computes in this process and in one thread, so that the time of the processor is its own.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kernels.products import best_of
from infill_kernels import q4
from infill_kernels.blocks import Blocks
from infill_kernels.blocks import Shape as Split
from infill_kernels.heads import Head, Matrix

EPSILON, BASE = 1e-5, 1e5
SPARE = 256  # tokens of room behind a prompt


@dataclass(frozen=True, slots=True)
class Sizes:
    layers: int
    width: int
    heads: int
    kv: int
    ff: int
    vocabulary: int

    @property
    def head(self) -> int:
        return self.width // self.heads


SMOLLM2_135M = Sizes(layers=30, width=576, heads=9, kv=3, ff=1536, vocabulary=49152)


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second: of a prompt that is read at once, and one after the other behind it."""

    by: str
    form: str
    threads: int
    prompt: int
    prefill: float
    decode: float


@dataclass(frozen=True, slots=True)
class Weight:
    """codes [outputs, inputs], and a scale and a minimum for each 32 inputs."""

    codes: NDArray[np.uint8]
    scales: NDArray[np.float16]
    minima: NDArray[np.float16]

    def matrix(self) -> Matrix:
        return Matrix.of_panels(q4.pack(self.codes, self.scales, self.minima), len(self.codes))

    def blocks(self, minima: bool) -> NDArray[np.uint8]:
        """As a GGUF has them: Q4_1, or Q4_0, which has a minimum of -8 scales for all."""
        halves = self.codes.reshape(*self.scales.shape, 2, 16)
        parts = [halves[:, :, 0] | halves[:, :, 1] << 4]
        for half in (self.minima, self.scales) if minima else (self.scales,):
            parts.insert(0, half[:, :, None].view(np.uint8))
        return np.concatenate(parts, 2).reshape(len(self.codes), -1)


def random_weight(generator: np.random.Generator, outputs: int, inputs: int) -> Weight:
    codes = generator.integers(0, 16, (outputs, inputs), np.uint8)
    scales = np.full((outputs, inputs // 32), np.float16(0.2 * inputs**-0.5))
    return Weight(codes, scales, (scales * np.float16(-7.5)).astype(np.float16))


def joined(weights: Sequence[Weight]) -> Weight:
    return Weight(
        np.concatenate([weight.codes for weight in weights]),
        np.concatenate([weight.scales for weight in weights]),
        np.concatenate([weight.minima for weight in weights]),
    )


class Llama:
    def __init__(self, sizes: Sizes) -> None:
        self.sizes = s = sizes
        generator = np.random.default_rng(0)
        self.embedding = random_weight(generator, s.vocabulary, s.width)
        kv = s.kv * s.head
        shapes = {
            "attn_q": (s.width, s.width),
            "attn_k": (kv, s.width),
            "attn_v": (kv, s.width),
            "attn_output": (s.width, s.width),
            "ffn_gate": (s.ff, s.width),
            "ffn_up": (s.ff, s.width),
            "ffn_down": (s.width, s.ff),
        }
        self.layers = [
            {name: random_weight(generator, *shape) for name, shape in shapes.items()}
            for _ in range(s.layers)
        ]

    def ours(self) -> tuple[Blocks, Head]:
        """Query, key and value of a head stand together, which changes no time but the order."""
        s = self.sizes
        blocks = [
            [
                joined([layer["attn_q"], layer["attn_k"], layer["attn_v"]]).matrix(),
                layer["attn_output"].matrix(),
                joined([layer["ffn_gate"], layer["ffn_up"]]).matrix(),
                layer["ffn_down"].matrix(),
            ]
            for layer in self.layers
        ]
        gain = np.ones(s.width, np.float32)
        split = Split(kv=s.kv, group=s.heads // s.kv, head=s.head, normed=False, epsilon=EPSILON)
        made = Blocks(blocks, split, [[gain, gain]] * s.layers, gain)
        return made, Head(self.embedding.matrix())

    def write(self, path: Path, minima: bool) -> None:
        """A GGUF file of Q4_1, or of Q4_0. Raises ImportError without the package gguf."""
        import gguf

        s = self.sizes
        kind = gguf.GGMLQuantizationType.Q4_1 if minima else gguf.GGMLQuantizationType.Q4_0
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_context_length(8192)
        writer.add_embedding_length(s.width)
        writer.add_block_count(s.layers)
        writer.add_feed_forward_length(s.ff)
        writer.add_head_count(s.heads)
        writer.add_head_count_kv(s.kv)
        writer.add_rope_dimension_count(s.head)
        writer.add_rope_freq_base(BASE)
        writer.add_layer_norm_rms_eps(EPSILON)
        writer.add_vocab_size(s.vocabulary)
        # A tokenizer has to be there; prompts are token ids.
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("default")
        writer.add_token_list([f"t{i}" for i in range(s.vocabulary)])
        writer.add_token_types([1] * s.vocabulary)
        writer.add_token_merges(["t 0"])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
        gain = np.ones(s.width, np.float32)
        writer.add_tensor("token_embd.weight", self.embedding.blocks(minima), raw_dtype=kind)
        writer.add_tensor("output_norm.weight", gain)
        for at, layer in enumerate(self.layers):
            for norm in ("attn_norm", "ffn_norm"):
                writer.add_tensor(f"blk.{at}.{norm}.weight", gain)
            for name, weight in layer.items():
                writer.add_tensor(f"blk.{at}.{name}.weight", weight.blocks(minima), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def our_speed(llama: Llama, threads: int, prompt: int, tokens: int, seconds: float) -> Speed:
    """The best of some runs, as of llama.cpp."""
    s = llama.sizes
    blocks, head = llama.ours()
    blocks = replace(blocks, threads=threads)
    turns = np.arange(prompt + SPARE)[:, None] * BASE ** (-np.arange(0, s.head, 2) / s.head)
    cos, sin = np.cos(turns).astype(np.float32), np.sin(turns).astype(np.float32)
    keys, values = np.zeros((2, s.layers, 1, s.kv, len(turns), s.head), np.uint16)
    ids = np.random.default_rng(0).integers(0, s.vocabulary, len(turns))

    def read(start: int, end: int) -> int:
        """The token that follows."""
        x = head.matrix.rows(ids[start:end])[None]
        hidden = blocks(x, cos[start:end], sin[start:end], keys, values, start, 0)
        return int(head(hidden[0, -1:]).best[0])

    def write(_: int) -> None:
        for at in range(prompt, prompt + tokens):
            read(at, at + 1)

    # Of several threads the time on the wall counts, which other programs lengthen.
    clock = time.process_time if threads == 1 else time.perf_counter
    prefill = best_of(lambda _: read(0, prompt), seconds, clock)
    decode = best_of(write, seconds, clock)
    return Speed("infill", "q4", threads, prompt, prompt / prefill, tokens / decode)


def speeds_of_llama_cpp(llama: Llama, prompt: int, tokens: int, seconds: float) -> Iterator[Speed]:
    """In Q4_1, which has a minimum as ours, and in Q4_0, which llama.cpp is fastest at.

    Raises ImportError where xllamacpp or gguf is not installed.
    """
    import xllamacpp

    ids = np.random.default_rng(0).integers(10, llama.sizes.vocabulary, prompt).tolist()
    request = {
        "prompt": ids,
        "cache_prompt": False,
        "temperature": 0,
        "samplers": ["top_k"],
        "top_k": 1,
        "ignore_eos": True,
    }
    for form, minima in (("Q4_1", True), ("Q4_0", False)):
        with tempfile.TemporaryDirectory() as folder, _silent():
            path = Path(folder) / "random.gguf"
            llama.write(path, minima)
            parameters = xllamacpp.CommonParams()
            parameters.model.path = str(path)
            parameters.n_ctx = prompt + SPARE
            parameters.n_batch = parameters.n_ubatch = prompt
            parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
            parameters.n_parallel = 1
            parameters.fit_params = False
            server = xllamacpp.Server(parameters)
            first, more = (
                best_of(partial(_complete, server, request | {"n_predict": count}), seconds)
                for count in (1, 1 + tokens)
            )
            del server
        yield Speed("llama.cpp", form, 1, prompt, prompt / first, tokens / (more - first))


def _complete(server: Any, request: dict[str, Any], _: int) -> None:
    answer = server.handle_completions(request)
    assert answer["usage"]["completion_tokens"] == request["n_predict"], answer


@contextlib.contextmanager
def _silent() -> Iterator[Any]:
    """Without what llama.cpp writes to stderr past Python."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
