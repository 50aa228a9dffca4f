"""The command line: its arguments, and the codes it ends with."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import infill_ls
from infill_engine import InfillRequest, RequestError
from infill_ls.cli.errors import FILE, INTERRUPTED, MODEL, USAGE
from infill_ls.cli.main import main
from infill_ls.fim.address import FimAddress
from infill_ls.server import processes, stdio
from tests.infill_ls.cli.runs import ANSWER
from tests.infill_ls.engines import Knowing, always, loads, unloadable


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
        (
            ["infill", "area.py:2:12", "--frobnicate"],
            "arguments: --frobnicate. See infill-ls infill -",
        ),
        (
            ["infill", "area.py:2:12", "--wach"],
            "--wach. Did you mean --watch? See infill-ls infill -",
        ),
        (
            ["explain", "--lanuage", "x", "a:1:1"],
            "--lanuage. Did you mean --language? See infill-ls e",
        ),
        (["try", "--nope"], "unrecognized arguments: --nope. See infill-ls try --help."),
        (["doctor", "it"], "unrecognized arguments: it. See infill-ls doctor --help."),
        (["setup", "--model", "x"], "unrecognized arguments: --model. See infill-ls setup --help."),
        (
            ["setup", "vim"],
            "'vim' is none of neovim, vscode, emacs, helix, zed, sublime, kate. Did",
        ),
        (["tri"], "there is no command 'tri'. Did you mean try? See infill-ls --help."),
        (
            ["area.py:2:12"],
            "area.py:2:12 is a place, and no command: infill-ls infill area.py:2:12.",
        ),
        (["area.py"], "area.py is a file, and no command: infill-ls infill area.py:LINE:COL."),
        (["--tcp", "9257"], "'9257' is not HOST:PORT, for example 127.0.0.1:9257"),
        (["--tcp", "localhost:99999"], "'localhost:99999' is not HOST:PORT"),
        (["--fim", "8012"], "'8012' is not HOST:PORT, for example 127.0.0.1:8012"),
        (["serve", "--fim", "localhost:x"], "'localhost:x' is not HOST:PORT"),
        (["--fim", "0.0.0.0:8012"], "0.0.0.0 can be reached from other machines"),
        (["serve", "--fim", "example.org:1"], "or say --allow-remote"),
        (["--stdio", "--fim", "127.0.0.1:0"], "--fim goes with --tcp or --connect, or alone"),
        (["--fim", "127.0.0.1:1x"], "is not HOST:PORT"),
        (["fill", "area.py:2:12"], "there is no command 'fill'. Did you mean infill?"),
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

    assert (done.code, done.out) == (USAGE, "")
    assert says in done.err
    assert done.err.startswith("infill-ls: ")
    assert done.err.count("\n") == 1


def test_a_file_that_is_not_there_suggests_the_one_that_is(run: Any, source: Path) -> None:
    done = run("infill", f"{source.parent / 'aera.py'}:1:1")

    assert done.code == FILE
    assert f"There is no file {source.parent / 'aera.py'}. Did you mean {source}?" in done.err


def test_a_folder_and_a_binary_file_are_no_text(run: Any, tmp_path: Path) -> None:
    binary = tmp_path / "image.png"
    binary.write_bytes(b"\x89PNG\r\n")
    folder, picture = run("infill", f"{tmp_path}:1:1"), run("infill", f"{binary}:1:1")

    assert (folder.code, picture.code) == (FILE, FILE)
    assert "is a folder; name a file in it" in folder.err
    assert (
        "is not UTF-8 text: byte 0x89 at line 1, column 1 is not. Convert it to UTF-8"
        in picture.err
    )


def test_a_byte_that_is_no_text_is_named_by_line_and_column(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "latin.py"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n\xc3\xa4 = \xe4\n")
    done = run("infill", f"{path}:1:1")

    assert done.code == FILE
    assert "byte 0xe4 at line 4, column 5 is not. Convert it to UTF-8 first." in done.err


@pytest.mark.parametrize(
    ("language", "says"),
    [
        ("xyzzy", "xyzzy is no language known here: only brackets and quotes are checked.\n"),
        ("pyhton", "brackets and quotes are checked. Did you mean python?\n"),
        ("py", ""),
        ("plaintext", ""),
    ],
)
def test_a_language_that_is_not_known_is_said(
    run: Any, source: Path, language: str, says: str
) -> None:
    done = run("infill", f"{source}:2:12", "--json", "--language", language)

    assert done.code == 0
    assert done.err.endswith(says) if says else not done.err


@pytest.mark.parametrize(("terminal", "lines"), [(True, 1), (False, 0)])
def test_who_starts_the_server_in_a_terminal_is_told_so(
    run: Any, monkeypatch: pytest.MonkeyPatch, terminal: bool, lines: int
) -> None:
    monkeypatch.setattr(stdio, "run_stdio", lambda *_, **__: 0)
    monkeypatch.setattr("sys.stdin.isatty", lambda: terminal, raising=False)
    done = run()

    assert (done.code, done.out) == (0, "")
    assert done.err.count("try `infill-ls try`") == done.err.count("\n") == lines


def test_a_log_that_cannot_be_written_ends_the_server_before_it_starts(
    run: Any, tmp_path: Path
) -> None:
    done = run("--log-file", tmp_path / "nowhere" / "log")

    assert done.code == FILE
    assert f"The log file {tmp_path / 'nowhere' / 'log'} cannot be written" in done.err


@pytest.mark.parametrize("option", ["--tcp", "--fim"])
def test_a_port_in_use_is_said_with_the_remedy(run: Any, option: str) -> None:
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        where = f"127.0.0.1:{used.getsockname()[1]}"
        done = run("serve", option, where, "--no-token")

    assert done.code == USAGE
    assert f"{where} cannot be served: " in done.err
    assert "another program has the port. Choose another port, or end what uses it." in done.err


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("no.such.host.invalid", "there is no host no.such.host.invalid. Name one of this"),
        ("192.0.2.1", "that is no address of this machine. Name one that is"),
    ],
)
def test_an_address_that_is_not_ours_is_said_with_its_remedy(
    run: Any, host: str, says: str
) -> None:
    for option in ("--tcp", "--fim"):
        done = run("serve", option, f"{host}:1", "--no-token", "--allow-remote")

        assert (done.code, says in done.err) == (USAGE, True), done.err


@pytest.mark.parametrize(
    ("given", "example"),
    [
        ("8012", "127.0.0.1:8012"),
        (":8013", "127.0.0.1:8013"),
        ("here", "8012"),
        ("9" * 5000, "8012"),
    ],
)
def test_an_address_without_a_host_is_told_what_to_write(
    run: Any, given: str, example: str
) -> None:
    done = run("--fim", given)

    assert (done.code, f"for example 127.0.0.1:{example[-4:]}" in done.err) == (USAGE, True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--fim", "127.0.0.1:0", "--token-file", "F", "--no-token"], "leave one out"),
        (["--tcp", "127.0.0.1:0", "--token-file", "F", "--no-token"], "leave one out"),
        (["--connect", "--token-file", "F"], "--token-file goes with --tcp or --fim"),
    ],
)
def test_a_token_file_that_nobody_would_read_is_refused(
    run: Any, options: list[str], says: str
) -> None:
    done = run(*options)

    assert (done.code, says in done.err) == (USAGE, True)


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        ("short\n", 0o600, "holds less than 16 characters. Write more of them into it"),
        ("x" * 32, 0o644, "other users may read it. Say chmod 600 of it"),
    ],
)
def test_a_token_that_is_no_secret_is_refused(
    run: Any, tmp_path: Path, content: str, mode: int, says: str
) -> None:
    token = tmp_path / "token"
    token.write_text(content)
    token.chmod(mode)
    done = run("--fim", "127.0.0.1:0", "--token-file", token)

    assert done.code == FILE
    assert says in done.err


def test_options_of_the_server_may_stand_on_either_side_of_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(stdio, "run_stdio", lambda *_, **__: given.append("stdio") or 0)
    assert [main(["serve"]), main([])] == [0, 0]
    assert given == ["stdio", "stdio"]
    given.clear()
    monkeypatch.setattr(processes, "run_fim", lambda fim, *_, **__: given.append(fim) or 0)
    here = ["--fim", "127.0.0.1:8012"]
    for arguments in ([*here, "serve"], ["serve", *here], here):
        assert main(arguments) == 0
    assert main(["--allow-remote", "serve", "--fim", "0.0.0.0:1", "--no-token"]) == 0

    assert given == [
        *[FimAddress(host="127.0.0.1", port=8012)] * 3,
        FimAddress(host="0.0.0.0", port=1, remote=True),
    ]


def test_a_missing_model_has_a_code_of_its_own(run: Any, source: Path) -> None:
    done = run("infill", f"{source}:2:12", "--model", "nowhere", load=unloadable)

    assert done.code == MODEL
    assert done.err.startswith("infill-ls: There is no model in nowhere")


def test_what_no_engine_can_do_is_a_wrong_command_line(run: Any, source: Path) -> None:
    def knows(request: InfillRequest) -> list[str]:
        raise RequestError("seed=-1 must be at least 0")

    done = run("infill", f"{source}:2:12", "--seed", -1, load=loads(Knowing(knows)))

    assert (done.code, done.err) == (USAGE, "infill-ls: seed=-1 must be at least 0\n")


def test_ctrl_c_ends_it_quietly(run: Any, source: Path) -> None:
    def knows(request: InfillRequest) -> list[str]:
        raise KeyboardInterrupt

    done = run("infill", f"{source}:2:12", load=loads(Knowing(knows)))

    assert (done.code, done.err) == (INTERRUPTED, "")


def test_options_of_the_model_may_stand_on_either_side_of_the_command(
    run: Any, source: Path
) -> None:
    configs = []

    def load(config: Any) -> Any:
        configs.append((config.model, config.device, config.threads))
        return Knowing(always(ANSWER))

    run("--model", "m", "--threads", 3, "infill", f"{source}:2:12", "--device", "cpu", load=load)

    assert configs == [("m", "cpu", 3)]


def test_help_lists_the_exit_codes(run: Any) -> None:
    for arguments in (["--help"], ["infill", "--help"]):
        done = run(*arguments)

        assert done.code == 0
        assert "4    there is no usable model" in done.out


@pytest.mark.parametrize("command", ["setup", "stats", "update-check"])
def test_help_says_nothing_that_a_command_has_no_use_for(run: Any, command: str) -> None:
    done = run(command, "--help")

    assert done.out.startswith(f"usage: infill-ls {command} [-h]")
    assert "exit codes:" in done.out
    for other in ("--model", "the model", "usable model", "outside"):
        assert other not in done.out


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

    assert done.code == MODEL
    assert "There is no model in nowhere" in " ".join(done.out.split())


def test_doctor_fits_the_terminal(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = run("doctor")

    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80


def test_what_draws_parses_or_serves_is_imported_only_when_it_is_used() -> None:
    """The server starts through this module, and a version is asked for in scripts."""
    code = "import sys, infill_ls.cli.main; print(*{n.partition('.')[0] for n in sys.modules})"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    slow = {"rich", "pygls", "lsprotocol", "tree_sitter", "asyncio"}

    assert "infill_ls" in done.stdout.split(), done.stderr
    assert not slow & set(done.stdout.split())
