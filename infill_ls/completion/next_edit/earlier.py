"""What was changed in the open documents of a connection, for the others: a change that goes
through several files is most of it known after the first.

In memory alone, and no longer than a document is open. Belongs to the event loop.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from infill_ls.completion.next_edit.changes import LineChange, line_change
from infill_ls.completion.next_edit.elsewhere import ChangeElsewhere, Elsewhere
from infill_ls.completion.next_edit.history import Edit
from infill_ls.documents import Document

MAX_CHANGES = 400
MAX_TEXTS, MAX_CHARACTERS = 8, 200_000  # of other documents as they are now


@dataclass(frozen=True, slots=True, kw_only=True)
class _Earlier:
    language_id: str
    change: ChangeElsewhere


class EarlierChanges:
    """The newest ones, without those that were undone."""

    def __init__(self) -> None:
        self._changes: deque[_Earlier] = deque(maxlen=MAX_CHANGES)

    def __len__(self) -> int:
        return len(self._changes)

    def add(self, document: Document, edit: Edit) -> None:
        """One that is over."""
        change = line_change(document, edit)
        if change is None:
            return
        for each in reversed(self._changes):
            if each.change.uri == document.uri and _undoes(change, each.change.change):
                self._changes.remove(each)
                return
        new = ChangeElsewhere(uri=document.uri, change=change)
        self._changes.append(_Earlier(language_id=document.language_id, change=new))

    def for_document(
        self, document: Document, others: Iterable[tuple[Document, Edit | None]]
    ) -> Elsewhere:
        """Those of other documents in the same language. `others` are open ones, with the edit of
        each that may go on."""
        found = [
            each.change
            for each in self._changes
            if each.change.uri != document.uri and each.language_id == document.language_id
        ]
        texts = {}
        for other, edit in others:
            if other.uri == document.uri or other.language_id != document.language_id:
                continue
            texts[other.uri] = other.text
            change = line_change(other, edit) if edit else None
            if change is not None:
                found.append(ChangeElsewhere(uri=other.uri, change=change))
        newest = [
            uri for uri in dict.fromkeys(each.uri for each in reversed(found)) if uri in texts
        ]
        kept = {uri: texts[uri] for uri in newest[:MAX_TEXTS] if len(texts[uri]) <= MAX_CHARACTERS}
        return Elsewhere(changes=tuple(found[-MAX_CHANGES:]), texts=kept)

    def forget(self, uri: str) -> None:
        """A document is closed, or its text not known."""
        for each in [each for each in self._changes if each.change.uri == uri]:
            self._changes.remove(each)

    def clear(self) -> None:
        self._changes.clear()


def _undoes(new: LineChange, old: LineChange) -> bool:
    return (new.old, new.new) == (old.new, old.old)
