"""`infill-ls --connect`: a server on stdio in front of the one that a user's windows share.

    editor ──stdio──► relay ──socket──► shared server
                        │ what the editor said that a new server has to hear: initialize, the open
                        │ documents as they are now, and what was asked and not answered

So ten windows cost one model, and a server that dies, or no longer answers, costs a pause: another
one is started and hears all that again. Knows messages, documents and nothing of models; imports
nothing slow.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infill_engine.errors import InfillError
from infill_ls.documents import Document, DocumentStore, Encoding
from infill_ls.server import endpoint
from infill_ls.server.fields import (
    Fields,
    ParamsError,
    change_params,
    document_params,
    message_id,
    open_params,
)
from infill_ls.server.transport import (
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
AGAIN, PING = "infill-ls/initialize-again", "infill-ls/ping"
INITIALIZE, INITIALIZED, SHUTDOWN, EXIT = "initialize", "initialized", "shutdown", "exit"
# What a server that cannot be reached would say, in the shape of each request.
NOTHING: dict[str, Any] = {
    "textDocument/inlineCompletion": {"items": []},
    "textDocument/completion": {"isIncomplete": False, "items": []},
    "textDocument/codeAction": [],
    SHUTDOWN: None,
}

Message = dict[str, Any]
Connect = Callable[[], Awaitable[endpoint.Streams]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is not answered yet, and its document as it was when it was made."""

    message: Message
    document: Document | None
    at: float


