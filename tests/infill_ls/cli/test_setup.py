"""`infill-ls setup`: what it writes into editors' files, what it leaves alone, and what it takes
back."""

import argparse
import json
import os
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infill_ls.cli.errors import FILE, NOTHING, FileError, UsageError
from infill_ls.cli.main import EDITORS as NAMES
from infill_ls.cli.setup import plugins, run
from infill_ls.cli.setup.editors import EDITORS
from infill_ls.cli.setup.places import Places, is_passing
from infill_ls.cli.setup.run import run_setup

HEALTH = """\
Configured language servers:
  \x1b[32m✓\x1b[0m pylsp: /usr/bin/pylsp
  \x1b[31m✘\x1b[0m ruff: 'ruff' not found in $PATH
Configured debug adapter: None
Binary for formatter: 'None'
Highlight queries: ✓
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A home with a folder for every editor, and of their programs Helix's and VS Code's alone."""
    home, programs = tmp_path / "home", tmp_path / "bin"
    for name in ("nvim", "helix", "zed", "sublime-text", "kate"):
        (home / ".config" / name).mkdir(parents=True)
    (home / ".emacs.d").mkdir()
    programs.mkdir()
    _program(programs / "hx", f"[ \"$2\" = python ] && cat <<'END'\n{HEALTH}END")
    _program(programs / "code", f'echo "$*" >>{tmp_path}/code.log')
    return Places(
        system="linux",
        home=home,
        config=home / ".config",
        record=tmp_path / "record" / "setup.json",
        variables={"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        command="infill-ls",
        passing=False,
    )


def _program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture(autouse=True)
def _packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a wheel: the extension is there."""
    shipped = tmp_path / "infill-ls.vsix"
    shipped.touch()
    monkeypatch.setattr("infill_ls.cli.setup.editors.vscode_extension", lambda: shipped)


def setup(places: Places, *editors: str, yes: bool = True, undo: bool = False) -> int:
    """With an answer that nobody is asked for: yes, or none because it is only shown."""
    options = {"editors": list(editors), "yes": yes, "show": not yes, "undo": undo}
    return run_setup(argparse.Namespace(**options), places)


def files_below(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


# What somebody might have there already: comments, commas, line ends, a byte order mark.
OWN = {
    ".emacs.d/init.el": ';; mine ?( ?\\) "\n(setq a "(\\"" b ?\\")  ; (\n(defun ok? (x) [1 2])',
    ".config/helix/languages.toml": '# mine\n[[language]]\nname = "python"\nauto-format = true\n'
    'language-servers = [\n  "pylsp", # good\n]\n\n[[language]]\nname = "odd"\n',
    ".config/zed/settings.json": '\ufeff// mine\r\n{\r\n    "theme": "x", // dark\r\n'
    '    "a": [1, /* two */ 2,],\r\n}\r\n',
    ".config/sublime-text/Packages/User/LSP.sublime-settings": '{"clients": {"pyright": {}}}',
}


def with_own_files(places: Places) -> dict[str, bytes]:
    for name, text in OWN.items():
        path = places.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return files_below(places.home)


def test_the_command_line_knows_the_same_editors() -> None:
    assert tuple(each.name for each in EDITORS) == NAMES


def test_what_is_asked_of_nobody_is_only_shown(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    before = with_own_files(places)
    assert setup(places, yes=False) == 0

    shown = capsys.readouterr().out
    assert files_below(places.home) == before
    for title in (each.title for each in EDITORS):
        assert f"\n{title}\n" in shown
    assert '"edit_predictions": {' in shown
    assert "--install-extension" in shown
    assert not places.record.exists()


def test_no_answer_is_a_no(
    places: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody can answer, nothing is asked; who answers with nothing has said no."""
    before = files_below(places.home)
    asked = argparse.Namespace(editors=["neovim"], yes=False, show=False, undo=False)
    assert run_setup(asked, places) == 0
    assert "Nothing was written; infill-ls setup --yes neovim does it." in capsys.readouterr().out

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, written in (("\n", False), ("n\n", False), ("yes\n", True)):
        monkeypatch.setattr("sys.stdin.readline", lambda answer=answer: answer, raising=False)
        assert run_setup(asked, places) == 0
        assert (files_below(places.home) != before) is written
        assert ("Nothing was written." in capsys.readouterr().out) is not written
    asked.undo = True
    monkeypatch.setattr("sys.stdin.readline", lambda: "n\n", raising=False)
    assert run_setup(asked, places) == 0
    assert "Nothing was taken back." in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert run_setup(asked, places) == 0
    assert "back; infill-ls setup --undo --yes neovim does it." in capsys.readouterr().out


def test_what_is_taken_back_is_of_the_editors_that_are_named(
    places: Places, tmp_path: Path
) -> None:
    zed = places.home / ".config/zed"
    zed.rmdir()
    (places.config / "nvim/own.lua").touch()
    before = files_below(places.home)
    assert setup(places, "neovim", "zed", "vscode") == 0
    assert setup(places, "zed", undo=True) == 0

    assert not zed.exists()
    assert files_below(places.home).keys() - before.keys() == {".config/nvim/plugin/infill_ls.lua"}
    assert setup(places, "vscode", undo=True) == 0
    assert "--uninstall" in (tmp_path / "code.log").read_text()
    (places.config / "nvim/plugin/infill_ls.lua").unlink()  # then its folder is left
    assert setup(places, undo=True) == 0
    assert files_below(places.home) == before
    assert not (places.config / "nvim/plugin").exists()
    assert not places.record.parent.exists()


def test_everything_is_written_once_and_taken_back_byte_by_byte(
    places: Places, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = with_own_files(places)
    assert setup(places) == 0
    written = files_below(places.home)
    assert setup(places) == 0

    assert files_below(places.home) == written
    assert written.keys() - before.keys() == {".config/nvim/plugin/infill_ls.lua"}
    for name in OWN:
        assert written[name] != before[name]
    assert setup(places, undo=True) == 0
    assert files_below(places.home) == before
    assert not places.record.exists()
    log = (tmp_path / "code.log").read_text().splitlines()
    assert log[0] == f"--install-extension {tmp_path}/infill-ls.vsix --force"
    assert log[-1] == "--uninstall-extension infill-ls.infill-ls"
    capsys.readouterr()
    assert setup(places, undo=True) == 0
    assert "nothing that is still there" in capsys.readouterr().out


def test_what_is_written_is_what_each_editor_reads(places: Places) -> None:
    with_own_files(places)
    assert setup(places) == 0

    helix = tomllib.loads((places.home / ".config/helix/languages.toml").read_text())
    ours = {"command": "infill-ls", "args": ["--connect"]}
    assert helix["language-server"] == {"infill-ls": ours}
    assert helix["language"] == [
        {"name": "python", "auto-format": True, "language-servers": ["pylsp", "infill-ls"]},
        {"name": "odd"},
    ]
    zed = (places.home / ".config/zed/settings.json").read_bytes()
    assert zed.startswith(b'\xef\xbb\xbf// mine\r\n{\r\n    "edit_predictions": {\r\n        "prov')
    assert b'\r\n    },\r\n    "theme": "x", // dark\r\n' in zed
    assert zed.count(b"\n") == zed.count(b"\r\n")
    sublime = places.home / ".config/sublime-text/Packages/User/LSP.sublime-settings"
    clients = json.loads(sublime.read_text())["clients"]
    assert list(clients) == ["infill-ls", "pyright"]
    assert clients["infill-ls"]["command"] == ["infill-ls", "--connect"]
    emacs = (places.home / ".emacs.d/init.el").read_text()
    assert emacs.startswith(OWN[".emacs.d/init.el"] + "\n\n;; >>> infill-ls")
    assert '\'("infill-ls" "--connect")' in emacs


def test_a_server_that_is_not_on_path_is_named_by_its_path(places: Places) -> None:
    assert setup(replace(places, command="/opt/it's/infill-ls"), "neovim") == 0

    plugin = (places.config / "nvim/plugin/infill_ls.lua").read_text()
    assert "cmd = { '/opt/it\\'s/infill-ls' }" in plugin
    assert plugins.neovim_plugin().joinpath("plugin", "infill_ls.lua").is_file()


@pytest.mark.parametrize(
    ("editor", "name", "content", "says"),
    [
        ("zed", ".config/zed/settings.json", '{\n  "a": 1\n  "b": 2\n}', "line 3, column 3 should"),
        ("zed", ".config/zed/settings.json", '{"a": 1', "should have a comma or }"),
        ("zed", ".config/zed/settings.json", "[1]", "line 1, column 1 should have an object"),
        ("zed", ".config/zed/settings.json", "{a: 1}", "line 1, column 2 should have a value"),
        ("zed", ".config/zed/settings.json", "[" * 1000, "should have fewer levels"),
        ("zed", ".config/zed/settings.json", '{"edit_predictions": {"a": 1}}', "already, as {"),
        ("zed", ".config/zed/settings.json", b"{\xff}", "byte 0xff at line 1, column 2 is not"),
        ("sublime", ".config/sublime-text/Packages/User/LSP.sublime-settings", '{"clients": 1}',
         "should have an object"),
        ("helix", ".config/helix/languages.toml", "[[language]\n", "cannot be read: "),
        ("helix", ".config/helix/languages.toml", 'language = [{name = "python"}]\n',
         "the table of python cannot be found. editors/README.md"),
        ("helix", ".config/helix/languages.toml", 'language-server = {}\n', "cannot be read: "),
        ("emacs", ".emacs.d/init.el", "(setq a 1))\n", "line 1 closes what is not open"),
        ("emacs", ".emacs.d/init.el", "\n(setq a '[1)\n", "line 2 closes what is not open"),
        ("emacs", ".emacs.d/init.el", "(ok)\n(setq a\n", "the bracket of line 2 is not closed"),
        ("emacs", ".emacs.d/init.el", '(setq a "b\n', "the string of line 1 is not closed"),
        ("neovim", ".config/nvim/plugin/infill_ls.lua", "-- mine\n", "is not ours; move it away"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_left_alone_with_a_sentence(
    places: Places,
    capsys: pytest.CaptureFixture[str],
    editor: str,
    name: str,
    content: str | bytes,
    says: str,
) -> None:
    path = places.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(data)
    assert setup(places, editor) == FILE

    error = capsys.readouterr().err
    assert says in error
    assert error.startswith(f"infill-ls: {path}")
    assert error.count("\n") == 1
    assert path.read_bytes() == data
    assert not places.record.exists()


def test_one_that_cannot_be_read_keeps_no_other_from_being_set_up(places: Places) -> None:
    (places.home / ".config/zed/settings.json").write_text("{")
    assert setup(places, "zed", "neovim") == FILE

    assert (places.config / "nvim/plugin/infill_ls.lua").exists()


def test_what_was_changed_since_is_taken_out_of_what_is_there_now(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    with_own_files(places)
    assert setup(places, "zed", "emacs", "sublime") == 0
    zed, emacs = places.home / ".config/zed/settings.json", places.home / ".emacs.d/init.el"
    sublime = places.home / ".config/sublime-text/Packages/User/LSP.sublime-settings"
    zed.write_bytes(zed.read_bytes().replace(b'"x"', b'"y"'))
    emacs.write_text("(setq first t)\n" + emacs.read_text())
    sublime.write_text(sublime.read_text().replace("source", "source.python"))
    touched = sublime.read_bytes()
    capsys.readouterr()

    assert setup(places, undo=True) == FILE
    assert zed.read_bytes() == OWN[".config/zed/settings.json"].replace('"x"', '"y"').encode()
    assert emacs.read_text() == "(setq first t)\n" + OWN[".emacs.d/init.el"]
    assert sublime.read_bytes() == touched
    error = capsys.readouterr().err
    assert "was changed since" in error
    assert '"selector": "source"' in error
    sublime.unlink()  # then there is nothing left to take back
    assert setup(places, undo=True) == 0
    assert not places.record.exists()


def test_a_record_that_cannot_be_read_is_said(places: Places) -> None:
    places.record.parent.mkdir()
    for content in ("{", "[]", '{"version": 2}', '{"version": 1, "written": [{}]}'):
        places.record.write_text(content)
        with pytest.raises(FileError, match=r"cannot be read: .* Remove it"):
            setup(places, undo=True)


def test_an_editor_that_refuses_the_extension_is_quoted(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    program = places.program("code")
    assert program
    _program(Path(program), "echo no room on disk >&2; exit 1")
    assert setup(places, "vscode") == FILE

    assert "--force failed: no room on disk" in capsys.readouterr().err
    assert not places.record.exists()


def test_without_an_editor_there_is_nothing_to_do(
    places: Places, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = replace(places, home=tmp_path / "x", config=tmp_path / "y", variables={})
    assert setup(nobody) == NOTHING

    assert "No editor was found here" in capsys.readouterr().err


def test_helix_alone_knows_its_servers(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert setup(replace(places, variables={}), "helix") == FILE

    assert "put hx on PATH" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prefix", "passing"),
    [
        ("/home/me/.cache/uv/archive-v0/Xy1", True),
        ("/home/me/.local/pipx/.cache/1f", True),
        ("/home/me/.local/share/uv/tools/infill-ls", False),
        ("/home/me/.local/share/pipx/venvs/infill-ls", False),
        ("/usr", False),
    ],
)
def test_an_environment_of_a_moment_is_not_written_down(
    places: Places, prefix: str, passing: bool
) -> None:
    assert is_passing(Path(prefix)) is passing
    if passing:
        with pytest.raises(UsageError, match="uv tool install infill-ls"):
            setup(replace(places, passing=True))


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_every_system_has_a_place_for_every_editor(places: Places, system: str) -> None:
    elsewhere: Any = replace(places, system=system)
    for editor in EDITORS:
        assert editor.folder(elsewhere).is_relative_to(places.home)
    assert run.EDITORS is EDITORS
