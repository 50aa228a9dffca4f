"""JSON-RPC of one connection: who may say what when, and an answer for all.

Every request gets an answer, also one that cannot be read or comes at the wrong time. Parameters
are read by our own parsers, on arrival, and `exit` ends a session, which over TCP is not the
process.
"""

import asyncio
import itertools
import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from infill_ls.documents import well_formed
from infill_ls.server.fields import Fields, message_id
from infill_ls.server.greeting import GREETED
from infill_ls.server.handlers import (
    AtOnce,
    Handlers,
    ResponseError,
    fault_boundary,
    run_at_once,
    run_in_background,
)
from infill_ls.server.lsp import CANCEL_REQUEST, EXIT, INITIALIZE, SHUTDOWN, ErrorCode, as_json
from infill_ls.server.session import NoAnswer, Session
from infill_ls.server.transport import Writer, framed

logger = logging.getLogger(__name__)
VERSION = "2.0"
_MAX_DIGITS = 300  # Python refuses to read numbers of some thousand, and nobody means them

MessageId = str | int


class InfillProtocol:
    """`stage` is where the connection stands in the life that LSP gives it."""

    def __init__(self, writer: Writer) -> None:
        self.stage: Literal["new", "running", "shut down", "exited"] = "new"
        self.exit_code = 0  # what LSP wants of `exit`: 1 when no `shutdown` came before
        self._writer = writer
        self._handlers: Handlers = {}
        self._session: Session | None = None
        self._running: dict[MessageId, asyncio.Task[object]] = {}  # requests in the background
        self._asked: dict[MessageId, asyncio.Future[object]] = {}
        self._ids = itertools.count(1)

    def serve(self, session: Session, handlers: Handlers) -> None:
        """Before the first message: who handles what."""
        self._session, self._handlers = session, handlers

    @property
    def exited(self) -> bool:
        return self.stage == "exited"

    # -- what the client says ---------------------------------------------------------------------

    def receive(self, body: bytes) -> None:
        """One message as it came."""
        try:
            raw = json.loads(body, parse_int=_number)
        except (ValueError, RecursionError) as error:
            self._refuse(None, ErrorCode.PARSE_ERROR, f"The message is no JSON: {error}")
            return
        msg_id = message_id(raw.get("id")) if isinstance(raw, dict) else None
        if not isinstance(raw, dict) or (msg_id is None and raw.get("id") is not None):
            self._refuse(None, ErrorCode.INVALID_REQUEST, "The message is not JSON-RPC 2.0.")
        elif "method" not in raw:
            self._receive_response(msg_id, Fields(raw, "response"))
        elif not isinstance(raw["method"], str):
            self._refuse(msg_id, ErrorCode.INVALID_REQUEST, "method must be a string")
        elif raw["method"] == INITIALIZE and msg_id is None and raw.get(GREETED) is not True:
            self._refuse(None, ErrorCode.INVALID_REQUEST, "initialize needs an id.")
        elif why := self._untimely(raw["method"]):
            if msg_id is not None:
                self._refuse(msg_id, *why)
        else:
            self._receive_call(msg_id, raw["method"], Fields(raw.get("params")))

    def _untimely(self, method: str) -> tuple[int, str] | None:
        """Code and message for what may not be said now."""
        match self.stage:
            case "new" if method not in (INITIALIZE, EXIT):
                return ErrorCode.SERVER_NOT_INITIALIZED, "Send initialize first."
            case "running" if method == INITIALIZE:
                return ErrorCode.INVALID_REQUEST, "initialize may be sent only once."
            case "shut down" if method != EXIT:
                return ErrorCode.INVALID_REQUEST, "The server is shutting down."
        return None

    def _receive_call(self, msg_id: MessageId | None, method: str, fields: Fields) -> None:
        """A request, or without an id a notification."""
        if method == CANCEL_REQUEST and msg_id is None:
            self._cancel(message_id(fields.optional("id")))
            return
        if method == EXIT:
            if msg_id is not None:
                self._refuse(msg_id, ErrorCode.INVALID_REQUEST, "exit is a notification.")
            self.exit_code = 0 if self.stage == "shut down" else 1
            self.stage = "exited"
            return
        handler = self._handlers.get(method)
        if handler is None:
            logger.info("nobody handles %.80r", method)
            if msg_id is not None:
                self._refuse(msg_id, ErrorCode.METHOD_NOT_FOUND, f"{method} is not handled here.")
            return
        session = self._session
        assert session is not None, "there are handlers, so there is a session"
        try:
            with fault_boundary(method):
                call: Callable[[], Any] = handler.arrived(session, fields)
        except ResponseError as error:
            logger.warning("%s: %s", method, str(error))  # its traceback holds the session
            self._fail(msg_id, ResponseError(error.code, f"{method}: {error}"))
            return
        if method == INITIALIZE:
            self.stage = "running"
        if isinstance(handler, AtOnce):
            try:
                self._answer(msg_id, run_at_once(method, call))
            except ResponseError as error:
                self._fail(msg_id, error)
        else:
            task = asyncio.create_task(run_in_background(session, method, call))
            task.add_done_callback(partial(self._ended, msg_id))
            if msg_id is not None:
                self._running[msg_id] = task
        if method == SHUTDOWN:
            self.stage = "shut down"

    def _cancel(self, msg_id: MessageId | None) -> None:
        if msg_id is not None and (task := self._running.get(msg_id)) is not None:
            task.cancel()

    def _ended(self, msg_id: MessageId | None, task: "asyncio.Task[object]") -> None:
        """What ran in the background."""
        if msg_id is not None and self._running.get(msg_id) is task:
            del self._running[msg_id]
        if task.cancelled():
            why = f"Request {msg_id} was cancelled."
            self._fail(msg_id, ResponseError(ErrorCode.REQUEST_CANCELLED, why))
        elif (error := task.exception()) is None:
            self._answer(msg_id, task.result())
        elif isinstance(error, ResponseError):
            self._fail(msg_id, error)

    def _receive_response(self, msg_id: MessageId | None, fields: Fields) -> None:
        answer = self._asked.get(msg_id) if msg_id is not None else None
        if answer is None or answer.done():
            logger.info("a response to nothing that was asked, or too late")
        elif (error := fields.optional("error")) is not None:
            message = Fields(error).text_or("message", "an error without a message")
            answer.set_exception(NoAnswer(well_formed(message)))
        else:
            answer.set_result(fields.optional("result"))

    # -- what it is told --------------------------------------------------------------------------

    def notify(self, method: str, params: object) -> None:
        self._send({"method": method, "params": params})

    async def ask(self, method: str, params: object, seconds: float) -> object:
        """The result as it came. Raises NoAnswer."""
        msg_id = f"infill-ls/{next(self._ids)}"
        answer = self._asked[msg_id] = asyncio.get_running_loop().create_future()
        try:
            self._send({"id": msg_id, "method": method, "params": params})
            return await asyncio.wait_for(answer, seconds)
        except TimeoutError:
            raise NoAnswer(f"no answer within {seconds:.0f} s") from None
        finally:
            del self._asked[msg_id]

    def _answer(self, msg_id: MessageId | None, result: object) -> None:
        if msg_id is not None:
            self._send({"id": msg_id, "result": result})

    def _fail(self, msg_id: MessageId | None, error: ResponseError) -> None:
        if msg_id is not None:
            self._refuse(msg_id, error.code, str(error))

    def _refuse(self, msg_id: MessageId | None, code: int, message: str) -> None:
        """Also what has no id that can be read."""
        self._send({"id": msg_id, "error": {"code": code, "message": message}})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": VERSION, **message}, default=as_json)
        self._writer.write(framed(body.encode()))


def _number(digits: str) -> float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)
