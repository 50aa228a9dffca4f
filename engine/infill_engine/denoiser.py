"""What the engine asks of a model. The engine and the loop do not know which one they run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from infill_engine.arrays import Generator
from infill_engine.budget import UNLIMITED, Budget
from infill_engine.canvas import Canvas
from infill_engine.denoise import DenoiseConfig
from infill_engine.request import EngineInfo, InfillRequest
from infill_kernels.rows import RowStatistics

MemoryT = TypeVar("MemoryT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Both sides of the hole as the model reads them, in reading order.

    `healed_prefix` is the text of the last prefix token when it was taken back, so that the hole's
    first token may continue it; a hole's text then starts with it. It is whole characters of UTF-8.
    """

    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    healed_prefix: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Mean log-probabilities, nats per token: of a middle, and of the suffix's head after it."""

    likelihood: float
    join: float


class Denoiser(Protocol[MemoryT]):
    """A model over token ids, with a memory of the encoded sides.

    `MemoryT` is the model's own cache of one place in one text; the engine keeps a few of them and
    hands back the one that fits best.
    """

    def describe(self) -> EngineInfo: ...

    def decode(self, ids: list[int]) -> bytes:
        """The text of ids as UTF-8, perhaps cut within a character at either end."""
        ...

    def tokens(self, text: str) -> list[int]:
        """The ids of pinned text within the middle."""
        ...

    def middle(self, text: str, sides: Sides) -> list[int]:
        """The ids of a text in the hole, what was taken back of the prefix included."""
        ...

    def sides(self, request: InfillRequest) -> Sides:
        """Windows, neighbours, sentinels and healing, for a request whose middle is one hole."""
        ...

    def reusable(self, memory: MemoryT, sides: Sides) -> int:
        """How many tokens of `memory` still hold for these sides."""
        ...

    def encode(
        self, sides: Sides, memory: MemoryT | None, *, budget: Budget = UNLIMITED
    ) -> MemoryT:
        """Keys and values of both sides; reuses, and may overwrite, what is in `memory`.

        Stops within a chunk once the budget is over; what it returns is then only good for reuse.
        """
        ...

    def holds(self, memory: MemoryT, sides: Sides) -> bool:
        """Whether all of these sides is encoded in `memory`."""
        ...

    def hole_lengths(self, request: InfillRequest) -> tuple[int, ...]:
        """Hole lengths to denoise as one batch for a single hole of unknown length."""
        ...

    def canvas(
        self,
        middle: Sequence[Sequence[int] | int],
        hole_lengths: Sequence[int],
        sides: Sides,
        request: InfillRequest,
    ) -> Canvas:
        """One row per hole length; in `middle`, 0 is a hole that takes the row's length."""
        ...

    def proposals(
        self,
        sides: Sides,
        request: InfillRequest,
        memory: MemoryT | None,
        most: int,
        *,
        budget: Budget = UNLIMITED,
    ) -> dict[tuple[int, ...], float]:
        """Whole middles for a single hole, to be ranked with what is denoised, and for each the
        logarithm of how likely it is whatever its scores say; those that continue the prefix have
        at most `most` tokens.

        `memory` may be asked, where it is given, and is left as it was. Ends within one forward
        pass of the budget's end, with the proposals that are whole by then.
        """
        ...

    def config(self, canvas: Canvas, request: InfillRequest, sides: Sides) -> DenoiseConfig:
        """Noise, sampler, schedule, stop and step cap that suit the canvas."""
        ...

    def step(
        self,
        canvas: Canvas,
        memory: MemoryT,
        state: object,
        *,
        temperature: float,
        generator: Generator,
    ) -> tuple[RowStatistics, object]:
        """One forward pass: statistics [B, T] of every cell; `state` is None at the first step."""
        ...

    def score(self, memory: MemoryT, sides: Sides, rows: Sequence[Sequence[int]]) -> list[Scored]:
        """How likely the model finds each middle after the prefix, and the suffix after it.

        One forward pass.
        """
        ...
