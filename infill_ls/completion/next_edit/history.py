"""The last few edits of a document, as they arrived. Knows nothing of what follows from them.

Offsets are code points of the document as it is now. Belongs to the event loop.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from infill_ls.documents import Document, Splice

MAX_EDITS, MAX_DOCUMENTS = 8, 32
MAX_CHARACTERS = 4_000  # removed and inserted: what is longer was pasted, or written by a formatter
# What is changed on the same line within so many seconds of what was changed last belongs to it.
PAUSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """`removed` stood where `inserted` stands now, from `start` on; `at` is when it was last
    changed, in seconds of the clock."""

    start: int
    removed: str
    inserted: str
    at: float

    @property
    def end(self) -> int:
        return self.start + len(self.inserted)


class EditHistories:
    """Of the documents that were edited last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._edits: OrderedDict[str, tuple[Edit, ...]] = OrderedDict()  # by URI, newest last

    def of(self, uri: str) -> tuple[Edit, ...]:
        """Newest last."""
        return self._edits.get(uri, ())

    def touched(self, uri: str) -> bool:
        """Whether it was edited since it was opened, as far as is known: also where every edit was
        taken back, or none is remembered."""
        return uri in self._edits

    def saw(self, before: Document, splice: Splice) -> Edit | None:
        """One change of a text; the edit of the document before it that this one does not go on
        with, if there is one."""
        if not (splice.removed or splice.inserted):
            return None
        edits, now = self.of(before.uri), self._clock()
        self._edits[before.uri] = noted(edits, before.text, splice, now)
        self._edits.move_to_end(before.uri)
        if len(self._edits) > MAX_DOCUMENTS:
            self._edits.popitem(last=False)
        return edits[-1] if edits and not _goes_on(edits[-1], before.text, splice, now) else None

    def forget(self, uri: str) -> None:
        self._edits.pop(uri, None)

    def clear(self) -> None:
        self._edits.clear()


def noted(edits: tuple[Edit, ...], text: str, splice: Splice, now: float) -> tuple[Edit, ...]:
    """The edits after one more of `text`."""
    if len(splice.removed) + len(splice.inserted) > MAX_CHARACTERS:
        return ()
    new = Edit(start=splice.start, removed=splice.removed, inserted=splice.inserted, at=now)
    if edits and _goes_on(edits[-1], text, splice, now):
        *edits_before, last = edits
        new, edits = _joined(last, text, splice, now), tuple(edits_before)
    kept = tuple(moved for each in edits if (moved := _moved(each, splice)) is not None)
    if new.removed == new.inserted:  # undone
        return kept
    if len(new.removed) + len(new.inserted) > MAX_CHARACTERS:
        return ()
    return (*kept, new)[-MAX_EDITS:]


def _goes_on(last: Edit, text: str, splice: Splice, now: float) -> bool:
    """Whether it belongs to what was edited last."""
    if now - last.at > PAUSE_SECONDS:
        return False
    end = splice.start + len(splice.removed)
    gap = text[last.end : splice.start] or text[end : last.start]
    return "\n" not in gap


def _joined(last: Edit, text: str, splice: Splice, now: float) -> Edit:
    """One edit of both; what stood between them is in it."""
    start = min(last.start, splice.start)
    end = max(last.end, splice.start + len(splice.removed))
    removed = text[start : last.start] + last.removed + text[last.end : end]
    inserted = text[start : splice.start] + splice.inserted
    inserted += text[splice.start + len(splice.removed) : end]
    return Edit(start=start, removed=removed, inserted=inserted, at=now)


def _moved(edit: Edit, splice: Splice) -> Edit | None:
    """Where an edit stands after another one; None where it no longer does."""
    end = splice.start + len(splice.removed)
    if splice.start >= edit.end:
        return edit
    if end > edit.start:
        return None
    return replace(edit, start=edit.start + len(splice.inserted) - len(splice.removed))
