"""The last suggestions, served again while the user types through them or deletes back.

A suggestion is kept under the text around its place, not under a version: an edit far away leaves
it valid, and so does typing what it says, which leaves its rest. Belongs to the event loop.
"""

import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from infill_ls.completion.openings import Openings
from infill_ls.completion.surroundings import Gone, any_gone
from infill_ls.completion.worker import Query, QueryLimits
from infill_ls.documents import Document
from infill_ls.syntax.language import language_of

if TYPE_CHECKING:
    from infill_ls.completion.candidate import Candidate

MAX_ENTRIES = 250
MAX_SECONDS = 300.0
# How likely it is at least that something is right which nobody thought of, and that this has a
# character that is typed.
ELSE, SAYS_IT = 0.1, 0.75
# Where no beginning of a text is as likely as that, it hardly gets likely enough with the next
# characters of a word, so many of them, or some that begin another one.
UNLIKELY, IN_WORD, ELSEWHERE = 0.55, 3, 2
_WITHIN_WORD = re.compile(r"\w\w\Z")
# So many characters of it are enough to go along with a text.
GONE_ALONG = 3
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
    said: "tuple[Candidate, ...]" = ()
    judged: bool = True
    hurried: bool = False
    known: int = 0
    doubt: float = 1.0
    files: tuple[str, ...] = ()  # of the workspace, which it may be from
    opened: int = 0  # the last edit that may have opened or closed a string

    @property
    def reach(self) -> int:
        """How many characters of the document can have been typed through it, CRLF included."""
        texts = (candidate.text for candidate in (*self.candidates, *self.said))
        return max((len(text) + text.count("\n") for text in texts), default=0)


