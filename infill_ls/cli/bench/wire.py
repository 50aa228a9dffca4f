"""A language server as an editor sees it: a process, and messages through its pipes.

Knows nothing of what is on the other side; whoever measures a server must not share its code.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from infill_engine import InfillError

ROOT = Path(__file__).parents[3]
ERROR = 1  # LSP's MessageType
SECONDS = 120.0  # after which a server that does not answer is broken


class ServerError(InfillError):
    """The server has ended, answers with an error, or tells the user of one."""


class ServerProcess:
    """Starts `infill-ls`, or another module that serves, with these arguments; `started` is when,
    by `time.perf_counter()`."""

    def __init__(self, arguments: Sequence[str] = (), module: str = "infill_ls") -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), *sys.path]))
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (__exit__ closes it)
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | {"PYTHONPATH": path},
        )
        assert self._process.stdin, "stdin is a pipe"
        assert self._process.stdout, "stdout is a pipe"
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._answers: dict[int, Future[Any]] = {}
        self._complaint = ""
        self.logged: deque[str] = deque(maxlen=1000)  # what the server wrote to the client's log
        self._next = 0
        self._writing = threading.Lock()
        threading.Thread(target=self._read, name="bench-client", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self.request("shutdown", None)
            self.notify("exit", None)
        else:
            self._process.kill()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(OSError):
            self._stdin.close()
        self._errors.close()

    def initialize(
        self, options: dict[str, Any] | None = None, *, workspace_folders: bool = False
    ) -> Any:
        window = {"workDoneProgress": False}
        document = {"inlineCompletion": {"dynamicRegistration": False}}
        answer = self.request(
            "initialize",
            {
                "processId": os.getpid(),
                "rootUri": None,
                "capabilities": {
                    "window": window,
                    "textDocument": document,
                    "workspace": {"workspaceFolders": workspace_folders},
                },
                # What a benchmark is shown is nobody's to learn from.
                "initializationOptions": {"learn": False, **(options or {})},
            },
        )
        self.notify("initialized", {})
        return answer

    def open(self, uri: str, language_id: str, text: str) -> None:
        item = {"uri": uri, "languageId": language_id, "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    def close(self, uri: str) -> None:
        self.notify("textDocument/didClose", {"textDocument": {"uri": uri}})

    def change_folders(self, added: Sequence[str], removed: Sequence[str]) -> None:
        """Of the workspace, by their URIs."""
        folders = [[{"uri": uri, "name": uri} for uri in uris] for uris in (added, removed)]
        event = {"added": folders[0], "removed": folders[1]}
        self.notify("workspace/didChangeWorkspaceFolders", {"event": event})

    def insert(self, uri: str, version: int, line: int, character: int, text: str) -> None:
        here = {"line": line, "character": character}
        self.notify(
            "textDocument/didChange",
            {
                "textDocument": {"uri": uri, "version": version},
                "contentChanges": [{"range": {"start": here, "end": here}, "text": text}],
            },
        )

    def complete(self, uri: str, line: int, character: int, *, invoked: bool) -> list[Any]:
        """The items. Raises ServerError once the server has told the user of an error, such as a
        model that cannot be loaded: it answers on, but never with an item."""
        answer = self.request(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": uri},
                "position": {"line": line, "character": character},
                "context": {"triggerKind": 1 if invoked else 2},
            },
        )
        if self._complaint:
            raise ServerError(self._complaint)
        return list(answer["items"])

    def request(self, method: str, params: Any) -> Any:
        self._next += 1
        future = self._answers[self._next] = Future()
        self._send({"id": self._next, "method": method, "params": params})
        return future.result(SECONDS)

    def notify(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        try:
            with self._writing:
                self._stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
                self._stdin.flush()
        except OSError:
            raise self._gone() from None

    def _read(self) -> None:
        try:
            while (message := self._message()) is not None:
                self._take(message)
        finally:
            if waiting := [each for each in self._answers.values() if not each.done()]:
                gone = self._gone()
                for future in waiting:
                    future.set_exception(gone)

    def _gone(self) -> ServerError:
        """What the server said on standard error before it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._errors.seek(0)
        said = self._errors.read()[-2000:].decode(errors="replace")
        return ServerError(f"the server has ended. It said: {said}")

    def _message(self) -> dict[str, Any] | None:
        length = 0
        while (line := self._stdout.readline()).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = self._stdout.read(length) if length else b""
        return json.loads(body) if body else None

    def _take(self, message: dict[str, Any]) -> None:
        if "method" in message:
            if "id" in message:  # the server asks for something: this client has nothing
                nothing = [None] if message["method"] == "workspace/configuration" else None
                self._send({"id": message["id"], "result": nothing})
            elif message["method"] == "window/showMessage" and message["params"]["type"] == ERROR:
                self._complaint = message["params"]["message"]
            elif message["method"] == "window/logMessage":
                self.logged.append(message["params"]["message"])
            return
        future = self._answers[message["id"]]
        if "error" in message:
            future.set_exception(ServerError(message["error"]["message"]))
        else:
            future.set_result(message["result"])
