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

import numpy as np

from infill_engine.arrays import Array, Generator, namespace
from infill_engine.budget import UNLIMITED, Budget
from infill_engine.canvas import Canvas, close_holes
from infill_engine.early_stop import Chained, Decided, EarlyStop, Progress, TokenStability
from infill_engine.noise import Absorbing, Noise
from infill_engine.sampler import EntropyBound, Sampler
from infill_engine.schedule import Schedule
from infill_kernels.cells import Cells
from infill_kernels.native import native
from infill_kernels.rows import RowStatistics

NO_DOUBT = 2.0  # more than any probability


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


class Decide(Protocol):
    """What becomes of the canvas once a step's statistics are there."""

    @property
    def token_ids(self) -> Array:
        """[B, T] int64, with noise in the cells that are not decided: the coming step's."""
        ...

    def after(self, stats: RowStatistics, step: int) -> Denoised:
        """The canvas after step number `step`, from 1. Rows that converged stay as they are."""
        ...


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
    decide = by_routine(config, canvas, generator) or ByRules(config, canvas, generator)
    done = canvas.free[:, 0] & False
    state: Any = None
    for step in range(1, config.max_denoising_steps + 1):
        if budget.cancelled() or (step > 1 and budget.late):
            return
        stats, state = denoiser.step(
            replace(canvas, token_ids=decide.token_ids, done=done),
            memory,
            state,
            temperature=config.schedule.temperature(step, config.max_denoising_steps),
            generator=generator,
        )
        denoised = decide.after(stats, step)
        yield denoised
        done = denoised.converged
        if bool(done.all()):
            return


class ByRules:
    """A `Decide`: what noise, sampler and early stop say, one after the other."""

    def __init__(self, config: DenoiseConfig, canvas: Canvas, generator: Generator) -> None:
        self._config, self._canvas, self._generator = config, canvas, generator
        self._last: Denoised | None = None
        self.token_ids = config.noise.start(canvas, generator)

    def after(self, stats: RowStatistics, step: int) -> Denoised:
        config, canvas, last, token_ids = self._config, self._canvas, self._last, self.token_ids
        noise, free, xp = config.noise, canvas.free, namespace(token_ids)
        open_cells = noise.open(token_ids, canvas)
        quota = noise.quota(open_cells, config.max_denoising_steps - step + 1)
        accepted = config.sampler.accept(stats, open_cells, quota)
        renoised = noise.renoise(token_ids, accepted, stats, canvas, self._generator)
        undecided = open_cells & ~accepted
        renoised, undecided, stats = noise.settle(renoised, undecided, stats, canvas)
        renoised, decided = close_holes(renoised, ~undecided, canvas)
        read, _ = close_holes(noise.read(renoised, stats, canvas), free, canvas)
        entropy = xp.where(free, stats.entropy, 0.0)
        frozen = xp.zeros_like(free[:, :1])
        if last is not None:
            frozen = last.converged[:, None]
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
        self.token_ids = xp.where(frozen, token_ids, renoised)
        self._last = Denoised(
            token_ids=read,
            entropy=entropy,
            decided=decided,
            num_steps=step,
            converged=frozen[:, 0],
        )
        return self._last


class ByRoutine:
    """A `Decide`: the same as one routine, of numpy's arrays and a mask for noise."""

    def __init__(self, cells: Cells, max_denoising_steps: int) -> None:
        self._cells, self._steps = cells, max_denoising_steps

    @property
    def token_ids(self) -> Array:
        return self._cells.token_ids

    def after(self, stats: RowStatistics, step: int) -> Denoised:
        read, entropy, decided, done = self._cells.settle(stats, step, self._steps - step + 1)
        return Denoised(
            token_ids=read, entropy=entropy, decided=decided, num_steps=step, converged=done
        )


def by_routine(config: DenoiseConfig, canvas: Canvas, generator: Generator) -> ByRoutine | None:
    """Where there is a routine for these rules and arrays."""
    match config:
        case DenoiseConfig(
            noise=Absorbing() as noise,
            sampler=EntropyBound(bound=bound),
            early_stop=Chained(rules=(Decided(), TokenStability())),
        ) if isinstance(canvas.token_ids, np.ndarray):
            if native()[0] is None:
                return None
            cells = Cells(
                noise.start(canvas, generator),
                hole=canvas.hole,
                ends=canvas.ends,
                mask_id=noise.mask_id,
                end_id=canvas.end_id,
                unending=-1 if canvas.first is None else int(canvas.first_free),
                bound=bound,
                correction=noise.correction,
                doubt=NO_DOUBT if noise.doubt is None else noise.doubt,
            )
            return ByRoutine(cells, config.max_denoising_steps)
    return None
