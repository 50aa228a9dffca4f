"""What the server's log says of requests, one line each."""

import re
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r": (?:automatic|invoked) v(\d+): ([^,]+), (\d+) items, (\d+) ms")


@dataclass(frozen=True, slots=True)
class Answer:
    """`version` is the document's, `how` "model", "reused" ..., `ms` what the server took."""

    version: int
    how: str
    num_items: int
    ms: float

    @property
    def overtaken(self) -> bool:
        return self.how in ("superseded", "stopped")


def counted(log: Path) -> tuple[int, int, int]:
    """How many answers the editor had to show, and what it says it accepted, all that was left or
    a part."""
    shown = sum(answer.num_items > 0 for answer in answers_in(log))
    text = log.read_text("utf-8")
    accepted = [
        text.count(f"characters, {what} of a suggestion") for what in ("the rest", "a part")
    ]
    return shown, *accepted


def answers_in(log: Path, skip: int = 0) -> list[Answer]:
    """Those behind the first `skip` lines, in their order."""
    if not log.exists():
        return []
    lines = log.read_text(encoding="utf-8").splitlines()[skip:]
    found = [match for line in lines if (match := _LINE.search(line))]
    return [Answer(int(m[1]), m[2], int(m[3]), float(m[4])) for m in found]
