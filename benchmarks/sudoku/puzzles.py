"""Sudoku: grids, what logic solves them, and puzzles of three difficulties, from a seed.

A grid is 81 digits in reading order, 0 where a cell is blank. Many are solved at once, as sets of
digits in the bits of an integer. Knows no model.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.int64]  # [..., 81], 0 to 9
Level = Literal["naked", "hidden", "beyond"]
# What a puzzle takes: its cells have one digit left each in turn; a digit has one place left in a
# unit; neither is enough. No given of a puzzle can be left out without leaving its level.
LEVELS: tuple[Level, ...] = ("naked", "hidden", "beyond")
PUZZLES = Path(__file__).parent / "puzzles.txt"  # made by this module
COUNT, SEED = 100, 1  # of each level

_CELLS = np.arange(81)
_ROW, _COLUMN = _CELLS // 9, _CELLS % 9
_BOX = _ROW // 3 * 3 + _COLUMN // 3
UNITS = np.stack([np.flatnonzero(of == at) for of in (_ROW, _COLUMN, _BOX) for at in range(9)])
UNITS_OF = np.stack((_ROW, 9 + _COLUMN, 18 + _BOX), 1)  # [81, 3]
_UNITS_OF_CELL: list[list[int]] = UNITS_OF.tolist()
_ALL = 0b111111111
_ALL_DIGITS = _ALL << 1  # where digit d is bit d
_DIGIT = np.zeros(512, np.int64)  # of a set of one
_DIGIT[1 << np.arange(9)] = np.arange(1, 10)
_SIZE = np.array([bin(bits).count("1") for bits in range(512)])


def solve_by_singles(grids: Grid, *, hidden: bool = True) -> Grid:
    """What follows from cells with one digit left and, if `hidden`, units with one place for it.

    grids [N, 81] -> the same with all that is found in turn.
    """
    grids = grids.copy()
    moving = np.arange(len(grids))
    while len(moving):
        now = grids[moving]
        placed = np.where(now > 0, 1 << (now - 1).clip(0), 0)
        used = np.bitwise_or.reduce(placed[:, UNITS], -1)  # [N, 27]
        blank = now == 0
        left = np.where(blank, _ALL & ~np.bitwise_or.reduce(used[:, UNITS_OF], -1), 0)
        found = np.where(_SIZE[left] == 1, left, 0)
        if hidden:
            once = twice = np.zeros_like(used)
            for part in np.moveaxis(left[:, UNITS], -1, 0):
                once, twice = once | part, twice | once & part
            alone = np.bitwise_or.reduce((once & ~twice)[:, UNITS_OF], -1) & left
            found = np.where((found == 0) & (_SIZE[alone] == 1), alone, found)
        grids[moving] = np.where(blank, _DIGIT[found], now)
        moving = moving[(found > 0).any(-1)]
    return grids


def solutions(grid: Grid, rng: np.random.Generator | None = None) -> Iterator[Grid]:
    """Every solution of one grid, by search; in a random order where there is a generator."""
    cells, used = grid.tolist(), [0] * 27
    blanks = [cell for cell in range(81) if not cells[cell]]
    for cell, digit in enumerate(cells):
        for unit in _UNITS_OF_CELL[cell] if digit else ():
            if used[unit] >> digit & 1:
                return
            used[unit] |= 1 << digit

    def search() -> Iterator[Grid]:
        if not blanks:
            yield np.array(cells)
            return
        fewest, best, choice = 10, 0, 0
        for at, cell in enumerate(blanks):
            row, column, box = _UNITS_OF_CELL[cell]
            left = _ALL_DIGITS & ~(used[row] | used[column] | used[box])
            if (size := left.bit_count()) < fewest:
                fewest, best, choice = size, at, left
                if size < 2:
                    break
        if not fewest:
            return
        cell = blanks.pop(best)
        digits = [digit for digit in range(1, 10) if choice >> digit & 1]
        if rng is not None and fewest > 1:
            rng.shuffle(digits)
        for digit in digits:
            cells[cell] = digit
            for unit in _UNITS_OF_CELL[cell]:
                used[unit] ^= 1 << digit
            yield from search()
            for unit in _UNITS_OF_CELL[cell]:
                used[unit] ^= 1 << digit
        cells[cell] = 0
        blanks.insert(best, cell)

    yield from search()


def is_unique(grid: Grid) -> bool:
    found = solutions(grid)
    return next(found, None) is not None and next(found, None) is None


def rectangles(solved: Grid) -> NDArray[np.int64]:
    """How many pairs of rows and of columns hold two digits crosswise: [N, 81] -> [N].

    No symmetry of Sudoku changes this number: renaming digits, swapping rows within a band, bands,
    columns within a stack, stacks, or rows with columns.
    """
    rows = solved.reshape(-1, 9, 9)
    one, two = np.triu_indices(9, 1)
    above, below = rows[:, one], rows[:, two]  # [N, 36, 9]
    crossed = (above[..., one] == below[..., two]) & (above[..., two] == below[..., one])
    return crossed.sum((1, 2))


def solved_grids(count: int, rng: np.random.Generator, *, held_out: bool) -> Grid:
    """Random solved grids [count, 81]: with an odd number of `rectangles` if held out, else an even
    one. So what is held out is no grid of training under any symmetry."""
    found: list[Grid] = []
    while len(found) < count:
        # Three boxes on the diagonal do not see one another, so that they may be anything.
        start = np.zeros((9, 9), np.int64)
        for at in (0, 3, 6):
            start[at : at + 3, at : at + 3] = rng.permutation(9).reshape(3, 3) + 1
        grid = next(solutions(start.ravel(), rng))
        if rectangles(grid[None])[0] % 2 == held_out:
            found.append(grid)
    return np.stack(found)


def reduced(
    solved: Grid, solvable: Callable[[Grid], NDArray[np.bool_]], rng: np.random.Generator
) -> Grid:
    """Takes away given after given in a random order, as long as the puzzle stays solvable.

    solved [N, 81]; `solvable` says it of [M, 81] puzzles.
    """
    puzzles = solved.copy()
    order = rng.permuted(np.broadcast_to(_CELLS, puzzles.shape), axis=1)
    every = np.arange(len(puzzles))
    for cells in order.T:
        tried = puzzles.copy()
        tried[every, cells] = 0
        changed = every[puzzles[every, cells] > 0]
        kept = changed[solvable(tried[changed])] if len(changed) else changed
        puzzles[kept, cells[kept]] = 0
    return puzzles


def by_singles(puzzles: Grid) -> NDArray[np.bool_]:
    return (solve_by_singles(puzzles) > 0).all(-1)


def by_naked_singles(puzzles: Grid) -> NDArray[np.bool_]:
    return (solve_by_singles(puzzles, hidden=False) > 0).all(-1)


def by_search(puzzles: Grid) -> NDArray[np.bool_]:
    """Those with one solution."""
    easy = by_singles(puzzles)
    easy[~easy] = [is_unique(puzzle) for puzzle in puzzles[~easy]]
    return easy


def level_of(puzzle: Grid) -> Level:
    """Of a puzzle with one solution."""
    if by_naked_singles(puzzle[None])[0]:
        return "naked"
    return "hidden" if by_singles(puzzle[None])[0] else "beyond"


_RULES: dict[Level, Callable[[Grid], NDArray[np.bool_]]] = {
    "naked": by_naked_singles,
    "hidden": by_singles,
    "beyond": by_search,
}


def make(level: Level, count: int, seed: int, *, held_out: bool) -> tuple[Grid, Grid]:
    """Puzzles and their solutions [count, 81], each the one solution of its puzzle."""
    rng = np.random.default_rng((seed, LEVELS.index(level), held_out))
    kept: list[tuple[Grid, Grid]] = []
    while len(kept) < count:
        solved = solved_grids(count - len(kept), rng, held_out=held_out)
        puzzles = reduced(solved, _RULES[level], rng)
        kept += [pair for pair in zip(puzzles, solved, strict=True) if level_of(pair[0]) == level]
    return np.stack([pair[0] for pair in kept]), np.stack([pair[1] for pair in kept])


def transformed(grids: list[Grid], rng: np.random.Generator) -> list[Grid]:
    """The rows of some arrays [N, 81], each under a random symmetry, the same in all arrays."""
    count = len(grids[0])
    rows = _shuffled_lines(count, rng)
    columns = _shuffled_lines(count, rng)
    cells = rows[:, :, None] * 9 + columns[:, None, :]  # [N, 9, 9]
    turned = rng.random(count) < 0.5
    cells[turned] = cells[turned].swapaxes(1, 2)
    names = np.zeros((count, 10), np.int64)
    names[:, 1:] = rng.permuted(np.broadcast_to(np.arange(1, 10), (count, 9)), axis=1)
    moved = [np.take_along_axis(each, cells.reshape(count, 81), 1) for each in grids]
    return [np.take_along_axis(names, each, 1) for each in moved]


def _shuffled_lines(count: int, rng: np.random.Generator) -> NDArray[np.int64]:  # [N, 9]
    bands = rng.permuted(np.broadcast_to(np.arange(3), (count, 3)), axis=1)
    lines = rng.permuted(np.broadcast_to(np.arange(3), (count, 3, 3)), axis=2)
    return (bands[:, :, None] * 3 + lines).reshape(count, 9)


def as_text(puzzles: Grid) -> str:
    """A line each, a dot where a cell is blank."""
    return "".join("".join(map(str, row)).replace("0", ".") + "\n" for row in puzzles.tolist())


def from_text(text: str) -> Grid:
    return np.array([[int(each) for each in line.replace(".", "0")] for line in text.split()])


def held_out_puzzles() -> tuple[Grid, Grid, list[Level]]:
    """The benchmark's puzzles and their solutions, [N, 81], and the level of each, in turns."""
    found = from_text(PUZZLES.read_text(encoding="ascii"))
    solved = np.stack([next(solutions(puzzle)) for puzzle in found])
    return found, solved, [LEVELS[at % len(LEVELS)] for at in range(len(found))]


def main() -> None:
    """Writes the file of the benchmark's puzzles; it is the same on every machine."""
    made = [make(level, COUNT, SEED, held_out=True)[0] for level in LEVELS]
    PUZZLES.write_text(as_text(np.stack(made, 1).reshape(-1, 81)), encoding="ascii")


if __name__ == "__main__":
    main()
