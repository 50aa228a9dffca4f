"""Next edits in the shape of Copilot's language server, which Neovim's and other plugins speak.

The edits of an answer are alternatives, best first. Some clients apply all of them at once, so
there is one at most.
"""

import time

from infill_ls.completion.next_edit.requests import EditResult
from infill_ls.completion.runs import EditQuery
from infill_ls.server import lsp
from infill_ls.server.greeting import ACCEPTED_EDIT
from infill_ls.server.handlers import AtOnce, Handlers, OnSnapshot
from infill_ls.server.items import to_range
from infill_ls.server.params import InlineEditParams, inline_edit_params, no_params
from infill_ls.server.policy import refusal
from infill_ls.server.session import DocumentSnapshot, Session

METHOD = "textDocument/copilotInlineEdit"
AS_LONG = 2.1  # times as an infill may take: nobody waits for a next edit as for text


async def inline_edit(
    session: Session, snapshot: DocumentSnapshot | None, params: InlineEditParams
) -> lsp.InlineEditList:
    """Always a list, never null."""
    started = time.perf_counter()
    result = await _answered(session, snapshot, params)
    edits = []
    if snapshot is not None and result.edit is not None and session.is_current(snapshot):
        document, edit = snapshot.document, result.edit
        edits.append(
            lsp.InlineEdit(
                text=edit.text,
                # In the client's spelling, by which it finds the document again.
                text_document=lsp.VersionedDocument(params.uri, document.version),
                range=to_range(document, edit.start, edit.end, snapshot.encoding),
                command=lsp.Command(title="Accepted", command=ACCEPTED_EDIT),
            )
        )
    version = snapshot.document.version if snapshot else "?"
    why = f", {result.edit.rule} {result.edit.confidence:.2f}" if result.edit else ""
    ms = (time.perf_counter() - started) * 1e3
    session.log(f"next edit v{version}: {result.how}{why}, {len(edits)} edits, {ms:.0f} ms")
    return lsp.InlineEditList(edits)


async def _answered(
    session: Session, snapshot: DocumentSnapshot | None, params: InlineEditParams
) -> EditResult:
    if snapshot is None:
        return EditResult(how="not open")
    document, settings = snapshot.document, snapshot.settings
    if params.version not in (None, document.version):
        return EditResult(how="another version")
    if not settings.next_edit:
        return EditResult(how="off")
    if not await session.looked_through(document):
        return EditResult(how="another version")
    if why := session.snoozed or refusal(settings, snapshot.ignore_policy, document):
        return EditResult(how=why)
    query = EditQuery(
        document=document,
        edits=session.edits.of(document.uri),
        elsewhere=session.elsewhere(document),
        touched=session.edits.touched(document.uri),
        seconds=AS_LONG * settings.deadline_ms / 1000,
    )
    result = await session.next_edits.answer(query, settings.min_confidence or 0.0)
    if query.edits and session.is_current(snapshot):  # nothing is kept of what was closed
        session.earlier.expect(document.uri, result.expected)
    if result.complaint:
        session.tell(lsp.MessageType.ERROR, result.complaint)
    return result


def did_show(session: Session, _: None) -> None:
    session.next_edits.counts.shown += 1


def accepted_edit(session: Session) -> None:
    """What the command of an edit says when it was made."""
    session.next_edits.counts.accepted += 1
    session.log(str(session.next_edits.counts))


HANDLERS: Handlers = {
    METHOD: OnSnapshot(inline_edit_params, inline_edit),
    "textDocument/didShowInlineEdit": AtOnce(no_params, did_show),
}
