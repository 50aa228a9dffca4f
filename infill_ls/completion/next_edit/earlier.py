"""What was changed in the open documents of a connection, for the others: a change that goes
through several files is most of it known after the first.

In memory alone, and no longer than a document is open. Belongs to the event loop.
"""

from collections import defaultdict, deque
from collections.abc import Iterable

from infill_ls.completion.next_edit.changes import LineChange, line_change
from infill_ls.completion.next_edit.elsewhere import ChangeElsewhere, Elsewhere
from infill_ls.completion.next_edit.history import Edit
from infill_ls.completion.next_edit.record import Expected, record_of
from infill_ls.documents import Document

MAX_CHANGES = 400
LONGEST = 1_000  # characters of a line: what is longer was hardly written by hand
MAX_TEXTS, MAX_CHARACTERS = 8, 200_000  # of other documents as they are now
MAX_EXPECTED = 400  # of a document


class EarlierChanges:
    """The newest ones."""

    def __init__(self) -> None:
        self._changes: deque[ChangeElsewhere] = deque(maxlen=MAX_CHANGES)
        self._expected: dict[str, dict[Expected, None]] = {}

    def __len__(self) -> int:
        return len(self._changes)

    @property
    def uris(self) -> set[str]:
        """Of the documents that were changed."""
        return {each.uri for each in self._changes}

    def add(self, document: Document, edit: Edit) -> None:
        """One that is over."""
        change = _change(document, edit)
        if change is not None:
            self._changes.append(ChangeElsewhere(uri=document.uri, change=change))

    def expect(self, uri: str, expected: Iterable[Expected]) -> None:
        """What rules proposed for a document that was edited."""
        of_document = self._expected.setdefault(uri, {})
        for each in expected:
            if len(of_document) < MAX_EXPECTED:
                of_document[each] = None

    def for_document(
        self, document: Document, others: Iterable[tuple[Document, Edit | None]]
    ) -> Elsewhere:
        """Those that others in the same language still have. `others` are the open ones that may
        be told of, with the edit of each that may go on."""
        given = [
            (other, edit)
            for other, edit in others
            if other.uri != document.uri and other.language_id == document.language_id
        ]
        now = {other.uri: other for other, _ in given}
        found = [each for each in self._changes if each.uri in now]
        for other, edit in given:
            change = _change(other, edit) if edit else None
            if change is not None:
                found.append(ChangeElsewhere(uri=other.uri, change=change))
        whole = {uri: _lines(other.newline, other.text) for uri, other in now.items()}
        changes = [
            each
            for each in _net(found)
            if _stands(each.change, now[each.uri].newline, whole[each.uri])
        ]
        newest = dict.fromkeys(each.uri for each in reversed(changes))
        texts = {uri: now[uri].text for uri in list(newest)[:MAX_TEXTS]}
        made: dict[str, list[LineChange]] = defaultdict(list)
        for each in changes:
            made[each.uri].append(each.change)
        return Elsewhere(
            changes=tuple(changes[-MAX_CHANGES:]),
            texts={uri: text for uri, text in texts.items() if len(text) <= MAX_CHARACTERS},
            record=record_of((self._expected.get(uri, ()), of) for uri, of in made.items()),
        )

    def forget(self, uri: str) -> None:
        """A document is closed, or its text not known."""
        self._expected.pop(uri, None)
        if any(each.uri == uri for each in self._changes):
            kept = [each for each in self._changes if each.uri != uri]
            self._changes = deque(kept, maxlen=MAX_CHANGES)

    def clear(self) -> None:
        self._changes.clear()
        self._expected.clear()


def _change(document: Document, edit: Edit) -> LineChange | None:
    change = line_change(document, edit)
    if change is None:
        return None
    lines = (*change.old, *change.new, change.above, change.below)
    return change if max(map(len, lines)) <= LONGEST else None


def _net(changes: Iterable[ChangeElsewhere]) -> list[ChangeElsewhere]:
    """Each once, and neither what was undone nor its undoing."""
    found: dict[tuple[str, tuple[str, ...], tuple[str, ...], str, str], ChangeElsewhere] = {}
    for each in changes:
        change = each.change
        round_it = change.above, change.below
        if found.pop((each.uri, change.new, change.old, *round_it), None) is None:
            found[each.uri, change.old, change.new, *round_it] = each
    return list(found.values())


def _lines(newline: str, *lines: str) -> str:
    return newline.join(("", *lines, ""))


def _stands(change: LineChange, newline: str, text: str) -> bool:
    """Whether a document, with a line end before and behind it, is still as the change made it."""
    if change.new:
        return _lines(newline, *change.new) in text
    back = _lines(newline, change.above, *change.old, change.below)
    return _lines(newline, change.above, change.below) in text or back not in text
