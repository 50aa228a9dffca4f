"""Which cells of a canvas are accepted in a step."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from infill_kernels import RowStatistics


class Sampler(Protocol):
    def accept(self, stats: RowStatistics, open_cells: Tensor, quota: Tensor) -> Tensor:
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

    def accept(self, stats: RowStatistics, open_cells: Tensor, quota: Tensor) -> Tensor:
        closed_last = stats.entropy.masked_fill(~open_cells, torch.inf)
        ascending, order = closed_last.sort(dim=-1, stable=True)
        rank = torch.arange(ascending.shape[-1], device=ascending.device)[None]
        finite = ascending.nan_to_num(posinf=0.0)
        within = (finite.cumsum(-1) - finite <= self.bound) | (rank < quota[:, None])
        return torch.zeros_like(open_cells).scatter(-1, order, within) & open_cells
