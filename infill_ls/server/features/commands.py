"""Commands for any editor: infilling on demand, with the code actions that lead to it, and what
there is to say about suggestions.

The server edits by `workspace/applyEdit`, and only the version it read: a text that changed
meanwhile is left as it is. Every outcome without an edit is told to the user in one sentence.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from infill_ls.completion.offers import OfferedItem
from infill_ls.completion.parts import UNITS, beginning
from infill_ls.completion.worker import Query
from infill_ls.documents import Document, Encoding
from infill_ls.server import greeting, lsp
from infill_ls.server.features import acceptance, holes
from infill_ls.server.features.acceptance import offered_item
from infill_ls.server.features.explain import explain
from infill_ls.server.features.next_edit import accepted_edit
from infill_ls.server.fields import Fields, ParamsError
from infill_ls.server.handlers import Handlers, OnSnapshot
from infill_ls.server.items import to_range
from infill_ls.server.params import CodeActionParams, code_action_params, position_of, range_of
from infill_ls.server.policy import limits_of, refusal
from infill_ls.server.session import DocumentSnapshot, NoAnswer, Session

SNOOZE_MINUTES, MOST_MINUTES = 10, 7 * 24 * 60
MOST_LINES = 1000  # or words, that are accepted at once
APPLY_SECONDS = 30.0  # a client that never answers must not hold the request for ever


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandParams:
    """`uri` and `range` say what a command is about; "" and None for one about nothing, or about
    an `item` that was inserted or dismissed. `ranges` are what is to be filled of a document, none
    for all that is marked. `unit` and `count` say how much is to be accepted, `invoked` that what
    is explained was asked for, `minutes` for how long to be quiet."""

    command: str
    item: OfferedItem | None = None
    unit: str = "all"
    count: int = 1
    invoked: bool = False
    minutes: int = SNOOZE_MINUTES
    uri: str = ""
    version: int | None = None
    range: lsp.Range | None = None
    ranges: tuple[lsp.Range, ...] = ()

    @property
    def place(self) -> lsp.Range:
        assert self.range is not None, f"{self.command} is about a place"
        return self.range


def command_params(fields: Fields) -> CommandParams:
    """What is about a place takes one argument: {uri, version?, range} or {uri, version?,
    position}; accepting also `unit` and `count`, explaining `invoked`. That of all holes is {uri,
    version?}, with `range` or `ranges` where not all of the document is meant; snoozing takes
    {minutes}."""
    command = fields.text("command")
    if command not in greeting.COMMANDS:
        raise ParamsError(f"params.command is unknown; there is {', '.join(greeting.COMMANDS)}")
    if command == greeting.ACCEPTED_EDIT:
        return CommandParams(command=command)
    if command in (greeting.ACCEPTED, greeting.DISMISSED):
        return CommandParams(command=command, item=offered_item(fields))
    if command in (greeting.STATS, greeting.RESET_LEARNED):
        return CommandParams(command=command)
    given = fields.optional("arguments") is not None or command != greeting.SNOOZE
    argument = next(fields.array("arguments"), None) if given else None
    if command == greeting.SNOOZE:
        return CommandParams(command=command, minutes=_minutes(argument))
    if argument is None:
        raise ParamsError(
            "params.arguments is empty, but must hold {uri, range} or {uri, position}"
        )
    if command == greeting.INFILL_HOLES:
        return CommandParams(
            command=command,
            uri=argument.text("uri"),
            version=argument.certain_number("version"),
            ranges=tuple(_ranges(argument)),
        )
    if argument.optional("range") is not None:
        at = range_of(argument, "range")
    else:
        at = lsp.Range(position_of(argument, "position"), position_of(argument, "position"))
    return CommandParams(
        command=command,
        uri=argument.text("uri"),
        version=argument.certain_number("version"),
        range=at,
        unit=_unit(argument),
        count=min(max(argument.number_or_none("count") or 1, 1), MOST_LINES),
        invoked=argument.flag("invoked"),
    )


def _ranges(argument: Fields) -> Iterator[lsp.Range]:
    if argument.optional("range") is not None:
        yield range_of(argument, "range")
    if argument.optional("ranges") is not None:
        for each in argument.array("ranges"):
            start, end = position_of(each, "start"), position_of(each, "end")
            yield lsp.Range(start, end)


def _minutes(argument: Fields | None) -> int:
    if argument is None or argument.optional("minutes") is None:
        return SNOOZE_MINUTES
    return min(max(argument.number("minutes"), 0), MOST_MINUTES)


def _unit(argument: Fields) -> str:
    unit = argument.text_or("unit", "all")
    if unit not in UNITS:
        raise ParamsError(f"params.arguments[0].unit is none of {', '.join(UNITS)}")
    return unit


async def execute(
    session: Session, snapshot: DocumentSnapshot | None, params: CommandParams
) -> dict[str, Any] | None:
    """Of what edits the answer says whether there was an edit."""
    match params.command:
        case greeting.ACCEPTED:
            acceptance.accepted(session, params.item)
            return None
        case greeting.ACCEPTED_EDIT:
            accepted_edit(session)
            return None
        case greeting.DISMISSED:
            session.offers.dismissed(params.item)
            return None
        case greeting.STATS:
            return acceptance.statistics(session)
        case greeting.RESET_LEARNED:
            return acceptance.reset_learned(session)
        case greeting.SNOOZE:
            session.snooze(params.minutes)
            return {"snoozed": session.snoozed}
        case greeting.EXPLAIN:
            return await explain(session, snapshot, params.place.start, invoked=params.invoked)
    if snapshot is None or params.version not in (None, snapshot.document.version):
        why = "The text changed before it could be read; try again."
    elif params.command == greeting.INFILL_HOLES:
        return await _holes(session, snapshot, params)
    elif params.command == greeting.ACCEPT:
        why = await accept(session, snapshot, params)
    else:
        why = await infill(session, snapshot, params.uri, params.place)
    if why:
        session.show(lsp.MessageType.INFO, f"infill: {why}")
    return {"applied": not why}


async def _holes(
    session: Session, snapshot: DocumentSnapshot, params: CommandParams
) -> dict[str, bool]:
    """All holes by one edit; what could not be filled is told even then."""
    document = snapshot.document
    applied, told = False, "The text changed meanwhile, so it was left as it is."
    if await session.looked_through(document):
        if why := refusal(snapshot.settings, snapshot.ignore_policy, document):
            told = f"Nothing is suggested in this file: {why}."
        else:
            edits, told = await holes.infill_holes(session, snapshot, params.ranges)
            if edits and not session.is_current(snapshot):
                told = "The text changed meanwhile, so it was left as it is."
            elif edits:
                refused = await _apply(
                    session, workspace_edit(session, params.uri, document, *edits)
                )
                applied, told = not refused, refused or told
    if told:
        session.show(lsp.MessageType.INFO, f"infill: {told}")
    return {"applied": applied}


async def infill(session: Session, snapshot: DocumentSnapshot, uri: str, target: lsp.Range) -> str:
    """Puts what the model says in place of the target; says why where that cannot be."""
    document, encoding = snapshot.document, snapshot.encoding
    if not await session.looked_through(document):
        return "The text changed meanwhile, so it was left as it is."
    if why := refusal(snapshot.settings, snapshot.ignore_policy, document):
        return f"Nothing is suggested in this file: {why}."
    start, end = hole_of(document, target, encoding)
    emptied = document.replaced(start, end, "", version=document.version)
    limits = limits_of(snapshot.settings, invoked=True)
    query = Query(
        document=emptied if end > start else document,
        offset=start,
        limits=limits,
        surroundings=session.surroundings(document, start),
    )
    result = await session.requests.answer(query, 0.0)
    if not session.is_current(snapshot):
        return "The text changed meanwhile, so it was left as it is."
    if not session.worker.ready:
        return "The model is not loaded yet."
    if not result.candidates:
        return result.complaint or "The model has nothing to offer here."
    text = result.candidates[0].text.replace("\n", document.newline)
    if text == document.text[start:end]:
        return "The model would write what is there already."
    edit = lsp.TextEdit(range=to_range(document, start, end, encoding), new_text=text)
    return await _apply(session, workspace_edit(session, uri, document, edit))


async def accept(session: Session, snapshot: DocumentSnapshot, params: CommandParams) -> str:
    """Puts in the beginning of what is suggested at the cursor; says why where that cannot be."""
    document, encoding, offers = snapshot.document, snapshot.encoding, session.offers
    if why := refusal(snapshot.settings, snapshot.ignore_policy, document):
        return f"Nothing is suggested in this file: {why}."
    at = params.place.start
    offset = document.offset_at(at.line, at.character, encoding)
    limits = session.limits(document, invoked=True)
    query = Query(document=document, offset=offset, limits=limits)
    offer = offers.at(document.uri)
    if offer is None or not offers.is_at(offer, query):
        query = replace(query, surroundings=session.surroundings(document, offset))
        result = await session.requests.answer(query, 0.0)
        if not session.is_current(snapshot):
            return "The text changed meanwhile, so it was left as it is."
        if not result.candidates:
            return result.complaint or "The model has nothing to offer here."
        offers.answered(query, result.candidates, automatic=False)
        offer = offers.at(document.uri)
    assert offer is not None, "there is one now"
    start, text = len(offer.typed), beginning(offer.rest, params.unit, params.count)
    inserted = text.replace("\n", document.newline)
    edit = lsp.TextEdit(range=to_range(document, offset, offset, encoding), new_text=inserted)
    why = await _apply(session, workspace_edit(session, params.uri, document, edit))
    if not why:
        acceptance.follow(session, offers.took(offer, start, start + len(text)))
    return why


async def _apply(session: Session, edit: dict[str, Any]) -> str:
    """Why the client did not take the edit; empty when it did."""
    try:
        asked = {"label": "Infill", "edit": edit}
        answer = await session.ask(lsp.APPLY_EDIT, asked, APPLY_SECONDS)
    except NoAnswer as why:
        return f"The editor did not take the edit ({why})."
    fields = Fields(answer)
    if fields.flag("applied"):
        return ""
    reason = fields.text_or("failureReason", "it does not say why")
    return f"The editor did not take the edit ({reason})."


def hole_of(document: Document, range_: lsp.Range, encoding: Encoding) -> tuple[int, int]:
    """The range less the white space at its ends, so that whole lines keep their indentation and
    their last line end. Of nothing but white space its start is left."""
    start = document.offset_at(range_.start.line, range_.start.character, encoding)
    end = document.offset_at(range_.end.line, range_.end.character, encoding)
    start, end = min(start, end), max(start, end)
    selected = document.text[start:end]
    if not selected.strip():
        return start, start if "\n" in selected or "\r" in selected else end
    return start + len(selected) - len(selected.lstrip()), start + len(selected.rstrip())


def workspace_edit(
    session: Session, uri: str, document: Document, *edits: lsp.TextEdit
) -> dict[str, Any]:
    """With the version, where the client takes one: it refuses the edit if it is further. Not as
    LSP's type, which has no place for the large versions that some clients count with."""
    if not session.features.versioned_edits:
        return {"changes": {uri: [*edits]}}
    of = {"uri": uri, "version": document.version}
    return {"documentChanges": [{"textDocument": of, "edits": [*edits]}]}


