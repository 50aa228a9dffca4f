"""What a step of denoising decides, of a canvas whose noise is a mask, as one routine for CPUs.

Its reference are the rules of the loop that uses it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infill_kernels.native import (
    Floats,
    RowArgument,
    RulesArgument,
    address,
    checked,
    routines,
)
from infill_kernels.rows import RowStatistics

Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Settled(NamedTuple):
    """A canvas of B rows of T cells after a step.

    read     [B, T] int64, what would be given out now
    entropy  [B, T] float32, nats; 0 in pinned cells
    decided  [B, T] bool, what holds no noise
    done     [B] bool, rows that are decided and say what they said a step ago
    """

    read: Ids
    entropy: Floats
    decided: Flags
    done: Flags


class Cells:
    """Of one canvas that is denoised; `token_ids` [B, T] int64 are the coming step's, and change
    with each.

    hole        [B, T] int64, below 0 in pinned cells
    ends        [V] bool, the tokens that end their hole, or None
    unending    the cell that ends no hole, or -1
    bound, correction, doubt: as in the loop's sampler and noise; a doubt above 1 is none
    """

    def __init__(
        self,
        token_ids: Ids,
        *,
        hole: Ids,
        ends: Flags | None,
        mask_id: int,
        end_id: int,
        unending: int,
        bound: float,
        correction: float,
        doubt: float,
    ) -> None:
        assert token_ids.shape == hole.shape, f"{token_ids.shape} cells, holes {hole.shape}"
        assert ends is None or max(token_ids.max(initial=0), end_id) < len(ends), "an unknown token"
        rows, cells = hole.shape
        self.token_ids = token_ids.astype(np.int64)
        self._hole = np.ascontiguousarray(hole, np.int64)
        self._ends = None if ends is None else np.ascontiguousarray(ends, np.bool_)
        self._settled = Settled(
            self.token_ids.copy(),
            np.zeros((rows, cells), np.float32),
            np.zeros((rows, cells), np.bool_),
            np.zeros(rows, np.bool_),
        )
        self._rules = RulesArgument(
            cells, mask_id, end_id, unending, 0, 0, bound, correction, doubt
        )
        # Pointers to what stays; those to a step's statistics come with them.
        read, shown, decided, done = self._settled
        self._rows = RowArgument(
            hole=address(self._hole),
            token_ids=address(self.token_ids),
            read=address(read),
            shown=address(shown),
            decided=address(decided),
        )
        self._pointers = (
            None if self._ends is None else address(self._ends),
            address(done),
        )

    def settle(self, stats: RowStatistics, step: int, steps_left: int) -> Settled:
        """After step number `step`, from 1, when `steps_left` were left, itself included. Rows that
        were done stay as they are. `stats` [B, T] are the step's."""
        best, sample = _of_ids(stats.best), _of_ids(stats.sample)
        entropy, confidence = checked(stats.entropy), checked(stats.confidence)
        shape = self._hole.shape
        assert best.shape == sample.shape == entropy.shape == confidence.shape == shape, (
            f"statistics are not of {shape} cells"
        )
        rules, rows = self._rules, self._rows
        rules.step, rules.steps_left = step, steps_left
        rows.best = address(best)
        rows.sample = rows.best if sample is best else address(sample)
        rows.entropy, rows.confidence = address(entropy), address(confidence)
        if not routines().settle(rules, shape[0], rows, *self._pointers):
            raise MemoryError(f"no memory for {shape} cells")
        read, shown, decided, done = self._settled
        return Settled(read.copy(), shown.copy(), decided.copy(), done.copy())


def _of_ids(ids: NDArray[np.integer]) -> Ids:
    assert ids.dtype == np.int64, f"tokens are {ids.dtype}"
    return np.ascontiguousarray(ids)
