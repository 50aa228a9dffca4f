"""A real VS Code round an engine whose texts are known: what comes where, exactly. Its server is
installed by the extension."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from shlex import join
from sys import executable

import pytest

from tests.editors.places import Place
from tests.editors.test_vscode import SETTINGS, e2e
from tests.editors.vscode.code_server import ROOT, VSCode

SEVERAL, OTHER = "\n    1,\n    2,\n", "\n    3,\n    4,\n"


@pytest.fixture(scope="class")
def bare(tools: Path, vsix: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VSCode]:
    """Without a server; pip is given one round an engine whose texts are known."""
    out = tmp_path_factory.mktemp("vscode-bare")
    wheel = out / "infill_ls_here-0-py3-none-any.whl"
    names = ("all", "line", "lines", "asked", "part", "other")
    files = {f"{name}.py": CALL.file() for name in names}
    machine = {"infill-ls.package": str(wheel), "infill-ls.python": executable}
    with VSCode(tools, vsix, out / "vs", files, SETTINGS, "", machine) as code:
        script = str(ROOT / "tests" / "e2e" / "serve.py")
        server = join([script, json.dumps({"texts": [SEVERAL, OTHER]})])
        pack(wheel, code.script(f"{server} 2>>'{code.log_file}'"))
        try:
            yield code
        finally:
            code.shot("last-bare")


class TestWithoutAServer:
    """Until it is installed; then what comes where, exactly."""

    pytestmark = e2e

    def test_it_is_offered_and_installed(self, bare: VSCode) -> None:
        assert bare.wait_status("infill-ls is not installed", 30), bare.status()
        assert bare.until(bare.messages, 10) == [
            "infill needs its language server. Install it into an environment of its own?"
        ]
        bare.shot("offer")
        bare.page.get_by_role("button", name="Install", exact=True).click()

        assert bare.wait_status("ready", 120), (bare.status(), bare.messages())
        assert len(bare.pids()) == 1

    def test_several_lines_go_in_within_a_line(self, bare: VSCode) -> None:
        path = call(bare, "all.py")
        bare.shot("several-lines")
        bare.press("Tab")
        assert bare.gone_ghost()
        bare.save()

        assert path.read_bytes() == CALL.file(f"call({SEVERAL})")

    def test_a_line_is_accepted(self, bare: VSCode) -> None:
        path = call(bare, "line.py")
        bare.press("Control+Alt+l")
        assert bare.until(lambda: bare.ghost().strip() == "2,", 5), bare.ghost()
        bare.press("Escape")
        bare.save()

        # This text begins with a line end, which VS Code would take for a line of its own.
        assert path.read_bytes() == CALL.file("call(\n    1,\n)")

    def test_two_lines_are_accepted(self, bare: VSCode) -> None:
        path = call(bare, "lines.py")
        bare.press("Control+Alt+2")
        # VS Code's own command takes a line with its end.
        assert bare.until(lambda: bare.line() == CALL.row + 3, 10), bare.line()
        bare.shot("two-lines")
        bare.save()

        assert path.read_bytes() == CALL.file("call(\n    1,\n    2,\n)")

    def test_so_are_as_many_as_somebody_says(self, bare: VSCode) -> None:
        """By a command that asks; VS Code takes the ghost text away meanwhile."""
        path = call(bare, "asked.py")
        bare.command("Accept the Next Lines of the Suggestion")
        bare.answer("How many lines of the suggestion to accept")
        assert bare.until(lambda: bare.line() == CALL.row + 2, 10), bare.messages()
        bare.type("#")
        bare.press("Escape")
        bare.save()

        assert path.read_bytes() == CALL.file("call(\n    1,\n    2,#)")

    def test_a_word_is_accepted_by_command(self, bare: VSCode) -> None:
        path = call(bare, "part.py")
        bare.command("Accept the Next Word of the Suggestion")
        assert bare.until(lambda: bare.line() == CALL.row + 1, 10), bare.messages()
        bare.press("Escape")
        bare.save()

        assert path.read_bytes() == CALL.file("call(\n    1)")

    def test_asked_for_there_are_others_to_choose_from(self, bare: VSCode) -> None:
        path = call(bare, "other.py")
        bare.press("Escape", "Alt+\\")
        assert bare.until(lambda: bare.ghost() == SEVERAL, 10), bare.ghost()
        bare.press("Alt+]")
        assert bare.until(lambda: bare.ghost() == OTHER, 10), bare.ghost()
        bare.press("Tab")
        assert bare.gone_ghost()
        bare.save()

        assert path.read_bytes() == CALL.file(f"call({OTHER})")


CALL = Place(before="é = 'ß😀'\n", line="cal)", least=4, after="print(é)\n")


def call(code: VSCode, name: str) -> Path:
    """The cursor within `call()`, and ghost text."""
    path = code.open(name)
    code.go_to(CALL.row)
    code.type("cal)")
    code.press("Escape", "ArrowLeft")
    code.type("l(")
    assert code.until(lambda: code.ghost() == SEVERAL), (code.ghost(), code.status())
    return path


def pack(wheel: Path, script: str) -> None:
    """A package of one program, which pip installs without any other."""
    name, _, _ = wheel.name.partition("-py3")
    files = {
        f"{name}.data/scripts/infill-ls": script,
        f"{name}.dist-info/METADATA": "Metadata-Version: 2.1\nName: infill-ls-here\nVersion: 0\n",
        f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}.dist-info/RECORD": "",
    }
    files[f"{name}.dist-info/RECORD"] = "".join(f"{file},,\n" for file in files)
    with zipfile.ZipFile(wheel, "w") as archive:
        for file, text in files.items():
            entry = zipfile.ZipInfo(file)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, text)
