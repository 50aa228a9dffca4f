"""What an undecided cell holds. Uniform and absorbing noise are two values of one parameter.

D3PM (arXiv:2107.03006) names both: uniform noise is a random token of the vocabulary, absorbing
noise is a mask token.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from infill_engine.canvas import Canvas
from infill_kernels import RowStatistics


class Noise(Protocol):
    """All tensors are [B, T]; token ids int64, flags bool."""

    def start(self, canvas: Canvas, generator: torch.Generator) -> Tensor:
        """Token ids with noise in every free cell."""
        ...

    def open(self, token_ids: Tensor, canvas: Canvas) -> Tensor:
        """The cells that compete to be accepted in the coming step."""
        ...

    def quota(self, open_cells: Tensor, steps_left: int) -> Tensor:
        """[B] int64, how many cells of each row must be accepted whatever their entropy."""
        ...

    def renoise(
        self,
        token_ids: Tensor,
        accepted: Tensor,
        stats: RowStatistics,
        canvas: Canvas,
        generator: torch.Generator,
    ) -> Tensor:
        """The next step's token ids: accepted cells take their sample, the others their noise."""
        ...

    def read(self, token_ids: Tensor, stats: RowStatistics, canvas: Canvas) -> Tensor:
        """The complete canvas as it would be given out now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform:
    """Random vocabulary tokens; nothing is ever locked, which is the self-correction.

    The rules are those of DiffusionGemma (google-deepmind/gemma, transformers
    `models/diffusion_gemma`): what is not accepted in a step becomes a fresh random token, and
    the answer is the canvas of argmaxes.

    `allowed` [A] int64 are the tokens that noise is drawn from, None draws from all of them.
    `greedy` lets an accepted cell take its best token, where the reference takes its sample.
    """

    vocab_size: int
    allowed: Tensor | None = None
    greedy: bool = False

    def start(self, canvas: Canvas, generator: torch.Generator) -> Tensor:
        return torch.where(canvas.free, self._draw(canvas.token_ids, generator), canvas.token_ids)

    def open(self, token_ids: Tensor, canvas: Canvas) -> Tensor:
        return canvas.free

    def quota(self, open_cells: Tensor, steps_left: int) -> Tensor:
        return torch.ones_like(open_cells[:, 0], dtype=torch.int64)

    def renoise(
        self,
        token_ids: Tensor,
        accepted: Tensor,
        stats: RowStatistics,
        canvas: Canvas,
        generator: torch.Generator,
    ) -> Tensor:
        taken = stats.best if self.greedy else stats.sample
        fresh = torch.where(accepted, taken, self._draw(token_ids, generator))
        return torch.where(canvas.free, fresh, token_ids)

    def read(self, token_ids: Tensor, stats: RowStatistics, canvas: Canvas) -> Tensor:
        return torch.where(canvas.free, stats.best, canvas.token_ids)

    def _draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        size = self.vocab_size if self.allowed is None else len(self.allowed)
        drawn = torch.randint(
            size, like.shape, generator=generator, device=like.device, dtype=torch.int64
        )
        return drawn if self.allowed is None else self.allowed[drawn]


@dataclass(frozen=True, slots=True, kw_only=True)
class Absorbing:
    """A mask token; a decided cell stays, unless the model has become sure of another token.

    `correction` is the probability from which the model's new first choice replaces a token that
    was decided in an earlier step (token-to-token editing, as LLaDA2.1 and Seed Diffusion do).
    """

    mask_id: int
    correction: float = 0.9

    def start(self, canvas: Canvas, generator: torch.Generator) -> Tensor:
        return torch.where(canvas.free, self.mask_id, canvas.token_ids)

    def open(self, token_ids: Tensor, canvas: Canvas) -> Tensor:
        return canvas.free & (token_ids == self.mask_id)

    def quota(self, open_cells: Tensor, steps_left: int) -> Tensor:
        return (open_cells.sum(-1) + steps_left - 1) // steps_left

    def renoise(
        self,
        token_ids: Tensor,
        accepted: Tensor,
        stats: RowStatistics,
        canvas: Canvas,
        generator: torch.Generator,
    ) -> Tensor:
        visible = canvas.free & (token_ids != self.mask_id)
        better = visible & (stats.best != token_ids) & (stats.confidence >= self.correction)
        token_ids = torch.where(accepted, stats.sample, token_ids)
        return torch.where(better, stats.best, token_ids)

    def read(self, token_ids: Tensor, stats: RowStatistics, canvas: Canvas) -> Tensor:
        return torch.where(self.open(token_ids, canvas), stats.best, token_ids)
