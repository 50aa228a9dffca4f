"""Infilling on demand in any editor: two commands, the code actions that lead to them, and what
clients say about suggestions they showed.

The server edits by `workspace/applyEdit`, and only the version it read: a text that changed
meanwhile is left as it is. Every outcome without an edit is told to the user in one sentence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsprotocol import types as T
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams

from infill_ls.completion.worker import Ask
from infill_ls.documents import Document, Encoding
from infill_ls.server.features.inline import limits_of, refusal
from infill_ls.server.items import to_range

if TYPE_CHECKING:
    from infill_ls.server.session import InfillServer

INFILL_SELECTION = "infill.infillSelection"
INFILL_AT_CURSOR = "infill.infillAtCursor"
ACCEPTED = "infill.accepted"
APPLY_SECONDS = 30.0  # a client that never answers must not hold the request for ever
REWRITE = T.CodeActionKind.RefactorRewrite


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a command is about: {uri, version?, range} or {uri, version?, position}."""

    uri: str
    version: int | None
    range: T.Range


def target_of(ls: InfillServer, raw: object) -> Target:
    """Raises JsonRpcInvalidParams when it is not one."""
    try:
        assert isinstance(raw, dict)
        at = raw.get("range") or {"start": raw["position"], "end": raw["position"]}
        return Target(
            uri=str(raw["uri"]),
            version=raw.get("version"),
            range=ls.protocol._converter.structure(at, T.Range),
        )
    except Exception as error:
        raise JsonRpcInvalidParams.of(
            ValueError("takes one argument: {uri, version?, range} or {uri, version?, position}")
        ) from error


# pygls evaluates the annotations of a command's handler, so `ls` is not named more closely here.
async def execute(ls: Any, *arguments: Any) -> dict[str, bool]:
    """Both commands: the answer says whether there was an edit."""
    return await infill(ls, target_of(ls, arguments[0] if arguments else None))


async def infill(ls: InfillServer, target: Target) -> dict[str, bool]:
    """Puts what the model says in place of the target."""
    document = ls.documents.get(target.uri)
    if document is None or target.version not in (None, document.version):
        return said(ls, "The text changed before it could be read; try again.")
    if why := refusal(ls.settings, ls.ignore_policy, document):
        return said(ls, f"Nothing is suggested in this file: {why}.")
    if not ls.worker.ready:
        return said(ls, "The model is not loaded yet.")
    start, end = hole_of(document, target.range, ls.encoding)
    emptied = document.replaced(start, end, "", version=document.version)
    limits = limits_of(ls.settings, invoked=True)
    ask = Ask(document=emptied if end > start else document, offset=start, limits=limits)
    answer = await ls.requests.answer(ask, 0.0)
    if document is not ls.documents.get(target.uri):
        return said(ls, "The text changed meanwhile, so it was left as it is.")
    if not answer.candidates:
        return said(ls, "The model has nothing to offer here.")
    text = answer.candidates[0].text.replace("\n", document.newline)
    if text == document.text[start:end]:
        return said(ls, "The model would write what is there already.")
    edit = T.TextEdit(range=to_range(document, start, end, ls.encoding), new_text=text)
    changes = workspace_edit(ls, target.uri, document, edit)
    asked = ls.workspace_apply_edit_async(T.ApplyWorkspaceEditParams(edit=changes, label="Infill"))
    try:
        result = await asyncio.wait_for(asked, APPLY_SECONDS)
    except (TimeoutError, JsonRpcException) as error:
        return said(ls, f"The editor did not take the edit ({error or 'no answer'}).")
    return {"applied": bool(result.applied)}


def said(ls: InfillServer, why: str) -> dict[str, bool]:
    ls.window_show_message(T.ShowMessageParams(type=T.MessageType.Info, message=f"infill: {why}"))
    return {"applied": False}


def hole_of(document: Document, range_: T.Range, encoding: Encoding) -> tuple[int, int]:
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
    ls: InfillServer, uri: str, document: Document, edit: T.TextEdit
) -> T.WorkspaceEdit:
    """With the version, where the client takes one: it refuses the edit if it is further."""
    workspace = ls.client_capabilities.workspace
    edits = workspace and workspace.workspace_edit
    if edits and edits.document_changes:
        of = T.OptionalVersionedTextDocumentIdentifier(uri=uri, version=document.version)
        return T.WorkspaceEdit(document_changes=[T.TextDocumentEdit(of, [edit])])
    return T.WorkspaceEdit(changes={uri: [edit]})


def code_actions(ls: InfillServer, params: T.CodeActionParams) -> list[T.CodeAction | T.Command]:
    """One, and only when asked: a lamp on every line would be a nuisance."""
    context, document = params.context, ls.documents.get(params.text_document.uri)
    if context.trigger_kind == T.CodeActionTriggerKind.Automatic or document is None:
        return []
    if context.only is not None and not any(within(REWRITE, kind) for kind in context.only):
        return []
    if refusal(ls.settings, ls.ignore_policy, document):
        return []
    cursor = params.range.start == params.range.end
    title, name = (
        ("Infill at cursor", INFILL_AT_CURSOR) if cursor else ("Infill selection", INFILL_SELECTION)
    )
    converter = ls.protocol._converter
    argument = {
        "uri": params.text_document.uri,
        "version": document.version,
        "range": converter.unstructure(params.range, T.Range),
    }
    command = T.Command(title=title, command=name, arguments=[argument])
    text_document = ls.client_capabilities.text_document
    known = text_document and text_document.code_action
    if known and known.code_action_literal_support:
        return [T.CodeAction(title=title, kind=REWRITE, command=command)]
    return [command]


def within(kind: str, asked: str) -> bool:
    return asked == "" or kind == asked or kind.startswith(f"{asked}.")


@dataclass(slots=True)
class Counts:
    """Of one connection, for the log. Nothing leaves this machine, and no text is kept."""

    shown: int = 0
    accepted: int = 0
    accepted_in_part: int = 0

    def __str__(self) -> str:
        part = self.accepted_in_part
        return f"suggestions shown {self.shown}, accepted {self.accepted}, in part {part}"


def did_show(ls: InfillServer, params: Any) -> None:
    """Copilot's didShowCompletion."""
    ls.counts.shown += 1


def did_partially_accept(ls: InfillServer, params: Any) -> None:
    """Copilot's didPartiallyAcceptCompletion."""
    ls.counts.accepted_in_part += 1
    ls.log(str(ls.counts))


def accepted(ls: Any, *arguments: Any) -> None:
    """What the command of an item says when it was inserted."""
    ls.counts.accepted += 1
    ls.log(str(ls.counts))


def acceptance(ls: InfillServer) -> T.Command | None:
    """The command that an item carries. Only for plugins that report: others need not run it."""
    reports = isinstance(ls.initial, dict) and "editorPluginInfo" in ls.initial
    return T.Command(title="Accepted", command=ACCEPTED) if reports else None


COMMANDS: dict[str, Callable[..., Any]] = {
    INFILL_SELECTION: execute,
    INFILL_AT_CURSOR: execute,
    ACCEPTED: accepted,
}
FEATURES: dict[str, tuple[Callable[..., Any], Any]] = {
    T.TEXT_DOCUMENT_CODE_ACTION: (code_actions, T.CodeActionOptions(code_action_kinds=[REWRITE])),
    "textDocument/didShowCompletion": (did_show, None),
    "textDocument/didPartiallyAcceptCompletion": (did_partially_accept, None),
}
