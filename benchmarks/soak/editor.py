"""An editor that somebody types in: real files, key by key, over a real process's stdio."""

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from benchmarks.soak.serve import digest

INLINE = "textDocument/inlineCompletion"
INVOKED, AUTOMATIC = 1, 2
KEY_SECONDS = 0.06, 0.35  # between two keys
SESSION_KEYS = 120
BACKSPACE, JUMP, MANUAL = 0.05, 0.01, 0.04  # of all keys
ANSWER_SECONDS = 30.0  # a request without an answer by then has none
LONG_FILES = 8  # more than any part of the engine keeps
Message = dict[str, Any]


@dataclass(slots=True)
class Request:
    """One inline completion. Times of `time.monotonic()`; `wrong` is what is wrong with its answer,
    "" where nothing is."""

    sent: float
    invoked: bool
    line: int
    character: int
    line_text: str
    answered: float | None = None
    error: str = ""
    wrong: str = ""
    shown: bool = False


@dataclass(slots=True)
class Text:
    """An open document and the cursor in it; positions count UTF-16, and all text is plain."""

    uri: str
    language: str
    text: str
    cursor: int
    version: int = 1

    def position(self, at: int | None = None) -> tuple[int, int]:
        before = self.text[: self.cursor if at is None else at]
        return before.count("\n"), len(before) - before.rfind("\n") - 1

    @property
    def line_text(self) -> str:
        start = self.text.rfind("\n", 0, self.cursor) + 1
        return self.text[start:].partition("\n")[0]


