"""What the engine asks of a judge: an autoregressive language model over text."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from infill_engine.budget import Budget
from infill_engine.judge.calibration import Calibration
from infill_engine.request import InfillRequest

# Gives what may follow what was said so far, the likeliest first; whole middles of "".
Drafts = Callable[[str], Iterable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeInfo:
    """What judges, for `doctor` and logs. `token_ms` is what a token cost when it was loaded."""

    name: str
    parameters: int
    dtype: str
    source: str
    kernels: str
    token_ms: float
    calibration: Calibration

    @property
    def sentence(self) -> str:
        size = f"{self.parameters / 1e6:.0f} M parameters"
        return f"{self.name}: {size}, {self.dtype}, {self.token_ms:.1f} ms a token"


# Behind a middle that ends its line other lines may be missing, and often are where somebody
# writes: that costs so many nats, however little what follows them fits. That the line ends with
# the middle is another matter.
BETWEEN = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Of a middle, in nats: its log-probability behind the prefix, and that of what follows the
    hole behind both, by `behind_line` where the middle is to end its line.

    What follows is read up to so many `tokens`, more of the best middles than of others.
    """

    middle: float
    suffix: float
    tokens: int

    @property
    def both(self) -> float:
        return self.middle + self.suffix


def ends_line(suffix: str) -> bool:
    """Whether nothing follows the hole on its line."""
    return not suffix.partition("\n")[0].strip()


def behind_line(suffix: float, ends: float) -> float:
    """The log-probability of what follows a line, lines that are missing in between included, of
    that of what follows at once (0 where nothing does) and that of the line's end."""
    return ends + max(min(suffix - ends, 0.0), -BETWEEN) if suffix else ends


class Reading(Protocol):
    """A judge that has read the prefix of a request. Holds until the judge reads another."""

    @property
    def calibration(self) -> Calibration: ...

    @property
    def prefix_tokens(self) -> int:
        """How many tokens were read."""
        ...

    @property
    def whole(self) -> bool:
        """Whether all was read that is worth it, however long that takes."""
        ...

    def ahead(self, budget: Budget) -> None:
        """Reads what `continuations` will want, while nobody waits: the next reading of the same
        prefix has it."""
        ...

    def continuations(self, drafts: Drafts, budget: Budget) -> list[str]:
        """How the judge itself would go on to the end of the line, the likeliest text first. Where
        a pass takes long, it verifies drafts instead of writing token by token."""
        ...

    def aside(self, budget: Budget) -> list[str]:
        """Heads of other texts than its continuations, the likeliest first: each may be how
        another judge goes on, which verifies them."""
        ...

    def further(self, middle: str, lines: int, budget: Budget) -> list[str]:
        """A middle that ends its line, with up to so many lines more as the judge would go on with
        them: all that it grows to, the shortest first. Where it can tell beforehand, none that is
        rather wrong than right."""
        ...

    def judge(
        self, middles: Sequence[str], priors: Sequence[float], budget: Budget
    ) -> list[Judgement | None]:
        """Of each middle; None of those that the budget was too short for. The best get the closest
        look, with what is known of them beforehand: nats in their favour."""
        ...


class Judge(Protocol):
    def describe(self) -> JudgeInfo: ...

    def read(self, request: InfillRequest, budget: Budget) -> Reading | None:
        """Reads the prefix: all that is worth it where the budget has no end, else what there is
        time for; None where that is too little, and what was read is kept for the next time."""
        ...

    def forget(self) -> None:
        """Drops the prefixes that were read."""
        ...
