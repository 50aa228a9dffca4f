"""What a training run is, and its options on a command line."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from infill_ls.cli.arguments import count
from train.batches import BatchShape

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ConfigT = TypeVar("ConfigT", bound="DataclassInstance")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """What a run is; logged as it is."""

    minutes: float = 85.0
    tokens: int = 8192  # document tokens a step
    shapes: tuple[BatchShape, ...] = (
        # Longer canvases are mostly END on mostly short spans, so that they are drawn less often.
        BatchShape(row=256, canvas=16, share=0.36),
        BatchShape(row=256, canvas=32, share=0.10),
        BatchShape(row=512, canvas=16, share=0.28),
        BatchShape(row=512, canvas=32, share=0.08),
        BatchShape(row=512, canvas=64, share=0.08),
        BatchShape(row=1024, canvas=32, share=0.10),
    )
    muon_lr: float = 0.02
    muon_decay: float = 0.01
    adam_lr: float = 3e-3
    warmup_steps: int = 40
    decay: float = 0.6  # the last part of the run, to zero
    clip: float = 1.0
    ema: float = 0.99
    stream_weight: tuple[float, float] = (1.0, 0.3)  # falls over the first 40 %
    seed: int = 0
    device: str = "cpu"
    dtype: str = "bfloat16"
    compile: bool = True
    workers: int = 0  # processes that make batches; 0 is a thread
    repeats: int = 1  # how often in a row a batch is learned from
    checkpoint_minutes: float = 4.0
    val_minutes: float = 6.0
    infill_from: float = 0.55  # exact match is measured from this part of the run on
    val_infills: int = 200
    max_steps: int = 0  # for tests; 0 is no limit


def shapes_of(text: str) -> tuple[BatchShape, ...]:
    """Of "512x16:0.7,1024x64:0.3", row length x canvas length : share."""
    found = []
    for part in text.split(","):
        lengths, share = part.split(":")
        row, canvas = lengths.split("x")
        found.append(BatchShape(row=int(row), canvas=int(canvas), share=float(share)))
    return tuple(found)


def shards_folder(name: str) -> Path:
    """A folder of packed training data, for argparse, which looks at texts alone: a default that
    is to be looked at is one."""
    if not any(Path(name).glob("train-*.npz")):
        raise argparse.ArgumentTypeError(
            f"{name} holds no train-*.npz; python -m train.corpus makes them"
        )
    return Path(name)


def add_options(parser: argparse.ArgumentParser, *defaults: "DataclassInstance") -> None:
    """An option for each setting of some configurations, and --threads; `chosen` reads them."""
    parser.add_argument("--threads", type=count, default=torch.get_num_threads())
    parser.add_argument("--shapes", type=shapes_of, help="such as 512x16:0.7,1024x64:0.3")
    for config in defaults:
        for spec in fields(config):
            name, default = f"--{spec.name.replace('_', '-')}", getattr(config, spec.name)
            if isinstance(default, bool):
                parser.add_argument(name, action=argparse.BooleanOptionalAction, default=default)
            elif isinstance(default, int | float | str):
                parser.add_argument(name, type=type(default), default=default)


def chosen(options: Mapping[str, Any], defaults: ConfigT) -> ConfigT:
    """The configuration that parsed options name."""
    named = {spec.name: options.get(spec.name) for spec in fields(defaults)}
    return replace(defaults, **{name: each for name, each in named.items() if each is not None})
