"""The real llama.vim and minuet in a real Neovim, in front of the real endpoint.

Neither is in a package registry, and neither is part of this repository. Clones of them are used
where INFILL_LLAMA_VIM and INFILL_MINUET name their folders.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.wire import SERVE
from tests.editors.conftest import SUITES, missing_clone, program
from tests.editors.editor import PYTHONPATH
from tests.editors.nvim import Nvim
from tests.editors.places import LINE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
KNOWS = ["store.read(31,", "0)"]  # two lines
CONFIGURED = {
    "INFILL_LLAMA_VIM": """
      vim.g.llama_config = { endpoint_fim = 'http://127.0.0.1:%d/infill', show_info = 1 }""",
    "INFILL_MINUET": """
      require('minuet').setup({
        provider = 'openai_fim_compatible',
        n_completions = 1,
        throttle = 0,
        debounce = 50,
        request_timeout = 30,
        virtualtext = { auto_trigger_ft = { 'python' }, keymap = { accept = '<Tab>' } },
        provider_options = { openai_fim_compatible = {
          name = 'infill-ls', model = 'infill', api_key = 'HOME',
          end_point = 'http://127.0.0.1:%d/v1/completions',
        } },
      })""",
}
# Of both: what is drawn on the cursor's line, and the lines below it: two marks of llama.vim's.
GHOST = """
  local here, below = {}, {}
  for name, namespace in pairs(vim.api.nvim_get_namespaces()) do
    if name == 'vt_fim' or name == 'minuet.virtualtext' then
      for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true }))
      do
        for _, chunk in ipairs(mark[4].virt_text or {}) do here[#here + 1] = chunk[1] end
        for _, line in ipairs(mark[4].virt_lines or {}) do below[#below + 1] = line[1][1] end
      end
    end
  end
  return vim.trim(table.concat({ table.concat(here), unpack(below) }, '\\n'))"""


@contextmanager
def serving(*arguments: str) -> Iterator[int]:
    """The endpoint in a process of its own; its port."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
    )
    try:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")  # the log's among them
        found = (re.search(r"at http://127\.0\.0\.1:(\d+)", line) for line in lines)
        yield int(next(filter(None, found))[1])
    finally:
        process.terminate()
        process.communicate(timeout=30)


@contextmanager
def editing(neovim: Path, folder: Path, client: str, port: int) -> Iterator[Nvim]:
    clone = os.environ.get(client) or missing_clone(client)
    path = folder / "typed.py"
    path.write_bytes(LINE.file())
    init = folder / "init.lua"
    settings = "vim.o.shortmess = vim.o.shortmess .. 'I'\nvim.cmd('filetype plugin on')\n"
    init.write_text(
        f"{settings}vim.opt.runtimepath:prepend('{clone}')\n{CONFIGURED[client] % port}"
    )
    editor = Nvim(neovim, folder, "-u", str(init), str(path))
    try:
        editor.type(f"{LINE.row}G")
        yield editor
    finally:
        editor.quit()


@pytest.fixture(params=SUITES)
def neovim(request: pytest.FixtureRequest, programs: dict[str, Path | str]) -> Path:
    return program(programs, request.param)


@pytest.mark.parametrize("client", CONFIGURED)
def test_what_is_said_is_shown_and_accepted(neovim: Path, tmp_path: Path, client: str) -> None:
    spec = json.dumps({"texts": ["\n".join(KNOWS)]})
    with serving(str(SERVE), spec, "--fim") as port, editing(neovim, tmp_path, client, port) as at:
        at.type("i")
        at.type_text("value_31 = ", 0.05)
        ghost = at.until(lambda: at.lua(GHOST), 60)

        assert ghost == "\n".join(KNOWS), (ghost, at.messages)
        if client == "INFILL_LLAMA_VIM":  # it read the timings as well
            assert "t/s)" in at.call("nvim_get_option_value", "statusline", {})
        at.type("<Tab>")
        assert at.until(lambda: len(at.lines) > LINE.file().count(b"\n"), 10), at.lines[-4:]
        assert at.lines[LINE.row - 1 : LINE.row + 1] == [f"value_31 = {KNOWS[0]}", KNOWS[1]]
        assert "exit code" not in at.messages


@pytest.mark.parametrize("client", CONFIGURED)
def test_the_model_that_ships_is_shown(neovim: Path, tmp_path: Path, client: str) -> None:
    """A line more for every try: on a busy machine an answer may come too late."""
    arguments = ("-m", "infill_ls", "serve", "--fim", "127.0.0.1:0")
    with serving(*arguments) as port, editing(neovim, tmp_path, client, port) as at:
        ghost = ""
        for number in range(31, 51):
            at.type("<Esc>cc")
            at.type_text(f"value_{number} = sto", 0.02)
            if ghost := at.until(lambda: at.lua(GHOST), 4):
                break
        assert "read(" in ghost, (ghost, at.messages)
