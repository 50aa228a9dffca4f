"""JSON as it stands in a file that is being written: cut off anywhere, with values missing.

What is whole is told from what is not; nothing is guessed. Offsets are code points.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from infill_engine import RequestError

HOLE = "___"
_SPACE = re.compile(r"[ \t\r\n]*")
_BLANKS = re.compile(r"[ \t]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')
_HALF_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?$")
_MOST_DIGITS = 4_000  # of a number: Python reads 4,300
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"[^\s,:\[\]{}\"]+")
_LITERALS = ("true", "false", "null")
_DEEPEST = 200


class DocumentError(RequestError):
    """The document is no beginning of what it should be; with the place, and what to do."""


@dataclass(slots=True, kw_only=True)
class Node:
    """A value from `start` to `end`.

    kind    "object", "array", "string", "number", "literal"; "hole" where one is missing
    whole   False where the text ends within it; a container is not whole when its end is missing
    value   what it says, of one that is whole and no container
    members of an object or array; `comma` says that one is dangling behind the last of them
    """

    kind: str
    start: int
    end: int
    whole: bool = True
    value: Any = None
    members: "list[Member]" = field(default_factory=list)
    comma: int | None = None


@dataclass(slots=True, kw_only=True)
class Member:
    """An item, or a property: then it has a key, and a colon unless the text ends before it."""

    value: Node
    key: Node | None = None
    colon: bool = True


def read(text: str) -> Node:
    """The document's value. Raises DocumentError for what no text behind it or in its holes could
    make JSON."""
    reader = _Reader(text)
    node = reader.value((), 0)
    at = reader.space(node.end)
    if at < reader.stop:
        raise fault(text, at, "there is text behind the document's end", "remove it")
    return node


def fault(text: str, at: int, what: str, remedy: str) -> DocumentError:
    return DocumentError(f"{where(text, at)}: {what}; {remedy}.")


def where(text: str, at: int) -> str:
    line_start = text.rfind("\n", 0, at) + 1
    return f"Line {text.count(chr(10), 0, at) + 1}, column {at - line_start + 1}"


class _Reader:
    """`stop` is where the text ends but for white space."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.stop = len(text.rstrip(" \t\r\n"))

    def space(self, at: int) -> int:
        found = _SPACE.match(self.text, at, self.stop)
        return found.end() if found else at

    def value(self, open_: tuple[str, ...], at: int) -> Node:
        """The value that should begin here; `open_` are the ends of the containers round it."""
        at = self.space(at)
        char = self.text[at : at + 1] if at < self.stop else ""
        if char in ("{", "["):
            if len(open_) >= _DEEPEST:
                raise fault(self.text, at, f"this is deeper than {_DEEPEST} levels", "split it up")
            return self.container(open_, at)
        if char == '"':
            return self.string(at)
        if char in ("", ",", "}", "]", ":"):
            return Node(kind="hole", start=at, end=at)
        return self.word(at)

    def word(self, at: int) -> Node:
        found = _WORD.match(self.text, at, self.stop)
        if found is None:
            raise fault(
                self.text, at, f"{self.text[at]!r} is no space of JSON", "put a plain one there"
            )
        word, end = found.group(), found.end()
        last = end == self.stop
        if word == HOLE or (last and HOLE.startswith(word)):
            return Node(kind="hole", start=at, end=end)
        if word in _LITERALS:
            return Node(kind="literal", start=at, end=end, value=json.loads(word))
        if _NUMBER.fullmatch(word):
            if len(word) > _MOST_DIGITS:
                raise fault(
                    self.text, at, f"this number has {len(word)} digits", "write one that is read"
                )
            return Node(kind="number", start=at, end=end, value=json.loads(word))
        if last and any(literal.startswith(word) for literal in _LITERALS):
            return Node(kind="literal", start=at, end=end, whole=False)
        if last and any(_NUMBER.fullmatch(word + more) for more in ("0", "+0")):
            return Node(kind="number", start=at, end=end, whole=False)
        if word.startswith(("//", "/*", "#")):
            raise fault(self.text, at, "JSON has no comments", "take it out first")
        raise fault(
            self.text, at, f"{word[:30]!r} is no JSON value", f"put it in quotes, or write {HOLE}"
        )

    def string(self, at: int) -> Node:
        found = _STRING.match(self.text, at, self.stop)
        assert found is not None, "it begins with a quote"
        end = found.end()
        if self.text[end : end + 1] == '"' and end < self.stop:
            value = json.loads(self.text[at : end + 1])
            kind = "hole" if value == HOLE else "string"
            return Node(kind=kind, start=at, end=end + 1, value=value)
        half = _HALF_ESCAPE.match(self.text, end, self.stop)
        # White space at the text's end may be the string's; a line break is not.
        tail = self.text[self.stop :].partition("\n")[0].partition("\r")[0]
        if end == self.stop or half:
            end = end + len(tail) if end == self.stop else end
            self.stop = min(self.stop, end)
            value = json.loads(self.text[at:end] + '"')
            return Node(kind="string", start=at, end=end, whole=False, value=value)
        raise fault(
            self.text,
            end,
            "the string that begins before it cannot go on like this",
            "close it, or escape the character with a backslash",
        )

    def container(self, open_: tuple[str, ...], at: int) -> Node:
        is_object = self.text[at] == "{"
        end = "}" if is_object else "]"
        node = Node(kind="object" if is_object else "array", start=at, end=at + 1)
        at = self.space(at + 1)
        while at < self.stop and self.text[at] != end:
            if self.text[at] in "}]":
                if self.text[at] in open_:  # of one further out: this one's end is missing
                    break
                raise fault(
                    self.text, at, f"nothing is open that {self.text[at]!r} ends", "remove it"
                )
            member = self.member((*open_, end), at) if is_object else self.item((*open_, end), at)
            node.members.append(member)
            node.comma = None
            node.end = member.value.end
            at = self.space(node.end)
            if at < self.stop and self.text[at] == ",":
                node.comma, node.end = at, at + 1
                at = self.space(at + 1)
            elif at < self.stop and self.text[at] not in "}]":
                raise fault(self.text, at, "a comma is missing before it", "put one there")
        if at < self.stop and self.text[at] == end:
            node.end = at + 1
        else:
            node.whole = False
        return node

    def item(self, open_: tuple[str, ...], at: int) -> Member:
        return Member(value=self.value(open_, at))

    def member(self, open_: tuple[str, ...], at: int) -> Member:
        key = self.key(at)
        at = self.space(key.end)
        if at >= self.stop or not key.whole:
            return Member(key=key, colon=False, value=Node(kind="hole", start=key.end, end=key.end))
        if self.text[at] != ":":
            raise fault(self.text, at, "a property's name has a colon behind it", "put one there")
        found = self.value(open_, at + 1)
        if found.kind == "hole" and found.start == found.end:
            # Right behind the colon, wherever the next thing is.
            found.start = at + 1
            blanks = _BLANKS.match(self.text, at + 1)
            found.end = blanks.end() if blanks else at + 1
        return Member(key=key, value=found)

    def key(self, at: int) -> Node:
        if self.text[at] == '"':
            key = self.string(at)
            key.kind = "string"
            return key
        raise fault(
            self.text, at, "a property's name should be here, in quotes", "put it in quotes"
        )
