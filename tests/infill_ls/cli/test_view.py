"""What a file with a hole looks like on a terminal, as text."""

import io
import threading
import time

import pytest
from rich.console import Console
from rich.text import Text

from infill_ls.cli.view import WIDE, Player, Surroundings, code, console_of, is_live, page


def around(prefix: str, suffix: str = "") -> Surroundings:
    return Surroundings(title="a.py:1:1", language_id="python", prefix=prefix, suffix=suffix)


def rows(
    prefix: str,
    hole: str,
    suffix: str,
    *,
    width: int = 40,
    room: int = 20,
    underlined: bool = False,
) -> list[str]:
    drawn = code(around(prefix, suffix), Text(hole), width=width, room=room, underlined=underlined)
    return [row.plain for row in drawn]


def test_the_page_stands_still_while_a_hole_grows() -> None:
    before, after = "a\n" * 30, "\nb" * 30
    one = rows(before, "x", after, room=12)
    four = rows(before, "x\n" * 3, after, room=12)

    assert one[0] == four[0]
    assert len(one) == len(four) == 12


@pytest.mark.parametrize("room", [3, 5, 12])
@pytest.mark.parametrize("lines", [1, 2, 11, 40])
def test_a_page_keeps_to_its_room_and_shows_the_hole_from_its_start(room: int, lines: int) -> None:
    drawn = rows("a\n" * 50, "\n".join(f"hole{n}" for n in range(lines)), "\n" * 50, room=room)

    assert len(drawn) <= room + 1  # and the line that says how many more there are
    assert any("hole0" in row for row in drawn)


def test_lines_are_numbered_from_the_file_s_first() -> None:
    drawn = rows("a\n" * 99, "x", "\nb\n", room=5)

    assert drawn == ["  98 │ a", "  99 │ a", " 100 ┃ x", " 101 │ b", " 102 │"]


def test_a_file_s_beginning_and_end_are_no_reason_to_show_less() -> None:
    assert rows("", "x", "\nb" * 9, room=4) == [" 1 ┃ x", " 2 │ b", " 3 │ b", " 4 │ b"]
    assert rows("a\n" * 9, "x", "", room=4)[-1] == " 10 ┃ x"
    assert len(rows("a\n" * 9, "x", "", room=4)) == 4


def test_a_hole_that_is_longer_than_the_page_says_so() -> None:
    assert rows("", "x\n" * 40, "", room=10)[-1].strip().endswith("more lines")


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("a\tb", "a   b"),
        ("漢\tb", "漢  b"),
        ("\x1b[2J", "␛[2J"),
        ("a\x00b\x7fc\x9bd", "a␀b�c�d"),
        ("a\u202eb\u200bc\u2028d", "a�b�c�d"),
        ("日本", "日本"),
        ("e\u0301", "e\u0301"),
        ("[bold]x[/bold] :smile:", "[bold]x[/bold] :smile:"),
    ],
)
def test_characters_that_do_something_are_drawn_as_something_else(text: str, drawn: str) -> None:
    assert rows(text, "", "") == [f" 1 ┃ {drawn}"]


def test_wide_characters_take_two_columns() -> None:
    assert rows("日本", "語", "", underlined=True) == [" 1 ┃ 日本語", "   ┃     ~~"]


def test_a_tab_in_a_hole_is_underlined_as_wide_as_it_is() -> None:
    assert rows("a", "\tb", "c", underlined=True) == [" 1 ┃ a   bc", "   ┃  ~~~~"]


@pytest.mark.parametrize("hole", ["HOLE", "語" * 30, "h" * 100])
@pytest.mark.parametrize("prefix", ["", "a" * 20, "a" * 200, "漢" * 100, "a" * 100_000])
def test_a_long_line_is_cut_round_the_hole(prefix: str, hole: str) -> None:
    console = Console(width=40)
    drawn = code(around(prefix, "b" * 100_000), Text(hole), width=40, room=20, underlined=False)
    text = "".join(row.plain[5:] for row in drawn)

    assert drawn[0].plain.startswith(" 1 ┃ ")
    assert hole in text
    assert text.endswith("…")
    assert text.startswith("…") is (len(prefix) > 20 or (prefix != "" and len(hole) > 4))
    assert all(console.measure(row).maximum <= 40 for row in drawn)


