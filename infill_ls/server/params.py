"""What clients say, field by field: from the JSON of a message to frozen values.

What is read must be what LSP says, up to how a client's language writes numbers; what is not read
may be anything, and so may what can be done without. An error names the field and says nothing of
its text, which may be source code. Knows nothing of sessions.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lsprotocol import types as T
from pygls.exceptions import JsonRpcInvalidParams

from infill_ls.documents import Change, Encoding

ENCODINGS: tuple[Encoding, ...] = ("utf-8", "utf-16", "utf-32")
_MAX = 2**31 - 1  # LSP's largest number
_KINDS: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "true or false",
    type(None): "null",
}


class ParamsError(JsonRpcInvalidParams):
    """A field that is needed is missing, or is something else."""


class Fields:
    """A JSON object, read by name. `path` is where it stands in its message."""

    def __init__(self, raw: object, path: str = "params") -> None:
        self._raw = raw
        self._path = path

    def text(self, name: str) -> str:
        value = self._value(name)
        if not isinstance(value, str):
            raise self._wrong(name, value, "a string")
        return value

    def text_or(self, name: str, otherwise: str) -> str:
        value = self.optional(name)
        return value if isinstance(value, str) else otherwise

    def number(self, name: str) -> int:
        value = self._value(name)
        number = _whole(value)
        if number is None:
            raise self._wrong(name, value, "a whole number")
        return number

    def number_or_none(self, name: str) -> int | None:
        return _whole(self.optional(name))

    def flag(self, name: str) -> bool:
        return self.optional(name) is True

    def nested(self, name: str) -> "Fields":
        value = self._value(name)
        if not isinstance(value, dict):
            raise self._wrong(name, value, "an object")
        return Fields(value, f"{self._path}.{name}")

    def nested_or_empty(self, name: str) -> "Fields":
        return Fields(self.optional(name), f"{self._path}.{name}")

    def array(self, name: str) -> "Iterator[Fields]":
        """Its items, each of which should be an object."""
        value = self._value(name)
        if not isinstance(value, list):
            raise self._wrong(name, value, "an array")
        return (Fields(item, f"{self._path}.{name}[{i}]") for i, item in enumerate(value))

    def texts(self, name: str) -> tuple[str, ...] | None:
        """The strings in an array; None where it is none."""
        value = self.optional(name)
        return tuple(t for t in value if isinstance(t, str)) if isinstance(value, list) else None

    def position(self, name: str) -> T.Position:
        """Before the first line or character is the start, and what LSP cannot count the end."""
        at = self.nested(name)
        line, character = (min(max(at.number(n), 0), _MAX) for n in ("line", "character"))
        return T.Position(line, character)

    def range(self, name: str) -> T.Range:
        at = self.nested(name)
        return T.Range(at.position("start"), at.position("end"))

    def optional(self, name: str) -> Any:
        """As it is; None where there is none."""
        return self._raw.get(name) if isinstance(self._raw, dict) else None

    def _value(self, name: str) -> object:
        if not isinstance(self._raw, dict):
            raise ParamsError(f"{self._path} is {_kind(self._raw)}, but must be an object")
        if name not in self._raw:
            raise ParamsError(f"{self._path}.{name} is missing")
        return self._raw[name]

    def _wrong(self, name: str, value: object, wanted: str) -> ParamsError:
        return ParamsError(f"{self._path}.{name} is {_kind(value)}, but must be {wanted}")


def _whole(value: object) -> int | None:
    """Some languages know no other number than 3.0, and JSON's largest is no float."""
    if isinstance(value, float):
        if math.isinf(value):
            return _MAX if value > 0 else -_MAX
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _kind(value: object) -> str:
    return _KINDS.get(type(value), f"the number {value}"[:40])


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
        process_id=process_id if process_id is not None and 0 < process_id < _MAX else None,
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
class DocumentParams:
    """Of messages that say no more than which document they are about."""

    uri: str


def document_params(fields: Fields) -> DocumentParams:
    return DocumentParams(uri=fields.nested("textDocument").text("uri"))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenParams:
    """`language_id` is "" where the client does not say it; `text` None where it cannot be read,
    and then `fault` says why."""

    uri: str
    language_id: str
    version: int
    text: str | None
    fault: str = ""


def open_params(fields: Fields) -> OpenParams:
    document = fields.nested("textDocument")
    text, fault = None, ""
    try:
        text = document.text("text")
    except ParamsError as error:
        fault = str(error)
    return OpenParams(
        uri=document.text("uri"),
        language_id=document.text_or("languageId", ""),
        version=document.number_or_none("version") or 0,
        text=text,
        fault=fault,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeParams:
    """`version` is None where the client does not count. Where `fault` says why a change cannot be
    read, the text after them all is unknown."""

    uri: str
    version: int | None
    changes: tuple[Change, ...]
    fault: str = ""


def change_params(fields: Fields) -> ChangeParams:
    document = fields.nested("textDocument")
    uri, version = document.text("uri"), document.number_or_none("version")
    changes: list[Change] = []
    fault = ""
    try:
        raw_changes = list(fields.array("contentChanges"))
    except ParamsError as error:
        return ChangeParams(uri=uri, version=version, changes=(), fault=str(error))
    for raw in raw_changes:
        try:
            change = _change(raw)
        except ParamsError as error:
            fault = fault or str(error)
            continue
        if change.range is None:  # the whole text: whatever came before does not matter
            changes, fault = [], ""
        changes.append(change)
    return ChangeParams(uri=uri, version=version, changes=tuple(changes), fault=fault)


def _change(fields: Fields) -> Change:
    text = fields.text("text")
    if fields.optional("range") is None:
        return Change(text=text)
    at = fields.range("range")
    start, end = at.start, at.end
    return Change(text=text, range=(start.line, start.character, end.line, end.character))


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
        selection = T.SelectedCompletionInfo(info.range("range"), info.text("text"))
    return InlineCompletionParams(
        uri=document.text("uri"),
        version=document.number_or_none("version"),
        position=fields.position("position"),
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
    return CompletionParams(uri=uri, position=fields.position("position"))


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
        range=fields.range("range"),
        only=context.texts("only"),
        automatic=context.number_or_none("triggerKind") == T.CodeActionTriggerKind.Automatic,
    )
