"""A short run that asks whether it pays to train a model further, and a rule that stops it.

Minutes are of this process's own processor time, so that other programs do not shorten a run. Every
so many of them, nats per token are measured on packages of which nothing is learned. A run ends
when its minutes are over, or where PATIENCE measurements in a row gained no more than their own
standard error. It goes on from OUT/state.pt; OUT/log.jsonl has every measurement.

Knows no model: a `Learner` does.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from train.corpus.state import say

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PATIENCE = 2
Sums = NDArray[np.float64]  # [n, 2] of examples: nats, and tokens
PilotT = TypeVar("PilotT", bound="DataclassInstance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """A run. `every` and `minutes` are minutes of processor time; the rate falls to zero over the
    last half of them."""

    minutes: float = 20.0
    every: float = 4.0
    warmup: int = 5  # steps
    seed: int = 0
    max_steps: int = 0  # 0 is no limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Nats per token, how much less that is than at first and than the time before, each with its
    standard error over examples."""

    nats: float
    gain: float
    error: float
    moved: float
    moved_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The figures after so many steps and minutes, by name."""

    step: int
    minutes: float
    figures: dict[str, Figure]

    @property
    def moves(self) -> bool:
        return any(each.moved > each.moved_error for each in self.figures.values())


@dataclass(slots=True)
class Run:
    """How far a run is."""

    step: int = 0
    seconds: float = 0.0
    learned: int = 0  # tokens
    curve: list[Measured] = field(default_factory=list)
    sums: list[dict[str, Sums]] = field(default_factory=list)  # of each measurement


class Learner(Protocol):
    """A model and what it learns from."""

    def learn(self, step: int, share: float) -> int:
        """One step at a share of the highest rate; how many tokens were read. What is read depends
        on the step's number alone, so that a run goes on as it would have."""

    def measure(self) -> dict[str, Sums]:
        """By name, of the same examples at every call."""

    def state(self) -> dict[str, Any]:
        """What `load` needs to go on."""

    def load(self, state: dict[str, Any]) -> None: ...


def gained(before: Sums, after: Sums) -> tuple[float, float]:
    """How many nats per token less, and the standard error of that over examples."""
    tokens = before[:, 1]
    less = before[:, 0] - after[:, 0]
    mean = float(less.sum() / tokens.sum())
    off = less - mean * tokens
    return mean, float(np.sqrt((off**2).sum() * len(off) / max(1, len(off) - 1)) / tokens.sum())


def ended(run: Run, pilot: Pilot) -> str:
    """Why a run is over; "" where it is not."""
    if pilot.max_steps and run.step >= pilot.max_steps:
        return "its steps are over"
    if run.seconds >= 60 * pilot.minutes:
        return "its minutes are over"
    recent = run.curve[1:][-PATIENCE:]
    if len(recent) == PATIENCE and not any(each.moves for each in recent):
        return f"{PATIENCE} measurements gained no more than their standard error"
    return ""


def train(learner: Learner, out: Path, pilot: Pilot) -> Run:
    """Trains until the run is over, from where OUT/state.pt ends."""
    out.mkdir(parents=True, exist_ok=True)
    saved = out / "state.pt"
    run = _resumed(saved, learner) if saved.exists() else Run()
    if not run.curve:
        _measure(run, learner, out)
    mark = time.process_time()
    while not ended(run, pilot):
        share = min(1.0, (run.step + 1) / pilot.warmup)
        share *= min(1.0, max(0.02, 2 - 2 * run.seconds / 60 / pilot.minutes))
        run.learned += learner.learn(run.step, share)
        run.step += 1
        now = time.process_time()
        run.seconds, mark = run.seconds + now - mark, now
        if run.seconds >= 60 * (run.curve[-1].minutes + pilot.every) or ended(run, pilot):
            _measure(run, learner, out)
            mark = time.process_time()  # measuring is no training
    say(f"ended: {ended(run, pilot)}")
    return run


def _measure(run: Run, learner: Learner, out: Path) -> None:
    found = learner.measure()
    first, last = (run.sums or [found])[0], (run.sums or [found])[-1]
    figures = {}
    for name, each in found.items():
        gain, moved = gained(first[name], each), gained(last[name], each)
        figures[name] = Figure(
            nats=float(each[:, 0].sum() / each[:, 1].sum()),
            gain=gain[0],
            error=gain[1],
            moved=moved[0],
            moved_error=moved[1],
        )
    line = Measured(step=run.step, minutes=round(run.seconds / 60, 2), figures=figures)
    run.curve.append(line)
    run.sums.append(found)
    _save(out / "state.pt", learner, run)
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps(asdict(line) | {"learned": run.learned}) + "\n")
    said = "; ".join(
        f"{name} {each.nats:.4f} nats, {each.gain:+.4f} ± {each.error:.4f} gained"
        for name, each in figures.items()
    )
    say(f"{line.minutes:.1f} min, step {line.step}, {run.learned} tokens: {said}")


def _resumed(path: Path, learner: Learner) -> Run:
    state = torch.load(path, weights_only=True)
    learner.load(state["learner"])
    return Run(
        step=state["step"],
        seconds=state["seconds"],
        learned=state["learned"],
        curve=[
            Measured(
                step=each["step"],
                minutes=each["minutes"],
                figures={name: Figure(**figure) for name, figure in each["figures"].items()},
            )
            for each in state["curve"]
        ],
        sums=[{name: np.array(rows) for name, rows in each.items()} for each in state["sums"]],
    )


def _save(path: Path, learner: Learner, run: Run) -> None:
    partial = path.with_suffix(".partial")
    state = {
        "learner": learner.state(),
        "step": run.step,
        "seconds": run.seconds,
        "learned": run.learned,
        "curve": [asdict(each) for each in run.curve],
        "sums": [{name: each.tolist() for name, each in found.items()} for found in run.sums],
    }
    torch.save(state, partial)
    partial.replace(path)


def add_options(parser: argparse.ArgumentParser, pilot: "DataclassInstance") -> None:
    """An option for each setting of a run; `chosen` reads them."""
    for name, default in asdict(pilot).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)


def chosen(options: dict[str, Any], kind: type[PilotT]) -> PilotT:
    """The run that parsed options name."""
    return kind(**{spec.name: options[spec.name] for spec in fields(kind)})


def as_line(run: Run, **said: object) -> str:
    """A run as a line of JSON, beside what else is said of it."""
    curve = [asdict(each) for each in run.curve]
    return json.dumps(said | {"learned": run.learned, "curve": curve})
