"""Neovim with our plugin and a real server, as the tests of it need it."""

import json
import sys
from pathlib import Path
from typing import Any

from tests.editors.nvim import Nvim
from tests.editors.server_log import Answer, answers_in

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYTHONPATH = ":".join(str(ROOT / folder) for folder in (".", "engine", "kernels"))

# Ghost text as it stands on the screen, whoever draws it. What we draw to cover or move text that
# is in the buffer has no highlight, and is none.
GHOST = """
  local shown = {}
  local function add(chunks)
    local line = ''
    for _, chunk in ipairs(chunks) do
      if chunk[2] == 'InfillGhost' or chunk[2] == 'ComplHint' then
        line = line .. chunk[1]
      end
    end
    shown[#shown + 1] = line
  end
  for name, namespace in pairs(vim.api.nvim_get_namespaces()) do
    if name == 'nvim.lsp.inline_completion' or name == 'infill_ls.ghost' then
      for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true }))
      do
        add(mark[4].virt_text or {})
        for _, chunks in ipairs(mark[4].virt_lines or {}) do
          add(chunks)
        end
      end
    end
  end
  return table.concat(shown, '\\n')"""


class Editor(Nvim):
    """`server` is the server's command line, as a list of arguments to this Python; None leaves it
    to the plugin to find one. `environment` is Neovim's, beside what this process has."""

    def __init__(
        self,
        program: Path,
        folder: Path,
        server: list[str] | None,
        options: dict[str, Any] | None = None,
        **environment: str,
    ) -> None:
        self.folder = folder
        self.log_file = folder / "server.log"
        self._skip = 0
        found = {} if server is None else {"cmd": [sys.executable, *server]}
        given = {**found, "tab": True, **(options or {})}
        super().__init__(
            program,
            folder,
            *("-u", str(HERE / "init.lua")),
            INFILL_PLUGIN=str(ROOT / "editors" / "neovim"),
            INFILL_OPTIONS=json.dumps(given),
            PYTHONPATH=PYTHONPATH,
            **environment,
        )

    def type(self, keys: str) -> None:
        """Returns when they have been typed: calls would overtake them otherwise."""
        before = self.lua("return vim.g.keys_typed")
        super().type(keys + "<F20>")
        assert self.until(lambda: self.lua("return vim.g.keys_typed") > before, 30)

    def open(self, name: str, content: bytes) -> Path:
        """Edits a new file, and waits for the server to have it."""
        path = self.folder / name
        path.write_bytes(content)
        self.type("<C-\\><C-n>")
        self.command(f"silent edit! {path}")
        self.until(self.attached)
        assert self.attached(), self.messages
        return path

    def attached(self) -> bool:
        code = "local c = require('infill_ls.server').client(0) return c and c.initialized or false"
        return bool(self.lua(code))

    def ready(self) -> bool:
        """Whether the model is loaded, as the statusline shows it."""
        return self.status() in ("ready", "thinking")

    def status(self) -> str:
        return str(self.lua("return require('infill_ls.status').get().state"))

    def ghost(self) -> str:
        return str(self.lua(GHOST))

    def wait_ghost(self, seconds: float = 20.0) -> str:
        return str(self.until(self.ghost, seconds))

    def settled(self) -> str:
        """The ghost text when the server has answered for the text as it is now."""

        def of_this_text() -> list[Answer]:
            version = self.lua("return vim.lsp.util.buf_versions[vim.api.nvim_get_current_buf()]")
            return [a for a in self.answers() if a.version == version and not a.overtaken]

        found = self.until(of_this_text, 30)
        assert found, (self.status(), self.messages, self.answers())
        return self.wait_ghost() if found[-1].num_items else self.ghost()

    def answers(self) -> list[Answer]:
        """Since the last `forget_answers`."""
        return answers_in(self.log_file, self._skip)

    def forget_answers(self) -> None:
        self._skip = len(self.log_file.read_text(encoding="utf-8").splitlines())
