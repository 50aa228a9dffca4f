"""Why something is shown at a place, or nothing is: the same pipeline again, and what it did."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from infill_ls.completion.worker import Query
from infill_ls.server import lsp
from infill_ls.server.policy import refusal, untimely
from infill_ls.server.session import DocumentSnapshot, Session

if TYPE_CHECKING:  # the pipeline brings the grammars, which the server's start does without
    from infill_ls.completion.explanation import Explanation, OnScreen

NO_TIME = "there was no time for it: infill.deadlineMs gives more"


async def explain(
    session: Session, snapshot: DocumentSnapshot | None, at: lsp.Position, *, invoked: bool
) -> dict[str, Any] | None:
    """The page in Markdown, and all of it as data. A client without a plugin of ours gets what it
    comes to as a message as well."""
    if snapshot is None:
        session.show(lsp.MessageType.INFO, "infill: The server does not know this text.")
        return None
    from infill_ls.completion.explanation_page import gist, markdown

    seen = _on_screen(session, snapshot, at)  # before the models are asked
    explanation = await _explanation(session, snapshot, at, invoked=invoked)
    explanation = replace(explanation, on_screen=seen)
    if not session.features.plugin:
        session.show(lsp.MessageType.INFO, f"infill: {gist(explanation)}")
    return {"markdown": markdown(explanation), "explanation": explanation.as_json()}


async def _explanation(
    session: Session, snapshot: DocumentSnapshot, at: lsp.Position, *, invoked: bool
) -> "Explanation":
    from infill_ls.completion.explanation import explained, untouched
    from infill_ls.completion.trace import Trace

    document, settings = snapshot.document, snapshot.settings
    offset = document.offset_at(at.line, at.character, snapshot.encoding)
    asked = "invoked" if invoked else "typing"
    known = await session.looked_through(document)
    why = refusal(settings, snapshot.ignore_policy, document) if known else "the text changed"
    if not (why or session.worker.ready):
        why = "the model is not loaded" if session.worker.failed else "the model is not loaded yet"
    if why:
        return untouched(document, offset, asked=asked, why=why)
    trace, around = Trace(), session.surroundings(document, offset)
    query = Query(
        document=document,
        offset=offset,
        limits=session.limits(document, invoked=invoked),
        surroundings=around,
        trace=trace,
    )
    run = session.worker.infill(query, session.requests)
    try:
        infilled = await asyncio.wrap_future(run.result)
    finally:
        run.stop()
    if infilled is None:
        return untouched(document, offset, asked=asked, why=NO_TIME)
    before = [untimely(settings, document, offset, invoked)]
    if not invoked:
        before.append(session.snoozed)
        if infilled.candidates and not session.offers.wanted(query, infilled.candidates):
            before.append("it was dismissed twice here")
    return explained(
        document,
        offset,
        infilled,
        trace,
        asked=asked,
        before=tuple(filter(None, before)),
        around=around,
        seconds=query.limits.seconds,
        doubt=query.limits.doubt,
    )


def _on_screen(session: Session, snapshot: DocumentSnapshot, at: lsp.Position) -> "OnScreen | None":
    """What is offered there, of an answer that may be some keys old."""
    from infill_ls.completion.explanation import OnScreen, place_of

    document = snapshot.document
    offset = document.offset_at(at.line, at.character, snapshot.encoding)
    query = Query(document=document, offset=offset, limits=session.limits(document, invoked=False))
    offer = session.offers.at(document.uri)
    if offer is None or not session.offers.is_at(offer, query):
        return None
    answered = place_of(offer.query.document, offer.query.offset)
    return OnScreen(
        text=offer.rest,
        typed=offer.typed,
        line=answered.line,
        column=answered.column,
        asked="typing" if offer.automatic else "invoked",
    )
