"""The suggestion that each document of a connection shows, and what becomes of it.

A suggestion goes on while what is typed agrees with it, whatever of it is answered anew. What was
taken of it is told by the client, or seen in its edits. Belongs to the event loop.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from infill_ls.completion.acceptance import Acceptance
from infill_ls.completion.reuse import typed_since
from infill_ls.completion.worker import Query
from infill_ls.documents import Document, shared_head, shared_tail

if TYPE_CHECKING:
    from infill_ls.completion.candidate import Candidate

# What was there for less, nobody has read: typing past it says nothing about it.
READ_SECONDS = 0.5
REFUSED, MAX_REFUSED = 2, 256  # so often is enough; so many texts are remembered
REFUSED_PLACE = 1000  # characters before it at most tell where a text was refused
KEPT_SECONDS = 30.0  # then accepted text is looked at again
MAX_COMPARED = 5_000  # characters that are compared token by token; of more, lines are
_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedItem:
    """What a client says of a suggestion by: `offer` is its number, `choice` which of its texts,
    and the item's own text begins `base` characters into that."""

    offer: int
    choice: int
    base: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Accepted text, [start, end) of the document, as it was right after that; `whole` where the
    suggestion has no more."""

    document: Document
    start: int
    end: int
    whole: bool = True


@dataclass(slots=True, kw_only=True)
class Offer:
    """`typed` is how much of it stands in the document, by whoever; up to `reached` it was
    accepted. `automatic`: nobody asked for it."""

    number: int
    query: Query
    candidates: "Sequence[Candidate]"
    automatic: bool
    since: float
    typed: str = ""
    before: str = ""  # what `typed` was before the last change
    chosen: int = 0
    reached: int = 0

    @property
    def text(self) -> str:
        return self.candidates[self.chosen].text

    @property
    def rest(self) -> str:
        return self.text.removeprefix(self.typed)


@dataclass(slots=True, kw_only=True)
class Offers:
    """At most one a document. Where acceptance is not `reported` by the client, a change that
    brings all the rest at once was one."""

    acceptance: Acceptance
    reported: bool = False
    clock: Callable[[], float] = time.monotonic
    _live: dict[str, Offer] = field(default_factory=dict)
    _last: int = 0
    _times_reset: int = 0
    _refused: "OrderedDict[tuple[str, str], int]" = field(default_factory=OrderedDict)

    def at(self, uri: str) -> Offer | None:
        """What is shown there now."""
        return self._live.get(uri)

    def answered(
        self, query: Query, candidates: "Sequence[Candidate]", *, automatic: bool
    ) -> tuple[int, int]:
        """The number of the offer that an answer belongs to, and how much of that is typed."""
        uri = query.document.uri
        old = self._live.get(uri)
        if old is not None and _goes_on(old, query, candidates):
            return old.number, len(old.typed)
        if old is not None:
            self._over(old, contradicted=not _in_place(old, query))
        self._last += 1
        self._live[uri] = Offer(
            number=self._last,
            query=query,
            candidates=candidates,
            automatic=automatic,
            since=self.clock(),
        )
        if automatic:
            self.acceptance.shown(query.document.language_id, candidates[0].score)
        return self._last, 0

    def wanted(self, query: Query, candidates: "tuple[Candidate, ...]") -> "tuple[Candidate, ...]":
        """Those that were not dismissed twice there, nor go on with what was, however much of that
        is typed by now; once all of it is, the user wanted it after all."""
        if self._times_reset != self.acceptance.times_reset:
            self._times_reset = self.acceptance.times_reset
            self._refused.clear()
        uri = query.document.uri
        refused = [
            line for (of, line), times in self._refused.items() if of == uri and times >= REFUSED
        ]
        if not refused:
            return candidates
        before = len(_line_with(query, ""))
        lines = [line for line in refused if len(line) > before]
        return tuple(
            each for each in candidates if not _line_with(query, each.text).startswith(tuple(lines))
        )

    def is_at(self, offer: Offer, query: Query) -> bool:
        """Whether there is a rest of the offer to be taken at a place."""
        typed = typed_since(offer.query, query.document)
        return typed == offer.typed and bool(offer.rest) and _in_place(offer, query)

    def changed(self, document: Document) -> Taken | None:
        """After an edit; what it took of the suggestion there, as far as that shows. Other lines
        may change, also by other programs; and what stands before a place is not about what was
        suggested there."""
        offer = self._live.get(document.uri)
        if offer is None:
            return None
        typed = typed_since(offer.query, document)
        agreeing = _agreeing(offer, typed)
        if typed is None or agreeing is None:
            # An empty line below may as well be the Enter key.
            moved = None if typed is not None and not typed.strip() else _moved(offer, document)
            if moved is not None:
                offer.query = moved
                return None
            agrees = typed is None or offer.text.startswith(typed[: len(offer.typed) + 1])
            self._over(offer, contradicted=not agrees)
            return None
        offer.chosen = agreeing
        offer.before, offer.typed = offer.typed, typed
        if self.reported or offer.rest or len(typed) - len(offer.before) < 2:
            return None
        return self.took(offer, len(offer.before), len(typed))

    def accepted(self, item: OfferedItem | None) -> Taken | None:
        """A client says that it inserted all of an item; one that does not say which means the
        last."""
        offer = self._offer(item)
        if offer is None:
            return None
        offer.chosen = item.choice if item else offer.chosen
        # Its change mostly comes first.
        typed = offer.typed if offer.rest else offer.before
        return self.took(offer, len(typed), len(offer.text))

    def accepted_to(self, item: OfferedItem | None, end: int, typed: int) -> Taken | None:
        """A client says that it inserted an item up to so many units of UTF-16, of which the first
        `typed` had been typed."""
        offer = self._offer(item)
        if offer is None or item is None:
            return None
        offer.chosen = item.choice
        newline = offer.query.document.newline
        inserted = offer.text[max(item.base, 0) :].replace("\n", newline)
        start, end = (
            max(item.base, 0) + _characters(inserted, units + min(item.base, 0), newline)
            for units in (typed, end)
        )
        return self.took(offer, start, end)

    def dismissed(self, item: OfferedItem | None) -> None:
        """The user took it away."""
        offer = self._offer(item)
        if offer is not None:
            self._over(offer, contradicted=True, at_once=True)

    def forget(self, uri: str) -> None:
        self._live.pop(uri, None)

    def clear(self) -> None:
        self._live.clear()
        self._refused.clear()

    def _offer(self, item: OfferedItem | None) -> Offer | None:
        if item is None:
            return max(self._live.values(), key=lambda offer: offer.number, default=None)
        found = (offer for offer in self._live.values() if offer.number == item.offer)
        offer = next(found, None)
        return offer if offer and 0 <= item.choice < len(offer.candidates) else None

    def took(self, offer: Offer, typed: int, end: int) -> Taken | None:
        """The document goes from so many characters of the suggestion to `end` of them."""
        start, end = max(typed, offer.reached, 0), min(end, len(offer.text))
        if start >= end:
            return None
        query, language = offer.query, offer.query.document.language_id
        if not offer.reached and offer.automatic:
            self.acceptance.accepted(language, offer.candidates[0].score)
        offer.reached = end
        self.acceptance.took(language, end - start)
        newline = query.document.newline
        head, whole = (offer.text[:to].replace("\n", newline) for to in (start, end))
        at, version = query.offset, query.document.version
        then = query.document.replaced(at, at, whole, version=version)
        return Taken(
            document=then,
            start=at + len(head),
            end=at + len(whole),
            whole=end == len(offer.text),
        )

    def _over(self, offer: Offer, *, contradicted: bool, at_once: bool = False) -> None:
        """It is shown no more. What was taken or typed to its end, or was hardly there, was not
        dismissed."""
        self._live.pop(offer.query.document.uri, None)
        read = at_once or self.clock() - offer.since >= READ_SECONDS
        if contradicted and read and offer.automatic and offer.rest and not offer.reached:
            document = offer.query.document
            self.acceptance.dismissed(document.language_id, offer.candidates[0].score)
            refused = document.uri, _line_with(offer.query, offer.text)
            self._refused[refused] = self._refused.pop(refused, 0) + 1
            if len(self._refused) > MAX_REFUSED:
                self._refused.popitem(last=False)


def _characters(text: str, units: int, newline: str) -> int:
    """How many characters, line ends counted as one, the first units of UTF-16 of a text hold."""
    head = text.encode("utf-16-le")[: 2 * max(units, 0)].decode("utf-16-le", errors="ignore")
    return len(head.replace(newline, "\n"))


def _line_with(query: Query, text: str) -> str:
    """The line above and the cursor's, with a text at the asked place; without white space, which
    says nothing."""
    before = query.document.text[max(query.offset - REFUSED_PLACE, 0) : query.offset]
    start = before.rfind("\n") + 1
    above = before[:start].rstrip()
    return "".join((above[above.rfind("\n") + 1 :] + before[start:] + text).split())


def _moved(offer: Offer, document: Document) -> Query | None:
    """The offer's query in a document in which only other lines changed since; None where more
    did."""
    query, newline = offer.query, offer.query.document.newline
    at, typed = query.offset, offer.typed.replace("\n", newline)
    old, new = query.document.text[:at] + typed + query.document.text[at:], document.text
    first = old.rfind(newline[-1], 0, at) + 1
    last = old.find(newline, at + len(typed))
    for start, end in _changes(old, new):
        if end <= first:
            at += len(new) - len(old)
        elif last < 0 or start < last + len(newline):
            continue
        then = document.replaced(at, at + len(typed), "", version=document.version)
        return replace(query, document=then if typed else document, offset=at)
    return None


def _changes(old: str, new: str) -> Iterator[tuple[int, int]]:
    """The [start, end) of the old text that is another one in the new. Where what is alike at both
    ends overlaps, either end may be the one that changed."""
    most = min(len(old), len(new))
    head, tail = shared_head(old, new), shared_tail(old, new, most)
    yield head, len(old) - min(tail, most - head)
    yield min(head, most - tail), len(old) - tail


def _in_place(offer: Offer, query: Query) -> bool:
    """Whether the cursor is behind what was typed of the offer."""
    grown = len(query.document.text) - len(offer.query.document.text)
    return query.offset == offer.query.offset + grown


def _goes_on(offer: Offer, query: Query, candidates: "Sequence[Candidate]") -> bool:
    """Whether an answer says what is left of the offer, at its place."""
    typed = typed_since(offer.query, query.document)
    if typed is None or not offer.text.startswith(typed):
        return False
    return _in_place(offer, query) and typed + candidates[0].text == offer.text


def _agreeing(offer: Offer, typed: str | None) -> int | None:
    """Which of its texts begins with what was typed; the one that is chosen if it does."""
    if typed is None:
        return None
    order = [offer.chosen, *range(len(offer.candidates))]
    return next((at for at in order if offer.candidates[at].text.startswith(typed)), None)


def kept(taken: Taken, now: Document) -> int:
    """How many of the accepted characters are still in the document.

    What lies before the first change since then, or behind the last, is as it was; in between, what
    can be found of it in its order counts.
    """
    old, new = taken.document.text, now.text
    return max(_kept(taken, new, head, len(old) - end) for head, end in set(_changes(old, new)))


def _kept(taken: Taken, new: str, head: int, tail: int) -> int:
    old, length = taken.document.text, taken.end - taken.start
    start, end = max(taken.start, head), min(taken.end, len(old) - tail)
    lost, there = old[start:end], new[head : len(new) - tail]
    if start >= end or lost in there:
        return length
    untouched = length - len(lost)
    if max(len(there), len(lost)) > MAX_COMPARED:
        lines = [line for line in lost.splitlines(keepends=True) if line.strip()]
        return untouched + sum(len(line) for line in lines if line in there)
    tokens = _TOKEN.findall(lost)
    same = SequenceMatcher(None, tokens, _TOKEN.findall(there), autojunk=False)
    return untouched + sum(
        len(token)
        for block in same.get_matching_blocks()
        for token in tokens[block.a : block.a + block.size]
    )
