"""A real VS Code, really typed into, with the embedded model behind the real server.

What the model says is its own affair: these tests want it to go on with a line that stands thirty
times above the cursor, and hold everything else to what it said then.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shlex import join
from shutil import which

import pytest

from tests.editors.latency import Latencies
from tests.editors.vscode.code_server import EXTENSION, ROOT, VSCode

HERE = Path(__file__).parent
NUM_LINES = 30
# In tests the machine may be busy with other tests, and a late answer is not a wrong one.
SETTINGS = {"deadlineMs": 20_000, "disabledLanguages": [], "minConfidence": 0}
READS = "".join(f"value_{i} = store.read(0)\n" for i in range(1, NUM_LINES + 1))
TYPED = "value_31 = sto"
FOREIGN = 'a_{0} = "日本😀"; größe_{0} = store.read(0)\n'
FOREIGN_TYPED = 'a_31 = "日本😀"; größe_31 = sto'
FILES = {
    **{
        f"{name}.py": (READS + "\nprint(value_1)\n").encode()
        for name in ("accepted", "word", "through", "dismissed", "paused", "killed", "timed")
    },
    "foreign.py": "".join([FOREIGN.format(i) for i in range(1, NUM_LINES + 1)] + ["\nprint(0)\n"])
    .replace("\n", "\r\n")
    .encode(),
    "selected.py": (READS + "value_31 = None\nprint(value_1)\n").encode(),
}


def tools() -> Path | str:
    """What fetch.sh fetched, or why not. Only `make test-editors` fetches: it is 1 GB."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "infill-ls" / "vscode"
    if os.environ.get("INFILL_EDITORS") == "required":
        env = {**os.environ, "PYTHON": sys.executable}
        done = subprocess.run(
            [HERE / "vscode" / "fetch.sh", folder], capture_output=True, text=True, env=env
        )
        if done.returncode != 0:
            pytest.fail(f"VS Code cannot be fetched: {done.stderr[-500:]}")
    if not (folder / "ready").exists():
        return "VS Code is not there; make test-editors fetches it"
    return folder if which("npm") else "npm, which builds the extension, is not there"


@pytest.fixture(scope="module")
def vsix() -> Path:
    """The extension, checked, bundled and packaged."""

    def npm(*arguments: str) -> None:
        done = subprocess.run(["npm", *arguments], cwd=EXTENSION, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    if isinstance(why := tools(), str):
        pytest.skip(why)
    if not (EXTENSION / "node_modules" / ".bin" / "vsce").exists():
        npm("ci", "--ignore-scripts", "--no-audit", "--no-fund")
    npm("test")
    npm("run", "package")
    return EXTENSION / "infill-ls-0.1.0.vsix"


@pytest.fixture(scope="class")
def code(vsix: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VSCode]:
    folder = tools()
    assert isinstance(folder, Path), "the package would have been skipped"
    out = tmp_path_factory.mktemp("vscode")
    server = f"-m infill_ls --log-file '{out}/vs/server.log' --log-level info \"$@\""
    with VSCode(folder, vsix, out / "vs", FILES, SETTINGS, server) as code:
        try:
            assert code.wait_status("ready", 120), (code.status(), code.messages())
            yield code
        finally:
            code.shot("last")


e2e = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]


def typed_in(code: VSCode, name: str, text: str = TYPED) -> tuple[Path, str]:
    """The file, and ghost text behind `text` on its empty line, when all is quiet again."""
    path = code.open(name)
    code.go_to(NUM_LINES + 1)
    code.type(text)
    assert code.wait_ghost(), (code.status(), code.messages(), code.answers())
    ghost = code.settled()
    assert ghost
    return path, ghost


def around(line: str) -> bytes:
    return f"{READS}{line}\nprint(value_1)\n".encode()


@pytest.mark.timeout(200)
def test_the_package_is_small(vsix: Path) -> None:
    assert vsix.stat().st_size < 500_000


