"""`infill-ls setup`: what it writes into editors' files, what it leaves alone, and what it takes
back."""

import argparse
import json
import os
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infill_ls.cli.errors import FILE, NOTHING, UsageError
from infill_ls.cli.main import EDITORS as NAMES
from infill_ls.cli.setup import plugins, run
from infill_ls.cli.setup.editors import EDITORS
from infill_ls.cli.setup.places import Places, here, is_passing
from infill_ls.cli.setup.run import run_setup
from tests.infill_ls.cli.homes import (
    NEOVIM,
    OWN,
    ZED,
    files_below,
    put_program,
    setup,
    with_own_files,
)


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
        ("zed", ".config/zed/settings.json", '{"edit_predictions": null}', "already, as null"),
        ("sublime", ".config/sublime-text/Packages/User/LSP.sublime-settings", '{"clients": 1}',
         "should have an object"),
        ("sublime", ".config/sublime-text/Packages/User/LSP.sublime-settings",
         '{"clients": {"infill-ls": null}}', "clients.infill-ls already, as null"),
        ("helix", ".config/helix/languages.toml", "a = " + "[" * 9000, "are too deep"),
        ("helix", ".config/helix/languages.toml", "a = " + "1" * 9000, "cannot be read: "),
        ("helix", ".config/helix/languages.toml", "language = 3", "language is no list"),
        ("helix", ".config/helix/languages.toml", "language = [1]", "language is no list"),
        ("helix", ".config/helix/languages.toml", "[language]", "language is no list"),
        ("helix", ".config/helix/languages.toml", "language-server = 3", "is no table"),
        ("helix", ".config/helix/languages.toml", '[[language]]\nname = ["python"]',
         "a language has the name ['python']"),
        ("helix", ".config/helix/languages.toml",
         '[[language]]\nname = "python"\nlanguage-servers = 3', "servers of python is no list"),
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


def test_what_must_not_be_read_keeps_no_other_from_being_set_up(
    places: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of somebody else's; for the user that tests run as there may be none."""
    real = Path.stat

    def stat(path: Path, **options: Any) -> os.stat_result:
        if locked in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    locked = places.config / "zed"
    assert setup(places, "zed", "neovim") == FILE
    assert f"{places.home / ZED} cannot be read: Permission denied." in capsys.readouterr().err
    assert (places.home / NEOVIM).exists()

    locked = places.record.parent
    assert setup(places, "sublime", "emacs") == FILE
    assert capsys.readouterr().err.count("setup.json cannot be read: Permission denied.") == 2


def test_a_file_with_comments_alone_is_added_to(places: Places) -> None:
    zed = places.home / ZED
    zed.write_text("// nothing yet\n")
    assert setup(places, "zed") == 0
    assert zed.read_text().startswith('// nothing yet\n{\n  "edit_predictions": {')
    assert setup(places, undo=True) == 0
    assert zed.read_text() == "// nothing yet\n"


def test_what_may_be_copied_is_never_broken(
    places: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    assert setup(places, "kate", "vscode", "helix") == 0

    lines = capsys.readouterr().out.splitlines()
    kate = next(line for line in lines if line.startswith("  {"))
    assert json.loads(kate)["servers"]["python"]["command"] == ["infill-ls", "--connect"]
    assert any(line.endswith("infill-ls.vsix --force") for line in lines)
    assert any(line.endswith("in the completion menu, and at space a.") for line in lines)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("HOME", value) for value in ("", "relative", "/no/such/home")),
        *((name, "relative") for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME")),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="it is called otherwise there")
def test_a_home_that_is_none_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    (tmp_path / "relative").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"^{name} is '{value}'"):
        here()


def test_an_editor_that_refuses_the_extension_is_quoted(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    program = places.program("code")
    assert program
    put_program(Path(program), "echo no room on disk >&2; exit 1")
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
