"""What became of the cells that a run of the loop accepted: kept, taken back, right in the end."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from infill_engine.denoise import Denoised


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """Cells of one row, or of several together.

    accepted    cells that were decided at some step
    wrong       of these, with a token other than the truth's at some step
    mended      of the wrong ones, those that are right in the end
    taken_back  of the accepted, those that were replaced, became noise again, or were closed by an
                end before them, once or more
    back_right  of those taken back, the ones that are right in the end
    spoiled     of those taken back, the ones that were right before, and are wrong in the end
    """

    accepted: int = 0
    wrong: int = 0
    mended: int = 0
    taken_back: int = 0
    back_right: int = 0
    spoiled: int = 0

    def figures(self) -> dict[str, int]:
        return asdict(self)


def settlings(
    frames: Sequence[Denoised], free: NDArray[np.bool_], truth: NDArray[np.int64]
) -> list[Settling]:
    """One for each row, from all steps of a run; free, truth [B, T]."""
    tokens = np.stack([np.asarray(frame.token_ids) for frame in frames])  # [S, B, T]
    decided = np.stack([np.asarray(frame.decided) for frame in frames]) & free
    right = tokens == truth
    changed = decided[:-1] & (~decided[1:] | (tokens[1:] != tokens[:-1]))
    back = changed.any(0)
    wrong, ends_right = (decided & ~right).any(0), right[-1]
    cells = {
        "accepted": decided.any(0),
        "wrong": wrong,
        "mended": wrong & ends_right,
        "taken_back": back,
        "back_right": back & ends_right,
        "spoiled": (changed & right[:-1]).any(0) & ~ends_right,
    }
    return [
        Settling(**{name: int(each[row].sum()) for name, each in cells.items()})
        for row in range(len(free))
    ]


def together(parts: Iterable[Settling]) -> Settling:
    rows = list(parts)
    return Settling(
        **{spec.name: sum(getattr(row, spec.name) for row in rows) for spec in fields(Settling)}
    )
