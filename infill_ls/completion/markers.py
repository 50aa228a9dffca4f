"""Where a document says that something is to be filled in: ___, and stubs that are to do.

Offsets are code points of the document.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from infill_ls.documents import Document
from infill_ls.syntax.language import language_of

_MARK = re.compile(r"(?<!\w)___(?!\w)")
_RULE = re.compile(r"[ \t]*___[ \t]*$", re.MULTILINE)  # a line across the page, in Markdown
_STUB = re.compile(
    r"^(?P<indent>[ \t]*)(?P<stub>pass|\.\.\.)[ \t]*(?P<own>#[^\n\r]*)?\r?$",
    re.MULTILINE,
)
_TO_DO = re.compile(r"#.*\b(?:TODO|FIXME)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """A span to be replaced. `lead` stays before what is put there; `lines` says that it may take
    several."""

    start: int
    end: int
    lead: str = ""
    lines: bool = False


def markers(document: Document) -> list[Marker]:
    """In order, none within another."""
    language = language_of(document.language_id)
    found = [*_marks(document.text, prose=language.prose)]
    if language.id == "python":
        found += _stubs(document.text)
    return sorted(found, key=lambda each: each.start)


def _marks(text: str, *, prose: bool) -> Iterator[Marker]:
    rules = {match.start() for match in _RULE.finditer(text)} if prose else set[int]()
    for match in _MARK.finditer(text):
        line = text.rfind("\n", 0, match.start()) + 1
        if line not in rules:
            yield Marker(start=match.start(), end=match.end())


def _stubs(text: str) -> Iterator[Marker]:
    """`pass` and `...` that a comment on their line, or right above, says are to do."""
    for match in _STUB.finditer(text):
        own = match["own"] or ""
        if _TO_DO.search(own):
            lead = f"{own.rstrip()}\n{match['indent']}"
            yield Marker(start=match.start("stub"), end=match.end("own"), lead=lead, lines=True)
        elif any(map(_TO_DO.search, _comments_above(text, match.start()))):
            yield Marker(start=match.start("stub"), end=match.end("stub"), lines=True)


def _comments_above(text: str, line_start: int) -> Iterator[str]:
    """The comment lines right above a line, from the last upwards."""
    while line_start > 0:
        end, line_start = line_start - 1, text.rfind("\n", 0, line_start - 1) + 1
        line = text[line_start:end].strip()
        if not line.startswith("#"):
            return
        yield line


def selected(document: Document, spans: list[tuple[int, int]]) -> list[Marker]:
    """What a person chose to be filled, in order; of two that overlap the first."""
    found: list[Marker] = []
    for start, end in sorted(spans):
        if not found or start >= found[-1].end:
            found.append(Marker(start=start, end=end, lines="\n" in document.text[start:end]))
    return found
