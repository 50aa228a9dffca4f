"""Messages of one connection, over pygls' JSON-RPC: who may say what when, and an answer for all.

Every request gets an answer, also one that cannot be read or comes at the wrong time. Parameters
are read by our own parsers, on arrival, and `exit` ends a session, which over TCP is not the
process. pygls runs the handlers, cancels them, and writes.
"""

import asyncio
import itertools
import json
import logging
from collections.abc import Callable
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, Literal

from cattrs import Converter
from lsprotocol import types as T
from pygls.exceptions import JsonRpcException
from pygls.protocol import (
    JsonRPCNotification,
    JsonRPCProtocol,
    JsonRPCRequestMessage,
    default_converter,
)
from pygls.server import JsonRPCServer

from infill_ls.documents import well_formed
from infill_ls.server.fields import Fields, message_id
from infill_ls.server.greeting import GREETED
from infill_ls.server.handlers import (
    AtOnce,
    Handlers,
    fault_boundary,
    run_at_once,
    run_in_background,
)
from infill_ls.server.session import NoAnswer, Session

logger = logging.getLogger(__name__)
_MAX_DIGITS = 300  # Python refuses to read numbers of some thousand, and nobody means them

MessageId = str | int


class InfillProtocol(JsonRPCProtocol):
    """`stage` is where the connection stands in the life that LSP gives it."""

    def __init__(self, server: JsonRPCServer, converter: Converter) -> None:
        super().__init__(server, converter)
        self.stage: Literal["new", "running", "shut down", "exited"] = "new"
        self.exit_code = 0  # what LSP wants of `exit`: 1 when no `shutdown` came before
        self._handlers: Handlers = {}
        self._session: Session | None = None
        self._asked: dict[MessageId, asyncio.Future[object]] = {}
        self._ids = itertools.count(1)

    def serve(self, session: Session, handlers: Handlers) -> None:
        """Before the first message: who handles what."""
        self._session, self._handlers = session, handlers
        for method, handler in handlers.items():
            if isinstance(handler, AtOnce):
                run: Callable[..., Any] = partial(run_at_once, method)
            else:
                run = partial(run_in_background, session, method)
            self.fm.add_builtin_feature(method, run)

    @property
    def exited(self) -> bool:
        return self.stage == "exited"

    # -- what the client says ---------------------------------------------------------------------

    def receive(self, body: bytes) -> None:
        """One message as it came."""
        try:
            raw = json.loads(body, parse_int=_number)
        except (ValueError, RecursionError) as error:
            self._refuse(None, T.ErrorCodes.ParseError, f"The message is no JSON: {error}")
            return
        msg_id = message_id(raw.get("id")) if isinstance(raw, dict) else None
        if not isinstance(raw, dict) or (msg_id is None and raw.get("id") is not None):
            self._refuse(None, T.ErrorCodes.InvalidRequest, "The message is not JSON-RPC 2.0.")
        elif "method" not in raw:
            self._receive_response(msg_id, Fields(raw, "response"))
        elif not isinstance(raw["method"], str):
            self._refuse(msg_id, T.ErrorCodes.InvalidRequest, "method must be a string")
        elif raw["method"] == T.INITIALIZE and msg_id is None and raw.get(GREETED) is not True:
            self._refuse(None, T.ErrorCodes.InvalidRequest, "initialize needs an id.")
        elif why := self._untimely(raw["method"]):
            if msg_id is not None:
                self._refuse(msg_id, *why)
        else:
            self._receive_call(msg_id, raw["method"], Fields(raw.get("params")))

    def _untimely(self, method: str) -> tuple[int, str] | None:
        """Code and message for what may not be said now."""
        match self.stage:
            case "new" if method not in (T.INITIALIZE, T.EXIT):
                return T.ErrorCodes.ServerNotInitialized, "Send initialize first."
            case "running" if method == T.INITIALIZE:
                return T.ErrorCodes.InvalidRequest, "initialize may be sent only once."
            case "shut down" if method != T.EXIT:
                return T.ErrorCodes.InvalidRequest, "The server is shutting down."
        return None

    def _receive_call(self, msg_id: MessageId | None, method: str, fields: Fields) -> None:
        """A request, or without an id a notification."""
        if method == T.CANCEL_REQUEST and msg_id is None:
            self._cancel(message_id(fields.optional("id")))
            return
        if method == T.EXIT:
            if msg_id is not None:
                self._refuse(msg_id, T.ErrorCodes.InvalidRequest, "exit is a notification.")
            self.exit_code = 0 if self.stage == "shut down" else 1
            self.stage = "exited"
            return
        handler = self._handlers.get(method)
        if handler is None:
            logger.info("nobody handles %.80r", method)
            if msg_id is not None:
                self._refuse(msg_id, T.ErrorCodes.MethodNotFound, f"{method} is not handled here.")
            return
        assert self._session is not None, "there are handlers, so there is a session"
        try:
            with fault_boundary(method):
                call = handler.arrived(self._session, fields)
        except JsonRpcException as error:
            logger.warning("%s: %s", method, error.message)
            if msg_id is not None:
                self._refuse(msg_id, error.code, f"{method}: {error}")
            return
        if method == T.INITIALIZE:
            self.stage = "running"
        if msg_id is None:
            self.handle_message(JsonRPCNotification(method, self.VERSION, call))
        else:
            self.handle_message(JsonRPCRequestMessage(msg_id, method, self.VERSION, call))
        if method == T.SHUTDOWN:
            self.stage = "shut down"

    def _cancel(self, msg_id: MessageId | None) -> None:
        if msg_id is not None:
            params = SimpleNamespace(id=msg_id)
            self.handle_message(JsonRPCNotification(T.CANCEL_REQUEST, self.VERSION, params))

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

    async def ask(self, method: str, params: object, seconds: float) -> object:
        """The result as it came. Raises NoAnswer."""
        msg_id = f"infill-ls/{next(self._ids)}"
        answer = self._asked[msg_id] = asyncio.get_running_loop().create_future()
        try:
            self._send_data(JsonRPCRequestMessage(msg_id, method, self.VERSION, params))
            return await asyncio.wait_for(answer, seconds)
        except TimeoutError:
            raise NoAnswer(f"no answer within {seconds:.0f} s") from None
        finally:
            del self._asked[msg_id]

    def _refuse(self, msg_id: MessageId | None, code: int, message: str) -> None:
        error = {"code": int(code), "message": message}
        self._send_data({"jsonrpc": self.VERSION, "id": msg_id, "error": error})


class _Server(JsonRPCServer):
    """What pygls wants round a protocol."""

    def report_server_error(self, error: Exception, source: Any) -> None:
        """The fault boundary has logged it."""


@cache
def _converter() -> Converter:
    """From LSP's types to JSON. It compiles itself as it goes, so one serves all connections."""
    converter: Converter = default_converter()  # type: ignore[no-untyped-call]
    return converter


def _quiet_pygls() -> None:
    """It logs whole messages, source text and all; what matters of it we log ourselves."""
    logging.getLogger("pygls").setLevel(logging.WARNING)
    logging.getLogger("pygls.protocol.json_rpc").setLevel(logging.CRITICAL)


def new_protocol() -> InfillProtocol:
    _quiet_pygls()
    protocol = _Server(InfillProtocol, _converter).protocol
    assert isinstance(protocol, InfillProtocol), "pygls makes what it is told to"
    return protocol


def _number(digits: str) -> float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)