def test_a_very_long_hole_takes_four_rows_at_most() -> None:
    assert len(rows("a = ", "x" * 1000, "\n")) == 5  # and the line behind it


def test_a_huge_file_is_drawn_at_once() -> None:
    surroundings = around("a" * 2_000_000 + "\n" + "b\n" * 200_000, "c" * 2_000_000)
    started = time.perf_counter()
    code(surroundings, Text("x"), width=80, room=20, underlined=True)

    assert time.perf_counter() - started < 0.5


def test_the_end_of_a_long_path_is_what_is_shown() -> None:
    console = Console(file=io.StringIO(), width=40)
    surroundings = Surroundings(
        title="/home/someone/" + "漢字/" * 20 + "file.py:1:1",
        language_id="python",
        prefix="",
        suffix="",
    )
    console.print(page(surroundings, Text("x"), [], console))
    lines = console.file.getvalue().split("\n")  # type: ignore[attr-defined]

    assert "file.py:1:1  python" in lines[1]
    assert lines[1].startswith(" …")
    assert all(console.measure(line).maximum <= 40 for line in lines)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "coloured", "live"),
    [
        ({"TERM": "xterm-256color"}, True, True),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, False, True),
        ({"TERM": "xterm-256color", "NO_COLOR": "1", "FORCE_COLOR": "1"}, False, True),
        ({"TERM": "dumb"}, False, False),
    ],
)
def test_a_terminal_is_used_as_it_asks_to_be(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], coloured: bool, live: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    console = console_of(Terminal())
    console.print("x", style="bold green")

    assert ("\x1b" in console.file.getvalue()) is coloured  # type: ignore[attr-defined]
    assert is_live(console) is live


def test_a_pipe_with_forced_colour_is_no_terminal_to_draw_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")

    assert not is_live(console_of(io.StringIO()))


@pytest.mark.parametrize(
    ("columns", "width"), [(None, WIDE), ("", WIDE), ("0", WIDE), ("abc", WIDE), ("60", 60)]
)
def test_a_pipe_has_an_edge_only_where_somebody_says_so(
    monkeypatch: pytest.MonkeyPatch, columns: str | None, width: int
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)

    assert console_of(io.StringIO()).width == width


def terminal() -> tuple[Console, io.StringIO]:
    stream = Terminal()
    return Console(file=stream, force_terminal=True, width=40), stream


def test_the_player_draws_over_its_last_frame_and_restores_the_cursor() -> None:
    console, stream = terminal()
    with Player(console, pace=0.0) as player:
        player.show(lambda: Text("one\ntwo"))
        player.show(lambda: Text("three"))

    written = stream.getvalue()
    assert written.startswith("\x1b[?25l")
    assert written.rstrip("\n").endswith("\x1b[?25h")
    assert written.index("two") < written.index("\x1b[1A") < written.index("three")


def test_a_frame_is_shown_as_long_as_an_eye_takes() -> None:
    console, _ = terminal()
    started = time.monotonic()
    with Player(console, pace=0.1) as player:
        for _ in range(3):
            player.show(lambda: Text("x"))

    assert time.monotonic() - started >= 0.3


def test_after_an_error_waiting_frames_are_dropped() -> None:
    console, stream = terminal()
    gate = threading.Event()

    def slow() -> Text:
        gate.wait(5)
        return Text("first")

    def stopped() -> None:
        with Player(console, pace=0.0) as player:
            player.show(slow)
            for _ in range(100):
                player.show(lambda: Text("late"))
            threading.Timer(0.1, gate.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()

    assert "late" not in stream.getvalue()
    assert stream.getvalue().rstrip("\n").endswith("\x1b[?25h")
