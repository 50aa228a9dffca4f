"""A real Neovim with a UI attached, driven key by key over msgpack-rpc.

`nvim --embed` runs its own event loop, timers and autocommands; a test sends keys as a terminal
would and reads buffers and extmarks back. Knows nothing of infill-ls.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import msgpack

from tests.editors.screen import Screen

REQUEST, RESPONSE = 0, 1
SECONDS = 60.0  # far more than an answer takes


class NvimError(Exception):
    """Neovim refused a call."""


class Nvim:
    """One editor process. Its folder takes all that Neovim writes, so the user's is untouched."""

    def __init__(self, program: Path, folder: Path, *arguments: str, **environment: str) -> None:
        homes = {f"XDG_{name}_HOME": folder / name.lower() for name in ("STATE", "DATA", "CACHE")}
        homes["XDG_CONFIG_HOME"] = folder / "config"
        self._process = subprocess.Popen(
            [str(program), "--embed", "-n", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {name: str(path) for name, path in homes.items()} | environment,
            cwd=folder,
        )
        self._ids = count()
        self._answers: dict[int, tuple[Any, Any]] = {}
        self._came = threading.Condition()
        self._ended = False
        self.screen = Screen()
        threading.Thread(target=self._read, daemon=True).start()
        # Without a UI `--embed` loads neither its configuration nor a file.
        self.call("nvim_ui_attach", 100, 26, {"rgb": True, "ext_linegrid": True})

    def call(self, method: str, *arguments: Any) -> Any:
        msg_id = next(self._ids)
        assert self._process.stdin is not None
        self._process.stdin.write(msgpack.packb([REQUEST, msg_id, method, arguments]))
        self._process.stdin.flush()
        with self._came:
            came = self._came.wait_for(lambda: msg_id in self._answers or self._ended, SECONDS)
            assert came, f"Neovim did not answer {method}: it waits for a key?"
            assert msg_id in self._answers, f"Neovim ended during {method}"
            error, result = self._answers.pop(msg_id)
        if error:
            raise NvimError(f"{method}: {error[1]}")
        return result

    def lua(self, code: str, *arguments: Any) -> Any:
        return self.call("nvim_exec_lua", code, arguments)

    def command(self, line: str) -> None:
        self.call("nvim_command", line)

    def type(self, keys: str) -> None:
        """Key notation: `<Tab>` is one key, `<lt>` is `<`."""
        self.call("nvim_input", keys)

    def type_text(self, text: str, seconds: float = 0.01) -> None:
        """One character at a time, as a person would."""
        for character in text:
            self.type({"<": "<lt>", "\n": "<CR>"}.get(character, character))
            time.sleep(seconds)

    def until(self, condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
        """What `condition` says as soon as that is true, or what it says at last."""
        end = time.monotonic() + seconds
        while not (found := condition()) and time.monotonic() < end:
            time.sleep(0.002)
        return found

    @property
    def lines(self) -> list[str]:
        return list(self.call("nvim_buf_get_lines", 0, 0, -1, True))

    @property
    def cursor(self) -> tuple[int, int]:
        """1-based line, 0-based byte."""
        row, column = self.call("nvim_win_get_cursor", 0)
        return row, column

    @property
    def mode(self) -> str:
        return str(self.call("nvim_get_mode")["mode"])

    @property
    def messages(self) -> str:
        return str(self.call("nvim_exec2", "messages", {"output": True})["output"])

    def quit(self) -> None:
        if self._process.poll() is None:
            try:
                self.call("nvim_input", "<C-\\><C-n>")
                self.command("qall!")
            except (AssertionError, NvimError, OSError):
                pass  # it goes down while it answers
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, unicode_errors="replace")
        try:
            while data := os.read(self._process.stdout.fileno(), 1 << 16):
                unpacker.feed(data)
                for message in unpacker:
                    if message[0] == RESPONSE:
                        with self._came:
                            self._answers[message[1]] = message[2], message[3]
                            self._came.notify_all()
                    elif message[1] == "redraw":
                        self.screen.redraw(message[2])
        except (OSError, ValueError):
            pass  # closed under us: the test is over
        with self._came:
            self._ended = True
            self._came.notify_all()
