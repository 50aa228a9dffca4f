"""pygls' protocol where it falls short of us: arrival snapshots, answers to everything, our exit.

Every request gets an answer, also one that cannot be read or comes at the wrong time; documents
are kept by our own store; and `exit` ends a session, which over TCP is not the process.
"""

import json
import logging
from typing import TYPE_CHECKING, Any

from lsprotocol import types as T
from pygls.exceptions import JsonRpcException
from pygls.protocol import LanguageServerProtocol, lsp_method

from infill_ls.documents import Encoding
from infill_ls.server.params import InfillParams

if TYPE_CHECKING:
    from infill_ls.server.session import InfillServer

logger = logging.getLogger(__name__)
# pygls' own handlers of these keep documents of their own, and break off when cancelled.
_OURS_ALONE = (
    T.INITIALIZED,
    T.TEXT_DOCUMENT_DID_OPEN,
    T.TEXT_DOCUMENT_DID_CHANGE,
    T.TEXT_DOCUMENT_DID_CLOSE,
)


class InfillProtocol(LanguageServerProtocol):
    """One connection's messages. `exited` is set once the client has said `exit`."""

    _server: "InfillServer"

    def __init__(self, server: "InfillServer", converter: Any) -> None:
        self.exited = False
        super().__init__(server, converter)
        for method in _OURS_ALONE:
            del self.fm.builtin_features[method]

    @property
    def exit_code(self) -> int:
        """What LSP wants of `exit`: 1 when no `shutdown` came before."""
        return 0 if self._shutdown or not self.exited else 1

    @property
    def encoding(self) -> Encoding:
        """What `initialize` settled on; LSP's default before."""
        match self._workspace and self._workspace.position_encoding:
            case T.PositionEncodingKind.Utf8:
                return "utf-8"
            case T.PositionEncodingKind.Utf32:
                return "utf-32"
            case _:
                return "utf-16"

    def receive(self, body: bytes) -> None:
        """One message as it came. Whatever is wrong with it, a request in it is answered."""
        try:
            raw = json.loads(body)
        except ValueError as error:
            self._refuse(None, T.ErrorCodes.ParseError, f"The message is no JSON: {error}")
            return
        if not isinstance(raw, dict) or "jsonrpc" not in raw:
            self._refuse(None, T.ErrorCodes.InvalidRequest, "The message is not JSON-RPC 2.0.")
            return
        method, msg_id = raw.get("method"), raw.get("id")
        try:
            message = self.structure_message(raw)
        except JsonRpcException as error:
            logger.warning("%s could not be read", method or "a response")
            if method and msg_id is not None:
                self._refuse(msg_id, error.code, f"The parameters of {method} do not fit LSP.")
            return
        self.handle_message(message)

    def handle_message(self, message: Any) -> None:
        method, msg_id = getattr(message, "method", None), getattr(message, "id", None)
        if self._shutdown and method != T.EXIT:
            if method and msg_id is not None:
                self._refuse(msg_id, T.ErrorCodes.InvalidRequest, "The server is shutting down.")
            return
        if self._workspace is None and method not in (T.INITIALIZE, T.EXIT):
            if method and msg_id is not None:
                self._refuse(msg_id, T.ErrorCodes.ServerNotInitialized, "Send initialize first.")
            return
        super().handle_message(message)

    def _handle_request(self, msg_id: Any, method_name: str, params: Any) -> None:
        if isinstance(params, InfillParams):
            params.snapshot = self._server.documents.get(params.text_document.uri)
        super()._handle_request(msg_id, method_name, params)

    def _refuse(self, msg_id: Any, code: int, message: str) -> None:
        error = {"code": int(code), "message": message}
        self._send_data({"jsonrpc": self.VERSION, "id": msg_id, "error": error})

    @lsp_method(T.SHUTDOWN)
    def lsp_shutdown(self, *args: Any) -> None:  # type: ignore[override]
        """Takes back what is in flight: those requests are answered as cancelled, this one null."""
        self._server.requests.close()
        for future in list(self._request_futures.values()):  # cancelling shrinks the dictionary
            if not future.done():
                future.cancel()
        self._shutdown = True

    @lsp_method(T.EXIT)
    def lsp_exit(self, *args: Any) -> None:  # type: ignore[override]
        self.exited = True
