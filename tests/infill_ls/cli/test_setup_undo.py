"""`infill-ls setup --undo`: what was written goes, whatever was done to it since, and nothing is
written that could not be taken back."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from infill_ls.cli import files
from infill_ls.cli.errors import FILE, FileError
from infill_ls.cli.setup.places import Places
from tests.infill_ls.cli.homes import (
    EMACS,
    HELIX,
    NEOVIM,
    OWN,
    ZED,
    files_below,
    setup,
    with_own_files,
)


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
    capsys.readouterr()

    assert setup(places, undo=True) == 0
    assert zed.read_bytes() == OWN[".config/zed/settings.json"].replace('"x"', '"y"').encode()
    assert emacs.read_text() == "(setq first t)\n" + OWN[".emacs.d/init.el"]
    assert json.loads(sublime.read_text()) == {"clients": {"pyright": {}}}
    assert '-    "selector": "source.python"' in capsys.readouterr().out
    assert not places.record.exists()


@pytest.mark.parametrize(
    ("editor", "name", "own", "edit", "left"),
    [
        # Indented anew, another key among ours, another provider chosen since.
        ("zed", ZED, '{"a": 1}', lambda it: it.replace("  ", "    "), '{\n    "a": 1}'),
        ("zed", ZED, '{"a": 1}', lambda it: it.replace("64", '64, "b": 2'), '{\n  "a": 1}'),
        ("zed", ZED, "{}", lambda it: json.dumps(json.loads(it) | {"b": 2}), '{"b": 2}'),
        ("zed", ZED, "", lambda it: it.replace("64", "32"), None),
        ("zed", ZED, '{"a": 1}', lambda it: it.replace("8012/", "1/"), None),
        ("zed", ZED, '{"a": 1}', lambda it: '{"a": 1', '{"a": 1'),
        ("emacs", EMACS, "(a)\n", lambda it: "(a)\n(b)\n", "(a)\n(b)\n"),
        ("emacs", EMACS, "(a)\n", lambda it: it.replace("0.2", "0.5") + "(b)\n", "(a)\n(b)\n"),
        ("helix", HELIX, OWN[HELIX], lambda it: it.replace('["--c', '[ "--c'),
         OWN[HELIX].replace(", #", " #")),
        ("helix", HELIX, "", lambda it: it.replace("[]", '["--connect"]') + "# mine\n", "# mine\n"),
        ("helix", HELIX, "# mine\n", lambda it: "# mine\n", "# mine\n"),
        ("neovim", NEOVIM, None, lambda it: it.replace("append", "prepend"), None),
        ("neovim", NEOVIM, None, lambda it: it + "-- mine\n", "-- mine\n"),
        ("neovim", NEOVIM, None, lambda it: "-- mine\n", "-- mine\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("again", [False, True])
def test_undo_ends_whatever_was_done_to_the_file(
    places: Places,
    capsys: pytest.CaptureFixture[str],
    editor: str,
    name: str,
    own: str | None,
    edit: Callable[[str], str],
    left: str | None,
    again: bool,
) -> None:
    """Also where setup has written into it again after the edit."""
    path = places.home / name
    if own:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(own)
    assert setup(places, editor) == 0
    edited = edit(path.read_text())
    path.write_text(edited)
    if again:
        setup(places, editor)
    assert setup(places, undo=True) == 0

    assert not places.record.exists()
    if "1/v1" in edited:  # another provider, which is the user's
        assert path.read_text() == edited
    elif left is None:
        assert not path.exists()
    else:
        assert path.read_text() == left
    assert "by hand" not in capsys.readouterr().err


def test_what_cannot_be_taken_out_is_named_and_nothing_else(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    zed, helix = places.home / ZED, places.home / HELIX
    zed.write_text('{"mine": 1}')
    assert setup(places, "zed", "helix") == 0
    zed.write_text(zed.read_text().replace('"model"', "model"))
    helix.write_text(
        helix.read_text().replace("args = []", "args = [\n]").replace("]\n\n", "\n", 1)
    )
    left = zed.read_text(), helix.read_text()
    capsys.readouterr()
    assert setup(places, undo=True) == FILE

    error = capsys.readouterr().err
    assert 'Take out by hand: "edit_predictions" with all that is in it.' in error
    assert "Take out by hand: the table [language-server.infill-ls]" in error
    assert "mine" not in error
    assert (zed.read_text(), helix.read_text()) == left
    for path in (zed, helix):
        path.write_text("done, and still not to be read {")
    assert setup(places, undo=True) == 0
    assert not places.record.exists()


@pytest.mark.parametrize("without", ["the extension", "the program", "both"])
def test_an_extension_that_is_gone_is_not_taken_back(
    places: Places, tmp_path: Path, capsys: pytest.CaptureFixture[str], without: str
) -> None:
    assert setup(places, "vscode") == 0
    if without != "the program":
        (tmp_path / "code.log.installed").unlink()
    if without != "the extension":
        (tmp_path / "bin" / "code").unlink()
    assert setup(places, undo=True) == 0

    assert "is not there any more" in capsys.readouterr().out
    assert "--uninstall" not in (tmp_path / "code.log").read_text()
    assert not places.record.exists()


def test_an_extension_is_taken_back_by_the_program_that_is_there_now(
    places: Places, tmp_path: Path
) -> None:
    assert setup(places, "vscode") == 0
    (tmp_path / "bin" / "code").rename(tmp_path / "bin" / "codium")
    assert setup(places, undo=True) == 0

    assert "--uninstall" in (tmp_path / "code.log").read_text()


def test_nothing_is_written_that_cannot_be_recorded(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(places.home)
    places.record.parent.touch()
    assert setup(places, "neovim", "vscode") == FILE

    assert f"File exists ({places.record.parent})." in capsys.readouterr().err
    assert files_below(places.home) == before
    assert not (places.config / "nvim/plugin").exists()


def test_nothing_is_recorded_or_left_that_cannot_be_written(
    places: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, old: bytes, new: bytes) -> str:
        if path != places.record:
            raise FileError("no room on disk")
        return replaced(path, old, new)

    replaced = files.replace
    monkeypatch.setattr(files, "replace", full)
    assert setup(places, "neovim") == FILE

    assert capsys.readouterr().err == "infill-ls: no room on disk\n"
    assert not places.record.exists()
    assert not (places.config / "nvim/plugin").exists()


def test_a_link_stays_and_nothing_is_made_where_it_leads(
    places: Places, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link, target = places.home / NEOVIM, tmp_path / "dot.lua"
    link.parent.mkdir()
    link.symlink_to(target)
    assert setup(places, "neovim") == FILE
    assert "is a link to" in capsys.readouterr().err
    assert not target.exists()
    assert not places.record.exists()

    link.unlink()
    assert setup(places, "neovim") == 0
    link.rename(target)
    link.symlink_to(target)
    assert setup(places, undo=True) == 0
    assert link.is_symlink()
    assert target.read_text() == ""


def test_a_record_that_cannot_be_read_is_said(places: Places) -> None:
    places.record.parent.mkdir()
    for content in ("{", "[]", '{"version": 2}', '{"version": 1, "written": [{}]}'):
        places.record.write_text(content)
        with pytest.raises(FileError, match=r"cannot be read: .* Remove it"):
            setup(places, undo=True)
