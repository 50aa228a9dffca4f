"""How a client is greeted: what it says of itself in `initialize`, and what it is offered.

Imports nothing slow: a client is answered before there is a server (see stdio.py).
"""

import json
from dataclasses import dataclass
from typing import Any

from infill_ls import __version__
from infill_ls.client_settings import parse
from infill_ls.documents import Encoding
from infill_ls.server.fields import MAX_NUMBER, Fields, ParamsError, message_id
from infill_ls.settings import Settings

INITIALIZE = "initialize"
GREETED = "greeted"  # a member of the message to a server that the client has its answer already
INFILL_SELECTION = "infill.infillSelection"
INFILL_AT_CURSOR = "infill.infillAtCursor"
INFILL_HOLES = "infill.infillHoles"
ACCEPTED = "infill.accepted"
ACCEPTED_EDIT = "infill.acceptedEdit"
ACCEPT = "infill.accept"
DISMISSED = "infill.dismissed"
EXPLAIN = "infill.explain"
SNOOZE = "infill.snooze"
STATS = "infill.stats"
RESET_LEARNED = "infill.resetLearned"
COMMANDS = (
    *(INFILL_SELECTION, INFILL_AT_CURSOR, INFILL_HOLES),
    *(ACCEPTED, ACCEPTED_EDIT, ACCEPT, DISMISSED, EXPLAIN, SNOOZE, STATS, RESET_LEARNED),
)
REWRITE = "refactor.rewrite"
ENCODINGS: tuple[Encoding, ...] = ("utf-8", "utf-16", "utf-32")
INCREMENTAL = 2  # LSP's TextDocumentSyncKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFeatures:
    """What a client announced of what makes a difference here.

    `plugin` says that it is an editor plugin of those that speak Copilot's dialect: it is told
    the status, and reports what it did with suggestions.
    """

    encoding: Encoding = "utf-16"
    inline_completion: bool = False
    menu_source: bool = False
    menu_markdown: bool = False
    code_action_literals: bool = False
    versioned_edits: bool = False
    configuration: bool = False
    registers_configuration: bool = False
    registers_watchers: bool = False
    progress: bool = False
    plugin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InitializeParams:
    """`folders` are the URIs of the workspace's."""

    process_id: int | None
    folders: tuple[str, ...]
    options: Any
    client: ClientFeatures


def initialize_params(fields: Fields) -> InitializeParams:
    process_id = fields.number_or_none("processId")
    options = fields.optional("initializationOptions")
    root = fields.text_or("rootUri", "") or fields.text_or("rootPath", "")
    return InitializeParams(
        folders=folder_uris(fields, "workspaceFolders") or ((root,) if root else ()),
        process_id=process_id if process_id is not None and 0 < process_id < MAX_NUMBER else None,
        options=options,
        client=_client_features(fields.nested_or_empty("capabilities"), options),
    )


def folder_uris(fields: Fields, name: str) -> tuple[str, ...]:
    """Of an array of LSP's WorkspaceFolders; none where it is no array."""
    if not isinstance(fields.optional(name), list):
        return ()
    uris = (folder.text_or("uri", "") for folder in fields.array(name))
    return tuple(uri for uri in uris if uri)


def _client_features(capabilities: Fields, options: object) -> ClientFeatures:
    workspace = capabilities.nested_or_empty("workspace")
    text_document = capabilities.nested_or_empty("textDocument")
    item = text_document.nested_or_empty("completion").nested_or_empty("completionItem")
    offered = capabilities.nested_or_empty("general").texts("positionEncodings") or ()
    known: list[Encoding] = [each for name in offered for each in ENCODINGS if each == name]
    code_action = text_document.nested_or_empty("codeAction")
    changes = workspace.nested_or_empty("didChangeConfiguration")
    watchers = workspace.nested_or_empty("didChangeWatchedFiles")
    return ClientFeatures(
        encoding=known[0] if known else "utf-16",
        inline_completion=text_document.optional("inlineCompletion") not in (None, False),
        menu_source=item.flag("labelDetailsSupport"),
        menu_markdown="markdown" in (item.texts("documentationFormat") or ()),
        code_action_literals=isinstance(code_action.optional("codeActionLiteralSupport"), dict),
        versioned_edits=workspace.nested_or_empty("workspaceEdit").flag("documentChanges"),
        configuration=workspace.flag("configuration"),
        registers_configuration=changes.flag("dynamicRegistration"),
        registers_watchers=watchers.flag("dynamicRegistration"),
        progress=capabilities.nested_or_empty("window").flag("workDoneProgress"),
        plugin=isinstance(options, dict) and "editorPluginInfo" in options,
    )


def wants_menu(features: ClientFeatures, settings: Settings) -> bool:
    """Whether completion is offered: suggestions in the menu, where there are no others."""
    match settings.fallback:
        case "never":
            return False
        case "always":
            return True
        case _:
            return not features.inline_completion


def initialize_result(features: ClientFeatures, settings: Settings) -> dict[str, Any]:
    """LSP's InitializeResult."""
    capabilities: dict[str, Any] = {
        "positionEncoding": features.encoding,
        "textDocumentSync": {"openClose": True, "change": INCREMENTAL, "save": True},
        "inlineCompletionProvider": {},
        "codeActionProvider": {"codeActionKinds": [REWRITE]},
        "workspace": {"workspaceFolders": {"supported": True, "changeNotifications": True}},
        "executeCommandProvider": {"commands": list(COMMANDS)},
    }
    if wants_menu(features, settings):
        capabilities["completionProvider"] = {"resolveProvider": False}
    server = {"name": "infill-ls", "version": __version__}
    return {"capabilities": capabilities, "serverInfo": server}


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """`response` to a client's first message, which has no frame yet, and what is `left` of the
    message for the server: all but its id, so that it is not answered again, and marked as GREETED.
    `process_id` is the client's, and `encoding` how its positions are counted. There is no response
    where the message is no request to initialize that can be read: then all of it is left, and the
    server says what is wrong with it."""

    response: bytes = b""
    left: bytes
    process_id: int | None = None
    encoding: Encoding = "utf-16"


def greeted(body: bytes) -> Greeting:
    try:
        message = json.loads(body)
        msg_id = message_id(message.pop("id", None))
        if message["method"] != INITIALIZE or msg_id is None:
            return Greeting(left=body)
        params = initialize_params(Fields(message.get("params")))
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError, ParamsError):
        return Greeting(left=body)
    settings, _ = parse(params.options)  # what is wrong with them the server says
    result = initialize_result(params.client, settings)
    response = {"jsonrpc": "2.0", "id": msg_id, "result": result}
    return Greeting(
        response=json.dumps(response).encode(),
        left=json.dumps(message | {GREETED: True}).encode(),
        process_id=params.process_id,
        encoding=params.client.encoding,
    )
