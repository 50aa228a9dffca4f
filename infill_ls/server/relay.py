"""`infill-ls --connect`: a server on stdio in front of the one that a user's windows share.

    editor ──stdio──► relay ──socket──► shared server
                        │ what the editor said that a new server has to hear (editor_state.py),
                        │ and what was asked and not answered

So ten windows cost one model, and a server that dies, or no longer answers, costs a pause: another
one is started and hears all that again. The editor's `initialize` is answered here, at once: the
shared server is of the same release. Knows nothing of models; imports nothing slow.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infill_engine.errors import InfillError
from infill_ls.documents import Document
from infill_ls.server import endpoint
from infill_ls.server.editor_state import EditorState, Message
from infill_ls.server.fields import Fields, message_id
from infill_ls.server.greeting import INITIALIZE, greeted
from infill_ls.server.transport import (
    SocketWriter,
    StdoutWriter,
    Writer,
    framed,
    read_message,
    stream_of,
    take_stdio,
)

logger = logging.getLogger(__name__)

# So long a server may say nothing at all, though it is asked whether it is there.
SILENT_SECONDS = 10.0
BACK_OFF_SECONDS = 0.1, 5.0  # between attempts to start a server, the first and the longest
PING, SHUTDOWN, EXIT, SHOW = "infill-ls/ping", "shutdown", "exit", "window/showMessage"
ERROR, WARNING = 1, 2  # of what is shown
MOST_KEPT = 100  # messages that nobody understands, and different ones that were shown
# What a server that cannot be reached would say, in the shape of each request.
NOTHING: dict[str, Any] = {
    "textDocument/inlineCompletion": {"items": []},
    "textDocument/copilotInlineEdit": {"edits": []},
    "textDocument/completion": {"isIncomplete": False, "items": []},
    "textDocument/codeAction": [],
    SHUTDOWN: None,
}

Connect = Callable[[], Awaitable[endpoint.Streams]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is not answered yet, its document as it was when it was made, and whether a
    server has heard it."""

    message: Message
    document: Document | None
    at: float
    heard: bool


