"""What an editor has said that every server of it has to know, and how a new one is told.

How it began, what it set, which folders it has, and its documents as they are now. Knows messages
and documents, and nothing of connections; imports nothing slow.
"""

import json
import logging
from collections.abc import Iterator
from typing import Any

from infill_ls.documents import Document, DocumentStore, Encoding
from infill_ls.server.fields import (
    Fields,
    ParamsError,
    change_params,
    document_params,
    open_params,
)
from infill_ls.server.greeting import Greeting

logger = logging.getLogger(__name__)
OPEN, CHANGE, CLOSE = (f"textDocument/did{what}" for what in ("Open", "Change", "Close"))

Message = dict[str, Any]


class EditorState:
    """One editor's, from its first message to its last."""

    def __init__(self) -> None:
        self.initialized = False
        self._initialize: Message | None = None  # without an id: it is answered already
        self._encoding: Encoding = "utf-16"
        self._documents = DocumentStore()
        self._settings: Message | None = None  # the last that the editor pushed
        self._folders: list[Message] = []  # how the workspace changed

    @property
    def begun(self) -> bool:
        return self._initialize is not None

    def begin(self, greeting: Greeting) -> None:
        """It has been greeted so."""
        self._initialize = json.loads(greeting.left)
        self._encoding = greeting.encoding

    def note(self, method: str, message: Message) -> None:
        """Of a message of the editor's, keeps what another server has to be told."""
        fields = Fields(message.get("params"))
        match method:
            case "initialized":
                self.initialized = True
            case "workspace/didChangeConfiguration":
                if fields.optional("settings") is not None:
                    self._settings = message
            case "workspace/didChangeWorkspaceFolders":
                self._folders.append(message)
            case "textDocument/didOpen" | "textDocument/didChange" | "textDocument/didClose":
                try:
                    self._follow(method, fields)
                except ParamsError as error:
                    logger.info("%s: %s", method, error)  # the server says so too

    def _follow(self, method: str, fields: Fields) -> None:
        """As the server does it: a text that cannot be read is lost."""
        if method == CLOSE:
            self._documents.close(document_params(fields).uri)
        elif method == CHANGE:
            change = change_params(fields)
            if change.fault:
                self._documents.lose(change.uri)
            else:
                self._documents.change(change.uri, change.version, change.changes, self._encoding)
        else:
            opened = open_params(fields)
            text = opened.text or ""
            self._documents.open(opened.uri, opened.language_id, opened.version, text)
            if opened.text is None:
                self._documents.lose(opened.uri)

    def document(self, message: Message) -> Document | None:
        """What the message is about, as it is now; None where there is none, or it is lost."""
        fields = Fields(message.get("params")).nested_or_empty("textDocument")
        return self._documents.get(fields.text_or("uri", ""))

    def messages(self) -> Iterator[Message]:
        """What makes a new server know all that, in the order in which it has to be said."""
        if self._initialize is None:
            return
        yield self._initialize
        if self.initialized:
            yield _notification("initialized", {})
        yield from self._folders
        if self._settings is not None:
            yield self._settings
        for document in self._documents.all():
            yield _opening(document, document.text)
        for document in self._documents.lost():
            yield _opening(document, None)


def _opening(document: Document, text: str | None) -> Message:
    """Without a `text` the server cannot read it, and so loses the document as well."""
    item = {
        "uri": document.uri,
        "languageId": document.language_id,
        "version": document.version,
        "text": text,
    }
    return _notification(OPEN, {"textDocument": item})


def _notification(method: str, params: object) -> Message:
    return {"jsonrpc": "2.0", "method": method, "params": params}
