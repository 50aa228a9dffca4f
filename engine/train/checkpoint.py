"""The checkpoint of a run: all it takes to go on, and what is exported of it."""

import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from infill_engine.models.two_sided.weights import FORMER_HEAD, FORMER_NAMES, FORMER_OPTIONS


@dataclass(slots=True)
class RunCounts:
    """How far a run is, counted over all the processes that were part of it."""

    step: int = 0
    seconds: float = 0.0  # active ones
    positions: int = 0
    seen: int = 0  # document tokens


def save(path: Path, counts: RunCounts, **state: Any) -> None:
    """Writes a checkpoint by rename, so that a reader never sees half of it."""
    partial = path.with_suffix(".partial")
    date = time.strftime("%Y-%m-%d", time.gmtime())
    torch.save({**state, **asdict(counts), "date": date}, partial)
    partial.replace(path)


def load(path: Path, device: str = "cpu") -> dict[str, Any]:
    """A checkpoint under the names of today, whatever version wrote it.

    config and train_config are the network's options and the run's, the latter as JSON; model and
    average are tensors by name, optimizers their states. Then there are the fields of `RunCounts`.
    There are no optimizers where the network had a part that it has no longer: their states are
    by position, and are built anew.
    """
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    if any(name in state["model"] for name in FORMER_HEAD):
        state.pop("optimizers", None)
    config = {FORMER_OPTIONS.get(name, name): each for name, each in state["config"].items()}
    tensors = {
        part: {
            FORMER_NAMES.get(name, name): each
            for name, each in state[part].items()
            if name not in FORMER_HEAD
        }
        for part in ("model", "average")
    }
    return state | tensors | {"config": config}


def counts_of(state: dict[str, Any]) -> RunCounts:
    return RunCounts(**{spec.name: state[spec.name] for spec in fields(RunCounts)})
