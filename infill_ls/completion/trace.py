"""What the pipeline did for one answer, in its order, for whoever asks why."""

from dataclasses import dataclass, field
from typing import Literal

from infill_engine.request import Draft, EngineInfo, InfillRequest
from infill_ls.completion.context import Context

How = Literal["said", "checked", "renoised", "cut back", "head"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A look at one text: as the engine `said` it, trimmed; as it was `checked` in the file,
    `renoised` or `cut back`, or a beginning of it, a `head`. `text` is what would go in,
    `why` it may not, "" where it may."""

    draft: Draft
    how: How
    text: str
    score: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A beginning that decided: how probable it is, and how probable it has to be; the drafts that
    begin so. `why` it may not be shown, "" where it may."""

    text: str
    score: float
    least: float
    drafts: tuple[Draft, ...]
    why: str


@dataclass(slots=True, kw_only=True)
class Trace:
    """`runs` has the drafts of each run of the engine, the first one's and those that renoise;
    `weighed` the beginnings that decided, where nobody asked; `info` is what the engine says of
    itself after them."""

    context: Context | None = None
    request: InfillRequest | None = None
    runs: list[list[Draft]] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    weighed: list[Weighed] = field(default_factory=list)
    info: EngineInfo | None = None

    def look(self, how: How, draft: Draft, text: str, score: float, why: str) -> None:
        self.looks.append(Look(draft=draft, how=how, text=text, score=score, why=why))
