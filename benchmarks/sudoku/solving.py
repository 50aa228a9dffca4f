"""Puzzles solved by the engine's loop, and by the autoregressive network digit by digit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from benchmarks.sudoku.network import (
    VOCAB,
    AutoregressiveNetwork,
    CanvasNetwork,
    norm,
)
from benchmarks.sudoku.puzzles import UNITS, UNITS_OF, Grid
from infill_engine.canvas import PINNED, Canvas
from infill_engine.denoise import DenoiseConfig, Denoised, denoise
from infill_engine.early_stop import Progress
from infill_engine.noise import Absorbing
from infill_engine.sampler import EntropyBound
from infill_engine.schedule import Constant
from infill_kernels import row_statistics
from infill_kernels.rows import RowStatistics

MASK = 0
MAX_STEPS = 48
BOUND = 1.0  # nats, chosen on other puzzles than the benchmark's (engine/train/LOG.md)
# Of canvases that are denoised side by side, as one batch: from careful to bold.
BOUNDS = (0.5, 1.0, 1.5, 2.5)


@dataclass(frozen=True, slots=True)
class Consistent:
    """What would be given out breaks no rule of Sudoku. Rows of one puzzle stand together, so many
    `canvases` of each, and all are done when one of them is."""

    canvases: int = 1

    def done(self, progress: Progress) -> Tensor:
        found = is_solved(progress.read).view(-1, self.canvases).any(-1)
        return found.repeat_interleave(self.canvases)


@dataclass(frozen=True, slots=True)
class ConsistentOrDecided:
    """The stop of a canvas whose tokens stay: nothing comes after the last of them."""

    def done(self, progress: Progress) -> Tensor:
        return is_solved(progress.read) | ~progress.undecided.any(-1)


@dataclass(frozen=True, slots=True)
class BoundOfEach:
    """`EntropyBound` with a bound of its own for each of a puzzle's canvases."""

    bounds: tuple[float, ...]

    def accept(self, stats: RowStatistics, open_cells: Tensor, quota: Tensor) -> Tensor:
        accepted = torch.empty_like(open_cells)
        for at, bound in enumerate(self.bounds):
            rows = slice(at, None, len(self.bounds))
            own = RowStatistics(*(each[rows] for each in stats))
            accepted[rows] = EntropyBound(bound=bound).accept(own, open_cells[rows], quota[rows])
        return accepted


SELF_CORRECTING = DenoiseConfig(
    max_denoising_steps=MAX_STEPS,
    noise=Absorbing(mask_id=MASK, correction=0.9, doubt=0.3),
    sampler=EntropyBound(bound=BOUND),
    schedule=Constant(),
    early_stop=Consistent(),
)
# What is accepted stays, whatever the model says of it later.
LOCKED = replace(
    SELF_CORRECTING,
    noise=Absorbing(mask_id=MASK, correction=2.0),
    early_stop=ConsistentOrDecided(),
)
SIDE_BY_SIDE = replace(
    SELF_CORRECTING, sampler=BoundOfEach(BOUNDS), early_stop=Consistent(len(BOUNDS))
)


class SudokuDenoiser:
    """A canvas network as the loop's `Stepper`; the puzzle is pinned cells of the canvas."""

    def __init__(self, network: CanvasNetwork) -> None:
        self._network = network

    def step(
        self,
        canvas: Canvas,
        memory: None,
        state: None,
        *,
        temperature: float,
        generator: torch.Generator,
    ) -> tuple[RowStatistics, None]:
        ids, free = canvas.token_ids, canvas.free
        logits = torch.zeros(*ids.shape, VOCAB)
        going = slice(None) if canvas.done is None else ~canvas.done
        with torch.inference_mode():
            logits[going, :, 1:] = self._network(ids[going], free[going])[-1]
        logits[..., MASK] = -torch.inf
        return row_statistics(logits, temperature=temperature, generator=generator), None


@dataclass(frozen=True, slots=True)
class Solved:
    """digits [N, 81] int64; steps [N], forward passes; frames, the canvases after each step."""

    digits: Tensor
    steps: Tensor
    frames: Sequence[Denoised] = ()


