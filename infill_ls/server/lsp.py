"""LSP's methods, numbers and structures, as far as this server says them.

Of our own making, for the published types of all of LSP take more than half a second to import,
and the window of a shared server that died waits for the next one's start. The end-to-end tests
speak through the published ones.
"""

from dataclasses import dataclass, fields, is_dataclass
from enum import IntEnum

INITIALIZE, INITIALIZED, SHUTDOWN, EXIT = "initialize", "initialized", "shutdown", "exit"
CANCEL_REQUEST, PROGRESS = "$/cancelRequest", "$/progress"
DID_OPEN, DID_CHANGE = "textDocument/didOpen", "textDocument/didChange"
DID_CLOSE, DID_SAVE = "textDocument/didClose", "textDocument/didSave"
INLINE_COMPLETION, COMPLETION = "textDocument/inlineCompletion", "textDocument/completion"
CODE_ACTION, EXECUTE_COMMAND = "textDocument/codeAction", "workspace/executeCommand"
CONFIGURATION, APPLY_EDIT = "workspace/configuration", "workspace/applyEdit"
DID_CHANGE_CONFIGURATION = "workspace/didChangeConfiguration"
DID_CHANGE_FOLDERS = "workspace/didChangeWorkspaceFolders"
DID_CHANGE_WATCHED_FILES = "workspace/didChangeWatchedFiles"
REGISTER_CAPABILITY = "client/registerCapability"
SHOW_MESSAGE, LOG_MESSAGE = "window/showMessage", "window/logMessage"
CREATE_PROGRESS = "window/workDoneProgress/create"

PLAIN_TEXT, MARKDOWN = "plaintext", "markdown"  # kinds of markup
TEXT_KIND, PLAIN_FORMAT, AS_IS = 1, 1, 1  # of a menu's item, its text and its indentation
AUTOMATIC_ACTION = 2  # what asks for code actions is not the user


class ErrorCode(IntEnum):
    """JSON-RPC's and LSP's."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    SERVER_NOT_INITIALIZED = -32002
    REQUEST_CANCELLED = -32800


class MessageType(IntEnum):
    ERROR = 1
    WARNING = 2
    INFO = 3
    LOG = 4


@dataclass(frozen=True, slots=True)
class Position:
    line: int
    character: int


@dataclass(frozen=True, slots=True)
class Range:
    start: Position
    end: Position


@dataclass(frozen=True, slots=True)
class TextEdit:
    range: Range
    new_text: str


@dataclass(frozen=True, slots=True)
class SelectedCompletionInfo:
    range: Range
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    title: str
    command: str
    arguments: list[object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineCompletionItem:
    insert_text: str
    range: Range
    command: Command | None = None


@dataclass(frozen=True, slots=True)
class InlineCompletionList:
    items: list[InlineCompletionItem]


@dataclass(frozen=True, slots=True)
class VersionedDocument:
    uri: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineEdit:
    """Copilot's."""

    text: str
    text_document: VersionedDocument
    range: Range
    command: Command


@dataclass(frozen=True, slots=True)
class InlineEditList:
    edits: list[InlineEdit]


@dataclass(frozen=True, slots=True)
class MarkupContent:
    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class CompletionItemLabelDetails:
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionItem:
    label: str
    label_details: CompletionItemLabelDetails | None
    kind: int
    documentation: MarkupContent
    sort_text: str
    filter_text: str
    insert_text_format: int
    insert_text_mode: int
    text_edit: TextEdit


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionList:
    is_incomplete: bool
    items: list[CompletionItem]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeAction:
    title: str
    kind: str
    command: Command


def as_json(structure: object) -> dict[str, object]:
    """For `json.dumps`: one level of a structure by LSP's names, without what is None."""
    assert is_dataclass(structure), f"{type(structure)} is no structure of LSP's"
    said = {field.name: getattr(structure, field.name) for field in fields(structure)}
    return {_camel(name): value for name, value in said.items() if value is not None}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
