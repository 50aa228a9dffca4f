"""What a Neovim draws, kept as it comes, and a picture of it: the events of `ext_linegrid`."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT, SIZE = 8.4, 18, 14  # of a cell and its font, in pixels


class Screen:
    """A grid of cells, each a character and the number of its style."""

    def __init__(self) -> None:
        self.cells: list[list[tuple[str, int]]] = []
        self.cursor = (0, 0)
        self._styles: dict[int, dict[str, Any]] = {0: {}}
        self._foreground, self._background = 0xFFFFFF, 0

    def redraw(self, batches: list[Any]) -> None:
        for name, *calls in batches:
            handle = getattr(self, f"_{name}", None)
            for arguments in calls if handle else ():
                handle(*arguments)

    @property
    def lines(self) -> list[str]:
        return ["".join(text for text, _ in row).rstrip() for row in self.cells]

    def picture(self, path: Path) -> None:
        """As SVG."""
        width, height = len(self.cells[0]) * WIDTH, len(self.cells) * HEIGHT
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}"'
            f' font-family="monospace" font-size="{SIZE}">',
            f'<rect width="100%" height="100%" fill="{colour(self._background)}"/>',
            *self._parts(),
            "</svg>",
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(parts) + "\n", encoding="utf-8")

    def _parts(self) -> Iterator[str]:
        row, column = self.cursor
        yield (
            f'<rect x="{column * WIDTH:.1f}" y="{row * HEIGHT}" width="2" height="{HEIGHT}"'
            f' fill="{colour(self._foreground)}"/>'
        )
        for y, cells in enumerate(self.cells):
            x = 0
            for number, run in groupby(cells, key=lambda cell: cell[1]):
                texts = [text for text, _ in run]
                yield from self._run(texts, self._styles.get(number, {}), x, y)
                x += len(texts)

    def _run(self, cells: list[str], style: dict[str, Any], x: int, y: int) -> Iterator[str]:
        front = style.get("foreground", self._foreground)
        back = style.get("background", self._background)
        if style.get("reverse"):
            front, back = back, front
        if back != self._background:
            yield (
                f'<rect x="{x * WIDTH:.1f}" y="{y * HEIGHT}" width="{len(cells) * WIDTH:.1f}"'
                f' height="{HEIGHT}"'
                f' fill="{colour(back)}"/>'
            )
        inked = [place for place, text in enumerate(cells) if text != " "]
        if inked:
            first, end = inked[0], inked[-1] + 1
            text = escape("".join(cells[first:end])).replace(" ", "\N{NO-BREAK SPACE}")
            slant = ' font-style="italic"' if style.get("italic") else ""
            weight = ' font-weight="bold"' if style.get("bold") else ""
            yield (
                f'<text x="{(x + first) * WIDTH:.1f}" y="{y * HEIGHT + SIZE}"'
                f' textLength="{(end - first) * WIDTH:.1f}" fill="{colour(front)}"{slant}{weight}>'
                f"{text}</text>"
            )

    # -- events ----------------------------------------------------------------------------------

    def _grid_resize(self, _: int, width: int, height: int) -> None:
        self.cells = [[(" ", 0)] * width for _ in range(height)]

    def _grid_clear(self, _: int) -> None:
        self.cells = [[(" ", 0)] * len(row) for row in self.cells]

    def _grid_line(self, _: int, row: int, column: int, cells: list[Any], *_more: Any) -> None:
        style = 0
        for text, *rest in cells:
            style = rest[0] if rest else style
            for _ in range(rest[1] if len(rest) > 1 else 1):
                self.cells[row][column] = (text, style)
                column += 1

    def _grid_scroll(
        self, _: int, top: int, bottom: int, left: int, right: int, rows: int, _columns: int
    ) -> None:
        order = range(top, bottom) if rows > 0 else range(bottom - 1, top - 1, -1)
        for row in order:
            if top <= row + rows < bottom:
                self.cells[row][left:right] = self.cells[row + rows][left:right]

    def _grid_cursor_goto(self, _: int, row: int, column: int) -> None:
        self.cursor = (row, column)

    def _hl_attr_define(self, number: int, style: dict[str, Any], *_more: Any) -> None:
        self._styles[number] = style

    def _default_colors_set(self, foreground: int, background: int, *_more: Any) -> None:
        self._foreground, self._background = foreground, background


def colour(number: int) -> str:
    return f"#{number & 0xFFFFFF:06x}"
