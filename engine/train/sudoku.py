"""Trains the two Sudoku models of `benchmarks.sudoku` on generated puzzles, by wall clock.

    PYTHONPATH=.:engine:kernels python -m train.sudoku --network canvas --minutes 30
    PYTHONPATH=.:engine:kernels python -m train.sudoku --network autoregressive --minutes 30

Both see the same puzzles in the same order. The canvas model is shown a part of the solution, some
of it wrong, and says every cell: so it learns to fill in what is masked and to doubt what is not.
The same command resumes from the checkpoint in --out; --export writes the averaged weights.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.sudoku import puzzles
from benchmarks.sudoku.network import (
    AutoregressiveNetwork,
    CanvasNetwork,
    SudokuConfig,
    SudokuNetwork,
    save,
)
from benchmarks.sudoku.puzzles import Grid
from infill_ls.cli.arguments import count, number_from
from infill_ls.cli.files import new_file, new_folder
from train import checkpoint
from train.config import TrainConfig
from train.optimisers import Muon, rate
from train.stopping import never, stoppable

SEED = 17
PART = 100  # puzzles
PARTS: Mapping[puzzles.Level, int] = {"naked": 5, "hidden": 20, "beyond": 5}
PAUSE = 30.0  # seconds; a step that took longer was stopped: it counts as this
LOG_STEPS = 50
OWN_GUESSES_FROM = 0.5  # of the run; before, they are hardly better than chance
GUESS_PASSES = 2
NETWORKS: Mapping[str, type[SudokuNetwork]] = {
    "canvas": CanvasNetwork,
    "autoregressive": AutoregressiveNetwork,
}


@dataclass(frozen=True, slots=True)
class Batch:
    """puzzle, solution, canvas [B, 81] int64: the canvas has the givens and a part of the rest."""

    puzzle: Tensor
    solution: Tensor
    canvas: Tensor


def training_puzzles(folder: Path, parts: Mapping[puzzles.Level, int] = PARTS) -> list[Grid]:
    """Puzzles and solutions [N, 81]; a part that is not in the folder is made and kept there."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for level, number in parts.items():
        for part in range(number):
            path = folder / f"{level}-{part}.npy"
            if not path.exists():
                made = puzzles.make(level, PART, SEED + part, held_out=False)
                np.save(path, np.stack(made).astype(np.int8))
            found.append(np.load(path))
    return list(np.concatenate(found, 1).astype(np.int64))


def batches(data: list[Grid], size: int, seed: int, first: int) -> Iterator[Batch]:
    """Batch after batch from the `first`; each is a function of the seed and its number."""
    while True:
        yield batch(data, size, np.random.default_rng((seed, first)))
        first += 1


def batch(data: list[Grid], size: int, rng: np.random.Generator) -> Batch:
    """Each puzzle under a symmetry of its own, with further givens and a part of it filled in."""
    rows = rng.integers(len(data[0]), size=size)
    puzzle, solution = puzzles.transformed([each[rows] for each in data], rng)
    more = _shares(rng, size, none=0.4, most=0.6)
    puzzle = np.where(rng.random((size, 81)) < more, solution, puzzle)
    free = puzzle == 0
    shown = free & (rng.random((size, 81)) < _shares(rng, size, none=0.3, most=1.0))
    wrong = shown & (rng.random((size, 81)) < _shares(rng, size, none=0.5, most=0.3))
    said = np.where(wrong, _wrong_digits(puzzle, solution, rng), solution)
    canvas = np.where(shown, said, puzzle)
    return Batch(*(torch.from_numpy(each) for each in (puzzle, solution, canvas)))


def _shares(
    rng: np.random.Generator, size: int, *, none: float, most: float
) -> NDArray[np.float64]:
    """[B, 1]: 0 in a part of all rows, uniform up to `most` in the others."""
    return np.where(rng.random(size) < none, 0.0, rng.random(size) * most)[:, None]