def is_solved(digits: Tensor) -> Tensor:
    """Whether every unit has every digit: [N, 81] -> [N] bool."""
    units = digits[:, torch.from_numpy(UNITS)].sort(-1).values
    return (units == torch.arange(1, 10)).all(-1).all(-1)


def canvas_of(puzzles: Grid) -> Canvas:  # puzzles [N, 81]
    ids = torch.from_numpy(puzzles)
    return Canvas(token_ids=ids, hole=torch.where(ids > 0, PINNED, 0))


def by_denoising(
    network: CanvasNetwork, puzzles: Grid, config: DenoiseConfig = SELF_CORRECTING
) -> Solved:
    frames = list(_run(network, puzzles, config))
    return Solved(frames[-1].token_ids, _steps(frames), frames)


def side_by_side(network: CanvasNetwork, puzzles: Grid) -> Solved:
    """A canvas for each of BOUNDS as one batch; the first that breaks no rule is the answer, and
    the most careful one where there is none. A step is a pass over all of them."""
    count = len(BOUNDS)
    frames = list(_run(network, puzzles.repeat(count, 0), SIDE_BY_SIDE))
    last = frames[-1].token_ids
    first = is_solved(last).view(-1, count).int().argmax(-1)
    rows = torch.arange(len(puzzles)) * count
    return Solved(last[rows + first], _steps(frames)[rows])


def _run(network: CanvasNetwork, puzzles: Grid, config: DenoiseConfig) -> Iterator[Denoised]:
    """Greedy, so that nothing is drawn from the generator."""
    canvas, generator = canvas_of(puzzles), torch.Generator().manual_seed(0)
    return denoise(canvas, SudokuDenoiser(network), None, config, generator=generator)


def _steps(frames: Sequence[Denoised]) -> Tensor:
    """Of each row, [N]."""
    return 1 + sum((~frame.converged).long() for frame in frames[:-1])


@torch.inference_mode()
def by_writing(network: AutoregressiveNetwork, puzzles: Grid) -> Solved:
    """The likeliest digit of cell after cell; a given is what it is. Keys and values are kept."""
    puzzle = torch.from_numpy(puzzles)
    blocks = [block for _ in range(network.config.passes) for block in network.blocks]
    memory = network.read(puzzle)
    kept = [torch.zeros_like(each) for each in memory]
    digits = puzzle.clone()
    said = torch.zeros(len(puzzle), dtype=torch.int64)
    units, units_of = torch.from_numpy(UNITS), torch.from_numpy(UNITS_OF)
    kinds = torch.arange(3)[:, None]
    for cell in range(81):
        y = network.embed(said) + network.role.weight[1]
        cells = units[units_of[cell]]  # [3, 9]
        unseen = torch.where(cells < cell, 0.0, -torch.inf)[:, None]
        for block, read, own in zip(blocks, memory, kept, strict=True):
            query, key, value = block.qkv(norm(y)).unflatten(-1, (3, 3, block.heads, -1)).unbind(1)
            if cell:
                own[:, :, cell - 1] = torch.stack((key, value))
            # [2, B, 3, 9, H, E]: keys and values of the units' cells, as givens and as digits
            both = torch.cat((read[:, :, cells, kinds], own[:, :, cells, kinds]), 3)
            keys, values = both.transpose(3, 4)
            scores = (query[..., None, :] @ keys.mT)[..., 0, :] * query.shape[-1] ** -0.5
            scores[..., 9:] += unseen
            attended = (scores.softmax(-1)[..., None, :] @ values)[..., 0, :]
            y = block.mlp(y + block.out(attended.flatten(1)))
        best = network.logits(y).argmax(-1) + 1
        said = digits[:, cell] = torch.where(puzzle[:, cell] > 0, puzzle[:, cell], best)
    return Solved(digits, (puzzle == 0).sum(-1))


def untrained(network: CanvasNetwork) -> CanvasNetwork:
    """The same network with fresh random weights."""
    torch.manual_seed(0)
    fresh = CanvasNetwork(network.config)
    nn.init.normal_(fresh.head.weight, std=network.config.d_model**-0.5)
    return fresh.eval()