class Reuse:
    """At most 250 suggestions of the last five minutes, the least recently used dropped first.

    What was found by less than there is to go by now is of no use: without the judge that has come
    since (`has_judge`), before the workspace was read, or where the user has come to take other
    suggestions; it goes on where some of it was typed or taken by then. Nor is it of use where an
    edit above may have made a string or a comment of the place, or a file is gone that it may be
    from.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        has_judge: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clock = clock
        self._has_judge = has_judge
        self.openings = Openings()
        self.times_lost = 0  # files of the workspace, so that what was begun before is not kept
        self._entries_by_key: dict[_ReuseKey, dict[str, _Entry]] = {}
        self._used: OrderedDict[tuple[_ReuseKey, str], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._used)

    def remember(
        self,
        query: Query,
        candidates: "tuple[Candidate, ...]",
        said: "tuple[Candidate, ...] | None" = None,
        *,
        judged: bool = True,
        hurried: bool = False,
    ) -> None:
        """Having found nothing is worth remembering too: the model would say it again. `said` is
        all that may be right, shown or not; `judged` whether there was a judge by then, `hurried`
        whether it had no time, and may say more now."""
        around = query.surroundings
        if around.files and around.lost != self.times_lost:
            return
        key, before = _reuse_key(query), _before(query.document, query.offset)
        entry = _Entry(
            candidates=_alone(candidates),
            selected=query.selected,
            until=self._clock() + MAX_SECONDS,
            said=_alone(candidates if said is None else said),
            judged=judged,
            hurried=hurried,
            known=around.known,
            doubt=query.limits.doubt,
            files=around.files,
            opened=self.openings.now(query.document.uri),
        )
        self._entries_by_key.setdefault(key, {})[before] = entry
        self._touch(key, before)
        if len(self._used) > MAX_ENTRIES:
            self._drop(*next(iter(self._used)))

    def find(self, query: Query) -> "tuple[Candidate, ...] | None":
        """What is left of a suggestion made here or a few typed characters ago; None if unknown."""
        key = _reuse_key(query)
        for before in [b for b, e in self._entries(key).items() if e.until < self._clock()]:
            self._drop(key, before)
        for entry, typed in self._typed_since(query, outdated=True):
            rest = _rest(entry, typed, query.selected)
            nothing = not (typed or entry.candidates or entry.hurried)
            if rest or (nothing and entry.selected == query.selected):
                self._touch(key, _before(query.document, query.offset - len(typed)))
                return rest
        return None

    def said(self, query: Query) -> "tuple[Candidate, ...]":
        """What the model said last, a few typed characters ago, of what belongs here: as probable
        as it is now that they were typed. Nothing where none of it would be shown, or somebody
        asks."""
        if query.limits.min_confidence == 0 or query.selected:
            return ()
        for entry, typed in self._typed_since(query):
            return _likely(entry, typed, query) if typed and not entry.selected else ()
        return ()

    def quiet(self, query: Query) -> bool:
        """Whether nothing was likely a few characters ago, so that it is not worth looking again
        yet. Not where a line begins, and not where somebody asks."""
        if query.limits.min_confidence == 0 or query.selected:
            return False
        text = query.document.text
        line = text[text.rfind("\n", 0, query.offset) + 1 : query.offset]
        most = IN_WORD if _WITHIN_WORD.search(line) else ELSEWHERE
        for entry, typed in self._typed_since(query):
            if entry.selected or not line.strip() or not 0 < len(typed) <= most:
                return False
            return not _any_head(entry.said, query, UNLIKELY)
        return False

    def _typed_since(
        self, query: Query, *, outdated: bool = False
    ) -> "Iterator[tuple[_Entry, str]]":
        """What is remembered of places before this one, the nearest first, and what was typed
        since; also what is `outdated`, where the user went along with that."""
        entries = self._entries(_reuse_key(query))
        reach = max((max(entry.reach, IN_WORD) for entry in entries.values()), default=-1)
        for num_typed in range(min(reach, query.offset) + 1):
            at = query.offset - num_typed
            entry = entries.get(_before(query.document, at))
            if entry is None:
                continue
            if not (self._holds(entry, query) or (outdated and num_typed >= GONE_ALONG)):
                continue
            if not self.openings.any_since(query.document.uri, entry.opened, at - PREFIX_WINDOW):
                yield entry, lf(query.document.text[at : query.offset])

    def _holds(self, entry: _Entry, query: Query) -> bool:
        """Whether the model would say so again, by all that there is to go by now."""
        known = entry.known >= query.surroundings.known and entry.judged >= self._has_judge()
        return known and entry.doubt == query.limits.doubt

    def forget(self, document: str) -> None:
        self.openings.forget(document)
        for key, before in [key for key in self._used if key[0].document == document]:
            self._drop(key, before)

    def forget_files(self, gone: Gone) -> None:
        """What may be from them is dropped, and what is being found with them is not kept."""
        self.times_lost += 1
        files = {
            id(each.files): each.files
            for key in self._entries_by_key.values()
            for each in key.values()
        }
        lost = {number for number, each in files.items() if any_gone(each, gone)}
        for key, before in list(self._used):
            if id(self._entries_by_key[key][before].files) in lost:
                self._drop(key, before)

    def clear(self) -> None:
        self._entries_by_key.clear()
        self._used.clear()
        self.openings.clear()

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


def _likely(entry: _Entry, typed: str, query: Query) -> "tuple[Candidate, ...]":
    """By Bayes' rule over all that was said, and something else."""
    every = entry.said
    told = sum(each.score for each in every if each.text.startswith(typed))
    else_ = max(1.0 - sum(each.score for each in every), ELSE) * SAYS_IT ** len(typed)
    fits = tuple(
        replace(each, text=each.text[len(typed) :], score=each.score / (told + else_))
        for each in every
        if each.text.startswith(typed) and each.text != typed
    )
    least = min((each.least for each in fits), default=math.inf)
    return fits if _any_head(fits, query, least) else ()


def _any_head(said: "Sequence[Candidate]", query: Query, least: float) -> bool:
    """Whether any beginning of them is so likely, a short one as likely as that takes."""
    # Not needed for a start.
    from infill_ls.completion.gate import SHORT, SHORT_SCORE
    from infill_ls.completion.heads import heads

    texts = [(each.text, each.score) for each in said]
    language, short = language_of(query.document.language_id), max(least, SHORT_SCORE)
    return any(heads(texts, language, lambda text: least if len(text) >= SHORT else short))


def _reuse_key(query: Query) -> _ReuseKey:
    after = query.document.text[query.offset : query.offset + SUFFIX_WINDOW]
    limits = replace(query.limits, doubt=1.0)
    return _ReuseKey(document=query.document.uri, limits=limits, suffix=after)


def _before(document: Document, offset: int) -> str:
    return document.text[max(offset - PREFIX_WINDOW, 0) : offset]
