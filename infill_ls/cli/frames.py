"""What `infill-ls infill` shows: the file before, during and after, and the canvas as it settles.

Colours are of the 256-colour palette, of middle lightness: they read on dark and on light.
"""

from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.text import Text

from infill_engine import Cell, Draft, EngineInfo
from infill_ls.cli.characters import visible
from infill_ls.cli.machine import counted
from infill_ls.cli.view import DIM, INFILL, MARK, TAB, WARN, Surroundings, page
from infill_ls.completion.pipeline import Infilled

PINNED = "color(75)"
END = "color(240)"
# By falling certainty; the thresholds are nats of a cell's entropy.
SETTLED = ((0.1, "bold color(77)"), (0.5, "color(71)"), (float("inf"), "color(107)"))
NOISE = (
    (0.2, "color(178)"),
    (0.7, "color(172)"),
    (1.5, "color(167)"),
    (2.5, "color(133)"),
    (4.0, "color(97)"),
    (float("inf"), "color(60)"),
)
BLOCKS = ((0.2, "█"), (1.5, "▓"), (4.0, "▒"), (float("inf"), "░"))


def waiting(around: Surroundings, console: Console) -> Group:
    return page(around, Text("▏", MARK), [Text("  loading the model ...", DIM), Text()], console)


def step(around: Surroundings, draft: Draft, console: Console) -> Group:
    return page(around, settling(draft), progress(draft, console.width), console)


def result(around: Surroundings, infilled: Infilled, info: EngineInfo, console: Console) -> Group:
    """The best candidate in its place, what it took, and the other candidates."""
    if not infilled.candidates:
        return page(around, Text(), [Text("  nothing to show", DIM), Text()], console)
    best, *others = infilled.candidates
    draft, ms = best.draft, infilled.ms
    verdict = {
        True: ("✓ no new syntax error", INFILL),
        False: ("✗ a new syntax error", WARN),
        None: ("syntax not checked: no grammar", WARN),
    }[best.parses]
    steps = f"{counted(draft.tokens, 'token')} in {counted(draft.steps, 'step')}"
    steps += f", {draft.tokens_per_forward:.1f} a step"
    times = (
        f"  {ms.total:.0f} ms: encode {ms.encode:.0f}, denoise {ms.denoise:.0f}, "
        f"judge {ms.judge:.0f}, validate {ms.validate:.0f}   {visible(info.model)} on {info.device}"
    )
    footer = [Text.assemble("  ", verdict, f"   {steps}"), Text(times, DIM)]
    for number, other in enumerate(others, 2):
        line = visible(other.text.replace("\n", "↵"))
        footer.append(Text.assemble((f"  {number}  ", DIM), (line, INFILL)))
    return page(around, filled(best.text), footer, console)


def step_printer(console: Console) -> Callable[[Draft], None]:
    """Prints a line a step, for logs and pipes. The last draft of a run says its step again, or
    what was chosen instead."""
    said: Draft | None = None

    def show(draft: Draft) -> None:
        nonlocal said
        again = said is not None and said.steps == draft.steps
        if said is None or not again or said.text != draft.text:
            line = step_line(draft, chosen=again)
            console.print(line, no_wrap=True, overflow="ellipsis")
        said = draft

    return show


def filled(text: str) -> Text:
    return Text(visible(text), INFILL)


def settling(draft: Draft) -> Text:
    """A canvas under way: every cell in the shade of its entropy.

    A line break that is not settled is drawn as an arrow, so that the page stands still until the
    model is sure of its lines.
    """
    cells = _open_cells(draft.cells)
    whole, body = draft.text, "".join(cell.text for cell in cells)
    if whole.endswith(body):  # text of earlier canvases is settled for good
        settled, known = whole[: len(whole) - len(body)], 0
    else:  # the first cells may spell again what the user had begun to type
        settled, known = "", len(body) - len(whole) if body.endswith(whole) else 0
    hole = Text(visible(settled), SETTLED[0][1])
    for cell in cells:
        text = cell.text[known:]
        known = max(0, known - len(cell.text))
        shown = text.replace("\n", "↵") if cell.state == "noise" else text
        hole.append(visible(shown), _cell_style(cell))
    return hole


def _open_cells(cells: Sequence[Cell]) -> Sequence[Cell]:
    """Up to the first cell that says: the hole ends here."""
    ends = (at for at, cell in enumerate(cells) if cell.state == "end")
    return cells[: next(ends, len(cells))]


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


def canvas_strip(cells: Sequence[Cell], width: int) -> Text:
    """The canvas from afar: a block per cell, thinner the less is known."""
    strip = Text.assemble(*((_block(cell), _cell_style(cell)) for cell in cells))
    strip.truncate(width, overflow="ellipsis")
    return strip


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


def progress(draft: Draft, width: int) -> list[Text]:
    """Two lines under a canvas that is settling."""
    cells = draft.cells
    decided = sum(cell.state != "noise" for cell in cells)
    figures = f"step {draft.steps:>2}   {decided:>2} of {len(cells)} cells settled   "
    return [
        Text.assemble("  canvas  ", canvas_strip(cells, max(width - 12, 8))),
        Text(f"  {figures}entropy {draft.mean_entropy:.2f}", DIM),
    ]


def step_line(draft: Draft, *, chosen: bool = False) -> Text:
    """A step on one line, where nothing can be drawn twice; or what was `chosen` after the last,
    which the canvas need not have said."""
    text = draft.text.replace("\\", "\\\\").replace("\n", "\\n")
    head = "chosen" if chosen else f"step {draft.steps:>2}  entropy {draft.mean_entropy:6.3f}"
    line = Text(f"{head:<23}  {counted(draft.tokens, 'token'):>10}  {visible(text)}")
    line.expand_tabs(TAB)
    return line
