"""A grid that settles, for a terminal and as a picture. Solves nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from benchmarks.sudoku.puzzles import Grid
from infill_engine.denoise import Denoised

# What a cell is, and how it looks: in a terminal, and in a picture on light and on dark paper.
STYLES = {
    "given": ("bold", "#8b949e", "bold"),
    "decided": ("green", "#2da44e", "bold"),
    "guess": ("dim", "#8b949e", "normal"),
    "back": ("bold yellow", "#d29922", "bold"),
}
CELL, GAP, TOP = 19, 22, 24  # pixels


@dataclass(frozen=True, slots=True)
class Frame:
    """81 digits and what each is: given, decided, a guess in a masked cell, or taken back now."""

    step: int
    digits: list[int]
    kinds: list[str]

    @property
    def open_cells(self) -> int:
        return self.kinds.count("guess") + self.kinds.count("back")


def frames_of(puzzle: Grid, denoised: Sequence[Denoised], row: int = 0) -> list[Frame]:
    """One for each step until the row converged."""
    found: list[Frame] = []
    was = [False] * 81
    for each in denoised:
        digits, decided = each.token_ids[row].tolist(), each.decided[row].tolist()
        before = found[-1].digits if found else digits
        kinds = [
            "given" if given
            else "back" if was[at] and (not decided[at] or digits[at] != before[at])
            else "decided" if decided[at] else "guess"
            for at, given in enumerate(puzzle.tolist())
        ]  # fmt: skip
        found.append(Frame(each.num_steps, digits, kinds))
        was = decided
        if bool(each.converged[row]):
            break
    return found


def page(frame: Frame) -> Text:
    """13 lines."""
    text = Text()
    for row in range(9):
        if row % 3 == 0:
            text.append("  ───────┼───────┼───────\n" if row else "", "dim")
        text.append("  ")
        for column in range(9):
            at = row * 9 + column
            text.append(" │ " if column in (3, 6) else " ", "dim")
            text.append(str(frame.digits[at]), STYLES[frame.kinds[at]][0])
        text.append("\n")
    back = frame.kinds.count("back")
    text.append(f"  step {frame.step}: {frame.open_cells} of 81 cells open", "dim")
    text.append(f", {back} taken back" if back else "", "dim")
    return text


def chosen(frames: Sequence[Frame]) -> list[Frame]:
    """At most five: the first, the last, two between, and the one in which most is taken back."""
    last = len(frames) - 1
    back = max(range(len(frames)), key=lambda at: frames[at].kinds.count("back"))
    return [frames[at] for at in sorted({0, last // 4, last // 2, back, last})]


def picture(frames: Sequence[Frame]) -> str:
    """An SVG of one row of grids, readable on light and dark paper."""
    side = 9 * CELL
    width, height = len(frames) * (side + GAP), side + TOP + 4
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            'font-family="monospace" font-size="13" text-anchor="middle">',
            *(
                line
                for at, frame in enumerate(frames)
                for line in _panel(frame, at * (side + GAP) + GAP // 2)
            ),
            "</svg>\n",
        ]
    )


def _panel(frame: Frame, left: int) -> Iterator[str]:
    side = 9 * CELL
    yield (
        f'<text x="{left + side // 2}" y="{TOP - 9}" fill="#8b949e">'
        f"step {frame.step}, {frame.open_cells} open</text>"
    )
    for at in range(10):
        width = 1.6 if at % 3 == 0 else 0.4
        across = f"M{left} {TOP + at * CELL}h{side}M{left + at * CELL} {TOP}v{side}"
        yield f'<path d="{across}" stroke="#8b949e" stroke-width="{width}"/>'
    for kind, (_, colour, weight) in STYLES.items():
        cells = [at for at, each in enumerate(frame.kinds) if each == kind]
        if cells:
            xs = " ".join(str(left + at % 9 * CELL + CELL // 2) for at in cells)
            ys = " ".join(str(TOP + at // 9 * CELL + 14) for at in cells)
            digits = "".join(str(frame.digits[at]) for at in cells)
            faint = ' opacity="0.55"' if kind == "guess" else ""
            yield (
                f'<text x="{xs}" y="{ys}" fill="{colour}" font-weight="{weight}"{faint}>'
                f"{digits}</text>"
            )