class TestVSCode:
    """In this order: a file is a test's own, the editor is not."""

    pytestmark = e2e

    def test_ghost_text_is_accepted_into_the_file_byte_by_byte(self, code: VSCode) -> None:
        path, ghost = typed_in(code, "accepted.py")
        code.shot("ghost")
        code.press("Tab")
        assert code.gone_ghost()
        code.save()

        assert path.read_bytes() == around(TYPED + ghost)

    def test_a_word_is_accepted_and_the_rest_stays(self, code: VSCode) -> None:
        path, ghost = typed_in(code, "word.py")
        code.press("Control+ArrowRight")
        assert code.until(lambda: code.ghost() != ghost, 5)
        rest = code.settled()
        code.press("Escape")
        code.save()

        saved = path.read_bytes()
        accepted = saved[len(READS) + len(TYPED) :].split(b"\n")[0].decode()
        assert saved == around(TYPED + accepted)
        assert 0 < len(accepted) < len(ghost)
        assert accepted + rest == ghost

    def test_typing_through_it_takes_no_new_run_of_the_model(self, code: VSCode) -> None:
        path, ghost = typed_in(code, "through.py")
        runs = code.answers().count("model")
        code.type(ghost[:3])
        assert code.settled() == ghost[3:]
        assert code.answers().count("model") == runs
        code.press("Tab")
        code.save()

        assert path.read_bytes() == around(TYPED + ghost)

    def test_escape_dismisses_it(self, code: VSCode) -> None:
        path, _ = typed_in(code, "dismissed.py")
        code.press("Escape")
        assert code.gone_ghost()
        assert code.settled() == ""
        code.save()

        assert path.read_bytes() == around(TYPED)

    def test_foreign_text_and_line_ends_stay_as_they_are(self, code: VSCode) -> None:
        path, ghost = typed_in(code, "foreign.py", FOREIGN_TYPED)
        code.shot("foreign")
        code.press("Tab")
        assert code.gone_ghost()
        code.save()

        before = FILES["foreign.py"]
        hole = before.index(b"\r\n\r\n") + 2
        line = (FOREIGN_TYPED + ghost).encode()
        assert path.read_bytes() == before[:hole] + line + before[hole:]

    def test_a_selection_is_infilled_and_undone(self, code: VSCode) -> None:
        path = code.open("selected.py")
        before = path.read_bytes()
        code.go_to(NUM_LINES + 1)
        code.press(*["Shift+ArrowLeft"] * len("None"))
        code.command("Infill Selection")
        assert code.until(lambda: code.page.locator(".tab.active.dirty").count(), 20), (
            code.messages()
        )
        code.save()
        after = path.read_bytes()
        code.press("Control+z")
        code.save()

        assert after.startswith(READS.encode() + b"value_31 = ")
        assert after != before
        assert path.read_bytes() == before

    def test_a_file_is_paused_and_resumed_from_the_status_bar(self, code: VSCode) -> None:
        code.open("paused.py")
        code.choose("Pause in paused.py")
        assert code.wait_status("paused in this file", 10)
        code.go_to(NUM_LINES + 1)
        code.type(TYPED)
        assert code.settled() == ""
        code.shot("paused")

        code.choose("Resume in paused.py")
        assert code.wait_status("ready", 10)
        code.go_to(NUM_LINES + 1)
        code.press("Backspace")
        code.type(TYPED[-1])
        assert code.wait_ghost()
        code.press("Escape")
        code.save()

    def test_a_killed_server_comes_back_with_one_message(self, code: VSCode) -> None:
        path, _ = typed_in(code, "killed.py", "value_31 = ")
        num_started = len(code.pids())
        os.kill(code.pids()[-1], signal.SIGKILL)
        code.type("sto")  # no key may be lost while there is no server
        assert code.until(code.messages, 10)
        told = code.messages()
        assert code.until(lambda: len(code.pids()) > num_started, 30)
        assert code.wait_status("ready", 60), code.status()
        code.press("Escape")
        code.type("r")
        assert code.wait_ghost(), code.answers()
        code.press("Escape")
        code.save()

        assert told == ["infill: the server ended unexpectedly and is being started again."]
        assert path.read_bytes() == around("value_31 = stor")

    def test_ghost_text_comes_in_time(self, code: VSCode, latencies: Latencies) -> None:
        """From the last key of a burst to the screen: pause, request, model run, drawing."""
        code.open("timed.py")
        code.go_to(NUM_LINES + 1)
        for i in range(12):
            num_answers = len(code.answers())
            code.page.keyboard.type(f"value_{31 + i} = sto")
            ms = code.latency()
            code.settled()
            if ms and "model" in code.answers()[num_answers:]:
                latencies.add(f"VS Code {code.version}", "model", ms)
            code.press("Escape", "Enter")
        code.save()

        assert latencies


class TestShapes:
    """Round an engine whose text is known: what comes where, when there are several lines of it."""

    pytestmark = e2e

    def test_several_lines_go_in_between_brackets(
        self, vsix: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tools()
        assert isinstance(folder, Path), "the package would have been skipped"
        files = {"call.py": "é = 'ß😀'\ncal)\nprint(é)\n".encode()}
        script = str(ROOT / "tests" / "e2e" / "serve.py")
        server = join([script, json.dumps({"texts": ["\n    1,\n    2,\n"]})])
        out = tmp_path_factory.mktemp("vscode-shapes")
        with VSCode(folder, vsix, out / "vs", files, SETTINGS, server) as code:
            assert code.wait_status("ready", 60), (code.status(), code.messages())
            path = code.open("call.py")
            code.go_to(2)
            code.press("ArrowLeft")
            code.type("l(")
            assert code.wait_ghost()
            code.shot("several-lines")
            code.press("Tab")
            assert code.gone_ghost()
            code.save()

        assert path.read_bytes() == "é = 'ß😀'\ncall(\n    1,\n    2,\n)\nprint(é)\n".encode()
