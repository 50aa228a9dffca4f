"""A document as rules read it. What several of them ask of it is found out once."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import accumulate

from infill_ls.completion.next_edit.changes import LINE_END, NAME
from infill_ls.completion.next_edit.module import Module, module_of
from infill_ls.documents import Document

IMPORT = re.compile(r"^\s*(?:from|import)\b|\brequire\(")


class Lines:
    """Of a text, without line ends."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def lines(self) -> tuple[str, ...]:
        return tuple(LINE_END.split(self.text))

    def rows_with(self, said: str) -> Iterator[int]:
        """The lines that a text of one line is on."""
        at = self._joined.find(said)
        while at >= 0:
            row = bisect_right(self._starts, at) - 1
            yield row
            if row + 1 == len(self._starts):
                return
            at = self._joined.find(said, self._starts[row + 1])

    @cached_property
    def _joined(self) -> str:
        return "\n".join(self.lines)

    @cached_property
    def _starts(self) -> list[int]:
        """Of lines, in what is joined."""
        return [*accumulate((len(line) + 1 for line in self.lines[:-1]), initial=0)]


class Source(Lines):
    def __init__(self, document: Document) -> None:
        super().__init__(document.text)
        self.document = document

    @cached_property
    def module(self) -> Module | None:
        """None where it is no Python, or does not parse."""
        return module_of(self._joined) if self.document.language_id == "python" else None

    @cached_property
    def rows(self) -> Mapping[str, list[int]]:
        """Where each line stands, by what it says without the blanks round it."""
        found: dict[str, list[int]] = {}
        for row, line in enumerate(self.lines):
            found.setdefault(line.strip(), []).append(row)
        return found

    @cached_property
    def uses(self) -> Mapping[str, int]:
        """How often each name is on lines that import nothing."""
        return Counter(name for line in self.lines for name in names_used(line))


def names_used(line: str) -> list[str]:
    return [] if IMPORT.search(line) else NAME.findall(line)
