"""`infill-ls infill`: what it shows, what it prints for programs, and what it writes."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infill_engine import InfillRequest, load_engine
from infill_ls.cli.errors import FILE, NOTHING
from tests.infill_ls.cli.runs import ANSWER, SOURCE
from tests.infill_ls.engines import Knowing, always, loads

ROOT = Path(__file__).parents[3]


def test_shows_the_file_round_the_cursor_with_the_infill_in_it(run: Any, source: Path) -> None:
    done = run("infill", f"{source}:2:12")

    assert (done.code, done.err) == (0, "")
    assert " 2 ┃     return math.pi * radius**2\n" in done.out
    assert " 5 │ print(area(2))\n" in done.out


def test_underlines_the_infill_where_there_is_no_colour(run: Any, source: Path) -> None:
    done = run("infill", f"{source}:2:12")

    assert "\x1b" not in done.out
    assert f"   ┃            {'~' * len(ANSWER)}\n" in done.out


def test_colours_on_request_and_not_against_it(
    run: Any, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = run("infill", f"{source}:2:12")
    monkeypatch.setenv("NO_COLOR", "1")
    plain = run("infill", f"{source}:2:12")

    assert "\x1b[1;32mmath.pi" in coloured.out
    assert "\x1b" not in plain.out


def test_a_file_cannot_send_control_sequences_to_the_terminal(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "evil.py"
    path.write_text("x = '\x1b]0;title\x07\u202e'\ny = \n")
    done = run("infill", f"{path}:2:5")

    assert done.code == 0
    assert not {"\x1b", "\x07", "\u202e"} & set(done.out)


def test_long_lines_stay_within_the_terminal(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = tmp_path / "long.py"
    path.write_text(f"a = '{'x' * 300}'\nb = [{'1, ' * 50}{', 1' * 20}]\nc = '{'漢' * 90}'\n")
    done = run("infill", f"{path}:2:156")

    assert ANSWER in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_json_has_one_object_of_the_promised_shape(run: Any, source: Path) -> None:
    done = run("infill", f"{source}:2:12", "--json")

    answer = done.json
    assert (done.code, done.out.count("\n")) == (0, 1)
    assert answer["text"] == ANSWER
    assert answer["range"] == {
        "start": {"line": 2, "column": 12},
        "end": {"line": 2, "column": 12},
    }
    assert (answer["steps"], answer["tokens"]) == (3, 3)
    assert answer["tokens_per_forward"] == 1.0
    assert answer["parses"] is True
    assert math.isfinite(answer["mean_entropy"])
    assert math.isfinite(answer["join"])
    assert set(answer["ms"]) == {"total", "encode", "denoise", "judge", "validate"}
    assert (answer["model"], answer["device"]) == ("test", "cpu")
    assert [each["text"] for each in answer["candidates"]] == [ANSWER]


def test_json_lists_the_candidates_best_first(run: Any, source: Path) -> None:
    engine = Knowing(always("radius * 3.14", "radius * 3"), steps=2)
    done = run("infill", f"{source}:2:12", "--json", "--candidates", 2, load=loads(engine))

    assert [each["text"] for each in done.json["candidates"]] == ["radius * 3.14", "radius * 3"]


def test_watch_prints_a_line_a_step_where_nothing_can_be_drawn_twice(
    run: Any, source: Path
) -> None:
    done = run("infill", f"{source}:2:12", "--watch")

    steps = [line for line in done.out.splitlines() if line.startswith("step")]
    assert [line.split()[1] for line in steps] == ["1", "2", "3"]
    assert all(line.endswith(ANSWER) for line in steps)


def test_watch_leaves_standard_output_to_json(run: Any, source: Path) -> None:
    done = run("infill", f"{source}:2:12", "--watch", "--json")

    assert done.json["text"] == ANSWER
    assert done.err.startswith("step  1")


@pytest.mark.parametrize(
    ("text", "place", "prefix", "suffix"),
    [
        ("ab\ncd\n", "1:1", "", "ab\ncd\n"),
        ("ab\ncd\n", "1:3", "ab", "\ncd\n"),
        ("ab\ncd\n", "2:2", "ab\nc", "d\n"),
        ("ab\ncd\n", "3:1", "ab\ncd\n", ""),
        ("", "1:1", "", ""),
        ("a = '𝒳𝒴'; b = 1", "1:8", "a = '𝒳𝒴", "'; b = 1"),
        ("x\r\ny = \r\nz\r\n", "2:5", "x\ny = ", "\nz\n"),
        ("\ufeffx = 1", "1:5", "x = ", "1"),
        ("x\u2028y\fz = ", "1:9", "x\u2028y\fz = ", ""),
    ],
)
def test_columns_count_characters_from_one(
    run: Any, tmp_path: Path, text: str, place: str, prefix: str, suffix: str
) -> None:
    path = tmp_path / "text.py"
    path.write_bytes(text.encode())
    asked: list[InfillRequest] = []

    def knows(request: InfillRequest) -> list[str]:
        asked.append(request)
        return ["0"]

    run("infill", f"{path}:{place}", load=loads(Knowing(knows)))

    assert (asked[0].prefix, asked[0].suffix) == (prefix, suffix)


@pytest.mark.parametrize(
    ("before", "place", "answer", "after"),
    [
        (b"x = \ny = 2\n", "1:5", "1", b"x = 1\ny = 2\n"),
        (b"x = ", "1:5", "1", b"x = 1"),
        (b"\xef\xbb\xbfx = \r\n", "1:5", "1", b"\xef\xbb\xbfx = 1\r\n"),
        ("s = '𝒳' + \n".encode(), "1:11", "'𝒴'", "s = '𝒳' + '𝒴'\n".encode()),
        (
            b"if x:\r\n    \r\nz = 1\r\n",
            "2:5",
            "y = 1\n    z = 2",
            b"if x:\r\n    y = 1\r\n    z = 2\r\nz = 1\r\n",
        ),
        (b"a = 1\rb = \rc = 3", "2:5", "2", b"a = 1\rb = 2\rc = 3"),
    ],
)
def test_apply_leaves_every_other_byte_alone(
    run: Any, tmp_path: Path, before: bytes, place: str, answer: str, after: bytes
) -> None:
    path = tmp_path / "text.py"
    path.write_bytes(before)
    done = run("infill", f"{path}:{place}", "--apply", load=loads(Knowing(always(answer))))

    assert (done.code, done.err) == (0, f"wrote {path}\n")
    assert path.read_bytes() == after


def test_apply_does_not_overwrite_a_file_that_changed_meanwhile(run: Any, source: Path) -> None:
    def knows(request: InfillRequest) -> list[str]:
        source.write_text("somebody else's\n")
        return [ANSWER]

    done = run("infill", f"{source}:2:12", "--apply", load=loads(Knowing(knows)))

    assert done.code == FILE
    assert "has changed meanwhile" in done.err
    assert source.read_text() == "somebody else's\n"


def test_without_apply_the_file_is_left_alone(run: Any, source: Path) -> None:
    run("infill", f"{source}:2:12")

    assert source.read_bytes() == SOURCE.encode()


def test_nothing_to_offer_has_a_code_of_its_own(run: Any, source: Path) -> None:
    done = run("infill", f"{source}:2:12", "--json", load=loads(Knowing(always())))

    assert done.code == NOTHING
    assert (done.json["text"], done.json["candidates"]) == ("", [])
    assert "There is nothing to offer at" in done.err


def test_the_language_is_the_files_or_the_one_named(run: Any, source: Path) -> None:
    asked: list[str] = []

    def knows(request: InfillRequest) -> list[str]:
        asked.append(request.language_id)
        return [ANSWER]

    run("infill", f"{source}:2:12", load=loads(Knowing(knows)))
    run("infill", f"{source}:2:12", "--language", "starlark", load=loads(Knowing(knows)))

    assert asked == ["python", "starlark"]


@pytest.mark.e2e
@pytest.mark.slow
def test_make_try_shows_an_infill_of_the_embedded_model(run: Any) -> None:
    assert "infill-ls $(if $(AT),infill $(AT) --watch,try)" in (ROOT / "Makefile").read_text()
    done = run("try", load=load_engine)

    assert done.code == 0
    assert "no new syntax error" in done.out


@pytest.mark.parametrize("name", [".env", "id_rsa", "secrets.yaml", "prod.env.local"])
def test_a_file_of_secrets_is_refused_unless_forced(run: Any, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("TOKEN=abc\nOTHER=\n")
    refused = run("infill", f"{path}:2:7")
    forced = run("infill", f"{path}:2:7", "--force", "--json")

    assert (refused.code, refused.out) == (FILE, "")
    assert refused.err == (
        f"infill-ls: {path} is left alone: a file that may hold secrets. "
        "--force infills it all the same.\n"
    )
    assert (forced.code, forced.json["text"]) == (0, ANSWER)


def test_a_file_that_git_ignores_is_refused_and_the_pattern_named(run: Any, source: Path) -> None:
    (source.parent / ".git").mkdir()
    (source.parent / ".gitignore").write_text("area.*\n")
    done = run("infill", f"{source}:2:12", "--apply")

    assert (done.code, source.read_text()) == (FILE, SOURCE)
    assert "is left alone: ignored by .gitignore: area.*" in done.err


def test_a_text_with_a_key_does_not_go_to_a_server(run: Any, source: Path) -> None:
    source.write_text("KEY = '-----BEGIN PRIVATE KEY-----" + "MIIEvQIB" * 8 + "'\nx = \n")
    here = run("infill", f"{source}:2:5")
    there = run("infill", f"{source}:2:5", "--model", "http://127.0.0.1:9")

    assert (here.code, there.code) == (0, FILE)
    assert "it holds what looks like a private key" in there.err


def program_of(arguments: list[str]) -> str:
    """The command line as a Python program, with an engine that knows the answer."""
    return (
        "from infill_ls.cli.main import main\n"
        "from tests.infill_ls.engines import Knowing, always, loads\n"
        f"engine = Knowing(always({ANSWER!r}), steps=3)\n"
        f"raise SystemExit(main({arguments!r}, load=loads(engine)))"
    )


def terminal_run(arguments: list[str], tmp_path: Path, columns: int = 60, **env: str) -> str:
    """What the command writes into a pseudo terminal of 40 rows."""
    pty = pytest.importorskip("pty")
    from fcntl import ioctl
    from struct import pack
    from termios import TIOCSWINSZ

    program = program_of(arguments)
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, pack("HHHH", 40, columns, 0, 0))
    path = os.pathsep.join(filter(None, [str(ROOT), *sys.path]))
    clean = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=clean | {"PYTHONPATH": path, "TERM": "xterm-256color"} | env,
    ) as process:
        os.close(theirs)
        written = b""
        while chunk := _read_or_nothing(ours):
            written += chunk
        assert process.wait(60) == 0, process.stderr and process.stderr.read()
    os.close(ours)
    return written.decode()


def _read_or_nothing(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other side is closed
        return b""


def test_watch_draws_in_place_in_a_terminal(source: Path, tmp_path: Path) -> None:
    written = terminal_run(["infill", f"{source}:2:12", "--watch"], tmp_path)
    last = written.split("\x1b[2K")[-1]

    assert written.startswith("\x1b[?25l")
    assert "loading the model ..." in written
    assert all(f"step  {step}" in written for step in (1, 2, 3))
    assert ANSWER in last
    assert "no new syntax error" in last
    assert written.rstrip().endswith("\x1b[?25h")
    assert "step  3" not in last


@pytest.mark.parametrize("columns", [20, 60, 200])
def test_no_line_is_wider_than_the_terminal(source: Path, tmp_path: Path, columns: int) -> None:
    written = terminal_run(["infill", f"{source}:2:12", "--watch"], tmp_path, columns)
    plain = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", written)
    lines = [line.rpartition("\r")[2] for line in plain.replace("\r\n", "\n").split("\n")]

    assert max(map(len, lines)) <= columns


def test_no_colour_is_no_colour_in_a_terminal_too(source: Path, tmp_path: Path) -> None:
    written = terminal_run(["infill", f"{source}:2:12", "--watch"], tmp_path, NO_COLOR="1")

    assert not re.search(r"\x1b\[[0-9;]*m", written)
    assert "~" * len(ANSWER) in written


def test_a_dumb_terminal_gets_a_line_a_step(source: Path, tmp_path: Path) -> None:
    written = terminal_run(["infill", f"{source}:2:12", "--watch"], tmp_path, TERM="dumb")

    assert "\x1b" not in written
    assert written.startswith("step  1")


def test_a_reader_that_leaves_is_no_error(source: Path) -> None:
    path = os.pathsep.join(filter(None, [str(ROOT), *sys.path]))
    with subprocess.Popen(
        [sys.executable, "-c", program_of(["infill", f"{source}:2:12"])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    ) as process:
        assert process.stdout, "it is a pipe"
        process.stdout.close()
        assert process.stderr, "it is a pipe"
        said = process.stderr.read()
        code = process.wait(60)

    assert (code, said) == (141, b"")
