"""Trains the two-sided model by wall clock: streams and canvases in one loss.

    PYTHONPATH=engine:kernels python -m train.train --out artifacts/run --minutes 85

The schedule follows active minutes, so a stopped process (SIGSTOP) loses nothing. Checkpoints are
written by rename and found again: the same command resumes. New shards in the folder are read while
it runs. Logs a JSON line at a time to OUT/log.jsonl. On a GPU nothing but logging waits for it.
"""

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infill_engine import ModelError
from infill_engine.models.two_sided.config import TwoSidedConfig
from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.training_pass import TrainingOps
from infill_engine.models.two_sided.weights import read_weights
from infill_ls.cli.files import new_folder
from train import checkpoint
from train.batches import batch
from train.config import TrainConfig, add_options, chosen, shards_folder
from train.loader import Batches, loaded, shards_of
from train.objective import Objective, compiled_ops, two_sided_objective
from train.optimisers import optimisers, rate
from train.shards import num_tokens
from train.stopping import never, stoppable
from train.validation import exact_match, validate
from train.windows import ShardSet

PAUSE = 30.0  # seconds on a CPU; a step that took longer was stopped or compiled: it counts as this
LOG_STEPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a run learns and how it is measured; everything here is the two-sided model's."""

    draw: Callable[..., Any] = batch
    objective: Callable[[TrainConfig, TrainingOps], Objective] = two_sided_objective
    validate: Callable[[TwoSidedNetwork, ShardSet, TrainConfig], dict[str, float]] = validate
    exact_match: Callable[[TwoSidedNetwork, ShardSet, int], dict[str, float]] = exact_match


TWO_SIDED = Recipe()


