"""Inline completion: where the answer goes, the answer, and a line on how it went."""

import time
from dataclasses import dataclass, replace

from infill_ls.completion.foresight import foreseen
from infill_ls.completion.offers import OfferedItem
from infill_ls.completion.requests import QueryResult
from infill_ls.completion.worker import Query, QueryLimits
from infill_ls.documents import Document, Encoding
from infill_ls.server import lsp
from infill_ls.server.features.acceptance import acceptance
from infill_ls.server.handlers import Handlers, OnSnapshot
from infill_ls.server.items import to_item
from infill_ls.server.params import InlineCompletionParams, inline_completion_params
from infill_ls.server.policy import refusal, untimely
from infill_ls.server.session import DocumentSnapshot, Session

# So many seconds who asks first waits for a model on this machine to be loaded.
PATIENCE = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertionPoint:
    """Where the answer goes: [start, end) of the document is replaced, the cursor is in it."""

    query: Query
    document: Document
    start: int
    end: int


async def inline_completion(
    session: Session, snapshot: DocumentSnapshot | None, params: InlineCompletionParams
) -> lsp.InlineCompletionList:
    """Always a list, never null: Neovim keeps stale text on null."""
    started = time.perf_counter()
    session.asks_inline = True
    result, point = await _answered(session, snapshot, params)
    if point is None or snapshot is None or not session.is_current(snapshot):
        result = replace(result, candidates=())
    elif not params.invoked:
        _look_ahead(session, point.query, result)
    session.log(_report(params, snapshot, result, (time.perf_counter() - started) * 1e3))
    if point is None or not result.candidates:
        return lsp.InlineCompletionList([])
    offered = _offered(session, point, result, params)
    return lsp.InlineCompletionList(
        [
            to_item(
                candidate,
                point.document,
                point.query.offset,
                session.features.encoding,
                start=point.start,
                end=point.end,
                command=acceptance(session, item),
            )
            for candidate, item in zip(result.candidates, offered, strict=True)
        ]
    )


def _offered(
    session: Session, point: InsertionPoint, result: QueryResult, params: InlineCompletionParams
) -> list[OfferedItem | None]:
    """What the client may say of the answer's items later. What goes on from a menu's selection is
    the menu's, and not followed."""
    if params.selection is not None:
        return [None for _ in result.candidates]
    number, typed = session.offers.answered(
        point.query, result.candidates, automatic=not params.invoked
    )
    return [
        OfferedItem(offer=number, choice=choice, base=typed)
        for choice in range(len(result.candidates))
    ]


async def _answered(
    session: Session, snapshot: DocumentSnapshot | None, params: InlineCompletionParams
) -> tuple[QueryResult, InsertionPoint | None]:
    if snapshot is None:
        return QueryResult(how="not open"), None
    document, encoding, settings = snapshot.document, snapshot.encoding, snapshot.settings
    if params.version not in (None, document.version):
        return QueryResult(how="another version"), None
    if not await session.looked_through(document):
        return QueryResult(how="another version"), None
    offset = document.offset_at(params.position.line, params.position.character, encoding)
    why = refusal(settings, snapshot.ignore_policy, document)
    held_back = settings.trigger == "subtle" and not params.invoked
    if not (why or held_back):
        why = untimely(settings, document, offset, params.invoked)
    if not (why or params.invoked):
        why = session.snoozed
    if why:
        return QueryResult(how=why), None
    limits = session.limits(document, invoked=params.invoked)
    point = insertion_point(document, offset, limits, params.selection, encoding)
    if point is None:
        return QueryResult(how="the menu's selection does not continue the text"), None
    if not session.worker.ready:
        session.warm(document, offset)
    delay = 0.0 if params.invoked else settings.delay_ms / 1000
    query = replace(point.query, surroundings=session.surroundings(document, offset))
    point = replace(point, query=query)
    if params.invoked and settings.trigger == "subtle" and (found := _held_back(session, query)):
        return found, point
    here = settings.warm and not session.ignore_policy.remote
    patience = PATIENCE if here else 0.0
    result = await session.requests.answer(query, delay, patience=patience)
    if result.complaint:
        session.tell(lsp.MessageType.ERROR, result.complaint)
    if not params.invoked and point.query.selected == "":
        result = replace(result, candidates=session.offers.wanted(query, result.candidates))
    if settings.trigger == "subtle":
        session.report_held_back(held_back and bool(result.candidates))
    return (replace(result, how="held back", candidates=()) if held_back else result), point


def _held_back(session: Session, query: Query) -> QueryResult | None:
    """What was found while typing and not shown, now that a key asks for it."""
    limits = session.limits(query.document, invoked=False)
    known = session.requests.reuse.find(replace(query, limits=limits))
    session.report_held_back(False)
    return QueryResult(how="reused", candidates=known) if known else None


def _look_ahead(session: Session, query: Query, result: QueryResult) -> None:
    """Has the model answer what is likely asked next, once an answer is given; not one on a server,
    which every user would ask twice."""
    here = session.settings.warm and not session.ignore_policy.remote
    if here and result.how in ("model", "reused", "nothing to show"):
        shown = result.candidates[0].text if result.candidates else ""
        session.requests.ahead(*foreseen(query, shown))


def insertion_point(
    document: Document,
    offset: int,
    limits: QueryLimits,
    selection: lsp.SelectedCompletionInfo | None,
    encoding: Encoding,
) -> InsertionPoint | None:
    """With an open menu the answer must extend its selection, in the selection's range.

    None when it cannot: the selection lies elsewhere, or replaces what was typed before the
    cursor by something else.
    """
    if selection is None:
        query = Query(document=document, offset=offset, limits=limits)
        return InsertionPoint(query=query, document=document, start=offset, end=offset)
    at = selection.range
    start = document.offset_at(at.start.line, at.start.character, encoding)
    end = document.offset_at(at.end.line, at.end.character, encoding)
    typed = document.text[start:offset]
    if not (start <= offset <= end and at.start.line == at.end.line):
        return None
    if not selection.text.startswith(typed):
        return None
    after = (
        document.replaced(offset, end, "", version=document.version) if end > offset else document
    )
    selected = selection.text[len(typed) :]
    query = Query(document=after, offset=offset, limits=limits, selected=selected)
    return InsertionPoint(query=query, document=document, start=start, end=end)


def _report(
    params: InlineCompletionParams,
    snapshot: DocumentSnapshot | None,
    result: QueryResult,
    ms: float,
) -> str:
    """One line a request; of the text only how long it is."""
    kind = "invoked" if params.invoked else "automatic"
    version = snapshot.document.version if snapshot else "?"
    line = f"{kind} v{version}: {result.how}, {len(result.candidates)} items, {ms:.0f} ms"
    infilled = result.infilled
    if infilled is None:
        return line
    took = infilled.ms
    if draft := infilled.draft:
        line += (
            f"; {draft.steps} steps, {draft.tokens} tokens, "
            f"{draft.tokens_per_forward:.1f} tokens per forward"
        )
    line += (
        f"; ms: context {took.context:.1f}, encode {took.encode:.1f}, "
        f"denoise {took.denoise:.1f}, judge {took.judge:.1f}, validate {took.validate:.1f}, "
        f"total {took.total:.1f}"
    )
    return line + (f"; nothing shown: {infilled.rejected}" if infilled.rejected else "")


HANDLERS: Handlers = {
    lsp.INLINE_COMPLETION: OnSnapshot(inline_completion_params, inline_completion),
}
