"""The last suggestions, served again while the user types through them or deletes back.

A suggestion is kept under the text around its place, not under a version: an edit far away leaves
it valid, and so does typing what it says, which leaves its rest. Belongs to the event loop.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from infill_ls.completion.worker import Ask, Limits
from infill_ls.documents import Document

if TYPE_CHECKING:
    from infill_ls.completion.candidate import Candidate

MAX_ENTRIES = 250
MAX_SECONDS = 300.0
# So much text on either side makes the place: enough that no other place in a file is taken for it.
PREFIX_WINDOW = 1000
SUFFIX_WINDOW = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where typing through leads back to: everything but the text before the cursor."""

    uri: str
    limits: Limits
    suffix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    candidates: "tuple[Candidate, ...]"
    selected: str
    until: float

    @property
    def reach(self) -> int:
        """How many characters of the document can have been typed through it, CRLF included."""
        texts = (candidate.text for candidate in self.candidates)
        return max((len(text) + text.count("\n") for text in texts), default=0)


class Reuse:
    """At most 250 suggestions of the last five minutes, the least recently used dropped first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._places: dict[_Place, dict[str, _Entry]] = {}
        self._used: OrderedDict[tuple[_Place, str], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._used)

    def remember(self, ask: Ask, candidates: "tuple[Candidate, ...]") -> None:
        """Having found nothing is worth remembering too: the model would say it again."""
        place, before = _place(ask), _before(ask.document, ask.offset)
        entry = _Entry(
            candidates=candidates, selected=ask.selected, until=self._clock() + MAX_SECONDS
        )
        self._places.setdefault(place, {})[before] = entry
        self._touch(place, before)
        if len(self._used) > MAX_ENTRIES:
            self._drop(*next(iter(self._used)))

    def recall(self, ask: Ask) -> "tuple[Candidate, ...] | None":
        """What is left of a suggestion made here or a few typed characters ago; None if unknown."""
        place = _place(ask)
        for before in [b for b, e in self._entries(place).items() if e.until < self._clock()]:
            self._drop(place, before)
        entries = self._entries(place)
        reach = max((entry.reach for entry in entries.values()), default=0)
        for num_typed in range(min(reach, ask.offset) + 1 if entries else 0):
            before = _before(ask.document, ask.offset - num_typed)
            entry = entries.get(before)
            if entry is None:
                continue
            typed = lf(ask.document.text[ask.offset - num_typed : ask.offset])
            rest = _rest(entry, typed, ask.selected)
            if rest or (not typed and not entry.candidates and entry.selected == ask.selected):
                self._touch(place, before)
                return rest
        return None

    def forget(self, uri: str) -> None:
        for place, before in [key for key in self._used if key[0].uri == uri]:
            self._drop(place, before)

    def clear(self) -> None:
        self._places.clear()
        self._used.clear()

    def _entries(self, place: _Place) -> dict[str, _Entry]:
        return self._places.get(place, {})

    def _touch(self, place: _Place, before: str) -> None:
        self._used[place, before] = None
        self._used.move_to_end((place, before))

    def _drop(self, place: _Place, before: str) -> None:
        del self._used[place, before]
        del self._places[place][before]
        if not self._places[place]:
            del self._places[place]


def lf(text: str) -> str:
    """Document text as the engine and its candidates have it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def typed_since(ask: Ask, document: Document) -> str | None:
    """What was inserted at the asked place, if nothing else changed; None otherwise."""
    old, new = ask.document.text, document.text
    if old is new:
        return ""
    end = ask.offset + len(new) - len(old)
    if end < ask.offset or old[ask.offset :] != new[end:] or old[: ask.offset] != new[: ask.offset]:
        return None
    return lf(new[ask.offset : end])


def _rest(entry: _Entry, typed: str, selected: str) -> "tuple[Candidate, ...]":
    """The candidates that say what was typed and what the menu selects, less what was typed.

    A suggestion that the menu forced is of use for that selection alone.
    """
    if entry.selected not in ("", typed + selected):
        return ()
    return tuple(
        replace(candidate, text=candidate.text[len(typed) :])
        for candidate in entry.candidates
        if candidate.text.startswith(typed + selected) and len(candidate.text) > len(typed)
    )


def _place(ask: Ask) -> _Place:
    after = ask.document.text[ask.offset : ask.offset + SUFFIX_WINDOW]
    return _Place(uri=ask.document.uri, limits=ask.limits, suffix=after)


def _before(document: Document, offset: int) -> str:
    return document.text[max(offset - PREFIX_WINDOW, 0) : offset]
