"""Keystroke to visible ghost text, as the editors' tests measure it."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

ARTIFACTS = Path(__file__).parents[2] / "artifacts" / "editors"


class Latencies:
    """Of each editor, milliseconds from the last key to the screen, and the server's own of them.
    Of answers for which the model ran."""

    def __init__(self) -> None:
        self._kept: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self._kept)

    def add(self, editor: str, ms: float, server_ms: float) -> None:
        self._kept[editor].append((ms, server_ms))

    def table(self) -> Iterator[str]:
        """Lines of Markdown."""
        yield "| | key to ghost text, p50 | of it in the server, p50 | keys |"
        yield "|---|---|---|---|"
        for editor, kept in sorted(self._kept.items()):
            to_screen, in_server = (median(part) for part in zip(*kept, strict=True))
            yield f"| {editor} | {to_screen:.0f} ms | {in_server:.0f} ms | {len(kept)} |"

    def load(self) -> str:
        return f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs"
