"""What a run of fine-tuning is, and what one asks of a model."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from infill_engine import Engine, InfillRequest, ModelError
from train.repository import Gap
from train.stopping import never

Pair = tuple[Tensor, Tensor]  # down [r, K], up [N, r], float32: up @ down is added to [N, K]

NOISE_LEVELS = 4  # canvases of DiffusionGemma behind one prompt, whose levels lie evenly


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A run. `tokens` bound an example's text; `rank` and `alpha` are LoRA's."""

    steps: int = 400
    batch: int = 8
    tokens: int = 768
    rank: int = 16
    alpha: float = 32.0
    rate: float = 2e-4
    warmup: int = 20
    seed: int = 0
    measured: int = 40
    every: int = 100

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


# Of every field, what it is.
HELP = {
    "steps": "steps of the optimiser",
    "batch": "holes a step",
    "tokens": "tokens of both sides together, at most",
    "rank": "LoRA's rank",
    "alpha": "LoRA's scale, times the rank",
    "rate": "learning rate, at its highest",
    "warmup": "steps in which it rises",
    "seed": "what is drawn by",
    "measured": "holes of kept files that are filled to measure by",
    "every": "steps from one measurement, and one adapter written, to the next",
}


class Tuner(Protocol):
    """A model with LoRA beside its matrices; `pairs` by the names of those in its checkpoint."""

    pairs: dict[str, Pair]

    def backward(self, batch: Sequence[Gap]) -> float:
        """The mean loss of a batch, in nats, whose gradient is added to that of the pairs."""
        ...

    def noise_state(self) -> Tensor:
        """Where the source of its noise is, [N] of whole numbers, so that a run can go on."""
        ...

    def set_noise_state(self, state: Tensor) -> None: ...

    def asked(self, gap: Gap) -> InfillRequest:
        """What the engine is asked to measure by: the middle's length is given where the model
        knows no end."""
        ...

    def exact(self, measured: Sequence[Gap], stopped: Callable[[], bool] = never) -> float | None:
        """The share of holes that are filled exactly, as the engine fills them; None where
        `stopped` says so before the last of them."""
        ...


def check_rank(recipe: Recipe, shapes: Iterable[Sequence[int]]) -> None:
    """Raises ModelError where LoRA would be wider than a matrix that it stands beside."""
    side = min(min(shape) for shape in shapes)
    if recipe.rank > side:
        raise ModelError(
            f"--rank {recipe.rank} is more than {side}, the smallest side of the matrices that "
            f"LoRA stands beside; choose {min(16, side)}, or {side} at the most"
        )


def exact(engine: Engine, measured: Sequence[Gap], asked: Callable[[Gap], InfillRequest]) -> int:
    """How many holes an engine fills as they were."""
    right = 0
    for gap in measured:
        drafts = [*engine.infill(asked(gap))]
        right += bool(drafts) and drafts[-1].text == gap.middle
        engine.forget()
    return right


def share(
    engine: Engine,
    measured: Sequence[Gap],
    asked: Callable[[Gap], InfillRequest],
    stopped: Callable[[], bool],
) -> float | None:
    """The same as a share; None where `stopped`, which is asked before each hole, says so."""
    right = 0
    for gap in measured:
        if stopped():
            return None
        right += exact(engine, [gap], asked)
    return right / max(1, len(measured))
