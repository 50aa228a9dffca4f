"""What an undecided cell holds. Uniform and absorbing noise are two values of one parameter.

D3PM (arXiv:2107.03006) names both: uniform noise is a random token of the vocabulary, absorbing
noise is a mask token.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from infill_engine.arrays import Array, Generator, draw_below, namespace
from infill_engine.canvas import Canvas
from infill_kernels.rows import RowStatistics


class Noise(Protocol):
    """All arrays are [B, T]; token ids int64, flags bool."""

    def start(self, canvas: Canvas, generator: Generator) -> Array:
        """Token ids with noise in every free cell."""
        ...

    def open(self, token_ids: Array, canvas: Canvas) -> Array:
        """The cells that compete to be accepted in the coming step."""
        ...

    def quota(self, open_cells: Array, steps_left: int) -> Array:
        """[B] int64, how many cells of each row must be accepted whatever their entropy."""
        ...

    def renoise(
        self,
        token_ids: Array,
        accepted: Array,
        stats: RowStatistics,
        canvas: Canvas,
        generator: Generator,
    ) -> Array:
        """The next step's token ids: accepted cells take their sample, the others their noise."""
        ...

    def settle(
        self, token_ids: Array, undecided: Array, stats: RowStatistics, canvas: Canvas
    ) -> tuple[Array, Array, RowStatistics]:
        """The same three, cell by cell as they stand once holes have grown or shrunk, and with the
        cells that were decided and are noise again among the undecided."""
        ...

    def read(self, token_ids: Array, stats: RowStatistics, canvas: Canvas) -> Array:
        """The complete canvas as it would be given out now."""
        ...


class FixedCells:
    """Part of a noise whose holes keep their cells."""

    __slots__ = ()

    def settle(
        self, token_ids: Array, undecided: Array, stats: RowStatistics, canvas: Canvas
    ) -> tuple[Array, Array, RowStatistics]:
        return token_ids, undecided, stats


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform(FixedCells):
    """Random vocabulary tokens; nothing is ever locked, which is the self-correction.

    The rules are those of DiffusionGemma (google-deepmind/gemma, transformers
    `models/diffusion_gemma`): what is not accepted in a step becomes a fresh random token, and
    the answer is the canvas of argmaxes.

    `allowed` [A] int64 are the tokens that noise is drawn from, None draws from all of them.
    `greedy` lets an accepted cell take its best token, where the reference takes its sample.
    """

    vocab_size: int
    allowed: Array | None = None
    greedy: bool = False

    def start(self, canvas: Canvas, generator: Generator) -> Array:
        drawn = self._draw(canvas.token_ids, generator)
        return namespace(drawn).where(canvas.free, drawn, canvas.token_ids)

    def open(self, token_ids: Array, canvas: Canvas) -> Array:
        return canvas.free

    def quota(self, open_cells: Array, steps_left: int) -> Array:
        xp = namespace(open_cells)
        return xp.ones_like(open_cells[:, 0], dtype=xp.int64)

    def renoise(
        self,
        token_ids: Array,
        accepted: Array,
        stats: RowStatistics,
        canvas: Canvas,
        generator: Generator,
    ) -> Array:
        taken = stats.best if self.greedy else stats.sample
        xp = namespace(token_ids)
        fresh = xp.where(accepted, taken, self._draw(token_ids, generator))
        return xp.where(canvas.free, fresh, token_ids)

    def read(self, token_ids: Array, stats: RowStatistics, canvas: Canvas) -> Array:
        return namespace(token_ids).where(canvas.free, stats.best, canvas.token_ids)

    def _draw(self, like: Array, generator: Generator) -> Array:
        size = self.vocab_size if self.allowed is None else len(self.allowed)
        drawn = draw_below(size, like, generator)
        return drawn if self.allowed is None else self.allowed[drawn]


@dataclass(frozen=True, slots=True, kw_only=True)
class Absorbing:
    """A mask token; a decided cell stays, unless the model has become sure of another token.

    `correction` is the probability from which the model's new first choice replaces a token that
    was decided in an earlier step (token-to-token editing, as LLaDA2.1 and Seed Diffusion do).
    `doubt` is the one from which such a token at least becomes the mask again, so that the cell
    is decided anew (remasking, arXiv:2503.00307); None never does that.
    """

    mask_id: int
    correction: float = 0.9
    doubt: float | None = None

    def start(self, canvas: Canvas, generator: Generator) -> Array:
        return namespace(canvas.free).where(canvas.free, self.mask_id, canvas.token_ids)

    def open(self, token_ids: Array, canvas: Canvas) -> Array:
        return canvas.free & (token_ids == self.mask_id)

    def quota(self, open_cells: Array, steps_left: int) -> Array:
        return (open_cells.sum(-1) + steps_left - 1) // steps_left

    def renoise(
        self,
        token_ids: Array,
        accepted: Array,
        stats: RowStatistics,
        canvas: Canvas,
        generator: Generator,
    ) -> Array:
        xp = namespace(token_ids)
        other = canvas.free & (token_ids != self.mask_id) & (stats.best != token_ids)
        token_ids = xp.where(accepted, stats.sample, token_ids)
        if self.doubt is not None:
            token_ids = xp.where(other & (stats.confidence >= self.doubt), self.mask_id, token_ids)
        return xp.where(other & (stats.confidence >= self.correction), stats.best, token_ids)

    def settle(
        self, token_ids: Array, undecided: Array, stats: RowStatistics, canvas: Canvas
    ) -> tuple[Array, Array, RowStatistics]:
        return token_ids, self.open(token_ids, canvas), stats

    def read(self, token_ids: Array, stats: RowStatistics, canvas: Canvas) -> Array:
        return namespace(token_ids).where(self.open(token_ids, canvas), stats.best, token_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remasking(FixedCells):
    """A mask token; after step i of N all but the surest i / N of a hole are masked again, those
    that were filled before included, which is the self-correction (P2, arXiv:2502.03540, as
    Open-dCoder is published with it)."""

    mask_id: int
    num_steps: int

    def start(self, canvas: Canvas, generator: Generator) -> Array:
        return namespace(canvas.free).where(canvas.free, self.mask_id, canvas.token_ids)

    def open(self, token_ids: Array, canvas: Canvas) -> Array:
        return canvas.free

    def quota(self, open_cells: Array, steps_left: int) -> Array:
        cells = open_cells.sum(-1)
        kept = [self._kept(n, self.num_steps - steps_left + 1) for n in cells.tolist()]
        return namespace(cells).asarray(kept, device=cells.device)

    def _kept(self, cells: int, step: int) -> int:
        """How many of a hole's cells stay after a step, whatever else does."""
        # One more each step is the slowest there is: more steps than cells would only wait.
        done = min(1.0, step / max(1, min(self.num_steps, cells)))
        # In float32, as it is published: what is cut off decides a cell.
        return cells - int(np.float32(cells) * np.float32(1 - done))

    def renoise(
        self,
        token_ids: Array,
        accepted: Array,
        stats: RowStatistics,
        canvas: Canvas,
        generator: Generator,
    ) -> Array:
        xp = namespace(token_ids)
        filled = xp.where(token_ids == self.mask_id, stats.sample, token_ids)
        return xp.where(canvas.free & ~accepted, self.mask_id, filled)

    def read(self, token_ids: Array, stats: RowStatistics, canvas: Canvas) -> Array:
        masked = canvas.free & (token_ids == self.mask_id)
        return namespace(token_ids).where(masked, stats.best, token_ids)
