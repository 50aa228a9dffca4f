"""Several holes of one text: those near one another jointly on a canvas, canvas after canvas.

Each canvas sees what was settled before it, and what stands in for the holes behind it. Works on
any engine, by its public face alone.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from infill_engine import UNLIMITED, Budget, Draft, Engine, Hole, InfillRequest, RequestError
from infill_ls.completion.steps import Steps
from infill_ls.completion.structures.json_text import HOLE

# Of pinned text, fewer than a tokenizer makes of code and JSON: a canvas that is too full fails.
_CHARACTERS_PER_TOKEN = 2.0
_PIN_TOKENS = 1
# So much of both sides reaches the engine, which has its own windows.
_PREFIX, _SUFFIX = 24_000, 12_000
_EMPTY = re.compile(r"\s*(?:\[\s*\]|\{\s*\}|\(\s*\)|([\"'`])\1)\s*")  # lists, texts and their like

Settle = Callable[[int, str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A hole, and what stands there until it is filled, or where it is not."""

    hole: Hole
    stand_in: str


Part = str | Gap


def is_value(text: str) -> bool:
    """Whether a text may stand for a value: it has a letter or a digit, or is an empty one. What is
    underscores alone, or has the mark in it, leaves the hole as open as it was."""
    if HOLE in text:
        return False
    return any(map(str.isalnum, text)) or _EMPTY.fullmatch(text) is not None


def filled(
    engine: Engine,
    parts: Sequence[Part],
    settle: Settle,
    *,
    request: InfillRequest,
    budget: Budget = UNLIMITED,
    watch: Callable[[Draft], None] | None = None,
) -> Steps[list[str]]:
    """A text for each gap: what `settle` makes of its number and of what the engine says there. A
    canvas is a step.

    `request` has all but prefix, suffix and middle. Once the budget is over the other gaps keep
    what stands in.
    """
    gaps = [at for at, part in enumerate(parts) if isinstance(part, Gap)]
    texts = [_stand_in(part) for part in parts]
    numbers = {at: number for number, at in enumerate(gaps)}
    room = max(engine.describe().canvas_lengths, default=64)
    waiting = list(_canvases(parts, gaps, room))
    while waiting and not budget.over:
        canvas = waiting.pop(0)
        first, last = canvas[0], canvas[-1]
        middle = tuple(_as_middle(part) for part in parts[first : last + 1])
        asked = replace(
            request,
            prefix="".join(texts[:first])[-_PREFIX:],
            suffix="".join(texts[last + 1 :])[:_SUFFIX],
            middle=tuple(part for part in middle if part != ""),
        )
        try:
            draft = _last(engine, asked, budget, watch)
        except RequestError:  # its tokens are more than were thought
            if len(canvas) == 1:
                raise
            waiting[:0] = [canvas[: len(canvas) // 2], canvas[len(canvas) // 2 :]]
            continue
        said = draft.fills if draft is not None else ("",) * len(canvas)
        for at, proposal in zip(canvas, said, strict=True):
            texts[at] = settle(numbers[at], proposal)
        yield
    return [texts[at] for at in gaps]


def _stand_in(part: Part) -> str:
    return part if isinstance(part, str) else part.stand_in


def _as_middle(part: Part) -> str | Hole:
    return part if isinstance(part, str) else part.hole


def _last(
    engine: Engine,
    request: InfillRequest,
    budget: Budget,
    watch: Callable[[Draft], None] | None,
) -> Draft | None:
    last = None
    for last in engine.infill(request, budget=budget):
        if watch is not None:
            watch(last)
    return last


def _canvases(parts: Sequence[Part], gaps: Sequence[int], room: int) -> Iterator[list[int]]:
    """The gaps in order, as many at a time as a canvas has cells for, with what is between."""
    canvas: list[int] = []
    cells = 0
    for at in gaps:
        part = parts[at]
        assert isinstance(part, Gap), "the places of gaps"
        own = part.hole.max_tokens or room // 2
        between = 0
        for pinned in parts[canvas[-1] + 1 : at] if canvas else ():
            assert isinstance(pinned, str), "between two gaps in order there is text alone"
            between += _PIN_TOKENS + int(len(pinned) / _CHARACTERS_PER_TOKEN)
        if canvas and cells + between + own > room:
            yield canvas
            canvas, cells, between = [], 0, 0
        canvas.append(at)
        cells += between + own
    if canvas:
        yield canvas