def _wrong_digits(puzzle: Grid, solution: Grid, rng: np.random.Generator) -> Grid:
    """Digits other than the solution's: any, or those that no given forbids where there are some;
    the latter are what a model errs with."""
    one_hot = puzzle[..., None] == np.arange(1, 10)  # [B, 81, 9]
    seen = one_hot[:, puzzles.UNITS].any(2)  # [B, 27, 9]
    forbidden = seen[:, puzzles.UNITS_OF].any(2)
    plausible = rng.random((len(puzzle), 1, 1)) < 0.6
    score = rng.random(one_hot.shape) - plausible * forbidden
    score -= 9 * (solution[..., None] == np.arange(1, 10))
    return score.argmax(-1) + 1


@torch.no_grad()
def with_own_guesses(network: CanvasNetwork, data: Batch, rng: np.random.Generator) -> Batch:
    """Every other canvas goes on with what the network would draw for some of the masked cells,
    and half of these with what it then concludes: where it errs, it errs like this."""
    canvas = data.canvas.clone()
    for rows in (slice(0, None, 2), slice(0, None, 4)):
        part, free = canvas[rows], data.puzzle[rows] == 0
        logits = network(part, free, GUESS_PASSES)[-1]
        drawn = (logits + torch.from_numpy(rng.gumbel(size=logits.shape))).argmax(-1) + 1
        share = torch.from_numpy(rng.random((len(part), 1)))
        taken = (part == 0) & (torch.from_numpy(rng.random(part.shape)) < share)
        canvas[rows] = torch.where(taken, drawn, part)
    return replace(data, canvas=canvas)


def passes_at(progress: float, most: int) -> int:
    """Few at first, where they cost least and teach most; all in the last third."""
    return min(most, 2 + int(3 * progress))


def loss_of(network: SudokuNetwork, data: Batch, passes: int) -> tuple[Tensor, dict[str, float]]:
    """Mean cross-entropy, nats, of the blank cells after each pass, later passes weighing more."""
    free = data.puzzle == 0
    if isinstance(network, CanvasNetwork):
        found = network(data.canvas, free, passes)
    else:
        found = network(data.puzzle, data.solution, passes)
    target = data.solution[free] - 1
    losses = torch.stack([functional.cross_entropy(each[free], target) for each in found])
    weights = torch.arange(1.0, passes + 1)
    with torch.no_grad():
        best = found[-1][free].argmax(-1)
        masked = (data.canvas == 0)[free]
        right = (best == target).float()
        parts = {
            "last": float(losses[-1]),
            "masked_right": float(right[masked].mean()) if masked.any() else float("nan"),
        }
        wrong = ~masked & (data.canvas[free] - 1 != target)
        if wrong.any():
            parts["mended"] = float(right[wrong].mean())
    return (losses * weights).sum() / weights.sum(), parts


