"""Open documents and their lines, as LSP counts them. Knows nothing of messages or the engine.

Inside the server offsets are code points of a `str`; LSP counts UTF-8, UTF-16 or UTF-32 units on
a line, and a line ends at \\n, \\r\\n or \\r and nowhere else. Both directions are here.

A `Document` never changes: an edit makes the next one and shares what it can, so that a snapshot
costs nothing and stays true while the user types on.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import AnyStr, Literal

from infill_ls.uris import document_key

Encoding = Literal["utf-8", "utf-16", "utf-32"]

_LINE_END = re.compile(r"\r\n|\n|\r")
_SURROGATE = re.compile("[\ud800-\udfff]")
_CHUNK = 128  # lines; an edit touches one chunk and the sums over all of them


class LineIndex:
    """Where each line starts. Immutable: `spliced` shares every chunk that an edit left alone.

    A chunk holds the starts of some lines relative to the first of them; sums over the chunks
    make them absolute. So an edit costs its own lines and one addition per 128 lines of the file.
    """

    __slots__ = ("_chunks", "_first_line", "_offset", "_sizes", "num_lines")

    def __init__(self, chunks: list[tuple[int, ...]], sizes: list[int]) -> None:
        self._chunks = chunks
        self._sizes = sizes
        self._first_line = [0, *accumulate(map(len, chunks))]
        self._offset = [0, *accumulate(sizes)]
        self.num_lines = self._first_line[-1]

    @classmethod
    def of(cls, text: str) -> "LineIndex":
        return cls(*_chunked(_line_lengths(text)))

    def start(self, line: int) -> int:
        """The offset of the line's first character; lines past the last start at the end."""
        if line >= self.num_lines:
            return self._offset[-1]
        chunk = bisect_right(self._first_line, line) - 1
        return self._offset[chunk] + self._chunks[chunk][line - self._first_line[chunk]]

    def line_of(self, offset: int) -> int:
        """The line that holds `offset`; the end of the text is on the last one."""
        chunk = min(bisect_right(self._offset, offset), len(self._chunks)) - 1
        within = offset - self._offset[chunk]
        return self._first_line[chunk] + bisect_right(self._chunks[chunk], within) - 1

    def spliced(self, start: int, end: int, inserted: str, text: str) -> "LineIndex":
        """The index of `text`, which is this one's text with [start, end) replaced."""
        # One line more to the left: an edit there can join a \r to a \n or part them.
        first = max(self.line_of(start) - 1, 0)
        last = self.line_of(end)
        shift = len(inserted) - (end - start)
        # The last touched line keeps its own line end, so the next line still starts behind it.
        region = text[self.start(first) : self.start(last + 1) + shift]
        lengths = _line_lengths(region)
        if last + 1 < self.num_lines:
            lengths.pop()  # the empty rest behind the region's last line end is the next line

        left = bisect_right(self._first_line, first) - 1
        right = bisect_right(self._first_line, last) - 1
        before = self._lengths(left)[: first - self._first_line[left]]
        after = self._lengths(right)[last + 1 - self._first_line[right] :]
        chunks, sizes = _chunked(before + lengths + after)
        return LineIndex(
            self._chunks[:left] + chunks + self._chunks[right + 1 :],
            self._sizes[:left] + sizes + self._sizes[right + 1 :],
        )

    def _lengths(self, chunk: int) -> list[int]:
        starts = self._chunks[chunk]
        ends = (*starts[1:], self._sizes[chunk])
        return [end - start for start, end in zip(starts, ends, strict=True)]