class TrainingRun:
    """A run between two steps: the model and its moving average, the optimisers, counts and log."""

    def __init__(
        self,
        model: TwoSidedNetwork,
        out: Path,
        config: TrainConfig,
        *,
        weights: Path | None,
        recipe: Recipe,
    ) -> None:
        """Goes on from the checkpoint in `out`; where there is none, from `weights` if given."""
        out.mkdir(parents=True, exist_ok=True)
        self.model, self.config, self.recipe = model, config, recipe
        self.counts = checkpoint.RunCounts()
        self._checkpoint = out / "checkpoint.pt"
        self._optimizers = optimisers(model, config)
        if weights is not None and not self._checkpoint.exists():
            start_from(model, weights)
        self.average = {name: each.detach().clone() for name, each in model.named_parameters()}
        if self._checkpoint.exists():
            self._resume()
        used = {name: each for name, each in model.named_parameters() if each.requires_grad}
        self.parameters: list[Tensor] = list(used.values())
        self._averages = [self.average[name] for name in used]
        self._averaged = TwoSidedNetwork(model.config).to(config.device)
        self._objective = recipe.objective(config, compiled_ops(config))
        self._log = (out / "log.jsonl").open("a", buffering=1)
        self._recent: dict[str, list[Tensor]] = defaultdict(list)
        self._rate = 0.0
        self._logged_seconds, self._logged_positions = self.counts.seconds, self.counts.positions
        # On a GPU every second counts.
        self._pause = PAUSE if config.device == "cpu" else math.inf
        self._mark = time.monotonic()

    def _resume(self) -> None:
        state = checkpoint.load(self._checkpoint, self.config.device)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        # Pieces that were copied from another machine hold none.
        for optimizer, saved in zip(self._optimizers, state.get("optimizers", ()), strict=False):
            optimizer.load_state_dict(saved)
        self.counts = checkpoint.counts_of(state)

    @property
    def progress(self) -> float:
        """0 to 1 of the clock, and more where it has run out."""
        return self.counts.seconds / 60 / self.config.minutes

    @property
    def ended(self) -> bool:
        most = self.config.max_steps
        return self.progress >= 1 or bool(most and self.counts.step >= most)

    def learn(self, data: Mapping[str, Tensor], tokens: int) -> None:
        """One step on a batch, of so many document tokens."""
        config, counts = self.config, self.counts
        found = self._objective(self.model, data, self.progress)
        found.total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.parameters, config.clip)
        factor = rate(counts.step, self.progress, config)
        for optimizer, lr in zip(self._optimizers, (config.muon_lr, config.adam_lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = lr * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._rate = factor
        counts.step += 1
        counts.seen += tokens
        counts.positions += found.positions
        with torch.no_grad():
            decay = min(config.ema, (1 + counts.step) / (10 + counts.step))
            torch._foreach_lerp_(self._averages, self.parameters, 1 - decay)
        for name, value in {**found.parts, "norm": norm}.items():
            self._recent[name].append(value)
        self.tick()

    def tick(self) -> None:
        """Counts the time since the last call; validation and saving count, for the clock is the
        budget."""
        now = time.monotonic()
        self.counts.seconds += min(self._pause, now - self._mark)
        self._mark = now

    def log(self, **line: object) -> None:
        self._log.write(json.dumps(line) + "\n")

    def log_start(self, weights: Path | None, paths: list[Path]) -> None:
        self.log(
            event="start",
            step=self.counts.step,
            model=asdict(self.model.config),
            parameters=sum(param.numel() for param in self.parameters),
            config=asdict(self.config),
            weights=str(weights) if weights else None,
            shards=len(paths),
            unique_tokens=sum(map(num_tokens, paths)),
            date=time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        )

    def log_losses(self) -> dict[str, float]:
        """Logs, and returns, the means since the last time."""
        counts = self.counts
        means = {
            name: float(torch.stack(each).float().mean()) for name, each in self._recent.items()
        }
        self._recent.clear()
        seconds = counts.seconds - self._logged_seconds
        self.log(
            step=counts.step,
            minutes=round(counts.seconds / 60, 2),
            positions_per_s=round((counts.positions - self._logged_positions) / seconds),
            lr=round(self._rate, 4),
            tokens=counts.seen,
            **{name: round(value, 4) for name, value in means.items()},
        )
        self._rate = 0.0
        self._logged_seconds, self._logged_positions = counts.seconds, counts.positions
        return means

    def measure(self, held_out: ShardSet, infills: int) -> dict[str, float]:
        """What the averaged weights are worth on held-out shards."""
        network = self._averaged
        network.load_state_dict(self.average)
        found = self.recipe.validate(network, held_out, self.config)
        return found | (self.recipe.exact_match(network, held_out, infills) if infills else {})

    def save(self) -> None:
        checkpoint.save(
            self._checkpoint,
            self.counts,
            config=asdict(self.model.config),
            model=self.model.state_dict(),
            average=self.average,
            optimizers=[optimizer.state_dict() for optimizer in self._optimizers],
            train_config=json.dumps(asdict(self.config)),
        )


def train(
    model: TwoSidedNetwork,
    data: Path,
    out: Path,
    config: TrainConfig,
    *,
    weights: Path | None = None,
    recipe: Recipe = TWO_SIDED,
    stopped: Callable[[], bool] = never,
) -> dict[str, float]:
    """Runs until the clock, `max_steps` or `stopped` ends it; returns the last logged losses.

    Parameters that require no gradient stay as they are, and out of the gradient's norm.
    """
    torch.manual_seed(config.seed)
    if config.device != "cpu":
        torch.set_float32_matmul_precision("high")
    run = TrainingRun(model.to(config.device), out, config, weights=weights, recipe=recipe)
    held_out = shards_of(data, model.config, "val.npz")
    first_step = run.counts.step
    source = Batches(data, model.config, config, first_step=first_step, draw=recipe.draw)
    paths = sorted(data.glob("train-*.npz"))
    run.log_start(weights, paths)
    counts, losses = run.counts, dict[str, float]()
    last_save = last_val = counts.seconds
    for data_batch, tokens in loaded(source, config):
        if run.ended or stopped():
            break
        progress = run.progress
        run.learn(data_batch, tokens)
        if counts.step % LOG_STEPS == 0 or counts.step == config.max_steps:
            losses = run.log_losses()
            if (now_there := sorted(data.glob("train-*.npz"))) != paths:
                paths = now_there
                unique = sum(map(num_tokens, paths))
                run.log(event="shards", shards=len(paths), unique_tokens=unique)
        if counts.seconds - last_val >= 60 * config.val_minutes:
            infills = config.val_infills if progress >= config.infill_from else 0
            minutes = round(counts.seconds / 60, 2)
            run.log(
                event="val", step=counts.step, minutes=minutes, **run.measure(held_out, infills)
            )
            last_val = counts.seconds
        if counts.seconds - last_save >= 60 * config.checkpoint_minutes:
            run.save()
            last_save = counts.seconds
        run.tick()
    run.save()
    if not run.ended:
        return losses
    final = run.measure(held_out, config.val_infills)
    run.log(
        event="end",
        step=counts.step,
        minutes=round(counts.seconds / 60, 2),
        positions=counts.positions,
        tokens=counts.seen,
        **final,
    )
    return losses | {f"val_{name}": value for name, value in final.items()}


def start_from(model: TwoSidedNetwork, weights: Path) -> None:
    """The weights of a file; what it does not say of the n-gram table stays as it is, fresh."""
    state = model.state_dict()
    given = {name: torch.tensor(array).float() for name, array in read_weights(weights)[1].items()}
    missing = [name for name in state if name not in given and not name.startswith("ngram")]
    if missing:
        raise ModelError(f"{weights} has no {', '.join(missing)}; give weights of this network")
    model.load_state_dict({name: given.get(name, each) for name, each in state.items()})


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.train", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--data", type=shards_folder, default="data/shards")
    parser.add_argument("--out", type=new_folder, default="artifacts/run")
    parser.add_argument("--weights", type=Path, help="start from these weights (safetensors)")
    add_options(parser, TwoSidedConfig(), TrainConfig())
    options = vars(parser.parse_args())
    network, config = chosen(options, TwoSidedConfig()), chosen(options, TrainConfig())
    torch.manual_seed(config.seed)
    torch.set_num_threads(options["threads"])
    model = TwoSidedNetwork(network)
    with stoppable() as stopped:
        train(
            *(model, options["data"], options["out"], config),
            weights=options["weights"],
            stopped=stopped,
        )
        if stopped():
            raise SystemExit(f"stopped; its checkpoint is in {options['out']}, to go on from")


if __name__ == "__main__":
    main()