class Relay:
    """One editor's connection, whichever server is behind it."""

    def __init__(self, editor: Writer, connect: Connect) -> None:
        self._editor = editor
        self._connect = connect
        self._server: asyncio.StreamWriter | None = None  # None while there is none to write to
        self._initialize: Message | None = None
        self._initialized = False
        self._encoding: Encoding = "utf-16"
        self._documents = DocumentStore()
        self._asked: dict[str | int, Asked] = {}
        self._by_server: dict[str, Any] = {}  # requests of the server that runs now, by our ids
        self._num_by_servers = 0
        self._registered: set[str] = set()
        self._settings: Message | None = None  # the last that the editor pushed
        self._folders: list[Message] = []  # how the workspace changed
        self._progress: set[str | int] = set()  # tokens of what the server began and did not end
        self._pinged = False
        self._last_said = time.monotonic()
        self._shut_down = False
        self._told = ""
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
        return 0 if self._shut_down or not self.exited else 1

    # -- what the editor says --------------------------------------------------------------------

    async def _from_editor(self, reader: asyncio.StreamReader) -> None:
        while not self.exited and (body := await read_message(reader)) is not None:
            passed = self._note(body)
            if passed is not None and self._server is not None:
                # Not drained: the editor is heard though the server reads nothing.
                self._server.write(framed(passed))

    def _note(self, body: bytes) -> bytes | None:
        """Keeps what another server would have to be told, and gives what this one is told."""
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            return body  # the server says what is wrong
        if not isinstance(message, dict):
            return body
        method, msg_id = message.get("method"), message.get("id")
        if method is None:
            # An answer, but not to what was asked by a server that is gone.
            if not isinstance(msg_id, str) or msg_id not in self._by_server:
                return None
            asked_as = self._by_server.pop(msg_id)
            return json.dumps(message | {"id": asked_as}).encode()
        params = message.get("params")
        if not isinstance(method, str):
            return body
        match method:
            case "initialize":
                self._initialize = self._initialize or message  # a second one is an error
            case "initialized":
                self._initialized = True
            case "shutdown":
                self._shut_down = True
            case "exit":
                self.exited = True
            case "workspace/didChangeConfiguration":
                if Fields(params).optional("settings") is not None:
                    self._settings = message
            case "workspace/didChangeWorkspaceFolders":
                self._folders.append(message)
            case "textDocument/didOpen" | "textDocument/didChange" | "textDocument/didClose":
                self._follow(method, Fields(params))
        key = message_id(msg_id)
        if key is not None:
            document = self._documents.get(_uri(params))
            self._asked[key] = Asked(message, document, time.monotonic())
        return body

    def _follow(self, method: str, fields: Fields) -> None:
        """As the server does it: what is not known to the letter is not told again."""
        try:
            if method.endswith("didOpen"):
                opened = open_params(fields)
                if opened.text is None:
                    self._documents.lose(opened.uri)
                else:
                    language = opened.language_id
                    self._documents.open(opened.uri, language, opened.version, opened.text)
            elif method.endswith("didClose"):
                self._documents.close(document_params(fields).uri)
            else:
                change = change_params(fields)
                if change.fault:
                    self._documents.lose(change.uri)
                else:
                    self._documents.change(
                        change.uri, change.version, change.changes, self._encoding
                    )
        except ParamsError as error:
            logger.info("%s: %s", method, error)  # the server says so too

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
            await asyncio.sleep(first)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._by_server.clear()
        self._last_said, self._pinged = time.monotonic(), False
        if self._initialize is None:
            self._server = writer
        else:
            self._repeat_initialize(writer)
        while (body := await read_message(reader)) is not None:
            self._last_said, self._pinged = time.monotonic(), False
            message = json.loads(body)
            answers = None if "method" in message else message_id(message.get("id"))
            begins = answers == AGAIN or self._asks_initialize(answers)
            if answers not in (AGAIN, PING):
                passed = self._passed(message, body, writer)
                if passed is not None:
                    self._editor.write(framed(passed))
            if begins and self._server is None:
                self._repeat_all(writer)

    def _repeat_initialize(self, writer: asyncio.StreamWriter) -> None:
        assert self._initialize is not None, "there is something to repeat"
        # Not answered yet, it is the editor's own; all else waits for the answer to it.
        unanswered = self._asks_initialize(message_id(self._initialize.get("id")))
        _say(writer, self._initialize if unanswered else self._initialize | {"id": AGAIN})

    def _asks_initialize(self, key: str | int | None) -> bool:
        return key in self._asked and self._asked[key].message is self._initialize

    def _repeat_all(self, writer: asyncio.StreamWriter) -> None:
        """What makes the new server know what the old one knew; from then on it hears all."""
        if self._initialized:
            _say(writer, {"jsonrpc": "2.0", "method": INITIALIZED, "params": {}})
        for message in [*self._folders, *([self._settings] if self._settings else [])]:
            _say(writer, message)
        for document in self._documents.all():
            item = {
                "uri": document.uri,
                "languageId": document.language_id,
                "version": document.version,
                "text": document.text,
            }
            params = {"textDocument": item}
            _say(writer, {"jsonrpc": "2.0", "method": "textDocument/didOpen", "params": params})
        for key, asked in list(self._asked.items()):
            now = self._documents.get(_uri(asked.message.get("params")))
            # About a text that is no more, or done already for all that is known: an edit twice.
            edits = asked.message.get("method") == "workspace/executeCommand"
            if asked.document is not now or edits:
                self._answer(key)
            else:
                _say(writer, asked.message)
        self._server = writer

    def _passed(self, message: Message, body: bytes, writer: asyncio.StreamWriter) -> bytes | None:
        """What the editor is told of this message of the server's."""
        method, msg_id = message.get("method"), message.get("id")
        if method is None:
            key = message_id(msg_id)
            asked = self._asked.pop(key, None) if key is not None else None
            if asked is not None and asked.message is self._initialize and "result" in message:
                self._encoding = _encoding(message)
            return body if asked is not None or key is None else None
        if msg_id is None:
            self._note_progress(message)
            return body
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
                endpoint.end(self._server)
                self._server.close()
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
            note = {"jsonrpc": "2.0", "method": "$/progress", "params": params}
            self._editor.write(framed(json.dumps(note).encode()))
        self._progress.clear()

    def _answer_all(self) -> None:
        for key in list(self._asked):
            if self._asked[key].message.get("method") != INITIALIZE:
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
        self._editor.write(framed(json.dumps(answer).encode()))

    def _tell(self, why: str) -> None:
        logger.error("%s", why)
        if why != self._told and self._initialized:
            self._told = why
            params = {"type": 1, "message": f"infill: {why}"}
            note = {"jsonrpc": "2.0", "method": "window/showMessage", "params": params}
            self._editor.write(framed(json.dumps(note).encode()))


def _say(writer: asyncio.StreamWriter, message: Message) -> None:
    writer.write(framed(json.dumps(message).encode()))


def _uri(params: Any) -> str:
    item = params.get("textDocument") if isinstance(params, dict) else None
    uri = item.get("uri") if isinstance(item, dict) else None
    return uri if isinstance(uri, str) else ""


def _encoding(response: Message) -> Encoding:
    capabilities = (response.get("result") or {}).get("capabilities") or {}
    match capabilities.get("positionEncoding"):
        case "utf-8":
            return "utf-8"
        case "utf-32":
            return "utf-32"
        case _:
            return "utf-16"


def run_relay(path: Path, command: Sequence[str]) -> int:
    """Serves an editor on stdin and stdout from the server at `path`, which `command` starts;
    returns the exit code."""
    stdin, stdout = take_stdio()

    async def relay() -> int:
        relayed = Relay(StdoutWriter(stdout), lambda: endpoint.connect_or_start(path, command))
        return await relayed.run(stream_of(stdin))

    return asyncio.run(relay())
