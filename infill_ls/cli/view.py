"""A file around the cursor and an infill in it, drawn for people. Text in, lines of text out.

    Draft.cells ─► pieces ─► view ─► lines ─► Painter (in place) or print

Knows no engine and starts nothing. A piece is a run of text in one style; a glyph is what one
character of a file looks like here, so that no file can send a control sequence to the terminal.
Colours are of the 256-colour palette, of middle lightness: they read on dark and on light.
"""

import queue
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from infill_engine import Cell, Draft

TAB = 4
MAX_LINES = 20  # of code; more hides the infill rather than showing it
MAX_ROWS = 4  # that one long line may take
MIN_WIDTH = 30
FRAME_SECONDS = 0.18  # what an eye can follow; the model is faster

PLAIN = ""
DIM = "2"
BOLD = "1"
INFILL = "1;32"
MARK = "32"
WARN = "33"
PINNED = "38;5;75"
END = "38;5;240"
# By falling certainty; the thresholds are nats of a cell's entropy.
SETTLED = ((0.1, "1;38;5;77"), (0.5, "38;5;71"), (float("inf"), "38;5;107"))
NOISE = (
    (0.2, "38;5;178"),
    (0.7, "38;5;172"),
    (1.5, "38;5;167"),
    (2.5, "38;5;133"),
    (4.0, "38;5;97"),
    (float("inf"), "38;5;60"),
)
BLOCKS = ((0.2, "█"), (1.5, "▓"), (4.0, "▒"), (float("inf"), "░"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """What can be drawn on. `live` when frames can replace one another."""

    width: int = 80
    height: int = 24
    colour: bool = False
    live: bool = False

    def paint(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self.colour and style and text else text


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text in one style; `filled` when it stands in the hole."""

    text: str
    style: str = PLAIN
    filled: bool = False


@dataclass(frozen=True, slots=True)
class Glyph:
    """One character as it is drawn, and the columns it takes."""

    text: str
    width: int
    style: str
    filled: bool


def filled(text: str) -> list[Piece]:
    """The result."""
    return [Piece(text, INFILL, True)]


def settling(draft: Draft) -> list[Piece]:
    """A canvas under way: every cell in the shade of its entropy.

    A line break that is not settled is drawn as an arrow, so that the page stands still until the
    model is sure of its lines.
    """
    cells = _open_cells(draft.cells)
    pieces = [
        Piece(
            cell.text.replace("\n", "↵") if cell.state == "noise" else cell.text,
            _cell_style(cell),
            True,
        )
        for cell in cells
    ]
    whole, body = draft.text, "".join(cell.text for cell in cells)
    if whole.endswith(body):  # text of earlier canvases is settled for good
        return [Piece(whole[: len(whole) - len(body)], SETTLED[0][1], True), *pieces]
    if body.endswith(whole):  # the first cells spell again what the user had begun to type
        return _without_head(pieces, len(body) - len(whole))
    return pieces


def _open_cells(cells: Sequence[Cell]) -> list[Cell]:
    """Up to the first cell that says: the hole ends here."""
    for at, cell in enumerate(cells):
        if cell.state == "end":
            return list(cells[:at])
    return list(cells)


def _without_head(pieces: list[Piece], length: int) -> list[Piece]:
    rest = []
    for piece in pieces:
        cut = min(length, len(piece.text))
        length -= cut
        rest.append(Piece(piece.text[cut:], piece.style, True))
    return rest


def _cell_style(cell: Cell) -> str:
    match cell.state:
        case "pinned":
            return PINNED
        case "end":
            return END
        case "settled":
            return _level(SETTLED, cell.entropy)
        case _:
            return _level(NOISE, cell.entropy)


def _level(levels: Sequence[tuple[float, str]], entropy: float) -> str:
    return next((value for bound, value in levels if entropy <= bound), levels[-1][1])


def view(
    prefix: str, hole: Sequence[Piece], suffix: str, *, terminal: Terminal, room: int = MAX_LINES
) -> list[str]:
    """The lines around the hole, numbered; `room` is the number of rows they may take.

    Without colour the hole is underlined, as compilers point at code.
    """
    lines = _lines([Piece(prefix), *hole, Piece(suffix)])
    first = prefix.count("\n")
    last = first + "".join(piece.text for piece in hole).count("\n")
    start, end = _window(first, last, len(lines), max(room, 3))
    digits = len(str(end))
    rows: list[str] = []
    before = after = 0  # rows above and below the hole
    for number in range(start, end):
        glyphs = list(_glyphs(lines[number]))
        inside = first <= number <= last
        bar = terminal.paint("┃" if inside else "│", MARK if inside else DIM)
        label = terminal.paint(f"{number + 1:>{digits}}", PLAIN if inside else DIM)
        gutter, blank = f" {label} {bar} ", f" {' ' * digits} {bar} "
        for row in _rows(glyphs, terminal.width - digits - 4):
            rows.append((gutter + _drawn(row, terminal)).rstrip())
            gutter = blank
            if not terminal.colour and any(glyph.filled for glyph in row):
                rows.append(blank + _underline(row))
        before += len(rows) - before if number < first else 0
        after = len(rows) if number == last else after
    if last >= end:
        rows.append(terminal.paint(f" {' ' * digits} ⋮ {last - end + 1} more lines", DIM))
        after = len(rows)
    # Wrapped lines take more rows than there is room: the far ends of the context give way.
    del rows[max(room, after) :]
    del rows[: min(before, max(0, len(rows) - room))]
    return rows


def fitted(text: str, width: int) -> str:
    """The end of a text that is too long: the end of a path says more than its beginning."""
    shown = "".join(_shown(character, 0)[0] for character in text)
    return shown if len(shown) <= width else "…" + shown[1 - max(width, 2) :]


def _lines(pieces: Iterable[Piece]) -> list[list[Piece]]:
    lines: list[list[Piece]] = [[]]
    for piece in pieces:
        head, *tail = piece.text.split("\n")
        lines[-1].append(Piece(head, piece.style, piece.filled))
        lines += [[Piece(text, piece.style, piece.filled)] for text in tail]
    return lines


def _window(first: int, last: int, count: int, room: int) -> tuple[int, int]:
    """The lines to show. They stay the same while a hole grows, unless it grows out of them."""
    above = min(room // 2, max(room - (last - first + 1), min(3, room - 1)))
    start = max(0, min(first - above, count - room))
    return start, min(count, start + room)


def _glyphs(pieces: Iterable[Piece]) -> Iterator[Glyph]:
    column = 0
    for piece in pieces:
        for character in piece.text:
            text, width = _shown(character, column)
            column += width
            yield Glyph(text, width, piece.style, piece.filled)


def _shown(character: str, column: int) -> tuple[str, int]:
    if character.isascii() and character.isprintable():
        return character, 1
    if character == "\t":
        width = TAB - column % TAB
        return " " * width, width
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character)), 1
    category = unicodedata.category(character)
    if category in ("Mn", "Me"):
        return character, 0
    if category[0] in "CZ" and category != "Zs":  # controls, directions, line separators
        return "�", 1
    return character, 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _rows(glyphs: Sequence[Glyph], room: int) -> list[list[Glyph]]:
    """A line cut to the page: from a little before the hole, on as many rows as the hole needs."""
    room = max(room, 8)
    if sum(glyph.width for glyph in glyphs) <= room:
        return [list(glyphs)]
    at = [place for place, glyph in enumerate(glyphs) if glyph.filled]
    start, stop = (at[0], at[-1] + 1) if at else (0, 0)
    start = max(0, start - room // 3) if stop > room - 1 else 0
    rows: list[list[Glyph]] = []
    more = Glyph("…", 1, DIM, False)
    while start < len(glyphs) and len(rows) < MAX_ROWS:
        row, width = ([more], 1) if start and not rows else ([], 0)
        while start < len(glyphs) and width + glyphs[start].width < room:
            row.append(glyphs[start])
            width += glyphs[start].width
            start += 1
        rows.append(row)
        if start >= stop:
            break
    if start < len(glyphs):
        rows[-1].append(more)
    return rows


def _drawn(row: Iterable[Glyph], terminal: Terminal) -> str:
    drawn, run, style = [], "", PLAIN
    for glyph in row:
        if glyph.style != style:
            drawn.append(terminal.paint(run, style))
            run, style = "", glyph.style
        run += glyph.text
    return "".join(drawn) + terminal.paint(run, style)


def _underline(row: Iterable[Glyph]) -> str:
    return "".join(("~" if glyph.filled else " ") * glyph.width for glyph in row).rstrip()


def canvas_strip(draft: Draft, *, terminal: Terminal) -> str:
    """The canvas from afar: a block per cell, thinner the less is known."""
    room = max(terminal.width - 12, 8)
    strip = "".join(terminal.paint(_block(cell), _cell_style(cell)) for cell in draft.cells[:room])
    return strip + ("…" if len(draft.cells) > room else "")


def _block(cell: Cell) -> str:
    match cell.state:
        case "end":
            return "·"
        case "pinned":
            return "■"
        case "settled":
            return "█"
        case _:
            return _level(BLOCKS, cell.entropy)


def progress(draft: Draft, *, terminal: Terminal) -> list[str]:
    """Two lines under a canvas that is settling."""
    cells = draft.cells
    decided = sum(cell.state != "noise" for cell in cells)
    figures = f"step {draft.steps:>2}   {decided:>2} of {len(cells)} cells settled   "
    return [
        "  canvas  " + canvas_strip(draft, terminal=terminal),
        terminal.paint(f"  {figures}entropy {draft.mean_entropy:.2f}", DIM),
    ]


def step_line(draft: Draft, *, terminal: Terminal) -> str:
    """A step on one line, where nothing can be drawn twice."""
    text = draft.text.replace("\\", "\\\\").replace("\n", "\\n")
    head = f"step {draft.steps:>2}  entropy {draft.mean_entropy:6.3f}  {draft.tokens:>3} tokens  "
    (row, *_) = _rows(list(_glyphs([Piece(text)])), terminal.width - len(head))
    return head + "".join(glyph.text for glyph in row)


class Painter:
    """Draws frames in place, in its own thread and at a pace for eyes.

    The model runs on meanwhile, so what is measured is the model and not the drawing. `close`
    waits until the last frame was to be seen.
    """

    def __init__(self, stream: TextIO, *, pace: float = FRAME_SECONDS) -> None:
        self._stream = stream
        self._pace = pace
        self._frames: queue.SimpleQueue[Callable[[], list[str]] | None] = queue.SimpleQueue()
        self._height = 0
        self._thread = threading.Thread(target=self._run, name="painter", daemon=True)

    def __enter__(self) -> "Painter":
        self._write("\x1b[?25l")  # no cursor that jumps about
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            self._drop()
        self.close()

    def show(self, frame: Callable[[], list[str]]) -> None:
        """Draws the frame after those before it; it is laid out in the painter's thread."""
        self._frames.put(frame)

    def close(self) -> None:
        self._frames.put(None)
        self._thread.join()
        self._write("\x1b[?25h")

    def _drop(self) -> None:
        """After an error the frames that wait are of no interest."""
        while not self._frames.empty():
            self._frames.get_nowait()

    def _run(self) -> None:
        while (frame := self._frames.get()) is not None:
            started = time.monotonic()
            self._draw(frame())
            time.sleep(max(0.0, self._pace - (time.monotonic() - started)))

    def _draw(self, lines: list[str]) -> None:
        up = f"\x1b[{self._height}F" if self._height else ""
        body = "".join(f"{line}\x1b[K\n" for line in lines)
        # 2026 asks the terminal to show the whole frame at once; those that cannot ignore it.
        self._write(f"\x1b[?2026h{up}{body}\x1b[J\x1b[?2026l")
        self._height = len(lines)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
