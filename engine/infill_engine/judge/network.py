"""A Llama as it judges: a prefix that is a stack, and behind it a tree of what may follow.

What takes time is given: the blocks and the head, compiled for this CPU (`infill_kernels.blocks`)
or in plain torch, which is their reference.

Shapes: L layers, K key/value heads, N places, E head width, D width, V vocabulary, n tokens.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infill_engine.models.two_sided.inference import ComputeBlocks, ComputeHead, Floats
from infill_kernels.blocks import CHUNK
from infill_kernels.heads import Likeliest
from infill_kernels.wavefront import always

# A pass of fewer tokens takes as long: it waits for the weights.
FEW = 4
AROUND = 1.3  # of the time of a pass, with what surrounds it

Embed = Callable[[NDArray[np.int32]], Floats]  # token ids [n] -> [n, D]


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaConfig:
    """Of a Llama whose embedding is its head; `group` queries share a key/value head."""

    num_layers: int
    d_model: int
    num_kv_heads: int
    group: int
    head_dim: int
    d_ff: int
    rope_base: float
    norm_epsilon: float
    vocab_size: int
    context: int

    @property
    def outputs(self) -> dict[str, int]:
        """Of each matrix of a block."""
        heads = self.num_kv_heads * (self.group + 2) * self.head_dim
        return {"qkv": heads, "out": self.d_model, "up": 2 * self.d_ff, "down": self.d_model}

    @property
    def num_parameters(self) -> int:
        width, ff = self.d_model, self.d_ff
        block = width * (self.outputs["qkv"] + width + 3 * ff + 2)
        return self.vocab_size * width + self.num_layers * block + width


class Prefix:
    """What was read, a stack: `ids`, keys and values [L, K, N, E], and the hidden state [D] behind
    the last of them."""

    def __init__(self, keys: NDArray[Any], values: NDArray[Any], width: int) -> None:
        self.keys, self.values = keys, values
        self.ids: list[int] = []
        self.hidden: Floats = np.zeros(width, np.float32)


class Llama:
    """The head's product is with (x, x), as the file has its weight: see train/judge.py.

    `token_ms` is what a token of a pass takes now, beside whatever else this machine does.
    """

    def __init__(
        self,
        config: LlamaConfig,
        blocks: ComputeBlocks,
        head: ComputeHead,
        embed: Embed,
        cached: "np.dtype[Any]",
        threads: int = 1,
    ) -> None:
        self.config, self.threads = config, threads
        self._blocks, self._head, self._embed, self._cached = blocks, head, embed, cached
        self.token_ms = 0.0
        half = config.head_dim // 2
        powers = config.rope_base ** -(np.arange(half) / half)
        angles = np.arange(config.context)[:, None] * powers
        self._cos, self._sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def prefix(self, capacity: int) -> Prefix:
        keys, values = self.caches(1, capacity)
        return Prefix(keys[:, 0], values[:, 0], self.config.d_model)

    def caches(self, rows: int, places: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Keys and values [L, rows, K, places, E]."""
        config = self.config
        shape = (config.num_layers, rows, config.num_kv_heads, places, config.head_dim)
        # Keys that are masked may be anything finite, so there is nothing uninitialised.
        return np.zeros(shape, self._cached), np.zeros(shape, self._cached)

    def seconds(self, tokens: int) -> float:
        """What a pass of so many is expected to take."""
        return max(tokens, FEW) * self.token_ms * AROUND / 1e3

    def _took(self, tokens: int, started: float) -> None:
        taken = (time.perf_counter() - started) * 1e3 / max(tokens, FEW)
        self.token_ms += (taken - self.token_ms) / 4

    def embed(self, ids: Sequence[int]) -> Floats:  # [n] -> [n, D]
        return self._embed(np.array(ids, np.int32))

    def push(self, prefix: Prefix, ids: Sequence[int], going: Callable[[], bool] = always) -> None:
        """Reads at least one token at the end of a prefix; several threads read on as long as it is
        `going`, one reads all."""
        at, end, started = len(prefix.ids), len(prefix.ids) + len(ids), time.perf_counter()
        keys, values = (part[:, None, :, :end] for part in (prefix.keys, prefix.values))
        cos, sin = self._cos[at:end], self._sin[at:end]
        x = self.embed(ids)[None]
        (hidden,) = self._blocks(x, cos, sin, keys, values, at, 0, going=going)
        prefix.ids += ids[: len(hidden)]
        prefix.hidden = hidden[-1]
        # What several threads read together says nothing of a pass.
        if self.threads == 1 or len(hidden) < 2 * CHUNK:
            self._took(len(hidden), started)

    def read_tree(
        self,
        prefix: Prefix,
        ids: Sequence[int],
        parents: NDArray[np.int32],
        depth: int,
        keys: NDArray[Any],
        values: NDArray[Any],
        at: int,
    ) -> Floats:
        """Hidden states [n, D] of ids [n], the last tokens of a tree behind a prefix: `parents`
        [at + n] of all of it, `depth` of the deepest; keys and values are its caches."""
        start, started = len(prefix.ids), time.perf_counter()
        shared = prefix.keys[:, :, :start], prefix.values[:, :, :start]
        cos, sin = self._cos[start : start + depth], self._sin[start : start + depth]
        x = self.embed(ids)[None]
        hidden: Floats = self._blocks(x, cos, sin, keys, values, at, 0, shared, parents)[0]
        self._took(len(ids), started)
        return hidden

    def totals(self, hidden: Floats, allowed: NDArray[np.bool_] | None = None) -> Floats:
        """The logarithm of the sum of exponentials [n] behind hidden states [n, D], of all tokens
        or of those allowed [V]."""
        return self._head(_twice(hidden), bias=self._bias(allowed)).total

    def likeliest(
        self, hidden: Floats, count: int, allowed: NDArray[np.bool_] | None = None
    ) -> Likeliest:
        """Behind hidden states [n, D], of all tokens or of those allowed [V]."""
        return self._head.likeliest(_twice(hidden), count, bias=self._bias(allowed))

    def _bias(self, allowed: NDArray[np.bool_] | None) -> Floats | None:
        return None if allowed is None else self._head.bias(~allowed)


def _twice(x: Floats) -> Floats:
    return np.concatenate((x, x), -1)
