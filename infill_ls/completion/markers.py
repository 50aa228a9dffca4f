"""Where a document says that something is to be filled in: ___, and stubs that are to do.

Offsets are code points of the document.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from infill_ls.documents import Document
from infill_ls.syntax.language import Language, language_of
from infill_ls.syntax.lexer import lex

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
    """In order, none within another; in code none within a string."""
    text, language = document.text, language_of(document.language_id)
    found = [*_marks(text, prose=language.prose)]
    if language.id == "python":
        stubs = [*_stubs(text)]
        found = [each for each in found if not any(_within(each, stub) for stub in stubs)] + stubs
    if found and _strings_are_known(language):
        strings = _strings(text, language)
        found = [each for each in found if not any(s <= each.start < e for s, e in strings)]
    return sorted(found, key=lambda each: each.start)


def _within(inner: Marker, outer: Marker) -> bool:
    return outer.start <= inner.start < outer.end


def _strings_are_known(language: Language) -> bool:
    """In markup a quote may be text, and in JSON a mark in quotes is one."""
    known = language.line_comment or language.comment
    unsure = language.tags == "html" or language.templates or language.embeds
    return bool(known) and not unsure and language.id not in ("jsonc", "yaml", "toml")


def _strings(text: str, language: Language) -> list[tuple[int, int]]:
    """Where they are. What the line's end breaks off is none: its quote may be an apostrophe."""
    spans: list[tuple[int, int]] = []
    for start, end, kind in lex(text, language).pieces:
        if kind in ("string", "heredoc"):
            goes_on = spans and spans[-1][1] == start
            spans.append((spans.pop()[0] if goes_on else start, end))
    return [span for span in spans if not _broken_off(text, *span)]


def _broken_off(text: str, start: int, end: int) -> bool:
    on_line = "\n" not in text[start:end] and text.startswith("\n", end)
    return on_line and text[start] == "'" != text[end - 1]


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
