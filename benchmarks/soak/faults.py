"""What goes wrong on purpose. Each fault returns when it is over; what came back is measured."""

import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.soak.editor import Editor

STOPPED_SECONDS = 4.0
RAISING_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where faults happen: the server's folder, how to make another editor, and the ones there."""

    folder: Path
    new_editor: Callable[..., Editor]

    def server_pid(self) -> int:
        return int((self.folder / "server.pid").read_text())

    def asked(self) -> set[str]:
        """Digests of the texts that the engine was asked about, the last ones."""
        with suppress(OSError):
            return set((self.folder / "asked.txt").read_text().split()[-400:])
        return set()


def server_killed(ground: Ground) -> None:
    os.kill(ground.server_pid(), signal.SIGKILL)


def server_stopped(ground: Ground) -> None:
    """As a laptop that sleeps."""
    pid = ground.server_pid()
    os.kill(pid, signal.SIGSTOP)
    time.sleep(STOPPED_SECONDS)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def editor_killed(ground: Ground) -> None:
    editor = ground.new_editor()
    editor.start()
    editor.kill()


def half_a_message(ground: Ground) -> None:
    editor = ground.new_editor()
    editor.start()
    editor.half_a_message()
    time.sleep(0.2)
    editor.kill()


def model_raises(ground: Ground) -> None:
    flag = ground.folder / "raise"
    flag.touch()
    time.sleep(RAISING_SECONDS)
    flag.unlink()


def memory_limited(ground: Ground) -> None:
    """The server may take 64 MB more than it has; then as much as before."""
    if not hasattr(resource, "prlimit"):
        return
    pid = ground.server_pid()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (64 << 20)
    before = resource.prlimit(pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    time.sleep(RAISING_SECONDS)
    with suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_AS, before)


def disk_full(ground: Ground) -> None:
    """A server of its own that can write no file and has a cache that cannot be made."""
    _answers(ground, before=NO_FILES, XDG_CACHE_HOME="/dev/null/cache")


def cache_read_only(ground: Ground) -> None:
    folder = ground.folder / "read-only"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o500)
    _answers(ground, XDG_CACHE_HOME=str(folder))


def remote_stalls(ground: Ground) -> None:
    """A server of its own whose model is behind a server that takes requests and says nothing."""
    with _stalling() as port:
        _answers(ground, model=f"http://127.0.0.1:{port}", seconds=8.0)


FAULTS: tuple[Callable[[Ground], None], ...] = (
    server_killed,
    editor_killed,
    server_stopped,
    half_a_message,
    model_raises,
    memory_limited,
    cache_read_only,
    disk_full,
    remote_stalls,
)


# Run before the server in its own process: it may then write no file.
NO_FILES = """
import resource, signal
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
"""
SOURCE = "def add(a, b):\n    return \n"


def _answers(
    ground: Ground,
    *,
    model: str = "default",
    seconds: float = 20.0,
    before: str = "",
    **environment: str,
) -> None:
    """A server on stdio under these conditions answers every request, with a text if it can within
    `seconds`. Raises TimeoutError where it does not answer."""
    arguments = [sys.executable, "-P", "-m", "infill_ls", "--model", model]
    run = f"{before}\nimport os, sys\nos.execv(sys.executable, {arguments!r})"
    editor = ground.new_editor(command=[sys.executable, "-P", "-c", run], environment=environment)
    uri = "file:///soak/limited.py"
    item = {"uri": uri, "languageId": "python", "version": 1, "text": SOURCE}
    params = {
        "textDocument": {"uri": uri},
        "position": {"line": 1, "character": 11},
        "context": {"triggerKind": 1},
    }
    try:
        editor.start()
        editor.notify("textDocument/didOpen", {"textDocument": item})
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            answer = editor.ask("textDocument/inlineCompletion", params, 10.0)
            if editor.dead:
                raise TimeoutError(f"the server died: {answer}")
            if answer.get("result", {}).get("items"):
                return
            time.sleep(0.2)
    finally:
        editor.leave()


@contextmanager
def _stalling() -> Iterator[int]:
    """A port that takes connections and never answers."""
    listening = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                held.append(listening.accept()[0])

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.close()
        for each in held:
            each.close()
