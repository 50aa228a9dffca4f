"""What a rule has to go by, and what it proposes."""

from dataclasses import dataclass

from infill_ls.completion.next_edit.changes import LineChange
from infill_ls.completion.next_edit.source import Source
from infill_ls.documents import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A document and an edit of it as a change of lines."""

    source: Source
    change: LineChange

    @property
    def document(self) -> Document:
        return self.source.document

    @property
    def lines(self) -> tuple[str, ...]:
        """Without line ends."""
        return self.source.lines

    @property
    def has_edit(self) -> bool:
        """Whether it is one of this document; else it is behind its last line."""
        return self.change.first <= len(self.lines)

    @property
    def old_text(self) -> str:
        """The document before the edit."""
        lines = self.lines
        change = self.change
        return "\n".join((*lines[: change.first], *change.old, *lines[change.end :]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Lines [first, end) should become `lines`. `evidence` says by name what speaks for it, and
    `places` at how many the rule found the same; `agreed` that rules for this document's edits and
    for those of others propose it."""

    rule: str
    first: int
    end: int
    lines: tuple[str, ...]
    evidence: tuple[tuple[str, float], ...] = ()
    places: int = 1
    confidence: float = 0.0
    agreed: bool = False
