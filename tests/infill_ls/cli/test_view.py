"""What a file with a hole looks like on a terminal, as text."""

import io
import threading

import pytest

from infill_engine import Cell, Draft
from infill_ls.cli import view as terminal
from infill_ls.cli.view import Painter, Piece, Terminal, settling, view

PLAIN = Terminal(width=40)
COLOUR = Terminal(width=40, colour=True)


def draft(*cells: tuple[str, str, float], text: str | None = None) -> Draft:
    drawn = tuple(Cell(text=text, state=state, entropy=entropy) for text, state, entropy in cells)
    whole = "".join(cell.text for cell in drawn) if text is None else text
    return Draft(
        text=whole, fills=(whole,), steps=2, tokens=len(drawn), mean_entropy=0.5, cells=drawn
    )


def shown(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_a_line_break_that_is_not_settled_does_not_move_the_page() -> None:
    noise = draft(("a", "settled", 0.0), ("\n    ", "noise", 2.0), ("b", "noise", 3.0))
    settled = draft(("a", "settled", 0.0), ("\n    ", "settled", 0.1), ("b", "noise", 3.0))

    assert shown(settling(noise)) == "a↵    b"
    assert shown(settling(settled)) == "a\n    b"


def test_nothing_is_shown_behind_the_end_of_a_hole() -> None:
    ended = draft(("x", "settled", 0.0), ("", "end", 0.0), ("junk", "noise", 5.0), text="x")

    assert shown(settling(ended)) == "x"


def test_text_of_earlier_canvases_stands_before_the_cells() -> None:
    later = draft(("c", "noise", 1.0), text="abc")

    assert shown(settling(later)) == "abc"


def test_what_the_user_had_typed_of_a_word_is_not_shown_twice() -> None:
    healed_prefix = draft(("append", "settled", 0.0), ("(", "noise", 1.0), text="end(")

    assert shown(settling(healed_prefix)) == "end("


def test_cells_are_shaded_by_how_sure_the_model_is() -> None:
    cells = draft(
        ("a", "noise", 0.1), ("b", "noise", 3.0), ("c", "settled", 0.0), ("d", "pinned", 0)
    )
    styles = [piece.style for piece in settling(cells)[1:]]

    assert len(set(styles)) == 4
    assert styles[-1] == terminal.PINNED


def test_the_canvas_is_a_block_per_cell() -> None:
    cells = draft(("a", "settled", 0.0), ("b", "noise", 9.0), ("c", "pinned", 0), ("", "end", 0))

    assert terminal.canvas_strip(cells, terminal=PLAIN) == "█░■·"


def test_the_page_stands_still_while_a_hole_grows() -> None:
    before, after = "a\n" * 30, "\nb" * 30
    one = view(before, [Piece("x", filled=True)], after, terminal=COLOUR, room=12)
    four = view(before, [Piece("x\n" * 3, filled=True)], after, terminal=COLOUR, room=12)

    assert one[0] == four[0]
    assert len(one) == len(four) == 12


@pytest.mark.parametrize("room", [3, 5, 12])
@pytest.mark.parametrize("lines", [1, 2, 11, 40])
def test_a_page_keeps_to_its_room_and_shows_the_hole_from_its_start(room: int, lines: int) -> None:
    hole = [Piece("\n".join(f"hole{n}" for n in range(lines)), filled=True)]
    rows = view("a\n" * 50, hole, "\n" * 50, terminal=COLOUR, room=room)

    assert len(rows) <= room + 1  # and the line that says how many more there are
    assert any("hole0" in row for row in rows)


def test_a_hole_that_is_longer_than_the_page_says_so() -> None:
    hole = [Piece("x\n" * 40, filled=True)]
    rows = view("", hole, "", terminal=PLAIN, room=10)

    assert rows[-1].strip().endswith("more lines")


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("a\tb", "a   b"),
        ("\x1b[2J", "␛[2J"),
        ("a\x00b\x7fc\x9bd", "a␀b�c�d"),
        ("a\u202eb\u200bc\u2028d", "a�b�c�d"),
        ("日本", "日本"),
        ("e\u0301", "e\u0301"),
    ],
)
def test_characters_that_do_something_are_drawn_as_something_else(text: str, drawn: str) -> None:
    (row,) = view(text, [], "", terminal=PLAIN)

    assert row == f" 1 ┃ {drawn}"


def test_wide_characters_take_two_columns() -> None:
    (row, under) = view("日本", [Piece("語", filled=True)], "", terminal=PLAIN)

    assert (row, under) == (" 1 ┃ 日本語", "   ┃     ~~")


def test_a_long_line_is_shown_around_the_hole() -> None:
    rows = view("a" * 200, [Piece("HOLE", filled=True)], "b" * 200, terminal=COLOUR)

    assert any("HOLE" in row for row in rows)
    assert rows[0].startswith(" 1 ")
    assert "…" in rows[0]


def test_a_step_on_one_line_fits_the_width() -> None:
    long = draft(("x" * 100, "noise", 2.0), ("\n\\n", "noise", 1.0))
    line = terminal.step_line(long, terminal=Terminal(width=60))

    assert len(line) <= 60
    assert "\n" not in line


def test_the_painter_draws_over_its_last_frame_and_restores_the_cursor() -> None:
    stream = io.StringIO()
    with Painter(stream, pace=0.0) as painter:
        painter.show(lambda: ["one", "two"])
        painter.show(lambda: ["three"])

    written = stream.getvalue()
    assert written.startswith("\x1b[?25l")
    assert written.endswith("\x1b[?25h")
    assert written.index("two") < written.index("\x1b[2F") < written.index("three")


def test_after_an_error_waiting_frames_are_dropped() -> None:
    stream, gate = io.StringIO(), threading.Event()

    def slow() -> list[str]:
        gate.wait(5)
        return ["first"]

    def stopped() -> None:
        with Painter(stream, pace=0.0) as painter:
            painter.show(slow)
            for _ in range(100):
                painter.show(lambda: ["late"])
            threading.Timer(0.1, gate.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()

    assert "late" not in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[?25h")
