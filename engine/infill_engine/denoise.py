"""The one denoising loop. It knows neither which model it runs nor what the tokens mean.

token_ids ──► denoiser.step ──► statistics of each cell: entropy, best, sample
    ▲                               │
    │                         sampler.accept        the cells to trust now
    └── noise.renoise ◄─────────────┘               the others stay noise
                                    │
                              early_stop.done       stable and sure over the hole: give it out
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from infill_engine.arrays import Array, Generator, namespace
from infill_engine.budget import UNLIMITED, Budget
from infill_engine.canvas import Canvas, close_holes
from infill_engine.early_stop import EarlyStop, Progress
from infill_engine.noise import Noise
from infill_engine.sampler import Sampler
from infill_engine.schedule import Schedule
from infill_kernels.rows import RowStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiseConfig:
    max_denoising_steps: int
    noise: Noise
    sampler: Sampler
    schedule: Schedule
    early_stop: EarlyStop


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoised:
    """The canvas after a step.

    token_ids  [B, T] int64, complete: noise is replaced by the model's best guess
    entropy    [B, T] float32, nats; 0 in pinned cells
    decided    [B, T] bool, what no longer is noise
    converged  [B] bool, rows that the early stop ended
    """

    token_ids: Array
    entropy: Array
    decided: Array
    num_steps: int
    converged: Array


class Stepper(Protocol):
    """The part of a denoiser that the loop uses."""

    def step(
        self,
        canvas: Canvas,
        memory: Any,
        state: Any,
        *,
        temperature: float,
        generator: Generator,
    ) -> tuple[RowStatistics, Any]: ...


def denoise(
    canvas: Canvas,
    denoiser: Stepper,
    memory: Any,
    config: DenoiseConfig,
    *,
    generator: Generator,
    budget: Budget = UNLIMITED,
) -> Iterator[Denoised]:
    """Yields the canvas after every step; the last one yielded is the answer.

    The budget is looked at before each step, so a run ends within one step of its end; the first
    step is always made when not cancelled.
    Rows that are done are frozen while the others go on.
    """
    noise, free, xp = config.noise, canvas.free, namespace(canvas.token_ids)
    token_ids = noise.start(canvas, generator)
    frozen = xp.zeros_like(free[:, :1])
    state: Any = None
    last: Denoised | None = None
    for step in range(1, config.max_denoising_steps + 1):
        if budget.cancelled() or (last is not None and budget.late):
            return
        stats, state = denoiser.step(
            replace(canvas, token_ids=token_ids, done=frozen[:, 0]),
            memory,
            state,
            temperature=config.schedule.temperature(step, config.max_denoising_steps),
            generator=generator,
        )
        open_cells = noise.open(token_ids, canvas)
        quota = noise.quota(open_cells, config.max_denoising_steps - step + 1)
        accepted = config.sampler.accept(stats, open_cells, quota)
        renoised = noise.renoise(token_ids, accepted, stats, canvas, generator)
        undecided = open_cells & ~accepted
        renoised, undecided, stats = noise.settle(renoised, undecided, stats, canvas)
        renoised, decided = close_holes(renoised, ~undecided, canvas)
        read, _ = close_holes(noise.read(renoised, stats, canvas), free, canvas)
        entropy = xp.where(free, stats.entropy, 0.0)
        if last is not None:
            read = xp.where(frozen, last.token_ids, read)
            entropy = xp.where(frozen, last.entropy, entropy)
            decided = xp.where(frozen, last.decided, decided)
        done = config.early_stop.done(
            Progress(
                read=read,
                previous=None if last is None else last.token_ids,
                entropy=entropy,
                free=free,
                undecided=~decided,
            )
        )
        frozen = frozen | done[:, None]
        token_ids = xp.where(frozen, token_ids, renoised)
        last = Denoised(
            token_ids=read,
            entropy=entropy,
            decided=decided,
            num_steps=step,
            converged=frozen[:, 0],
        )
        yield last
        if bool(frozen.all()):
            return
