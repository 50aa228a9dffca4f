"""A change of one text file, line by line, so that it can be shown, made, and taken back."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """`old` stood there, and `new` does now, from the line `at` (from 0) on. Both are whole lines;
    either may be empty."""

    at: int
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Of a file that is `before` now, None where there is none."""

    path: Path
    before: str | None
    after: str

    @property
    def edits(self) -> tuple[Edit, ...]:
        old, new = _lines(self.before or ""), _lines(self.after)
        codes = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        return tuple(
            Edit(at=c, old="".join(old[a:b]), new="".join(new[c:d]))
            for kind, a, b, c, d in codes
            if kind != "equal"
        )

    @property
    def diff(self) -> list[str]:
        """Lines of a unified diff, without their line ends."""
        old = [line.rstrip("\r\n") for line in _lines(self.before or "")]
        new = [line.rstrip("\r\n") for line in _lines(self.after)]
        name = str(self.path)
        was = "/dev/null" if self.before is None else name
        return list(unified_diff(old, new, was, name, lineterm="", n=2))


def undone(text: str, edits: Sequence[Edit]) -> str:
    """The text before these edits, which nothing has changed since."""
    lines = _lines(text)
    for edit in sorted(edits, key=lambda edit: edit.at, reverse=True):
        lines[edit.at : edit.at + len(_lines(edit.new))] = [edit.old]
    return "".join(lines)


def taken_out(text: str, edits: Sequence[Edit]) -> str | None:
    """The text without these edits, whatever else was changed since; None where the lines of one
    are not there any more, or stand there more often than they were written."""
    lines = _lines(text)
    moved = []
    for new in dict.fromkeys(edit.new for edit in edits):
        alike = [edit for edit in edits if edit.new == new]
        wanted = _lines(new)
        starts = range(len(lines) - len(wanted) + 1)
        found = [at for at in starts if lines[at : at + len(wanted)] == wanted]
        if not wanted or len(found) != len(alike):
            return None
        moved += [Edit(at=at, old=e.old, new=new) for at, e in zip(found, alike, strict=True)]
    return undone(text, moved)


def _lines(text: str) -> list[str]:
    """With their line ends, which for a file of somebody's are line feeds alone: other characters
    that Python takes for line ends may stand within a line."""
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
