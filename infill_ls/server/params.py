"""What clients say, message by message: from the fields of a message to frozen values.

Knows nothing of sessions.
"""

from dataclasses import dataclass
from typing import Any

from lsprotocol import types as T

from infill_ls.documents import Encoding
from infill_ls.server.fields import MAX_NUMBER, Fields

ENCODINGS: tuple[Encoding, ...] = ("utf-8", "utf-16", "utf-32")


def position_of(fields: Fields, name: str) -> T.Position:
    return T.Position(*fields.position(name))


def range_of(fields: Fields, name: str) -> T.Range:
    line, character, last_line, last_character = fields.range(name)
    return T.Range(T.Position(line, character), T.Position(last_line, last_character))


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
    progress: bool = False
    plugin: bool = False


def no_params(fields: Fields) -> None:
    """Of messages that say enough by their name."""


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
        folders=_folders(fields, "workspaceFolders") or ((root,) if root else ()),
        process_id=process_id if process_id is not None and 0 < process_id < MAX_NUMBER else None,
        options=options,
        client=_client_features(fields.nested_or_empty("capabilities"), options),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldersParams:
    """Which folders the workspace gains and loses, as URIs."""

    added: tuple[str, ...]
    removed: tuple[str, ...]


def folders_params(fields: Fields) -> FoldersParams:
    event = fields.nested_or_empty("event")
    return FoldersParams(added=_folders(event, "added"), removed=_folders(event, "removed"))


def _folders(fields: Fields, name: str) -> tuple[str, ...]:
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
    return ClientFeatures(
        encoding=known[0] if known else "utf-16",
        inline_completion=text_document.optional("inlineCompletion") not in (None, False),
        menu_source=item.flag("labelDetailsSupport"),
        menu_markdown="markdown" in (item.texts("documentationFormat") or ()),
        code_action_literals=isinstance(code_action.optional("codeActionLiteralSupport"), dict),
        versioned_edits=workspace.nested_or_empty("workspaceEdit").flag("documentChanges"),
        configuration=workspace.flag("configuration"),
        registers_configuration=changes.flag("dynamicRegistration"),
        progress=capabilities.nested_or_empty("window").flag("workDoneProgress"),
        plugin=isinstance(options, dict) and "editorPluginInfo" in options,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineCompletionParams:
    """`version` is Copilot's; `invoked` says that the user asked, rather than typed."""

    uri: str
    version: int | None
    position: T.Position
    invoked: bool
    selection: T.SelectedCompletionInfo | None


def inline_completion_params(fields: Fields) -> InlineCompletionParams:
    document = fields.nested("textDocument")
    # Older drafts of the protocol had the context optional.
    context = fields.nested_or_empty("context")
    selection = None
    if context.optional("selectedCompletionInfo") is not None:
        info = context.nested("selectedCompletionInfo")
        selection = T.SelectedCompletionInfo(range_of(info, "range"), info.text("text"))
    return InlineCompletionParams(
        uri=document.text("uri"),
        version=document.number_or_none("version"),
        position=position_of(fields, "position"),
        # vscode-languageclient 9 sends 0 and 1 for Invoked and Automatic. 1 must be taken at its
        # word, for others mean it.
        invoked=context.number_or_none("triggerKind") in (0, 1),
        selection=selection,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionParams:
    uri: str
    position: T.Position


def completion_params(fields: Fields) -> CompletionParams:
    uri = fields.nested("textDocument").text("uri")
    return CompletionParams(uri=uri, position=position_of(fields, "position"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeActionParams:
    """`only` are the kinds that are asked for, None for all; `automatic` that nobody asked."""

    uri: str
    range: T.Range
    only: tuple[str, ...] | None
    automatic: bool


def code_action_params(fields: Fields) -> CodeActionParams:
    context = fields.nested_or_empty("context")
    return CodeActionParams(
        uri=fields.nested("textDocument").text("uri"),
        range=range_of(fields, "range"),
        only=context.texts("only"),
        automatic=context.number_or_none("triggerKind") == T.CodeActionTriggerKind.Automatic,
    )
