"""Which cells of a canvas are accepted in a step."""

from dataclasses import dataclass
from typing import Protocol

from infill_engine.arrays import Array, namespace, take_along
from infill_kernels.rows import RowStatistics


class Sampler(Protocol):
    def accept(self, stats: RowStatistics, open_cells: Array, quota: Array) -> Array:
        """open_cells [B, T] bool, quota [B] int64 -> [B, T] bool, a subset of open_cells.

        At least `quota` cells of each row are accepted, if so many are open.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EntropyBound:
    """Accepts the most certain cells while the entropy of those before them sums to the bound.

    For entropies e_1 <= e_2 <= ..., cell k is accepted iff e_1 + ... + e_{k-1} <= bound: the sum
    bounds the information that the accepted cells share, and so the error of drawing them
    independently (arXiv:2505.24857).
    """

    bound: float = 0.1

    def accept(self, stats: RowStatistics, open_cells: Array, quota: Array) -> Array:
        xp = namespace(open_cells)
        order = xp.argsort(xp.where(open_cells, stats.entropy, xp.inf), stable=True)
        rank = xp.argsort(order)  # of each cell
        # Closed cells come last, so what they add to the sum does not count.
        ascending = take_along(xp.where(open_cells, stats.entropy, 0.0), order)
        before = take_along(ascending.cumsum(-1) - ascending, rank)
        return open_cells & ((before <= self.bound) | (rank < quota[:, None]))


@dataclass(frozen=True, slots=True)
class MostProbable:
    """Accepts as many as must be, those of the most probable tokens (MaskGIT, arXiv:2202.04200)."""

    def accept(self, stats: RowStatistics, open_cells: Array, quota: Array) -> Array:
        xp = namespace(open_cells)
        order = xp.argsort(xp.where(open_cells, -stats.confidence, xp.inf), stable=True)
        rank = xp.argsort(order)  # of each cell
        return open_cells & (rank < quota[:, None])
