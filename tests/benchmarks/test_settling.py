"""What became of accepted cells is counted as it is said."""

import numpy as np

from benchmarks.settling import Settling, settlings, together
from infill_engine.denoise import Denoised


def frame(step: int, cells: str) -> Denoised:
    """One row; a digit is decided, a letter a guess: a is 1."""
    return Denoised(
        token_ids=np.array([[int(c) if c.isdigit() else ord(c) - 96 for c in cells]]),
        entropy=np.zeros((1, len(cells)), np.float32),
        decided=np.array([[c.isdigit() for c in cells]]),
        num_steps=step,
        converged=np.array([False]),
    )


def test_cells_that_are_taken_back_are_counted_once() -> None:
    truth = np.array([[1, 1, 1, 1, 1, 1, 9]])
    free = np.array([[True] * 6 + [False]])
    #                 kept | replaced, right | noise, right | spoiled | wrong, kept | never
    run = [frame(1, "1221" + "2a9"), frame(2, "11a2" + "2a9"), frame(3, "1112" + "2b9")]

    (row,) = settlings(run, free, truth)

    assert row == Settling(accepted=5, wrong=4, mended=2, taken_back=3, back_right=2, spoiled=1)
    assert together([row, row]) == Settling(
        accepted=10, wrong=8, mended=4, taken_back=6, back_right=4, spoiled=2
    )
