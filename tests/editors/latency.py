"""Keystroke to visible ghost text, as the editors' tests measure it."""

from collections import defaultdict
from statistics import median


class Latencies:
    """Milliseconds by editor and by what the answer took."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], list[float]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self._kept)

    def add(self, editor: str, what: str, ms: float) -> None:
        self._kept[editor, what].append(ms)

    def lines(self) -> list[str]:
        return [
            f"keystroke to ghost text, {editor}, {what}: p50 {median(ms):.0f} ms of {len(ms)}"
            for (editor, what), ms in sorted(self._kept.items())
        ]
