"""A client's JSON, field by field, and the messages that keep a text up to date.

What is read must be what LSP says, up to how a client's language writes numbers; what is not read
may be anything, and so may what can be done without. An error names the field and says nothing of
its text, which may be source code. Imports nothing slow: the relay reads these messages too.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infill_ls.documents import Change

MAX_NUMBER = 2**31 - 1  # LSP's largest
_KINDS: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "true or false",
    type(None): "null",
}


class ParamsError(ValueError):
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

    def certain_flag(self, name: str) -> bool:
        """False where there is none; what is neither true nor false is wrong."""
        value = self._given(name)
        if not isinstance(value, bool | None):
            raise self._wrong(name, value, "true or false")
        return bool(value)

    def certain_number(self, name: str) -> int | None:
        """None where there is none; what is no whole number is wrong."""
        return None if self._given(name) is None else self.number(name)

    def certain_text(self, name: str) -> str:
        """Empty where there is none; what is no string is wrong."""
        return "" if self._given(name) is None else self.text(name)

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

    def position(self, name: str) -> tuple[int, int]:
        """Before the first line or character is the start, and what LSP cannot count the end."""
        at = self.nested(name)
        line, character = (min(max(at.number(n), 0), MAX_NUMBER) for n in ("line", "character"))
        return line, character

    def range(self, name: str) -> tuple[int, int, int, int]:
        at = self.nested(name)
        return *at.position("start"), *at.position("end")

    def optional(self, name: str) -> Any:
        """As it is; None where there is none."""
        return self._raw.get(name) if isinstance(self._raw, dict) else None

    def _value(self, name: str) -> object:
        raw = self._object()
        if name not in raw:
            raise ParamsError(f"{self._path}.{name} is missing")
        return raw[name]

    def _given(self, name: str) -> object:
        return self._object().get(name)

    def _object(self) -> dict[str, object]:
        if not isinstance(self._raw, dict):
            raise ParamsError(f"{self._path} is {_kind(self._raw)}, but must be an object")
        return self._raw

    def _wrong(self, name: str, value: object, wanted: str) -> ParamsError:
        return ParamsError(f"{self._path}.{name} is {_kind(value)}, but must be {wanted}")


def message_id(raw: object) -> str | int | None:
    """JSON-RPC's: a string or a whole number, however written; None where it is neither."""
    if isinstance(raw, float) and raw.is_integer():
        return int(raw)
    return raw if isinstance(raw, str | int) and not isinstance(raw, bool) else None


def _whole(value: object) -> int | None:
    """Some languages know no other number than 3.0, and JSON's largest is no float."""
    if isinstance(value, float):
        if math.isinf(value):
            return MAX_NUMBER if value > 0 else -MAX_NUMBER
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _kind(value: object) -> str:
    return _KINDS.get(type(value), f"the number {value}"[:40])


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
    return Change(text=text, range=fields.range("range"))
