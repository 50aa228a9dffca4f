"""Batches for a run: drawn from the shards of a folder, in a thread or in processes, and moved to
the device.

What belongs to the shards stands beside their folder: tokenizer.json where it is not the shipped
one, and table.safetensors, the n-gram table that `train.ngram_table` makes.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from safetensors.numpy import load_file
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from infill_engine.models.two_sided.config import TwoSidedConfig
from infill_engine.models.two_sided.ngram_table import from_arrays
from infill_engine.tokenizer import Tokenizer
from train.batches import batch, tensors
from train.config import TrainConfig
from train.windows import ShardSet

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

TOKENIZER = Path(__file__).parent.parent / "infill_engine" / "weights" / "tokenizer.json"
BatchT = TypeVar("BatchT")


def shards_of(folder: Path, network: TwoSidedConfig, names: str = "train-*.npz") -> ShardSet:
    """The shards of a folder, with what stands beside it for a network."""
    line_breaks = np.zeros(network.vocab_size, np.bool_)
    beside = folder.parent / "tokenizer.json"
    path = beside if beside.exists() else TOKENIZER
    if path.exists():
        known = (i for i in Tokenizer(path).line_breaks() if i < network.vocab_size)
        line_breaks[list(known)] = True
    table = None
    if network.ngram_table:
        table = from_arrays(load_file(folder.parent / "table.safetensors"))
    return ShardSet(sorted(folder.glob(names)), line_breaks, table)


class Batches(IterableDataset[dict[str, Tensor]]):
    """Batches without end, different ones in each worker; new shards of the folder are taken up.

    `draw` makes one, as `batch` does; where workers are processes it is sent to them.
    """

    def __init__(
        self,
        folder: Path,
        network: TwoSidedConfig,
        config: TrainConfig,
        *,
        first_step: int,
        draw: "Callable[..., DataclassInstance]" = batch,
    ) -> None:
        self.folder, self.network, self.config = folder, network, config
        self.first_step, self.draw = first_step, draw

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        info, config = get_worker_info(), self.config
        rng = np.random.default_rng((config.seed, self.first_step, info.id if info else 0))
        shards = shards_of(self.folder, self.network)
        shares = np.array([shape.share for shape in config.shapes])
        while True:
            for _ in range(20):
                drawn = self.draw(
                    shards,
                    rng,
                    tokens=config.tokens,
                    shape=config.shapes[rng.choice(len(shares), p=shares / shares.sum())],
                    vocab_size=self.network.vocab_size,
                )
                yield tensors(drawn)
            shards.add(sorted(self.folder.glob("train-*.npz")))


def ahead(source: Iterable[BatchT]) -> Iterator[BatchT]:
    """Batches made in a thread, two ahead."""
    ready: queue.Queue[BatchT | Exception] = queue.Queue(2)

    def work() -> None:
        try:
            for data in source:
                ready.put(data)
        except Exception as error:
            ready.put(error)

    threading.Thread(target=work, daemon=True).start()
    while True:
        item = ready.get()
        if isinstance(item, Exception):
            raise item
        yield item


def loaded(source: Batches, config: TrainConfig) -> Iterator[tuple[Mapping[str, Tensor], int]]:
    """Batches on the device and their document tokens, each `config.repeats` times."""
    on_gpu = config.device != "cpu"
    loader = DataLoader(
        source,
        batch_size=None,
        num_workers=config.workers,
        multiprocessing_context="spawn" if config.workers else None,
        prefetch_factor=4 if config.workers else None,
        pin_memory=on_gpu,
    )
    for data in loader if config.workers else ahead(loader):
        moved = {name: each.to(config.device, non_blocking=True) for name, each in data.items()}
        tokens = int(data["lengths"].sum())
        for _ in range(config.repeats):
            yield moved, tokens
