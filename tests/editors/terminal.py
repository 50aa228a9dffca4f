"""A program in a terminal of its own, typed into key by key: a private tmux server, whose screen is
read as text. Knows nothing of infill-ls."""

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

WIDTH, HEIGHT = 100, 30


class Terminal:
    """`environment` is the program's, beside what this process has."""

    def __init__(self, command: list[str], folder: Path, **environment: str) -> None:
        # The path of a socket may not be long.
        self._sockets = tempfile.TemporaryDirectory(prefix="tm")
        # Keys such as Control and Return together have a code of their own only when asked for.
        options = Path(self._sockets.name, "tmux.conf")
        options.write_text("set -g extended-keys on\nset -s escape-time 0\n")
        self._tmux = ["tmux", "-S", f"{self._sockets.name}/s", "-f", str(options)]
        env = [f"{name}={value}" for name, value in environment.items()]
        line = shlex.join(["env", "TERM=screen-256color", "LC_ALL=C.UTF-8", *env, *command])
        size = ["-x", str(WIDTH), "-y", str(HEIGHT)]
        self._run("new-session", "-d", *size, "-c", str(folder), line)

    def _run(self, *arguments: str) -> str:
        env = {name: value for name, value in os.environ.items() if name != "TMUX"}
        done = subprocess.run(
            [*self._tmux, *arguments], env=env, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def keys(self, *names: str) -> None:
        """As tmux calls them: Enter, Escape, C-x, M-Left."""
        for name in names:
            self._run("send-keys", name)
            if name == "Escape":  # and a key right behind it would be Alt and that key
                time.sleep(0.3)

    def text(self, text: str, seconds: float = 0.02) -> None:
        """One character at a time, as a person would."""
        for character in text:
            self._run("send-keys", "-l", character)
            time.sleep(seconds)

    def screen(self) -> str:
        return self._run("capture-pane", "-p")

    def until(self, condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        """What `condition` says as soon as that is true, or what it says at last."""
        end = time.monotonic() + seconds
        while not (found := condition()) and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def shows(self, text: str, seconds: float = 20.0) -> bool:
        return bool(self.until(lambda: text in self.screen(), seconds))

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True)
        self._sockets.cleanup()
