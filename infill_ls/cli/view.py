"""A file around the cursor and an infill in it, drawn for people by rich. Starts no engine.

    hole ─► page ─► Player (in place) or print

What is a file's or a model's goes through `visible`, so that it cannot send a terminal a control
sequence.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TextIO

from rich.cells import cell_len, chop_cells
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from infill_ls.cli.characters import visible

TAB = 4
MAX_LINES = 20  # of code; more hides the infill rather than showing it
MAX_ROWS = 4  # that one long line may take
WIDE = 1000  # columns of what is no terminal
FRAME_SECONDS = 0.18  # what an eye can follow; the model is faster

DIM = "dim"
BOLD = "bold"
INFILL = "bold green"
MARK = "green"
WARN = "yellow"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """rich would end the process; the command line has an exit code for it."""
        raise  # the BrokenPipeError on whose account it is called


def console_of(stream: TextIO) -> Console:
    """rich knows FORCE_COLOR, COLUMNS and dumb terminals. With NO_COLOR there is no style at all:
    what is bold for rich is a colour for many terminals. A pipe or a file has no edge to wrap at,
    so that what looks for a path or a sentence there finds it whole."""
    columns = os.environ.get("COLUMNS", "")
    edge = columns.isdecimal() and int(columns) > 0
    return _Console(
        file=stream,
        width=int(columns) if edge else None if stream.isatty() else WIDE,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        markup=False,
        emoji=False,
        highlight=False,
    )


def is_live(console: Console) -> bool:
    """Whether frames can replace one another; not where FORCE_COLOR makes a pipe a terminal."""
    return console.file.isatty() and not console.is_dumb_terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The file on both sides of a hole; lines end in a line feed."""

    title: str
    language_id: str
    prefix: str
    suffix: str


def page(around: Surroundings, hole: Text, footer: Sequence[Text], console: Console) -> Group:
    """The file around the place, as it is drawn before, during and after."""
    language = visible(around.language_id)
    title = _end_of(visible(around.title), console.width - len(language) - 4)
    head = Text.assemble(" ", (title, BOLD), "  ", (language, DIM))
    room = min(MAX_LINES, console.height - len(footer) - 5)
    rows = code(
        around, hole, width=console.width, room=room, underlined=console.color_system is None
    )
    lines = [Text(), head, Text(), *rows, Text(), *footer]
    for line in lines:
        line.truncate(console.width, overflow="ellipsis")
    return Group(*lines)


def _end_of(text: str, width: int) -> str:
    """The end of a text that is too long: the end of a path says more than its beginning."""
    if cell_len(text) <= width:
        return text
    return "…" + chop_cells(text[::-1], max(width - 1, 1))[0][::-1]


def code(
    around: Surroundings, hole: Text, *, width: int, room: int, underlined: bool
) -> list[Text]:
    """The lines around the hole, numbered; `room` is the number of rows they may take.

    Where there is no colour the hole is underlined, as compilers point at code.
    """
    room = max(room, 3)
    lines, first_number = _lines(around, hole, width, room)
    first = around.prefix.count("\n") + 1 - first_number
    last = first + hole.plain.count("\n")
    start, end = _window(first, last, len(lines), room)
    digits = len(str(first_number + end - 1))
    rows: list[Text] = []
    before = after = 0  # rows above and below the hole
    for at in range(start, end):
        inside = first <= at <= last
        bar = ("┃", MARK) if inside else ("│", DIM)
        number = (f" {first_number + at:>{digits}} ", "" if inside else DIM)
        for row in _rows(lines[at], max(width - digits - 4, 8)):
            rows.append(Text.assemble(number, bar, " ", row))
            number = (" " * (digits + 2), "")
            if underlined and (marks := _underline(row).rstrip()):
                rows.append(Text.assemble(number, bar, " ", marks))
        before = len(rows) if at < first else before
        after = len(rows) if at == last else after
    if last >= end:
        rows.append(Text(f" {' ' * digits} ⋮ {last - end + 1} more lines", DIM))
        after = len(rows)
    # Wrapped lines take more rows than there is room: the far ends of the context give way.
    del rows[max(room, after) :]
    del rows[: min(before, max(0, len(rows) - room))]
    for row in rows:
        row.rstrip()
    return rows


def _lines(around: Surroundings, hole: Text, width: int, room: int) -> tuple[list[Text], int]:
    """The lines that could be shown and the number of the first one; of long ones only as much as
    could be."""
    most = (MAX_ROWS + 1) * width
    above, below = around.prefix.rsplit("\n", room), around.suffix.split("\n", room)
    if len(above) > room:
        del above[0]
    if len(below) > room:
        del below[-1]
    marked = hole.copy()
    marked.apply_meta({"hole": True})
    text = Text.assemble(
        visible("\n".join([*(line[:most] for line in above[:-1]), above[-1][-most:]])),
        marked,
        visible("\n".join(line[:most] for line in below)),
    )
    text.expand_tabs(TAB)
    first_number = around.prefix.count("\n") + 2 - len(above)
    return list(text.split("\n", allow_blank=True)), first_number


def _window(first: int, last: int, count: int, room: int) -> tuple[int, int]:
    """The lines to show. They stay the same while a hole grows, unless it grows out of them."""
    above = min(room // 2, max(room - (last - first + 1), min(3, room - 1)))
    start = max(0, min(first - above, count - room))
    return start, min(count, start + room)


def _span_of_hole(line: Text) -> tuple[int, int]:
    spans = [span for span in line.spans if not isinstance(span.style, str) and span.style.meta]
    if not spans:
        return 0, 0
    return min(span.start for span in spans), max(span.end for span in spans)


def _rows(line: Text, width: int) -> list[Text]:
    """A line cut to the page: from a little before the hole, on as many rows as the hole needs."""
    if line.cell_len <= width:
        return [line]
    start, stop = _span_of_hole(line)
    cut = max(0, start - width // 3) if cell_len(line.plain[:stop]) > width - 1 else 0
    if cut:
        line = Text.assemble(("…", DIM), line[cut:])
        stop += 1 - cut
    ends = list(accumulate(map(len, chop_cells(line.plain, width))))
    needed = next((number for number, end in enumerate(ends, 1) if end >= stop), len(ends))
    kept = min(needed, MAX_ROWS)
    *rows, rest = line.divide(ends[: kept - 1])
    rest.truncate(width, overflow="ellipsis")
    return [*rows, rest]


def _underline(row: Text) -> str:
    start, stop = _span_of_hole(row)
    return " " * cell_len(row.plain[:start]) + "~" * cell_len(row.plain[start:stop])


class Player:
    """Shows frames in place, in its own thread and at a pace for eyes.

    The model runs on meanwhile, so what is measured is the model and not the drawing. Leaving it
    waits until the last frame was to be seen; after an error the frames that wait are dropped.
    """

    def __init__(self, console: Console, *, pace: float = FRAME_SECONDS) -> None:
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._pace = pace
        self._frames: queue.SimpleQueue[Callable[[], RenderableType] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="player", daemon=True)

    def __enter__(self) -> "Player":
        self._live.start()
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        while kind is not None and not self._frames.empty():
            self._frames.get_nowait()
        self._frames.put(None)
        self._thread.join()
        self._live.stop()

    def show(self, frame: Callable[[], RenderableType]) -> None:
        """Shows the frame after those before it; it is laid out in the player's thread."""
        self._frames.put(frame)

    def _run(self) -> None:
        while (frame := self._frames.get()) is not None:
            started = time.monotonic()
            self._live.update(frame(), refresh=True)
            time.sleep(max(0.0, self._pace - (time.monotonic() - started)))
