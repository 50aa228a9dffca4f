"""Which edits may have opened or closed a string or a comment, for all that stands below them."""

import re
from collections import defaultdict
from dataclasses import dataclass, field

from infill_ls.documents import Document, Splice
from infill_ls.syntax.comments import comments_of
from infill_ls.syntax.heredocs import HEREDOCS
from infill_ls.syntax.language import language_of

MOST = 32  # such edits of a document are known, the newest
_QUOTES = ('"', "'", "`", "$$")  # one that is not even in number changes what follows
_COMMENTS = ((r"/\*", r"\*/"), ("<!--", "-->"))  # of languages within others, too
_TEXT, _NEVER = (r"<\?", r"\?>"), "(?!)"
_OTHERS = ("%}", "}}", "}", "%>")  # what ends a comment, and more often something else
_AROUND = 24  # characters that a mark may have beside what an edit brings of it


@dataclass(slots=True)
class _Edits:
    """`places` are the number of each edit, from 1, and its offset in the text as it is now."""

    last: int = 0
    places: list[tuple[int, int]] = field(default_factory=list)


class Openings:
    """Of documents by URI, which are told of every change. Whether what an edit brings is really a
    string's or a comment's takes a parser to know; here it is enough that it may be."""

    def __init__(self) -> None:
        self._edits: defaultdict[str, _Edits] = defaultdict(_Edits)

    def saw(self, before: Document, splice: Splice) -> None:
        edits = self._edits[before.uri]
        grown = len(splice.inserted) - len(splice.removed)
        edits.places = [
            (number, at + grown if at > splice.start else at) for number, at in edits.places
        ]
        if _opens(before, splice):
            edits.last += 1
            edits.places = [*edits.places[1 - MOST :], (edits.last, splice.start)]

    def now(self, uri: str) -> int:
        """The number of the last edit of that kind; 0 where there was none."""
        return self._edits[uri].last if uri in self._edits else 0

    def any_since(self, uri: str, number: int, end: int) -> bool:
        """Whether one came after the edit of that number, before an offset of the text."""
        if self.now(uri) == number:
            return False
        places = self._edits[uri].places
        return places[0][0] > number + 1 or any(n > number and at < end for n, at in places)

    def forget(self, uri: str) -> None:
        self._edits.pop(uri, None)

    def clear(self) -> None:
        self._edits.clear()


def _opens(before: Document, splice: Splice) -> bool:
    changed = splice.removed + splice.inserted
    if any(changed.count(quote) % 2 for quote in _QUOTES):
        return True
    start, end = splice.start, splice.start + len(splice.removed)
    head, tail = before.text[max(start - _AROUND, 0) : start], before.text[end : end + _AROUND]
    old, new = head + splice.removed + tail, head + splice.inserted + tail
    language = language_of(before.language_id)
    own = (
        (each.begins, _NEVER if each.close in _OTHERS else each.ends)
        for each in comments_of(language)
    )
    heredocs = HEREDOCS.get(language.id, _NEVER)
    return any(
        _num(begins, old) - _num(ends, old) != _num(begins, new) - _num(ends, new)
        for begins, ends in (*_COMMENTS, *own, (heredocs, _NEVER), _TEXT)
    )


def _num(pattern: str, text: str) -> int:
    return sum(1 for _ in re.finditer(pattern, text, re.MULTILINE))
