"""The last suggestions, served again while the user types through them or deletes back.

A suggestion is kept under the text around its place, not under a version: an edit far away leaves
it valid, and so does typing what it says, which leaves its rest. Belongs to the event loop.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from infill_ls.completion.worker import Query, QueryLimits
from infill_ls.documents import Document

if TYPE_CHECKING:
    from infill_ls.completion.candidate import Candidate

MAX_ENTRIES = 250
MAX_SECONDS = 300.0
# How likely it is at least that something is right which nobody thought of, and that this has a
# character that is typed.
ELSE, SAYS_IT = 0.1, 0.6
# Where the likeliest text is less likely than that, it hardly gets likely enough with the next
# characters of a word, so many of them, or some that begin another one.
UNLIKELY, IN_WORD, ELSEWHERE = 0.05, 3, 2
_WITHIN_WORD = re.compile(r"\w\w\Z")
# So much text on either side makes the place: enough that no other place in a file is taken for it.
PREFIX_WINDOW = 1000
SUFFIX_WINDOW = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReuseKey:
    """Where typing through leads back to: everything but the text before the cursor."""

    document: str
    limits: QueryLimits
    suffix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    candidates: "tuple[Candidate, ...]"
    selected: str
    until: float
    best: float
    held: "tuple[Candidate, ...]" = ()

    @property
    def reach(self) -> int:
        """How many characters of the document can have been typed through it, CRLF included."""
        texts = (candidate.text for candidate in (*self.candidates, *self.held))
        return max((len(text) + text.count("\n") for text in texts), default=0)


class Reuse:
    """At most 250 suggestions of the last five minutes, the least recently used dropped first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries_by_key: dict[_ReuseKey, dict[str, _Entry]] = {}
        self._used: OrderedDict[tuple[_ReuseKey, str], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._used)

    def remember(
        self, query: Query, candidates: "tuple[Candidate, ...]", best: float = 1.0
    ) -> None:
        """Having found nothing is worth remembering too: the model would say it again. `best` is
        how likely the likeliest of all texts is, shown or not."""
        key, before = _reuse_key(query), _before(query.document, query.offset)
        entry = _Entry(
            candidates=_alone(candidates),
            selected=query.selected,
            until=self._clock() + MAX_SECONDS,
            best=best,
        )
        self._entries_by_key.setdefault(key, {})[before] = entry
        self._touch(key, before)
        if len(self._used) > MAX_ENTRIES:
            self._drop(*next(iter(self._used)))

    def hold(self, query: Query, held: "tuple[Candidate, ...]") -> None:
        """What else is right where something is remembered."""
        entries = self._entries(_reuse_key(query))
        before = _before(query.document, query.offset)
        if before in entries:
            entries[before] = replace(entries[before], held=_alone(held))

    def find(self, query: Query) -> "tuple[Candidate, ...] | None":
        """What is left of a suggestion made here or a few typed characters ago; None if unknown.
        Nothing, where it is not worth looking again yet."""
        key = _reuse_key(query)
        for before in [b for b, e in self._entries(key).items() if e.until < self._clock()]:
            self._drop(key, before)
        entries = self._entries(key)
        reach = max((entry.reach for entry in entries.values()), default=0)
        newer = False  # what was found out later knows more of what is typed
        for num_typed in range(min(reach, query.offset) + 1 if entries else 0):
            before = _before(query.document, query.offset - num_typed)
            entry = entries.get(before)
            if entry is None:
                continue
            typed = lf(query.document.text[query.offset - num_typed : query.offset])
            rest = _rest(entry, typed, query.selected)
            if not (rest or newer or query.selected):
                rest = _spoken_for(entry, typed)
            newer = True
            if rest or (not typed and not entry.candidates and entry.selected == query.selected):
                self._touch(key, before)
                return rest
        return () if _unlikely(entries, query) else None

    def forget(self, document: str) -> None:
        for key, before in [key for key in self._used if key[0].document == document]:
            self._drop(key, before)

    def clear(self) -> None:
        self._entries_by_key.clear()
        self._used.clear()

    def _entries(self, key: _ReuseKey) -> dict[str, _Entry]:
        return self._entries_by_key.get(key, {})

    def _touch(self, key: _ReuseKey, before: str) -> None:
        self._used[key, before] = None
        self._used.move_to_end((key, before))

    def _drop(self, key: _ReuseKey, before: str) -> None:
        del self._used[key, before]
        del self._entries_by_key[key][before]
        if not self._entries_by_key[key]:
            del self._entries_by_key[key]


def lf(text: str) -> str:
    """Document text as the engine and its candidates have it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def typed_since(query: Query, document: Document) -> str | None:
    """What was inserted at the asked place, if nothing else changed; None otherwise."""
    old, new, start = query.document.text, document.text, query.offset
    if old is new:
        return ""
    end = start + len(new) - len(old)
    if end < start or old[start:] != new[end:] or old[:start] != new[:start]:
        return None
    return lf(new[start:end])


def _alone(candidates: "tuple[Candidate, ...]") -> "tuple[Candidate, ...]":
    """Without how they came to be: of hundreds of them that would be megabytes."""
    return tuple(
        replace(each, draft=replace(each.draft, cells=(), others=())) for each in candidates
    )


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


def _spoken_for(entry: _Entry, typed: str) -> "tuple[Candidate, ...]":
    """The likeliest of what was held back, once what was typed makes it likely enough: by Bayes'
    rule over all that was looked at, and something else."""
    if not typed or entry.selected:
        return ()
    every = (*entry.candidates, *entry.held)
    fits = [each for each in entry.held if each.text.startswith(typed) and each.text != typed]
    if not fits:
        return ()
    best = max(fits, key=lambda candidate: candidate.score)
    told = sum(each.score for each in every if each.text.startswith(typed))
    else_ = max(1.0 - sum(each.score for each in every), ELSE) * SAYS_IT ** len(typed)
    score = best.score / (told + else_)
    if score < best.least:
        return ()
    return (replace(best, text=best.text[len(typed) :], score=score),)


def _unlikely(entries: dict[str, _Entry], query: Query) -> bool:
    """Whether nothing was likely a few characters ago, so that nothing will be now. Not where a
    line begins, and not where somebody asks."""
    if query.limits.min_confidence == 0 or query.selected:
        return False
    text = query.document.text
    line = text[text.rfind("\n", 0, query.offset) + 1 : query.offset]
    most = IN_WORD if _WITHIN_WORD.search(line) else ELSEWHERE
    for num_typed in range(1, most + 1):
        entry = entries.get(_before(query.document, query.offset - num_typed))
        if entry is not None:
            return bool(line.strip()) and not entry.selected and entry.best < UNLIKELY
    return False


def _reuse_key(query: Query) -> _ReuseKey:
    after = query.document.text[query.offset : query.offset + SUFFIX_WINDOW]
    return _ReuseKey(document=query.document.uri, limits=query.limits, suffix=after)


def _before(document: Document, offset: int) -> str:
    return document.text[max(offset - PREFIX_WINDOW, 0) : offset]
