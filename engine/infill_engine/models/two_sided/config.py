"""The two-sided network's configuration, and what its weights are called. Imports no tensors."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

PREFIX, SUFFIX, CANVAS = range(3)  # the streams
MATRICES = ("qkv", "out", "up", "down")  # of each block

Precision = Literal["float32", "bfloat16", "int8"]  # what weights are kept in


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoSidedConfig:
    """What is needed to build the network; stored as JSON in the weights' metadata."""

    vocab_size: int = 6144
    d_model: int = 384
    num_layers: int = 4
    num_heads: int = 4
    num_kv_heads: int = 2
    d_ff: int = 1024
    max_positions: int = 2304
    rope_base: float = 10_000.0
    ngram_table: bool = False

    def __post_init__(self) -> None:
        if self.d_model % self.num_heads or self.d_model // self.num_heads % 2:
            raise ValueError(f"{self.d_model=} / {self.num_heads=} must be an even head width")
        if self.ngram_table and self.vocab_size > 8192:
            raise ValueError(f"{self.vocab_size=}: the n-gram table holds tokens below 8192")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"{self.num_heads=} must be a multiple of {self.num_kv_heads=}")

    @property
    def head_dim(self) -> int:
        return self.d_model // self.num_heads

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @property
    def split(self) -> tuple[int, int, int]:
        """How a block's qkv is split: for each of K heads its G queries, its key, its value."""
        kv = self.num_kv_heads
        return kv, self.num_heads // kv + 2, self.head_dim
