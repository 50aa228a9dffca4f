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
    """How many suggestions the editor says it showed, accepted, and accepted in part."""
    found = re.findall(r"shown (\d+), accepted (\d+), in part (\d+)", log.read_text("utf-8"))
    shown, accepted, in_part = found[-1] if found else (0, 0, 0)
    return int(shown), int(accepted), int(in_part)


def answers_in(log: Path, skip: int = 0) -> list[Answer]:
    """Those behind the first `skip` lines, in their order."""
    if not log.exists():
        return []
    lines = log.read_text(encoding="utf-8").splitlines()[skip:]
    found = [match for line in lines if (match := _LINE.search(line))]
    return [Answer(int(m[1]), m[2], int(m[3]), float(m[4])) for m in found]