class Run:
    """A network, its moving average and its optimisers, from the checkpoint in a folder if any."""

    def __init__(self, network: SudokuNetwork, out: Path, config: TrainConfig) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.network, self.config = network, config
        self.counts = checkpoint.RunCounts()
        self.optimizers = optimisers(network, config)
        self.average = {name: each.clone() for name, each in network.state_dict().items()}
        self._path = out / "checkpoint.pt"
        self._log = (out / "log.jsonl").open("a", buffering=1)
        if self._path.exists():
            state = checkpoint.load(self._path)
            network.load_state_dict(state["model"])
            self.average = state["average"]
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.counts = checkpoint.counts_of(state)
        self._mark = time.monotonic()

    @property
    def progress(self) -> float:
        return self.counts.seconds / 60 / self.config.minutes

    @property
    def ended(self) -> bool:
        most = self.config.max_steps
        return self.progress >= 1 or bool(most and self.counts.step >= most)

    def learn(self, data: Batch) -> dict[str, float]:
        config, counts = self.config, self.counts
        if isinstance(self.network, CanvasNetwork) and self.progress >= OWN_GUESSES_FROM:
            rng = np.random.default_rng((config.seed, counts.step, 1))
            data = with_own_guesses(self.network, data, rng)
        passes = passes_at(self.progress, self.network.config.passes)
        loss, parts = loss_of(self.network, data, passes)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        factor = rate(counts.step, self.progress, config)
        for optimizer, lr in zip(self.optimizers, (config.muon_lr, config.adam_lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = lr * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        counts.step += 1
        counts.seen += len(data.puzzle)
        decay = min(config.ema, (1 + counts.step) / (10 + counts.step))
        with torch.no_grad():
            for name, param in self.network.named_parameters():
                self.average[name].lerp_(param, 1 - decay)
        now = time.monotonic()
        counts.seconds += min(PAUSE, now - self._mark)
        self._mark = now
        return {"loss": float(loss.detach()), **parts, "norm": float(norm), "passes": passes}

    def log(self, **line: object) -> None:
        counts = self.counts
        minutes = round(counts.seconds / 60, 2)
        known = {"step": counts.step, "examples": counts.seen, "minutes": minutes}
        self._log.write(json.dumps(known | line) + "\n")

    def save(self) -> None:
        checkpoint.save(
            self._path,
            self.counts,
            config={},
            model=self.network.state_dict(),
            average=self.average,
            optimizers=[optimizer.state_dict() for optimizer in self.optimizers],
        )


def optimisers(network: SudokuNetwork, config: TrainConfig) -> list[torch.optim.Optimizer]:
    matrices = list(network.blocks.parameters())
    others = [network.embed.weight, network.role.weight, network.head.weight]
    return [
        Muon(matrices, config.muon_lr, config.muon_decay, torch.float32),
        torch.optim.AdamW(others, config.adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def train(
    network: SudokuNetwork,
    data: list[Grid],
    out: Path,
    config: TrainConfig,
    *,
    size: int,
    stopped: Callable[[], bool] = never,
) -> Run:
    """Learns from batches of `size` until the clock, `max_steps` or `stopped` ends it."""
    run = Run(network, out, config)
    saved = run.counts.seconds
    recent: list[dict[str, float]] = []
    for each in batches(data, size, config.seed, run.counts.step):
        if run.ended or stopped():
            break
        recent.append(run.learn(each))
        if run.counts.step % LOG_STEPS == 0:
            names = {name for parts in recent for name in parts}
            run.log(
                **{
                    name: round(float(np.nanmean([p[name] for p in recent if name in p])), 4)
                    for name in sorted(names)
                }
            )
            recent.clear()
        if run.counts.seconds - saved >= 60 * config.checkpoint_minutes:
            run.save()
            saved = run.counts.seconds
    run.save()
    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.sudoku", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--network", choices=NETWORKS, default="canvas")
    parser.add_argument("--data", type=Path, default=Path("artifacts/sudoku"))
    parser.add_argument("--out", type=new_folder, help="default: DATA/NETWORK")
    parser.add_argument("--minutes", type=number_from(0.01), default=30.0)
    parser.add_argument("--steps", type=int, default=0, help="at most; 0 is no limit")
    parser.add_argument("--batch", type=count, default=32)
    parser.add_argument("--threads", type=count, default=1)
    parser.add_argument(
        "--export", type=new_file, help="a safetensors file for the averaged weights"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = TrainConfig(
        minutes=options.minutes, max_steps=options.steps, ema=0.995, checkpoint_minutes=2.0,
        seed=SEED,
    )  # fmt: skip
    torch.manual_seed(config.seed)
    network = NETWORKS[options.network](SudokuConfig())
    out = options.out or options.data / options.network
    puzzles_found = training_puzzles(options.data)
    with stoppable() as stopped:
        run = train(network, puzzles_found, out, config, size=options.batch, stopped=stopped)
    if not run.ended:
        raise SystemExit(f"stopped behind step {run.counts.step}; the same command goes on")
    if options.export:
        network.load_state_dict(run.average)
        save(network, options.export, {"steps": run.counts.step, "examples": run.counts.seen})


if __name__ == "__main__":
    main()