class Relay:
    """One editor's connection, whichever server is behind it."""

    def __init__(self, editor: Writer, connect: Connect) -> None:
        self._editor = editor
        self._connect = connect
        self._server: SocketWriter | None = None  # None while there is none to write to
        self._state = EditorState()
        self._asked: dict[str | int, Asked] = {}
        self._by_server: dict[str, Any] = {}  # requests of the server that runs now, by our ids
        self._num_by_servers = 0
        self._registered: set[str] = set()
        self._odd: list[bytes] = []  # what nobody understands and no server has heard
        self._progress: set[str | int] = set()  # tokens of what the server began and did not end
        self._pinged = False
        self._last_said = time.monotonic()
        self._shut_down = False
        self._shown: set[str] = set()  # what went wrong, as the user was told
        self.exited = False

    async def run(self, editor: asyncio.StreamReader) -> int:
        """Until the editor says exit or its stream ends; the exit code."""
        tasks = [
            asyncio.create_task(self._from_editor(editor)),
            asyncio.create_task(self._from_servers()),
            asyncio.create_task(self._watch()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            if self._server is not None:
                self._server.close()
            self._answer_all()
            self._editor.close()
        return 0 if self._shut_down or not self.exited else 1

    # -- what the editor says --------------------------------------------------------------------

    async def _from_editor(self, reader: asyncio.StreamReader) -> None:
        while not self.exited and (body := await read_message(reader)) is not None:
            passed = self._note(body)
            if passed is not None and self._server is not None:
                # Not waited for: the editor is heard though the server reads nothing.
                self._server.write(framed(passed))

    def _note(self, body: bytes) -> bytes | None:
        """Keeps what another server would have to be told, and gives what this one is told."""
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            return self._note_odd(body)
        if not isinstance(message, dict):
            return self._note_odd(body)
        method, key = message.get("method"), message_id(message.get("id"))
        if method is None:
            # An answer, but not to what was asked by a server that is gone.
            if not isinstance(key, str) or key not in self._by_server:
                return None
            return json.dumps(message | {"id": self._by_server.pop(key)}).encode()
        if not isinstance(method, str) or (key is None and message.get("id") is not None):
            return self._note_odd(body)
        if method == INITIALIZE and not self._state.begun:
            greeting = greeted(body)
            if greeting.response:
                self._editor.write(framed(greeting.response))
                self._state.begin(greeting)
                return greeting.left
            if key is None:
                return self._note_odd(body)
        self._shut_down = self._shut_down or method == SHUTDOWN
        self.exited = self.exited or method == EXIT
        self._state.note(method, message)
        if key is not None:
            heard, now = self._server is not None, time.monotonic()
            self._asked[key] = Asked(message, self._state.document(message), now, heard)
            if method == SHUTDOWN and not heard:  # nobody waits for a server that starts
                self._answer(key)
        return body

    def _note_odd(self, body: bytes) -> bytes:
        """A server says what is wrong with it, if need be the next one."""
        if self._server is None:
            self._odd = [*self._odd, body][-MOST_KEPT:]
        return body

    # -- what servers say ------------------------------------------------------------------------

    async def _from_servers(self) -> None:
        """One server after the other, for as long as there is an editor."""
        first, longest = BACK_OFF_SECONDS
        pause = first
        while True:
            try:
                reader, writer = await self._connect()
            except (InfillError, OSError, TimeoutError) as error:
                self._answer_all()
                self._tell(str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
                continue
            began = time.monotonic()
            try:
                await self._serve(reader, writer)
                pause = first
            except ConnectionError as error:
                logger.warning("the shared server is gone: %s", error)
            finally:
                self._server = None
                writer.close()
                self._end_progress()
            if self._shut_down:  # it has gone because it was asked to
                self._answer_all()
                await asyncio.Event().wait()
            if time.monotonic() - began < longest:  # else the next one is wanted at once
                await asyncio.sleep(first)

    async def _serve(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        self._by_server.clear()
        self._last_said, self._pinged = time.monotonic(), False
        writer = SocketWriter(stream, lambda: _end(stream))
        self._tell_all(writer)
        self._server = writer
        while (body := await read_message(reader)) is not None:
            self._last_said, self._pinged = time.monotonic(), False
            passed = self._passed(json.loads(body), body, writer)
            if passed is not None:
                self._editor.write(framed(passed))

    def _tell_all(self, writer: Writer) -> None:
        """What makes the new server know what the old one knew; from then on it hears all."""
        told = [json.dumps(message).encode() for message in self._state.messages()] + self._odd
        self._odd = []
        for key, asked in list(self._asked.items()):
            # About a text that is no more, or done already for all that is known: an edit twice.
            done = asked.heard and asked.message.get("method") == "workspace/executeCommand"
            if asked.document is not self._state.document(asked.message) or done:
                self._answer(key)
            else:
                told.append(json.dumps(asked.message).encode())
                self._asked[key] = replace(asked, heard=True)
        writer.write(b"".join(map(framed, told)))  # at once: of one message any size may wait

    def _passed(self, message: Message, body: bytes, writer: Writer) -> bytes | None:
        """What the editor is told of this message of the server's."""
        method, msg_id = message.get("method"), message.get("id")
        if method is None:
            key = message_id(msg_id)
            asked = self._asked.pop(key, None) if key is not None else None
            return body if asked is not None or key is None else None
        if msg_id is None:
            self._note_progress(message)
            return None if method == SHOW and self._is_shown(message) else body
        if method == "client/registerCapability" and self._is_known(message):
            _say(writer, {"jsonrpc": "2.0", "id": msg_id, "result": None})
            return None
        # Under an id of ours: two servers may give their requests the same one.
        self._num_by_servers += 1
        ours = f"infill-ls/relay/{self._num_by_servers}"
        self._by_server[ours] = msg_id
        return json.dumps(message | {"id": ours}).encode()

    def _is_known(self, message: Message) -> bool:
        """Whether the editor was asked for this by a server before; to ask again is an error."""
        params = message.get("params") or {}
        ids = {str(each.get("id")) for each in params.get("registrations", [])}
        known = bool(ids) and ids <= self._registered
        self._registered |= ids
        return known

    def _is_shown(self, message: Message) -> bool:
        """Whether it says what went wrong and the user was told so before, by whichever server."""
        params = Fields(message.get("params"))
        if params.number_or_none("type") not in (ERROR, WARNING):
            return False
        text = params.text_or("message", "")
        shown = text in self._shown
        if len(self._shown) < MOST_KEPT:
            self._shown.add(text)
        return shown

    # -- what is said for a server ---------------------------------------------------------------

    async def _watch(self) -> None:
        """Ends a server that says nothing for long, not even that it does not know a question."""
        while True:
            await asyncio.sleep(SILENT_SECONDS / 10)
            silent = time.monotonic() - self._last_said
            if self._server is None:
                now = time.monotonic()
                for key, asked in list(self._asked.items()):
                    if now - asked.at > SILENT_SECONDS and asked.message.get("method") in NOTHING:
                        self._answer(key)
            elif self._pinged and silent > SILENT_SECONDS:
                logger.warning("the shared server does not answer and is ended")
                self._server.give_up()
                self._answer_all()
            elif not self._pinged and silent > SILENT_SECONDS / 2:
                self._pinged = True
                _say(self._server, {"jsonrpc": "2.0", "id": PING, "method": PING})

    def _note_progress(self, message: Message) -> None:
        if message.get("method") != "$/progress":
            return
        params = Fields(message.get("params"))
        token = message_id(params.optional("token"))
        if token is None:
            return
        if params.nested_or_empty("value").text_or("kind", "") == "end":
            self._progress.discard(token)
        else:
            self._progress.add(token)

    def _end_progress(self) -> None:
        """What a server that is gone began."""
        for token in self._progress:
            params = {"token": token, "value": {"kind": "end"}}
            _say(self._editor, {"jsonrpc": "2.0", "method": "$/progress", "params": params})
        self._progress.clear()

    def _answer_all(self) -> None:
        for key in list(self._asked):
            self._answer(key)

    def _answer(self, key: str | int) -> None:
        """Nothing, in the shape of what was asked; an error where that has none."""
        message = self._asked.pop(key).message
        answer: Message = {"jsonrpc": "2.0", "id": message["id"]}
        method = message.get("method")
        if method in NOTHING:
            answer["result"] = NOTHING[str(method)]
        else:
            answer["error"] = {"code": -32803, "message": "The shared server has gone; try again."}
        _say(self._editor, answer)

    def _tell(self, why: str) -> None:
        logger.error("%s", why)
        params = {"type": ERROR, "message": f"infill: {why}"}
        note = {"jsonrpc": "2.0", "method": SHOW, "params": params}
        if self._state.initialized and not self._is_shown(note):
            _say(self._editor, note)


def _say(writer: Writer, message: Message) -> None:
    writer.write(framed(json.dumps(message).encode()))


def _end(stream: asyncio.StreamWriter) -> None:
    """Ends a server that cannot be served by, and the connection without what waits in it."""
    endpoint.end(stream)
    stream.transport.abort()


def run_relay(path: Path, command: Sequence[str], opening: bytes = b"") -> int:
    """Serves an editor on stdin and stdout from the server at `path`, which `command` starts;
    returns the exit code. `opening` is a message that every server hears before anything else."""
    stdin, stdout = take_stdio()

    async def connect() -> endpoint.Streams:
        reader, writer = await endpoint.connect_or_start(path, command)
        if opening:
            writer.write(framed(opening))
        return reader, writer

    async def relay() -> int:
        reader = stream_of(stdin)
        editor = StdoutWriter(stdout, reader)
        return await Relay(editor, connect).run(reader)

    return asyncio.run(relay())
