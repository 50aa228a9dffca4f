"""A file with a hole in it, the command line to run on it, and a home with editors."""

import os
from pathlib import Path
from typing import Any

import pytest

from infill_ls.cli.setup.places import Places
from tests.infill_ls.cli.homes import CODE, HEALTH, put_program
from tests.infill_ls.cli.runs import ANSWER, SOURCE, Run
from tests.infill_ls.engines import Knowing, always, loads


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "area.py"
    path.write_bytes(SOURCE.encode())
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def start(*arguments: object, load: Any = None) -> Run:
        return Run(capsys, *arguments, load=load or loads(Knowing(always(ANSWER), steps=3)))

    return start


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A home with a folder for every editor, and of their programs Helix's and VS Code's alone;
    the extension is in the wheel."""
    shipped = tmp_path / "infill-ls.vsix"
    shipped.touch()
    monkeypatch.setattr("infill_ls.cli.setup.editors.vscode_extension", lambda: shipped)
    home, programs = tmp_path / "home", tmp_path / "bin"
    for name in ("nvim", "helix", "zed", "sublime-text", "kate"):
        (home / ".config" / name).mkdir(parents=True)
    (home / ".emacs.d").mkdir()
    programs.mkdir()
    put_program(programs / "hx", f"[ \"$2\" = python ] && cat <<'END'\n{HEALTH}END")
    put_program(programs / "code", CODE.format(log=tmp_path / "code.log"))
    return Places(
        system="linux",
        home=home,
        config=home / ".config",
        record=tmp_path / "record" / "setup.json",
        variables={"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        command="infill-ls",
        passing=False,
    )