@dataclass(slots=True, eq=False)
class Editor:
    """One process and what was said over its pipes. `cancels`: takes back what a key overtakes."""

    command: Sequence[str]
    environment: dict[str, str]
    cancels: bool
    requests: dict[int, Request] = field(default_factory=dict)
    others: dict[int, Message] = field(default_factory=dict)  # answers to everything else
    told: list[str] = field(default_factory=list)
    dead: bool = False
    _process: "subprocess.Popen[bytes] | None" = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _came: threading.Condition = field(default_factory=threading.Condition)
    _next_id: int = 0

    def start(self, timeout: float = 30.0) -> None:
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=self.environment,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()
        capabilities = {
            "general": {"positionEncodings": ["utf-16"]},
            "textDocument": {"inlineCompletion": {}},
            "workspace": {"configuration": True},
        }
        params = {"processId": os.getpid(), "rootUri": None, "capabilities": capabilities}
        self.ask("initialize", params, timeout)
        self.notify("initialized", {})

    def notify(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def ask(self, method: str, params: Any, timeout: float = ANSWER_SECONDS) -> Message:
        """The whole answer; raises TimeoutError."""
        with self._came:
            self._next_id += 1
            msg_id = self._next_id
        self._send({"id": msg_id, "method": method, "params": params})
        with self._came:
            if not self._came.wait_for(lambda: msg_id in self.others or self.dead, timeout):
                raise TimeoutError(f"{method} was not answered within {timeout} s")
            return self.others.pop(msg_id, {"error": {"message": "the process has ended"}})

    def infill(self, text: Text, *, invoked: bool) -> int:
        """Asks and goes on; the answer is judged when it comes."""
        line, character = text.position()
        with self._came:
            self._next_id += 1
            msg_id = self._next_id
            self.requests[msg_id] = Request(
                time.monotonic(), invoked, line, character, text.line_text
            )
        params = {
            "textDocument": {"uri": text.uri, "version": text.version},
            "position": {"line": line, "character": character},
            "context": {"triggerKind": INVOKED if invoked else AUTOMATIC},
        }
        self._send({"id": msg_id, "method": INLINE, "params": params})
        return msg_id

    def cancel(self, msg_id: int) -> None:
        if self.requests[msg_id].answered is None:
            self.notify("$/cancelRequest", {"id": msg_id})

    def open(self, text: Text) -> None:
        item = {"uri": text.uri, "languageId": text.language, "version": text.version}
        self.notify("textDocument/didOpen", {"textDocument": item | {"text": text.text}})

    def replace(self, text: Text, start: int, end: int, inserted: str) -> None:
        """An edit, after which the cursor stands behind what was inserted."""
        (line, character), (last, end_character) = text.position(start), text.position(end)
        text.text = text.text[:start] + inserted + text.text[end:]
        text.cursor, text.version = start + len(inserted), text.version + 1
        span = {
            "start": {"line": line, "character": character},
            "end": {"line": last, "character": end_character},
        }
        params = {
            "textDocument": {"uri": text.uri, "version": text.version},
            "contentChanges": [{"range": span, "text": inserted}],
        }
        self.notify("textDocument/didChange", params)

    def close(self, text: Text) -> None:
        self.notify("textDocument/didClose", {"textDocument": {"uri": text.uri}})

    def leave(self) -> None:
        with suppress(TimeoutError):
            self.ask("shutdown", None, 10.0)
        self.notify("exit", None)
        assert self._process is not None, "it was started"
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10.0)
        self.kill()

    def kill(self) -> None:
        """As a crash does: nothing is said."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def half_a_message(self) -> None:
        """The last thing it says."""
        assert self._process is not None, "it was started"
        assert self._process.stdin is not None, "it has pipes"
        with suppress(OSError):
            self._process.stdin.write(b'Content-Length: 500\r\n\r\n{"jsonrpc": "2.0", "met')
            self._process.stdin.flush()

    def _send(self, message: Message) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process is not None, "it was started"
        assert self._process.stdin is not None, "it has pipes"
        with self._lock, suppress(OSError):
            self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process is not None, "it was started"
        stdout = self._process.stdout
        assert stdout is not None, "it has pipes"
        length = 0
        while line := stdout.readline():
            if line.lower().startswith(b"content-length"):
                length = int(line.split(b":")[1])
            elif not line.strip():
                self._take(json.loads(stdout.read(length)))
        with self._came:
            self.dead = True
            self._came.notify_all()

    def _take(self, message: Message) -> None:
        if "method" in message:
            if "id" in message:
                items = (message.get("params") or {}).get("items", [])
                configuration = message["method"] == "workspace/configuration"
                self._send(
                    {"id": message["id"], "result": [None] * len(items) if configuration else None}
                )
            elif message["method"] == "window/showMessage":
                self.told.append(message["params"]["message"])
            return
        with self._came:
            request = self.requests.get(message["id"])
            if request is None:
                self.others[message["id"]] = message
            else:
                judge(request, message)
            self._came.notify_all()


def judge(request: Request, message: Message) -> None:
    """Notes when the answer came and whether it fits the place that was asked about."""
    if request.answered is not None:
        request.wrong = "answered twice"
    request.answered = time.monotonic()
    if "error" in message:
        request.error = str(message["error"].get("message"))
        cancelled = message["error"].get("code") in (-32800, -32803)
        request.wrong = request.wrong or ("" if cancelled else request.error)
        return
    for item in message["result"]["items"]:
        request.shown = True
        request.wrong = request.wrong or misplaced(
            item, request.line, request.character, request.line_text
        )


def misplaced(item: Message, line: int, character: int, line_text: str) -> str:
    """Why an item does not fit the place that was asked about, "" where it does."""
    start, end = item["range"]["start"], item["range"]["end"]
    here = start["line"] == end["line"] == line
    if not here or not start["character"] <= character <= end["character"]:
        return "for another place"
    typed = line_text[start["character"] : character]
    return "" if item["insertText"].startswith(typed) else "does not go on from what is typed"


def type_files(
    editor: Editor,
    sources: Sequence[tuple[str, str, str]],
    chance: random.Random,
    stopped: Callable[[], bool],
) -> None:
    """Session after session: deletes some lines of a file and types them again, with the slips and
    jumps of a person. sources are names, language ids and texts."""
    number = 0
    while not stopped() and not editor.dead:
        name, language, source = chance.choice(sources)
        number += 1
        lines = source.splitlines(keepends=True)
        first = chance.randrange(max(1, len(lines) - 12))
        before, goal = "".join(lines[:first]), "".join(lines[first : first + 8])
        after = "".join(lines[first + 8 :])
        uri = f"file:///soak/{id(editor)}/{number}/{name}"
        text = Text(uri, language, before + after, len(before))
        editor.open(text)
        type_through(editor, text, goal, chance, stopped)
        if chance.random() < 0.9:  # some editors forget
            editor.close(text)


def type_through(
    editor: Editor, text: Text, goal: str, chance: random.Random, stopped: Callable[[], bool]
) -> None:
    asked: int | None = None
    for key in goal[:SESSION_KEYS]:
        if stopped() or editor.dead:
            return
        slip = chance.random() < BACKSPACE and key.isalpha()
        for typed in (chance.choice("xyzq"), None, key) if slip else (key,):
            if typed is None:
                editor.replace(text, text.cursor - 1, text.cursor, "")
            else:
                editor.replace(text, text.cursor, text.cursor, typed)
            if asked is not None and editor.cancels:
                editor.cancel(asked)
            asked = editor.infill(text, invoked=chance.random() < MANUAL)
            time.sleep(chance.uniform(*KEY_SECONDS))
        if chance.random() < JUMP:
            there = chance.randrange(len(text.text))
            here, text.cursor = text.cursor, there
            editor.infill(text, invoked=False)
            text.cursor = here


def fill_memory(editor: Editor, files: Sequence[tuple[str, str, str]]) -> None:
    """Asks once in the middle of one file of every language and of the longest files, as
    `type_files` takes them: by then all grammars are loaded and what is kept of places is full."""
    longest = sorted(files, key=lambda each: len(each[2]))[-LONG_FILES:]
    for name, language, text in [*{each[1]: each for each in files}.values(), *longest]:
        file = Text(f"file:///soak/{id(editor)}/{name}", language, text, len(text) // 2)
        editor.open(file)
        request = editor.requests[editor.infill(file, invoked=True)]
        until = time.monotonic() + ANSWER_SECONDS
        while request.answered is None and time.monotonic() < until:
            time.sleep(0.05)
        editor.close(file)


def knows_text(editor: Editor, asked: Callable[[], set[str]], seconds: float) -> bool:
    """Whether the server has this editor's text to the letter: types something that no text has
    and looks for it in what the engine was asked."""
    mark = f"value_{random.getrandbits(40):x} = "
    text = Text(f"file:///soak/{id(editor)}/{mark[6:14]}.py", "python", "x = 1\n", 6)
    editor.open(text)
    for key in mark:
        editor.replace(text, text.cursor, text.cursor, key)
    wanted = digest(text.text[: text.cursor], text.text[text.cursor :])
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            editor.infill(text, invoked=True)
            for _ in range(10):
                time.sleep(0.05)
                if wanted in asked():
                    return True
        return False
    finally:
        editor.close(text)
