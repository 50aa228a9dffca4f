"""An edit as lines that became others, and these as tokens that became others.

Tokens are words, runs of blanks, and single other characters; so it works in any language.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from infill_ls.completion.next_edit.history import Edit
from infill_ls.documents import Document

TOKEN = re.compile(r"\w+|[^\S\n]+|[^\w]")
NAME = re.compile(r"[^\W\d]\w*")
LINE_END = re.compile(r"\r\n|\n|\r")
MAX_LINES = 40
_MOST_ALIKE = 20_000  # pairs of equal tokens, some 0.1 s


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChange:
    """Lines `old`, without their line ends, became `new`, which begin at line `first`, between the
    lines `above` and `below`."""

    first: int
    old: tuple[str, ...]
    new: tuple[str, ...]
    above: str = ""
    below: str = ""

    @property
    def end(self) -> int:
        """The line behind the new ones."""
        return self.first + len(self.new)

    @property
    def is_blank(self) -> bool:
        """Whether nothing but blanks and line ends differs."""
        return "".join(self.old).split() == "".join(self.new).split()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenChange:
    """On a line `before + old + after` became `before + new + after`: token lists."""

    before: tuple[str, ...]
    old: tuple[str, ...]
    new: tuple[str, ...]
    after: tuple[str, ...]


def line_change(document: Document, edit: Edit) -> LineChange | None:
    """None where it is none of lines, or too long."""
    text, start, end = document.text, edit.start, edit.end
    removed, inserted = edit.removed, edit.inserted
    if inserted.startswith("\n") and not removed and text[end : end + 1] == "\n":
        # A line that was opened below another one is that line, whichever line end is taken for
        # the new one.
        start, end, inserted = start + 1, end + 1, inserted[1:] + "\n"
    first, last = document.lines.line_of(start), document.lines.line_of(end)
    head, tail = text[document.line_start(first) : start], text[end : document.line_end(last)]
    old, new = (LINE_END.split(head + each + tail) for each in (removed, inserted))
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    while old and new and old[0] == new[0]:
        del old[0], new[0]
        first += 1
    if not (old or new) or max(len(old), len(new)) > MAX_LINES:
        return None
    above, below = _line(document, first - 1), _line(document, first + len(new))
    return LineChange(first=first, old=tuple(old), new=tuple(new), above=above, below=below)


def _line(document: Document, at: int) -> str:
    if not 0 <= at < document.num_lines:
        return ""
    return document.text[document.line_start(at) : document.line_end(at)]


def tokens(text: str) -> list[str]:
    return TOKEN.findall(text)


def each_token(text: str) -> Iterator[str]:
    """One after the other, where most are not looked at."""
    return (match[0] for match in TOKEN.finditer(text))


def token_changes(change: LineChange) -> list[TokenChange]:
    """Of the lines that became others; none where their number changed."""
    if len(change.old) != len(change.new):
        return []
    found = []
    for old, new in zip(change.old, change.new, strict=True):
        if old != new:
            found.append(token_change(tokens(old), tokens(new)))
    return found


def token_change(old: list[str], new: list[str]) -> TokenChange:
    """From the first to the last token that differs."""
    most = min(len(old), len(new))
    head = next((at for at in range(most) if old[at] != new[at]), most)
    most -= head
    tail = next((at for at in range(most) if old[-1 - at] != new[-1 - at]), most)
    return TokenChange(
        before=tuple(old[:head]),
        old=tuple(old[head : len(old) - tail]),
        new=tuple(new[head : len(new) - tail]),
        after=tuple(old[len(old) - tail :]),
    )


def compared(old: Sequence[str], new: Sequence[str]) -> Sequence[tuple[str, int, int, int, int]]:
    """What became what, as `difflib` says it; nothing where that would take long, which it does by
    how often the same tokens come again."""
    counts, others = Counter(old), Counter(new)
    if sum(count * others[token] for token, count in counts.items()) > _MOST_ALIKE:
        return []
    return SequenceMatcher(None, old, new, autojunk=False).get_opcodes()


def renamed(change: LineChange) -> dict[str, str]:
    """Which names became which others, where nothing but names differs."""
    old, new = tokens("\n".join(change.old)), tokens("\n".join(change.new))
    found: dict[str, str] = {}
    for what, low, high, other_low, other_high in compared(old, new):
        if what == "equal":
            continue
        if what != "replace" or high - low != other_high - other_low:
            continue
        for a, b in zip(old[low:high], new[other_low:other_high], strict=True):
            if NAME.fullmatch(a) and NAME.fullmatch(b) and found.setdefault(a, b) != b:
                return {}
    return found
