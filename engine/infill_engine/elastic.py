"""Absorbing noise whose holes grow and shrink while they are denoised: a value of `noise.Noise`."""

from collections.abc import Sequence
from dataclasses import dataclass

from infill_engine.arrays import Array, Generator, namespace, take_along
from infill_engine.canvas import PINNED, Canvas
from infill_kernels.rows import RowStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class Elastic:
    """A mask token, and holes that grow and shrink (DreamOn).

    A cell that becomes `expand_id` is two cells of noise from then on. One that becomes `delete_id`
    is taken out, and with it all noise to its right in its hole; what is decided there stays.

    A canvas gives each hole the cells that it may grow to. Those that are not there hold the
    canvas's `end_id` and stand behind the others; the canvas says how many are there at the start.
    """

    mask_id: int
    expand_id: int
    delete_id: int

    def start(self, canvas: Canvas, generator: Generator) -> Array:
        xp = namespace(canvas.free)
        there = canvas.free & (canvas.token_ids != canvas.end_id)
        return xp.where(there, self.mask_id, canvas.token_ids)

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
        return namespace(token_ids).where(accepted, stats.sample, token_ids)

    def settle(
        self, token_ids: Array, undecided: Array, stats: RowStatistics, canvas: Canvas
    ) -> tuple[Array, Array, RowStatistics]:
        token_ids, source = self._laid_out(token_ids, canvas, grows=True)
        moved = RowStatistics(*(take_along(each, source) for each in stats))
        there = token_ids != canvas.end_id
        entropy = namespace(token_ids).where(there, moved.entropy, 0.0)
        return token_ids, self.open(token_ids, canvas), moved._replace(entropy=entropy)

    def read(self, token_ids: Array, stats: RowStatistics, canvas: Canvas) -> Array:
        masked = self.open(token_ids, canvas)
        guessed = namespace(token_ids).where(masked, stats.best, token_ids)
        return self._laid_out(guessed, canvas, grows=False, noise=masked)[0]

    def _laid_out(
        self, token_ids: Array, canvas: Canvas, *, grows: bool, noise: Array | None = None
    ) -> tuple[Array, Array]:
        """The cells in their new places, and which one each was: both [B, T] int64."""
        noisy = token_ids == self.mask_id if noise is None else noise
        rows = [
            self._row(*each, canvas.end_id, grows)
            for each in zip(token_ids.tolist(), canvas.hole.tolist(), noisy.tolist(), strict=True)
        ]
        xp, device = namespace(token_ids), token_ids.device
        return (
            xp.asarray([ids for ids, _ in rows], device=device),
            xp.asarray([source for _, source in rows], device=device),
        )

    def _row(
        self,
        token_ids: Sequence[int],
        hole: Sequence[int],
        noisy: Sequence[bool],
        absent: int,
        grows: bool,
    ) -> tuple[list[int], list[int]]:
        ids, source = list(token_ids), list(range(len(token_ids)))
        start = 0
        while start < len(ids):
            end = start + 1
            while end < len(ids) and hole[end] == hole[start]:
                end += 1
            if hole[start] != PINNED:
                kept: list[tuple[int, int]] = []
                ended = False
                for at in range(start, end):
                    ended = ended or token_ids[at] == self.delete_id
                    gone = token_ids[at] in (self.delete_id, absent) or (ended and noisy[at])
                    if not gone and (grows or token_ids[at] != self.expand_id):
                        kept.append((token_ids[at], at))
                room = end - start - len(kept)
                cells: list[tuple[int, int]] = []
                for token, at in kept:
                    grown = token == self.expand_id
                    cells.append((self.mask_id if grown else token, at))
                    if grown and room:
                        cells.append((self.mask_id, at))
                        room -= 1
                cells += [(absent, end - 1)] * room
                ids[start:end] = [token for token, _ in cells]
                source[start:end] = [at for _, at in cells]
            start = end
        return ids, source
