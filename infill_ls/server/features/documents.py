"""Documents come, change and go. They are followed at once, in the order of the messages."""

import logging
from pathlib import PurePosixPath

from infill_ls.documents import Change, Document, Encoding
from infill_ls.server import lsp
from infill_ls.server.features.acceptance import follow
from infill_ls.server.fields import (
    ChangeParams,
    DocumentParams,
    Fields,
    OpenParams,
    change_params,
    document_params,
    open_params,
)
from infill_ls.server.handlers import AtOnce, Handlers, OnSnapshot
from infill_ls.server.session import DocumentSnapshot, Session
from infill_ls.uris import path_of

logger = logging.getLogger(__name__)


def did_open(session: Session, params: OpenParams) -> None:
    language_id = params.language_id or _language_id_of(path_of(params.uri) or "")
    session.open_document(params.uri, language_id, params.version, params.text or "")
    if params.text is None:
        _lose(session, params.uri, params.fault)


def _language_id_of(path: str) -> str:
    # The table of languages is not needed for the server's start.
    from infill_ls.syntax.language import language_id_of

    return language_id_of(path)


def did_change(session: Session, params: ChangeParams) -> None:
    if params.fault:
        _lose(session, params.uri, params.fault)
        return
    document = session.change_document(params.uri, params.version, params.changes)
    if document is None:
        logger.warning("a change to a document that is not open, or whose text is not known")
        return
    follow(session, session.offers.changed(document))
    session.warm(document, cursor_after(document, params.changes, session.features.encoding))


def did_close(session: Session, params: DocumentParams) -> None:
    session.close_document(params.uri)


async def did_focus(session: Session, snapshot: DocumentSnapshot | None, _: DocumentParams) -> None:
    """Copilot's: the user went to another document."""
    if snapshot is not None and session.is_current(snapshot):
        session.warm(snapshot.document, 0)


def cursor_after(document: Document, changes: tuple[Change, ...], encoding: Encoding) -> int:
    """Behind what the last edit inserted, which is where typing leaves the cursor."""
    if not changes or changes[-1].range is None:
        return 0
    start = document.offset_at(*changes[-1].range[:2], encoding)
    return min(start + len(changes[-1].text), len(document.text))


def _lose(session: Session, uri: str, fault: str) -> None:
    logger.warning("the text of a document cannot be read: %s", fault)
    if not session.lose_document(uri):
        return
    name = PurePosixPath(path_of(uri) or uri).name
    session.tell(
        lsp.MessageType.WARNING,
        f"The editor sent a text of {name} that cannot be read, as the log says; nothing is "
        "suggested there until its whole text comes, for example when it is opened again.",
    )


def _focused(fields: Fields) -> DocumentParams:
    """Copilot's plugins say nothing where the focus is on no document."""
    return DocumentParams(uri=fields.nested_or_empty("textDocument").text_or("uri", ""))


HANDLERS: Handlers = {
    lsp.DID_OPEN: AtOnce(open_params, did_open),
    lsp.DID_CHANGE: AtOnce(change_params, did_change),
    lsp.DID_CLOSE: AtOnce(document_params, did_close),
    "textDocument/didFocus": OnSnapshot(_focused, did_focus),
}
