"""Very little to train on, and a network that learns it in some dozen steps."""

from pathlib import Path

import numpy as np

from infill_engine.models.two_sided.config import TwoSidedConfig
from train.batches import BatchShape
from train.config import TrainConfig
from train.shards import save, shard_of
from train.windows import ShardSet

VOCABULARY = 120
LINE_BREAK = 60
TINY = TwoSidedConfig(
    vocab_size=VOCABULARY,
    d_model=32,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    d_ff=48,
    max_positions=512,
)
CONFIG = TrainConfig(
    minutes=100.0,
    tokens=256,
    shapes=(BatchShape(row=128, canvas=16, share=0.7), BatchShape(row=64, canvas=8, share=0.3)),
    warmup_steps=5,
    dtype="float32",
    compile=False,
    ema=0.9,
    max_steps=30,
    val_infills=3,
)


def document(rng: np.random.Generator) -> tuple[list[int], int, list[tuple[int, int, int]]]:
    """Lines that repeat a pattern: there is something to learn."""
    ids: list[int] = []
    spans = []
    for _ in range(int(rng.integers(12, 40))):
        first = int(rng.integers(61, 100))
        line = [first, first + 1, first + 2, first + 3, LINE_BREAK]
        spans += [(len(ids) + 1, len(ids) + 4, 0), (len(ids) + 2, len(ids) + 2, 6)]
        ids += line
    return ids, 0, spans


def write_shards(folder: Path) -> Path:
    """A shard to train on and one to validate on."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    save(shard_of([document(rng) for _ in range(40)]), folder / "train-000.npz")
    save(shard_of([document(rng) for _ in range(10)]), folder / "val.npz")
    return folder


def shard_set(path: Path, vocab_size: int = VOCABULARY) -> ShardSet:
    line_breaks = np.zeros(vocab_size, np.bool_)
    line_breaks[LINE_BREAK] = True
    return ShardSet([path], line_breaks)
