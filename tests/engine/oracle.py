"""Denoisers of a stated property, over ids that are characters: OFFSET + code point

`Oracle` knows the text of every hole and grows surer of a cell the more of its neighbours are
right. `Exact` gives the true conditionals of a joint distribution. Neither has weights.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.canvas import Canvas, lay_out
from infill_engine.config import EngineConfig
from infill_engine.denoise import DenoiseConfig
from infill_engine.denoiser import Scored, Sides
from infill_engine.early_stop import Chained, Decided, TokenStability
from infill_engine.noise import Absorbing
from infill_engine.request import EngineInfo, InfillRequest
from infill_engine.sampler import EntropyBound
from infill_engine.schedule import Constant
from infill_kernels import row_statistics
from infill_kernels.rows import RowStatistics

END, MASK, VOCAB = 4, 1, 140
OFFSET = 10


def ids(text: str) -> list[int]:
    return [OFFSET + ord(c) for c in text]


def letters(tokens: Sequence[int]) -> bytes:
    return bytes(t - OFFSET for t in tokens if t >= OFFSET)


@dataclass
class Oracle:
    """Always knows what is missing: the text of hole n of `fills` that follows what is committed.

    Counts its calls, and remembers the sides it encoded last.
    """

    fills: Sequence[str]
    lengths: tuple[int, ...] = (8,)
    canvas_lengths: tuple[int, ...] = (8, 16)
    max_tokens: int = 64
    likelihood: float = -0.1
    guessed: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0
    encoded: list[Sides] = field(default_factory=list)
    on_step: Callable[[], None] = lambda: None
    config_: DenoiseConfig = field(
        default_factory=lambda: DenoiseConfig(
            max_denoising_steps=8,
            noise=Absorbing(mask_id=MASK),
            sampler=EntropyBound(bound=0.1),
            schedule=Constant(),
            early_stop=Chained((Decided(), TokenStability())),
        )
    )

    def describe(self) -> EngineInfo:
        return EngineInfo(
            model="oracle", parameters=0, device="cpu", dtype="float32", threads=1,
            canvas_lengths=self.canvas_lengths, max_tokens=self.max_tokens, prefix_tokens=1000,
            suffix_tokens=1000, noise="absorbing", source="tests",
        )  # fmt: skip

    def decode(self, tokens: list[int]) -> bytes:
        return letters(tokens)

    def tokens(self, text: str) -> list[int]:
        return ids(text)

    def middle(self, text: str, sides: Sides) -> list[int]:
        return ids(text)

    def sides(self, request: InfillRequest) -> Sides:
        return Sides(prefix_ids=tuple(ids(request.prefix)), suffix_ids=tuple(ids(request.suffix)))

    def reusable(self, memory: Sides, sides: Sides) -> int:
        return 0

    def encode(self, sides: Sides, memory: Sides | None, *, budget: Budget = UNLIMITED) -> Sides:
        if not self.encoded:
            self.start = len(sides.prefix_ids)
        self.encoded.append(sides)
        return sides

    def holds(self, memory: Sides, sides: Sides) -> bool:
        return memory == sides

    def hole_lengths(self, request: InfillRequest) -> tuple[int, ...]:
        return self.lengths

    def proposals(
        self,
        sides: Sides,
        request: InfillRequest,
        memory: Sides | None,
        most: int,
        *,
        budget: Budget = UNLIMITED,
    ) -> dict[tuple[int, ...], float]:
        return {tuple(ids(text)[:most]): worth for text, worth in self.guessed.items()}

    def canvas(
        self,
        middle: Sequence[Sequence[int] | int],
        hole_lengths: Sequence[int],
        sides: Sides,
        request: InfillRequest,
    ) -> Canvas:
        templates = [[part or n for part in middle] for n in hole_lengths]
        cells = [sum(p if isinstance(p, int) else len(p) for p in row) for row in templates]
        length = next(n for n in self.canvas_lengths if n >= max(cells))
        rows = [lay_out(row, canvas_length=length, end_id=END) for row in templates]
        ends = torch.zeros(VOCAB, dtype=torch.bool)
        ends[END] = True
        return Canvas(
            token_ids=torch.tensor([row for row, _ in rows]),
            hole=torch.tensor([hole for _, hole in rows]),
            ends=ends,
            end_id=END,
        )

    def config(self, canvas: Canvas, request: InfillRequest, sides: Sides) -> DenoiseConfig:
        return self.config_

    def step(
        self, canvas: Canvas, memory: Sides, state: object, *, temperature: float,
        generator: torch.Generator,
    ) -> tuple[RowStatistics, object]:  # fmt: skip
        self.steps += 1
        self.on_step()
        done = len(memory.prefix_ids) - self.start
        logits = torch.zeros(*canvas.token_ids.shape, VOCAB)
        for row, holes in enumerate(canvas.hole.tolist()):
            truth = [ids(fill[done:] if n == 0 else fill) for n, fill in enumerate(self.fills)]
            seen = [0] * len(self.fills)
            for cell, hole in enumerate(holes):
                if hole < 0:
                    continue
                at, seen[hole] = seen[hole], seen[hole] + 1
                target = truth[hole][at] if at < len(truth[hole]) else END
                settled = (canvas.token_ids[row] != MASK).float().mean()
                logits[row, cell, target] = 6.0 + 6.0 * settled - 0.1 * at
        return row_statistics(logits, temperature=temperature, generator=generator), None

    def score(self, memory: Sides, sides: Sides, rows: Sequence[Sequence[int]]) -> list[Scored]:
        """Rows that are the truth, or as much of it as they hold, join; the others do not."""
        wanted = self.fills[0]
        return [
            Scored(
                likelihood=self.likelihood, join=-0.1 if letters(row).decode() == wanted else -5.0
            )
            for row in rows
        ]


@dataclass
class Exact:
    """The true conditionals of `joint`, shape [V] * T, given the cells that are not MASK = V."""

    joint: Tensor

    def step(
        self, canvas: Canvas, memory: object, state: object, *, temperature: float,
        generator: torch.Generator,
    ) -> tuple[RowStatistics, object]:  # fmt: skip
        vocab, length = self.joint.shape[0], self.joint.dim()
        rows = []
        for row in canvas.token_ids.tolist():
            table = self.joint
            for axis, token in enumerate(row):
                if token != vocab:
                    keep = torch.zeros(vocab)
                    keep[token] = 1
                    table = table * keep.view([-1 if a == axis else 1 for a in range(length)])
            cells = [
                table.sum([a for a in range(length) if a != cell]) / table.sum()
                for cell in range(length)
            ]
            rows.append(torch.stack(cells))
        logits = torch.stack(rows).clamp(min=1e-30).log()
        return row_statistics(logits, temperature=temperature, generator=generator), None


CONFIG = EngineConfig()
