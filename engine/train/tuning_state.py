"""Where a run of fine-tuning stands, in one file: it goes on as if it had never stopped."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from infill_engine import ModelError
from infill_engine.models.writing import write_whole
from train.recipe import Pair, Recipe, Tuner

STATE = "resume.safetensors"  # in the adapter's folder, until the run has ended
NOISE = "noise"


@dataclass(slots=True, kw_only=True)
class Run:
    """Steps done, seconds taken, the losses since the log's last line, and its lines."""

    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    log: list[dict[str, float]] = field(default_factory=list)


def save(
    out: Path, run: Run, tuner: Tuner, optimiser: torch.optim.Optimizer, model: str, recipe: Recipe
) -> None:
    """Writes the file by rename, so that there is always a whole one."""
    tensors = {NOISE: tuner.noise_state()}
    for key, parameter in _parameters(tuner.pairs):
        tensors[key] = parameter.detach()
        for name, tensor in optimiser.state[parameter].items():
            tensors[f"{key}.{name}"] = tensor
    told = {"model": model, "recipe": asdict(recipe), "run": asdict(run)}
    here = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
    metadata = {key: json.dumps(value) for key, value in told.items()}
    write_whole(out / STATE, lambda partial: save_file(here, partial, metadata))


def standing(out: Path, model: str, recipe: Recipe) -> Run:
    """What the folder's file tells of a run, a new one where there is none.

    Raises ModelError where the file is damaged, or is that of a run with other options.
    """
    path = out / STATE
    if not path.exists():
        return Run()
    try:
        with safe_open(path, framework="pt") as file:
            told = {key: json.loads(value) for key, value in file.metadata().items()}
        former, run = {"model": told["model"], **told["recipe"]}, Run(**told["run"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} cannot be read ({error}); remove it to begin anew") from error
    asked = {"model": model, **asdict(recipe)}
    for name, value in asked.items():
        if former.get(name) != value:
            raise ModelError(
                f"{out} holds a run that stopped at step {run.step}, with --{name} "
                f"{former.get(name)} and not {value}; give the same to go on with it, or another "
                "--out"
            )
    return run


def restore(out: Path, tuner: Tuner, optimiser: torch.optim.Optimizer) -> None:
    """What was learned, the optimiser's moments and the noise, as they were when it was written.

    Raises ModelError where the file is not of this model.
    """
    try:
        with safe_open(out / STATE, framework="pt") as file:
            names = set(file.keys())
            tuner.set_noise_state(file.get_tensor(NOISE))
            for key, parameter in _parameters(tuner.pairs):
                with torch.no_grad():
                    parameter.copy_(file.get_tensor(key))
                for moment in sorted(name for name in names if name.startswith(f"{key}.")):
                    tensor = file.get_tensor(moment)
                    there = tensor.to(parameter.device) if tensor.dim() else tensor
                    optimiser.state[parameter][moment.removeprefix(f"{key}.")] = there
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"{out / STATE} is of another model or damaged ({error}); remove it to begin anew"
        ) from error


def _parameters(pairs: Mapping[str, Pair]) -> Iterator[tuple[str, Tensor]]:
    for name, pair in pairs.items():
        yield from zip((f"{name}.down", f"{name}.up"), pair, strict=True)