def _line_lengths(text: str) -> list[int]:
    """Of every line with its line end; the last one, without, may be empty."""
    ends = [match.end() for match in _LINE_END.finditer(text)]
    return [end - start for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def _chunked(lengths: list[int]) -> tuple[list[tuple[int, ...]], list[int]]:
    step = len(lengths) if len(lengths) <= 2 * _CHUNK else _CHUNK
    parts = [lengths[i : i + step] for i in range(0, len(lengths), step or 1)]
    return [tuple(accumulate(part[:-1], initial=0)) for part in parts], [sum(p) for p in parts]


@dataclass(frozen=True, kw_only=True)
class Document:
    """One version of one file. Make it from its text; the store makes the next ones cheaply.

    In a store `uri` is the key of the client's, so that it is one for all versions of a document,
    and for no other one.
    """

    uri: str
    version: int
    language_id: str
    text: str
    _known_lines: LineIndex | None = field(default=None, repr=False, compare=False)

    @cached_property
    def lines(self) -> LineIndex:
        return self._known_lines or LineIndex.of(self.text)

    @cached_property
    def newline(self) -> str:
        """The line end that this file uses most; \\n where it has none."""
        if "\r" not in self.text:
            return "\n"
        crlf = self.text.count("\r\n")
        counts = {
            "\n": self.text.count("\n") - crlf,
            "\r\n": crlf,
            "\r": self.text.count("\r") - crlf,
        }
        return max(counts, key=counts.__getitem__)

    @property
    def num_lines(self) -> int:
        return self.lines.num_lines

    def line_start(self, line: int) -> int:
        return self.lines.start(line)

    def line_end(self, line: int) -> int:
        """The offset behind the line's last character, before its line end."""
        start, end = self.lines.start(line), self.lines.start(line + 1)
        if end > start and self.text[end - 1] == "\n":
            end -= 1
        if end > start and self.text[end - 1] == "\r":
            end -= 1
        return end

    def line_text(self, line: int) -> str:
        return self.text[self.line_start(line) : self.line_end(line)]

    def offset_at(self, line: int, character: int, encoding: Encoding) -> int:
        """Positions past a line's end mean its end, lines past the last the end of the text."""
        if line >= self.num_lines:
            return len(self.text)
        line = max(line, 0)
        return self.line_start(line) + _code_points(
            self.line_text(line), max(character, 0), encoding
        )

    def position_at(self, offset: int, encoding: Encoding) -> tuple[int, int]:
        """Line and character; an offset between \\r and \\n is the end of the line."""
        offset = min(max(offset, 0), len(self.text))
        line = self.lines.line_of(offset)
        end = min(offset, self.line_end(line))
        return line, _units(self.text[self.line_start(line) : end], encoding)

    def replaced(self, start: int, end: int, text: str, *, version: int) -> "Document":
        """The document with [start, end) replaced, offsets in code points."""
        whole = self.text[:start] + text + self.text[end:]
        return Document(
            uri=self.uri,
            version=version,
            language_id=self.language_id,
            text=whole,
            _known_lines=self.lines.spliced(start, end, text, whole),
        )


def _units(text: str, encoding: Encoding) -> int:
    if encoding == "utf-32" or text.isascii():
        return len(text)
    if encoding == "utf-16":
        return len(text.encode("utf-16-le", "surrogatepass")) // 2
    return len(text.encode("utf-8", "surrogatepass"))


def _code_points(line: str, units: int, encoding: Encoding) -> int:
    """How many code points lie wholly before `units`; the middle of one means its start."""
    head = line[:units]  # a code point is never less than one unit
    if encoding == "utf-32" or head.isascii():
        return len(head)
    if encoding == "utf-16":
        data, cut = head.encode("utf-16-le", "surrogatepass"), 2 * units
        in_pair = 0 < cut < len(data) and 0xDC <= data[cut + 1] < 0xE0
        if in_pair and 0xD8 <= data[cut - 1] < 0xDC:
            cut -= 2
        return len(data[:cut].decode("utf-16-le", "surrogatepass"))
    data, cut = head.encode("utf-8", "surrogatepass"), units
    while 0 < cut < len(data) and data[cut] & 0xC0 == 0x80:
        cut -= 1
    return len(data[:cut].decode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One edit as LSP sends it: the text of a range (start line, character, end ...) or of all."""

    text: str
    range: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Splice:
    """One change as code points: `inserted` in place of `removed`, which was at `start`; what is
    the same at both ends of them is left out."""

    start: int
    removed: str
    inserted: str


Seen = Callable[[Document, Splice], None]


class DocumentStore:
    """What the client has open, by URI, however that is quoted.

    A document is lost when a change to it cannot be read, and found again when its whole text
    comes. Belongs to the event loop; its documents go anywhere.
    """

    def __init__(self) -> None:
        self._documents: dict[str, Document] = {}
        self._lost: dict[str, Document] = {}  # what they are; their text is unknown

    def get(self, uri: str) -> Document | None:
        """None as well while it is lost."""
        return self._documents.get(document_key(uri))

    def open(self, uri: str, language_id: str, version: int, text: str) -> Document:
        document = Document(
            uri=document_key(uri),
            version=version,
            language_id=language_id,
            text=well_formed(text),
        )
        return self._keep(document)

    def change(
        self,
        uri: str,
        version: int | None,
        changes: Iterable[Change],
        encoding: Encoding,
        seen: Seen | None = None,
    ) -> Document | None:
        """Applies the edits one after the other; None when the document is not open, or lost.

        A client that does not count, `version` None, leaves the version as it was. `seen` is told
        of every change, with the document before it.
        """
        key = document_key(uri)
        document = self._documents.get(key)
        for change in changes:
            if document is None and change.range is None and (lost := self._lost.get(key)):
                document = _changed(lost, version, change, encoding, None)  # no edit of anybody's
            elif document is not None:
                document = _changed(document, version, change, encoding, seen)
        if document is None:
            return None
        if version is not None and version != document.version:  # no text changed
            document = replace(document, version=version)
        return self._keep(document)

    def all(self) -> list[Document]:
        """Every open document, the first opened first; lost ones are not among them."""
        return list(self._documents.values())

    def lost(self) -> list[Document]:
        """Every one that is open and whose text is unknown; it is not in these."""
        return list(self._lost.values())

    def lose(self, uri: str) -> bool:
        """Its text is unknown from now on; False where it is not open."""
        key = document_key(uri)
        known = self._documents.pop(key, None) or self._lost.get(key)
        if known is not None:
            self._lost[key] = replace(known, text="", _known_lines=None)
        return known is not None

    def close(self, uri: str) -> None:
        key = document_key(uri)
        self._documents.pop(key, None)
        self._lost.pop(key, None)

    def clear(self) -> None:
        self._documents.clear()
        self._lost.clear()

    def _keep(self, document: Document) -> Document:
        self._lost.pop(document.uri, None)
        self._documents[document.uri] = document
        return document


def _changed(
    document: Document, version: int | None, change: Change, encoding: Encoding, seen: Seen | None
) -> Document:
    text, version = well_formed(change.text), document.version if version is None else version
    if change.range is None:
        if seen is not None:
            seen(document, _splice(document, 0, len(document.text), text))
        return Document(
            uri=document.uri, version=version, language_id=document.language_id, text=text
        )
    start_line, start_character, end_line, end_character = change.range
    start = document.offset_at(start_line, start_character, encoding)
    end = document.offset_at(end_line, end_character, encoding)
    start, end = min(start, end), max(start, end)
    if seen is not None:
        seen(document, _splice(document, start, end, text))
    return document.replaced(start, end, text, version=version)


def _splice(document: Document, start: int, end: int, text: str) -> Splice:
    removed = document.text[start:end]
    head = shared_head(removed, text)
    removed, text = removed[head:], text[head:]
    tail = shared_tail(removed, text, min(len(removed), len(text)))
    kept = len(removed) - tail
    return Splice(start=start + head, removed=removed[:kept], inserted=text[: len(text) - tail])


def shared_head(one: AnyStr, other: AnyStr) -> int:
    """How many characters, or bytes, both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def shared_tail(one: AnyStr, other: AnyStr, most: int) -> int:
    """How many of the last `most` characters, or bytes, both end with."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if one[len(one) - middle : len(one) - low] == other[len(other) - middle : len(other) - low]:
            low = middle
        else:
            high = middle - 1
    return low


def well_formed(text: str) -> str:
    """Half a surrogate pair, which JSON can carry and no tokenizer can, becomes U+FFFD.

    It takes as many units in every encoding, so that all positions stay true.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)
    return text
