"""The command line: what it prints, what it writes, and the codes it ends with."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import infill_ls
from infill_engine import InfillRequest, RequestError, load_engine
from infill_ls.cli import main as cli
from tests.infill_ls.engines import Knowing, always, loads, unloadable

ROOT = Path(__file__).parents[3]
SOURCE = "def area(radius):\n    return \n\n\nprint(area(2))\n"
ANSWER = "math.pi * radius**2"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "area.py"
    path.write_bytes(SOURCE.encode())
    return path


class Run:
    """One run of the command, in this process, with an engine that knows the answer."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: object, load: Any) -> None:
        self.code = cli.main([str(argument) for argument in arguments], load=load)
        self.out, self.err = capsys.readouterr()

    @property
    def json(self) -> dict[str, Any]:
        answer = json.loads(self.out)
        assert isinstance(answer, dict)
        return answer


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def start(*arguments: object, load: Any = None) -> Run:
        return Run(capsys, *arguments, load=load or loads(Knowing(always(ANSWER), steps=3)))

    return start


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
    path.write_text(f"a = '{'x' * 300}'\nb = [{'1, ' * 60}]\nc = '{'漢' * 90}'\n")
    done = run("infill", f"{path}:2:150")

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
    assert set(answer["ms"]) == {"total", "encode", "denoise", "validate"}
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

    assert done.code == cli.FILE
    assert "has changed meanwhile" in done.err
    assert source.read_text() == "somebody else's\n"


def test_without_apply_the_file_is_left_alone(run: Any, source: Path) -> None:
    run("infill", f"{source}:2:12")

    assert source.read_bytes() == SOURCE.encode()


