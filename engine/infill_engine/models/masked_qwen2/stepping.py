"""A pass over canvases between their sides: what is there of a row is read as one text.

    beginning of the prefix │ its end │ hole │ head of the suffix │ rest of the suffix
            frozen          │          read anew at every step     │      frozen

A row's cells that are not there take no place, so that what follows the hole moves up. The model
says of each cell's token what the cell before it leads it to: logits are shifted by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infill_engine.budget import UNLIMITED, Budget, BudgetSpent
from infill_engine.canvas import Canvas
from infill_engine.denoiser import Scored
from infill_engine.models.masked_qwen2.network import Passes
from infill_kernels import row_statistics
from infill_kernels.rows import RowStatistics

# What stands for a hole of unknown length while the text far from it is read.
STAND_IN = 16
JOIN_TOKENS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Both sides, and what a pass over them with noise between left of their far ends.

    near    [n] int64, on the device: the prefix's last tokens, which every step reads anew
    start   the position of the first of them
    frozen  None where all of both sides is read at every step
    """

    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    near: Tensor
    start: int
    frozen: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """What one step hands to the next: how many cells [B] were there, and how many came [B]."""

    there: Tensor
    grown: Tensor


class Stepping:
    """The step over token ids; knows no text. `forbidden` [V] bool never comes out of it.

    near    so many tokens on both sides of the hole are read anew at every step
    top_p   a draw takes the likeliest tokens that together have this probability
    absent  the id of cells that are not there
    expand  the token that makes a hole longer, None where there is none
    """

    def __init__(
        self,
        network: Passes,
        forbidden: Tensor,
        *,
        mask: int,
        absent: int,
        expand: int | None = None,
        near: int,
        top_p: float = 1.0,
    ) -> None:
        self.network, self.forbidden = network, forbidden
        self.mask, self.absent, self.expand = mask, absent, expand
        self.near, self.top_p = near, top_p

    @torch.inference_mode()
    def encode(
        self, prefix_ids: Sequence[int], suffix_ids: Sequence[int], budget: Budget = UNLIMITED
    ) -> Memory:
        """Reads both sides once, as far as there is text far from the hole.

        Nothing of such a pass is of use in another text, for every token sees all others. So
        where the budget is over it ends within a layer, and the memory has no sides.
        """
        device = self.network.device
        before = max(0, len(prefix_ids) - self.near)
        after = max(0, len(suffix_ids) - self.near)
        near = torch.tensor([*prefix_ids[before:]], dtype=torch.int64, device=device)
        frozen = None
        if before or after:
            ids = [*prefix_ids, *[self.mask] * STAND_IN, *suffix_ids]
            try:
                whole = torch.tensor(ids, dtype=torch.int64, device=device)
                frozen = self.network.freeze(whole, before, after, budget)
            except BudgetSpent:
                return Memory(prefix_ids=(), suffix_ids=(), near=near[:0], start=0, frozen=None)
        return Memory(
            prefix_ids=tuple(prefix_ids),
            suffix_ids=tuple(suffix_ids),
            near=near,
            start=before,
            frozen=frozen,
        )

    def read(self, memory: Memory, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """A pass: canvases [B, T] -> hidden states [B, L, W], and for every cell [B, T] which of
        them leads to it."""
        there = token_ids != self.absent
        order = (~there).int().argsort(dim=-1, stable=True)
        length = int(there.sum(-1).max())
        packed = token_ids.gather(-1, order)[:, :length]
        present = packed != self.absent
        near = memory.near.expand(len(packed), -1)
        ids = torch.cat((near, packed.masked_fill(~present, 0)), -1)
        positions = memory.start + torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        whole = torch.cat((torch.ones_like(near, dtype=torch.bool), present), -1)
        hidden = self.network.hidden(
            ids, positions, None if bool(present.all()) else whole, memory.frozen
        )
        # The first token of a text has none before it, and is led to by itself.
        leads = (near.shape[1] + there.cumsum(-1) - 2).clamp(min=0)
        return hidden, leads

    @torch.inference_mode()
    def step(
        self,
        canvas: Canvas,
        memory: Memory,
        state: object,
        *,
        temperature: float,
        generator: torch.Generator,
        decided: bool,
    ) -> tuple[RowStatistics, object]:
        """Statistics [B, T]; of decided cells as well where `decided`, certain ones otherwise."""
        token_ids, free = canvas.token_ids, canvas.free
        there = (free & (token_ids != self.absent)).sum(-1)
        grown = torch.zeros_like(there)
        if isinstance(state, StepState):
            grown = state.grown + (there - state.there).clamp(min=0)
        wanted = free & (token_ids != self.absent) & (decided | (token_ids == self.mask))
        if canvas.done is not None:
            wanted = wanted & ~canvas.done[:, None]
        rows = wanted.any(-1).nonzero()[:, 0]
        certain = RowStatistics(
            entropy=torch.zeros(token_ids.shape, device=token_ids.device),
            best=token_ids,
            sample=token_ids,
            confidence=torch.ones(token_ids.shape, device=token_ids.device),
        )
        if len(rows):
            hidden, leads = self.read(memory, token_ids[rows])
            row, cell = wanted[rows].nonzero(as_tuple=True)
            logits = self.network.logits(hidden[row, leads[row, cell]])
            logits = self._allowed(logits, canvas, rows[row], cell, grown)
            found = self._statistics(logits, temperature, generator)
            at = (rows[row], cell)
            certain = RowStatistics(
                *(old.index_put(at, new) for old, new in zip(certain, found, strict=True))
            )
        return certain, StepState(there=there, grown=grown)

    def _allowed(
        self, logits: Tensor, canvas: Canvas, row: Tensor, cell: Tensor, grown: Tensor
    ) -> Tensor:
        """Logits [R, V] of cells at row [R] and cell [R], without what may not stand there."""
        forbidden = self.forbidden if canvas.allowed is None else ~canvas.allowed
        logits = logits.masked_fill(forbidden, -torch.inf)
        if self.expand is not None:
            spare = canvas.free & (canvas.token_ids == self.absent)
            alike = canvas.hole[:, :, None] == canvas.hole[:, None, :]
            full = ~(alike & spare[:, None, :]).any(-1)
            full = full | (grown >= canvas.free.sum(-1))[:, None]
            column = logits[:, self.expand].masked_fill(full[row, cell], -torch.inf)
            logits[:, self.expand] = column
        if canvas.first is not None:
            at = (cell == canvas.first_free).nonzero()[:, 0]
            logits[at] = logits[at].masked_fill(~canvas.first, -torch.inf)
        return logits

    def _statistics(
        self, logits: Tensor, temperature: float, generator: torch.Generator
    ) -> RowStatistics:
        if temperature == 0:
            return row_statistics(logits, temperature=0.0, generator=generator)
        logits = nucleus(logits / temperature, self.top_p)
        found = row_statistics(logits, temperature=1.0, generator=generator)
        # What is drawn is what is ranked, as the published loops do.
        drawn = logits.log_softmax(-1).gather(-1, found.sample[:, None])[:, 0].exp()
        return found._replace(confidence=drawn)

    @torch.inference_mode()
    def score(self, memory: Memory, rows: Sequence[Sequence[int]]) -> list[Scored]:
        """How likely the model finds each middle, and the suffix's head after it; one pass.

        A token that is seen says nothing of its own likelihood. So every row is read twice, first
        with its even and then with its odd cells masked, and each is judged where it is not seen.
        """
        suffix = [*memory.suffix_ids[: self.near]]
        join = min(JOIN_TOKENS, len(suffix))
        width = max(map(len, rows)) + len(suffix)
        texts = torch.tensor(
            [[*row, *suffix, *[self.absent] * (width - len(row) - len(suffix))] for row in rows],
            device=self.network.device,
        )
        judged = torch.tensor(
            [[at < len(row) + join for at in range(width)] for row in rows], device=texts.device
        )
        odd = torch.arange(width, device=texts.device) % 2 == 1
        hidden_cells = torch.cat((judged & ~odd, judged & odd))
        canvases = torch.cat((texts, texts))
        hidden, leads = self.read(memory, canvases.masked_fill(hidden_cells, self.mask))
        row, cell = hidden_cells.nonzero(as_tuple=True)
        logits = self.network.logits(hidden[row, leads[row, cell]])
        each = logits.log_softmax(-1).gather(-1, canvases[row, cell][:, None])[:, 0]
        found = torch.zeros(texts.shape, device=texts.device)
        found[row % len(rows), cell] = each
        return [
            Scored(
                likelihood=float(line[: len(row)].mean()) if len(row) else 0.0,
                join=float(line[len(row) : len(row) + join].mean()) if join else 0.0,
            )
            for line, row in zip(found, rows, strict=True)
        ]


def nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Logits [R, V] without all but the likeliest tokens that together have probability top_p.

    The token that passes top_p stays (arXiv:1904.09751).
    """
    if top_p >= 1:
        return logits
    ordered, order = logits.sort(-1, descending=True)
    total = ordered.softmax(-1).cumsum(-1)
    beyond = total.roll(1, -1) > top_p
    beyond[:, 0] = False
    return logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf)
