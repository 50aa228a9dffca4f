"""The next edit in a real Neovim: by our plugin, and by sidekick.nvim, which speaks to Copilot.

Sidekick is in no package registry, and no part of this repository; a clone of it is used where
INFILL_SIDEKICK names its folder.
"""

import os
import sys
from pathlib import Path

import pytest

from tests.editors.conftest import missing_clone, program
from tests.editors.editor import PYTHONPATH, Editor
from tests.editors.nvim import Nvim
from tests.editors.screen import Screen

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
TEXT = "def total(a):\n    return a\n\n\n# far\n# away\n\nprint(total(1))\n\nprint(total(2))\n"
SIDEKICK = """
  vim.opt.runtimepath:prepend(vim.env.INFILL_SIDEKICK)
  vim.cmd('filetype plugin on')
  require('sidekick').setup({ nes = { debounce = 20 } })
  vim.lsp.config('copilot', {
    cmd = { '%s', '-m', 'infill_ls', '--log-file', '%s', '--log-level', 'info' },
    filetypes = { 'python' },
    init_options = { infill = { deadlineMs = 20000 } },
  })
  vim.lsp.enable('copilot')
  vim.keymap.set('n', '<Tab>', function() require('sidekick').nes_jump_or_apply() end)"""
HAVE = "return require('sidekick.nes').have()"
VISIBLE = "return require('infill_ls.next_edit').visible()"


def on_screen(screen: Screen, text: str) -> bool:
    return any(text in line for line in screen.lines)


def renamed(editor: Nvim) -> None:
    """The function's name, typed over."""
    editor.type("gg0wcw")
    editor.type_text("subtotal")
    editor.type("<Esc>")


def test_a_key_goes_to_the_next_edit_and_makes_it_and_then_the_one_after(editor: Editor) -> None:
    path = editor.open("next.py", TEXT.encode())
    renamed(editor)

    assert editor.until(lambda: editor.lua(VISIBLE), 30), editor.messages
    editor.command("redraw")
    assert editor.until(lambda: on_screen(editor.screen, "print(subtotal(1))"), 5)
    assert "print(subtotal(1))" not in editor.lines  # shown, and not in the file
    editor.type("<M-l>")
    assert editor.cursor[0] == 8
    editor.type("<Tab>")
    assert editor.lines[7] == "print(subtotal(1))"
    assert editor.until(lambda: editor.lua(VISIBLE), 30), editor.messages
    editor.type("<M-l>")  # near: made at once
    assert editor.lines == TEXT.replace("total", "subtotal").splitlines()
    editor.command("silent write")
    assert path.read_text() == TEXT.replace("total", "subtotal")
    said = "next edits shown 2, accepted 2"
    assert editor.until(lambda: said in editor.log_file.read_text(encoding="utf-8"), 10)


def test_a_file_is_due_what_others_had_as_soon_as_it_is_opened(editor: Editor) -> None:
    old = "import a\n\n\nx = a.get_value(1)\n"
    for number in range(5):
        editor.open(f"next_of_{number}.py", old.replace("1", str(number)).encode())
        editor.type("4Gwwwwcwfetch_value<Esc>")
        assert "a.fetch_value" in editor.lines[3]
        editor.command("silent write")
    editor.open("next_opened.py", f"y = 1\n{old}".encode())

    assert editor.until(lambda: editor.lua(VISIBLE), 30), editor.messages
    editor.type("<M-e>")
    editor.type("i<Esc>")
    editor.command("edit next_of_1.py")
    editor.command("edit next_opened.py")
    assert not editor.until(lambda: editor.lua(VISIBLE), 1.5), "dismissed is dismissed"
    editor.type("Goz = 1<Esc>")
    assert editor.until(lambda: editor.lua(VISIBLE), 30), editor.messages
    editor.type("gg<M-l>")
    if editor.lines[4] != "x = a.fetch_value(1)":  # it was far
        editor.type("<M-l>")
    assert editor.lines[4] == "x = a.fetch_value(1)"


def test_it_goes_when_it_is_dismissed_and_when_somebody_types(editor: Editor) -> None:
    editor.open("next_dismissed.py", TEXT.encode())
    renamed(editor)
    assert editor.until(lambda: editor.lua(VISIBLE), 30), editor.messages
    editor.type("<M-e>")
    assert not editor.lua(VISIBLE)
    editor.type("u")
    renamed(editor)
    assert editor.until(lambda: editor.lua(VISIBLE), 30), editor.messages
    editor.type("i")
    assert not editor.lua(VISIBLE)
    editor.type("<Esc>")


def test_sidekick_shows_and_makes_it(programs: dict[str, Path | str], tmp_path: Path) -> None:
    if not os.environ.get("INFILL_SIDEKICK"):
        missing_clone("INFILL_SIDEKICK")
    path, log, init = tmp_path / "a.py", tmp_path / "server.log", tmp_path / "init.lua"
    path.write_text(TEXT)
    init.write_text(SIDEKICK % (sys.executable, log))
    arguments = ("-u", str(init), str(path))
    editor = Nvim(program(programs, "0.12"), tmp_path, *arguments, PYTHONPATH=PYTHONPATH)
    try:
        attached = "return #vim.lsp.get_clients({ bufnr = 0 }) > 0"
        assert editor.until(lambda: editor.lua(attached), 60), editor.messages
        renamed(editor)
        assert editor.until(lambda: editor.lua(HAVE), 60), (editor.messages, log.read_text())
        editor.type("<Tab>")
        assert editor.until(lambda: editor.cursor[0] == 8, 10), editor.cursor
        editor.type("<Tab>")
        assert editor.until(lambda: editor.lines[7] == "print(subtotal(1))", 10), editor.lines
        assert editor.until(lambda: "next edits shown 0, accepted 1" in log.read_text(), 10)
        assert editor.lines[9] == "print(total(2))"  # one at a time
    finally:
        editor.quit()
