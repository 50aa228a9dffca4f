"""The denoising step over token ids: a pass of the decoder, then what the loop wants of it.

    canvas ──► decode ──► hidden states of the free cells ──► logits ──► statistics
                 ▲                                               │
                 └── mean embeddings of the free cells ◄─────────┘ at the next step

`Stepping` is transformers' arithmetic and draws its random numbers in the same order;
`FusedStepping` gives as probable samples in fewer launches.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from infill_engine.canvas import Canvas
from infill_engine.models.diffusion_gemma.network import Memory, Network, Passes
from infill_kernels import (
    head_statistics,
    probabilities,
    row_statistics,
)
from infill_kernels.rows import RowStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """What one step hands to the next.

    rows  [R] int64, the cells of the flattened [B * T] canvas whose logits are computed
    first [B] int64, the place among `rows` of each canvas row's first free cell
    mean  makes the mean embeddings [R, D] of the last step's proposals, in its own way
    """

    context: Any
    rows: Tensor
    first: Tensor
    mean: Callable[[], Tensor] | None = None


class Stepping:
    """The step over token ids; knows no text. `forbidden` [V] bool never comes out of it.

    Draws as transformers does, from the same random numbers; `FusedStepping` is for speed.
    """

    def __init__(self, network: Passes, forbidden: Tensor | None = None) -> None:
        self.network = network
        self.forbidden = forbidden

    def rows(self, canvas: Canvas) -> Tensor:
        """The flattened cells that need logits: a pinned one's answer is known."""
        free: Tensor = canvas.free
        return free.flatten().nonzero()[:, 0]

    def allowed(self, canvas: Canvas) -> Tensor | None:
        """The tokens [V] bool that may stand in free cells; None: all of them."""
        allowed: Tensor | None = canvas.allowed
        if allowed is not None:
            return allowed
        return None if self.forbidden is None else ~self.forbidden

    def start(self, canvas: Canvas, memory: Memory) -> StepState:
        """What stays the same while a canvas is denoised."""
        batch, length = canvas.token_ids.shape
        rows = self.rows(canvas)
        first = canvas.free.int().argmax(-1)
        first += length * torch.arange(batch, device=first.device)
        return StepState(
            context=self.network.context(memory, length),
            rows=rows,
            first=torch.searchsorted(rows, first),
        )

    def step(
        self,
        canvas: Canvas,
        memory: Memory,
        state: object,
        *,
        temperature: float,
        generator: torch.Generator,
    ) -> tuple[RowStatistics, object]:
        if not isinstance(state, StepState):
            state = self.start(canvas, memory)
        token_ids, free = canvas.token_ids, canvas.free
        soft: Tensor | None = None
        if state.mean is not None:
            # A pinned cell's distribution is one-hot, so its mean embedding is the pin's own row.
            soft = self.network.embed(token_ids)
            mean = soft.flatten(0, 1).index_copy(0, state.rows, state.mean())
            soft = torch.where(free[..., None], mean.view_as(soft), soft)
        hidden = self.network.decode(token_ids, soft, state.context).flatten(0, 1)[state.rows]
        allowed = self.allowed(canvas)
        stats, mean_of = self.statistics(hidden, canvas, state, allowed, temperature, generator)
        return spread(stats, canvas, state.rows), replace(state, mean=mean_of)

    def statistics(
        self,
        hidden: Tensor,
        canvas: Canvas,
        state: StepState,
        allowed: Tensor | None,
        temperature: float,
        generator: torch.Generator,
    ) -> tuple[RowStatistics, Callable[[], Tensor]]:
        """Statistics of hidden states [R, D], and how to make mean embeddings [R, D] of them."""
        logits = self.network.logits(hidden)
        if allowed is not None:
            logits.masked_fill_(~allowed, -torch.inf)
        if canvas.first is not None:
            logits[state.first] = logits[state.first].masked_fill(~canvas.first, -torch.inf)
        if temperature > 0:
            logits = logits / temperature
        stats = row_statistics(logits, temperature=float(temperature > 0), generator=generator)
        kept = logits.to(self.network.dtype)
        return stats, lambda: self.network.soften(kept)


class FusedStepping(Stepping):
    """Two passes over the head's output where the reference makes dozens; no host waits in it.

    Draws are those of `head_statistics`: as probable as the reference's, but other ones.
    """

    network: Network

    def statistics(
        self,
        hidden: Tensor,
        canvas: Canvas,
        state: StepState,
        allowed: Tensor | None,
        temperature: float,
        generator: torch.Generator,
    ) -> tuple[RowStatistics, Callable[[], Tensor]]:
        network, device = self.network, hidden.device
        raw = linear(hidden, network.head)
        if canvas.first is not None:
            raw[state.first] = raw[state.first].masked_fill(~canvas.first, -torch.inf)
        scale = torch.full((1,), temperature, dtype=torch.float32, device=device)
        seed = torch.randint(1 << 62, (1,), generator=generator, device=device)
        found = head_statistics(raw, scale, seed, cap=network.softcap, allowed=allowed)

        def mean() -> Tensor:
            probability = probabilities(
                raw,
                scale,
                found.log_sum_exp,
                dtype=network.dtype,
                cap=network.softcap,
                allowed=allowed,
            )
            return (probability @ network.table) * network.embed_scale

        return RowStatistics(*found[:4]), mean


def spread(stats: RowStatistics, canvas: Canvas, rows: Tensor) -> RowStatistics:
    """Statistics of some flattened cells [R] -> of all [B, T]; pinned ones are certain."""
    token_ids, free = canvas.token_ids, canvas.free

    def place(background: Tensor, values: Tensor) -> Tensor:
        placed = background.flatten().index_copy(0, rows, values).view_as(background)
        return torch.where(free, placed, background)

    certain = torch.ones(token_ids.shape, device=token_ids.device)
    return RowStatistics(
        entropy=place(torch.zeros_like(certain), stats.entropy),
        best=place(token_ids, stats.best),
        sample=place(token_ids, stats.sample),
        confidence=place(certain, stats.confidence),
    )
