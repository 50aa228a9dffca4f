"""A canvas as it settles, as text."""

import io
from dataclasses import replace

from rich.console import Console

from infill_engine import Cell, Draft
from infill_ls.cli import frames
from infill_ls.cli.frames import canvas_strip, settling, step_line, step_printer


def draft(*cells: tuple[str, str, float], text: str | None = None) -> Draft:
    drawn = tuple(Cell(text=text, state=state, entropy=entropy) for text, state, entropy in cells)
    whole = "".join(cell.text for cell in drawn) if text is None else text
    return Draft(
        text=whole, fills=(whole,), steps=2, tokens=len(drawn), mean_entropy=0.5, cells=drawn
    )


def test_a_line_break_that_is_not_settled_does_not_move_the_page() -> None:
    noise = draft(("a", "settled", 0.0), ("\n    ", "noise", 2.0), ("b", "noise", 3.0))
    settled = draft(("a", "settled", 0.0), ("\n    ", "settled", 0.1), ("b", "noise", 3.0))

    assert settling(noise).plain == "a↵    b"
    assert settling(settled).plain == "a\n    b"


def test_nothing_is_shown_behind_the_end_of_a_hole() -> None:
    ended = draft(("x", "settled", 0.0), ("", "end", 0.0), ("junk", "noise", 5.0), text="x")

    assert settling(ended).plain == "x"


def test_text_of_earlier_canvases_stands_before_the_cells() -> None:
    later = draft(("c", "noise", 1.0), text="abc")

    assert settling(later).plain == "abc"


def test_what_the_user_had_typed_of_a_word_is_not_shown_twice() -> None:
    healed_prefix = draft(("append", "settled", 0.0), ("(", "noise", 1.0), text="end(")

    assert settling(healed_prefix).plain == "end("


def test_a_model_cannot_send_control_sequences() -> None:
    hostile = draft(("\x1b[2J", "noise", 1.0), ("\x07", "settled", 0.0))

    assert not {"\x1b", "\x07"} & set(settling(hostile).plain + step_line(hostile).plain)


def test_cells_are_shaded_by_how_sure_the_model_is() -> None:
    cells = draft(
        ("a", "noise", 0.1), ("b", "noise", 3.0), ("c", "settled", 0.0), ("d", "pinned", 0)
    )
    styles = [span.style for span in settling(cells).spans]

    assert len(set(styles)) == 4
    assert styles[-1] == frames.PINNED


def test_the_canvas_is_a_block_per_cell() -> None:
    cells = draft(("a", "settled", 0.0), ("b", "noise", 9.0), ("c", "pinned", 0), ("", "end", 0))

    assert canvas_strip(cells.cells, 40).plain == "█░■·"
    assert canvas_strip(cells.cells * 20, 40).plain == "█░■·" * 9 + "█░■…"


def test_a_step_on_one_line_fits_the_width() -> None:
    long = draft(("x" * 100, "noise", 2.0), ("\n\\n", "noise", 1.0))
    console = Console(file=io.StringIO(), width=60)
    show = step_printer(console)
    show(long)
    show(long)  # the last draft of a run says its step again
    line = console.file.getvalue()  # type: ignore[attr-defined]

    assert len(line) == 61
    assert line.endswith("…\n")
    assert step_line(long).plain.endswith("x\\n\\\\n")


def test_what_was_chosen_instead_is_no_step() -> None:
    canvas = draft(("x", "noise", 2.0))
    console = Console(file=io.StringIO(), width=60)
    show = step_printer(console)
    show(canvas)
    show(replace(canvas, text="other", mean_entropy=0.0))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]

    assert lines[0].startswith("step  2  entropy  0.500     1 token  ")
    assert lines[1].split() == ["chosen", "1", "token", "other"]
    assert [line.index("1 token") for line in lines] == [lines[0].index("1 token")] * 2