def test_nothing_to_offer_has_a_code_of_its_own(run: Any, source: Path) -> None:
    done = run("infill", f"{source}:2:12", "--json", load=loads(Knowing(always())))

    assert done.code == cli.NOTHING
    assert (done.json["text"], done.json["candidates"]) == ("", [])
    assert "There is nothing to offer at" in done.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["infill"], "FILE:LINE:COL"),
        (["infill", "area.py"], "'area.py' is not FILE:LINE:COL, for example app.py:12:5"),
        (["infill", "area.py:2"], "'area.py:2' is not FILE:LINE:COL"),
        (["infill", "area.py:0:1"], "'area.py:0:1' counts from 0; lines and columns start at 1"),
        (["infill", "area.py:2:12", "--max-lines", "0"], "'0' is not a whole number from 1"),
        (["infill", "area.py:9:1"], "Line 9 is past the end of area.py, which has 6 lines"),
        (["infill", "area.py:2:13"], "Column 13 is past the end of line 2 of area.py; the line"),
        (["infill", "area.py:2:12", "--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["--tcp", "9257"], "'9257' is not HOST:PORT, for example 127.0.0.1:9257"),
        (["--tcp", "localhost:99999"], "'localhost:99999' is not HOST:PORT"),
        (["fill", "area.py:2:12"], "invalid choice: 'fill'"),
        (["infill", "area.py:2:12", "--device", "tpu"], "invalid choice: 'tpu'"),
    ],
)
def test_a_wrong_command_line_is_said_in_a_sentence(
    run: Any,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(source.parent)
    done = run(*arguments)

    assert (done.code, done.out) == (cli.USAGE, "")
    assert says in done.err
    assert done.err.startswith("infill-ls: ")
    assert done.err.count("\n") == 1


def test_a_file_that_is_not_there_suggests_the_one_that_is(run: Any, source: Path) -> None:
    done = run("infill", f"{source.parent / 'aera.py'}:1:1")

    assert done.code == cli.FILE
    assert f"There is no file {source.parent / 'aera.py'}. Did you mean {source}?" in done.err


def test_a_folder_and_a_binary_file_are_no_text(run: Any, tmp_path: Path) -> None:
    binary = tmp_path / "image.png"
    binary.write_bytes(b"\x89PNG\r\n")
    folder, picture = run("infill", f"{tmp_path}:1:1"), run("infill", f"{binary}:1:1")

    assert (folder.code, picture.code) == (cli.FILE, cli.FILE)
    assert "is a folder; name a file in it" in folder.err
    assert "is not UTF-8 text: byte 0x89 at 0 is not" in picture.err


def test_a_log_that_cannot_be_written_ends_the_server_before_it_starts(
    run: Any, tmp_path: Path
) -> None:
    done = run("--log-file", tmp_path / "nowhere" / "log")

    assert done.code == cli.FILE
    assert f"The log file {tmp_path / 'nowhere' / 'log'} cannot be written" in done.err


def test_a_missing_model_has_a_code_of_its_own(run: Any, source: Path) -> None:
    done = run("infill", f"{source}:2:12", "--model", "nowhere", load=unloadable)

    assert done.code == cli.MODEL
    assert done.err.startswith("infill-ls: There is no model in nowhere")


def test_what_no_engine_can_do_is_a_wrong_command_line(run: Any, source: Path) -> None:
    def knows(request: InfillRequest) -> list[str]:
        raise RequestError("seed=-1 must be at least 0")

    done = run("infill", f"{source}:2:12", "--seed", -1, load=loads(Knowing(knows)))

    assert (done.code, done.err) == (cli.USAGE, "infill-ls: seed=-1 must be at least 0\n")


def test_ctrl_c_ends_it_quietly(run: Any, source: Path) -> None:
    def knows(request: InfillRequest) -> list[str]:
        raise KeyboardInterrupt

    done = run("infill", f"{source}:2:12", load=loads(Knowing(knows)))

    assert (done.code, done.err) == (cli.INTERRUPTED, "")


def test_options_of_the_model_may_stand_on_either_side_of_the_command(
    run: Any, source: Path
) -> None:
    configs = []

    def load(config: Any) -> Any:
        configs.append((config.model, config.device, config.threads))
        return Knowing(always(ANSWER))

    run("--model", "m", "--threads", 3, "infill", f"{source}:2:12", "--device", "cpu", load=load)

    assert configs == [("m", "cpu", 3)]


def test_the_language_is_the_files_or_the_one_named(run: Any, source: Path) -> None:
    asked: list[str] = []

    def knows(request: InfillRequest) -> list[str]:
        asked.append(request.language_id)
        return [ANSWER]

    run("infill", f"{source}:2:12", load=loads(Knowing(knows)))
    run("infill", f"{source}:2:12", "--language", "starlark", load=loads(Knowing(knows)))

    assert asked == ["python", "starlark"]


def test_help_lists_the_exit_codes(run: Any) -> None:
    for arguments in (["--help"], ["infill", "--help"]):
        done = run(*arguments)

        assert done.code == 0
        assert "4    there is no usable model" in done.out


def test_version_is_answered_at_once() -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "infill_ls", "--version"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)

    assert (done.returncode, done.stdout) == (0, f"infill-ls {infill_ls.__version__}\n")


def test_doctor_says_what_runs_here_and_measures_it(run: Any) -> None:
    done = run("doctor", "--json")

    answer = done.json
    assert done.code == 0
    assert answer["engine"]["model"] == "test"
    assert answer["machine"]["cores"] >= 1
    assert answer["ms"]["steps"] == 3
    assert answer["advice"]


def test_doctor_without_a_model_says_what_to_do(run: Any) -> None:
    done = run("doctor", "--model", "nowhere", load=unloadable)

    assert done.code == cli.MODEL
    assert "There is no model in nowhere" in " ".join(done.out.split())


def test_doctor_fits_the_terminal(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = run("doctor")

    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.e2e
@pytest.mark.slow
def test_make_try_shows_an_infill_of_the_embedded_model(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (place,) = re.findall(r"^AT \?= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    done = run("infill", place, "--json", load=load_engine)

    answer = done.json
    assert done.code == 0
    assert answer["parses"] is True
    assert answer["steps"] > 1
