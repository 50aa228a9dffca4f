"""Keystroke to visible ghost text, as the editors' tests measure it.

`python -m tests.editors.latency` puts the newest table and pictures of the tests where README.md
has them.
"""

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "artifacts" / "editors"
TABLE = ARTIFACTS / "latency.md"
PICTURES = {
    "vscode-brackets.png": "editors/vscode/images/screenshot.png",
    "neovim-0.12.svg": "editors/neovim/screenshot.svg",
}


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
        return f"Load of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs."


def publish() -> None:
    for made, place in PICTURES.items():
        shutil.copyfile(ARTIFACTS / made, ROOT / place)
    readme = ROOT / "README.md"
    text, number = re.subn(
        r"(<!-- latency of the editors -->\n).*?(<!-- end -->)",
        lambda match: f"{match[1]}{TABLE.read_text(encoding='utf-8')}{match[2]}",
        readme.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    assert number == 1, "README.md has the place of the table once"
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    publish()