async def code_actions(
    session: Session, snapshot: DocumentSnapshot | None, params: CodeActionParams
) -> list[lsp.CodeAction | lsp.Command]:
    """One or two, and only when asked: a lamp on every line would be a nuisance."""
    if params.automatic or snapshot is None:
        return []
    if params.only is not None and not any(within(greeting.REWRITE, kind) for kind in params.only):
        return []
    if not await session.looked_through(snapshot.document):
        return []
    if refusal(snapshot.settings, snapshot.ignore_policy, snapshot.document):
        return []
    cursor = params.range.start == params.range.end
    title, name = (
        ("Infill at cursor", greeting.INFILL_AT_CURSOR)
        if cursor
        else ("Infill selection", greeting.INFILL_SELECTION)
    )
    argument = {"uri": params.uri, "version": snapshot.document.version, "range": params.range}
    commands = [lsp.Command(title=title, command=name, arguments=[argument])]
    if cursor and (all_holes := holes.title(snapshot.document)):
        whole = {"uri": params.uri, "version": snapshot.document.version}
        commands.append(
            lsp.Command(title=all_holes, command=greeting.INFILL_HOLES, arguments=[whole])
        )
    if session.features.code_action_literals:
        return [
            lsp.CodeAction(title=of.title, kind=greeting.REWRITE, command=of) for of in commands
        ]
    return [*commands]


def within(kind: str, asked: str) -> bool:
    return asked == "" or kind == asked or kind.startswith(f"{asked}.")


HANDLERS: Handlers = {
    lsp.CODE_ACTION: OnSnapshot(code_action_params, code_actions),
    lsp.EXECUTE_COMMAND: OnSnapshot(command_params, execute),
}
