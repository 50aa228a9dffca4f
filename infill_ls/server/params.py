"""What clients say, message by message: from the fields of a message to frozen values.

Knows nothing of sessions.
"""

from dataclasses import dataclass

from infill_ls.server import lsp
from infill_ls.server.fields import Fields
from infill_ls.server.greeting import folder_uris


def position_of(fields: Fields, name: str) -> lsp.Position:
    return lsp.Position(*fields.position(name))


def range_of(fields: Fields, name: str) -> lsp.Range:
    line, character, last_line, last_character = fields.range(name)
    return lsp.Range(lsp.Position(line, character), lsp.Position(last_line, last_character))


def no_params(fields: Fields) -> None:
    """Of messages that say enough by their name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldersParams:
    """Which folders the workspace gains and loses, as URIs."""

    added: tuple[str, ...]
    removed: tuple[str, ...]


def folders_params(fields: Fields) -> FoldersParams:
    event = fields.nested_or_empty("event")
    return FoldersParams(added=folder_uris(event, "added"), removed=folder_uris(event, "removed"))


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedFilesParams:
    """Files that were made, written or removed, as URIs."""

    uris: tuple[str, ...]


def watched_files_params(fields: Fields) -> WatchedFilesParams:
    uris = (change.text_or("uri", "") for change in fields.array("changes"))
    return WatchedFilesParams(uris=tuple(uri for uri in uris if uri))


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineCompletionParams:
    """`version` is Copilot's; `invoked` says that the user asked, rather than typed."""

    uri: str
    version: int | None
    position: lsp.Position
    invoked: bool
    selection: lsp.SelectedCompletionInfo | None


def inline_completion_params(fields: Fields) -> InlineCompletionParams:
    document = fields.nested("textDocument")
    # Older drafts of the protocol had the context optional.
    context = fields.nested_or_empty("context")
    selection = None
    if context.optional("selectedCompletionInfo") is not None:
        info = context.nested("selectedCompletionInfo")
        selection = lsp.SelectedCompletionInfo(range_of(info, "range"), info.text("text"))
    return InlineCompletionParams(
        uri=document.text("uri"),
        version=document.number_or_none("version"),  # no part of LSP's
        position=position_of(fields, "position"),
        # vscode-languageclient 9 sends 0 and 1 for Invoked and Automatic. 1 must be taken at its
        # word, for others mean it.
        invoked=context.number_or_none("triggerKind") in (0, 1),
        selection=selection,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineEditParams:
    uri: str
    version: int | None
    position: lsp.Position


def inline_edit_params(fields: Fields) -> InlineEditParams:
    document = fields.nested("textDocument")
    return InlineEditParams(
        uri=document.text("uri"),
        version=document.certain_number("version"),
        position=position_of(fields, "position"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionParams:
    uri: str
    position: lsp.Position


def completion_params(fields: Fields) -> CompletionParams:
    uri = fields.nested("textDocument").text("uri")
    return CompletionParams(uri=uri, position=position_of(fields, "position"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeActionParams:
    """`only` are the kinds that are asked for, None for all; `automatic` that nobody asked."""

    uri: str
    range: lsp.Range
    only: tuple[str, ...] | None
    automatic: bool


def code_action_params(fields: Fields) -> CodeActionParams:
    context = fields.nested_or_empty("context")
    return CodeActionParams(
        uri=fields.nested("textDocument").text("uri"),
        range=range_of(fields, "range"),
        only=context.texts("only"),
        automatic=context.number_or_none("triggerKind") == lsp.AUTOMATIC_ACTION,
    )
