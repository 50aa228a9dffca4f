"""JSON with comments and commas at the end of lists, as editors keep their settings in it: read,
and given one more key without a change to anything else."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_BLANK = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_SCALAR = re.compile(r'"(?:[^"\\\n]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null')
_DEEPEST = 200  # objects within objects; nobody's settings have so many


class JsoncError(Exception):
    """The text is no JSON, even with comments; says in which line and column."""


@dataclass(slots=True)
class Node:
    """A value with its place in the text: from `start` to before `end`; its `key` starts there."""

    value: Any
    start: int
    end: int
    members: dict[str, "Node"] = field(default_factory=dict)
    key: int = 0


def parse(text: str) -> Node:
    """Raises JsoncError."""
    node = _value(text, _blank(text, 0), 0)
    rest = _blank(text, node.end)
    if rest != len(text):
        raise _error(text, rest, "the end of the file")
    return node


def is_empty(text: str) -> bool:
    """Nothing, or comments alone."""
    return _blank(text, 0) == len(text)


def value_at(text: str, path: Sequence[str]) -> tuple[Any, ...]:
    """The value under these keys as the only item; empty where there is none. Raises JsoncError."""
    node = parse("{}" if is_empty(text) else text)
    for key in path:
        if key not in node.members:
            return ()
        node = node.members[key]
    return (node.value,)


def with_key(text: str, path: Sequence[str], value: Any) -> str:
    """The text with `value` under these keys, the last of which is new there. Raises JsoncError
    where the text is none, and where something other than an object is in the way."""
    newline = "\r\n" if "\r\n" in text else "\n"
    if is_empty(text):
        text += ("" if not text or text.endswith("\n") else newline) + "{}" + newline
    node, keys = parse(text), list(path)
    while len(keys) > 1 and keys[0] in node.members:
        node = node.members[keys.pop(0)]
    if not isinstance(node.value, dict):
        raise _error(text, node.start, "an object")
    assert keys[0] not in node.members, "the caller has looked"
    key, *deeper = keys
    for name in reversed(deeper):
        value = {name: value}
    outer = _indentation(text, node.start)
    inner, at = outer + "  ", node.start + 1
    first = min((member.start for member in node.members.values()), default=None)
    if first is None:
        end = newline + outer
    elif "\n" in text[node.start : first]:
        inner, end = _indentation(text, first), ","
    else:
        end = f",{newline}{inner}"
    step = inner.removeprefix(outer) or "  "
    shown = f"{json.dumps(key)}: {json.dumps(value, indent=step, ensure_ascii=False)}"
    made = f"{newline}{shown}".replace("\r\n", "\n").replace("\n", newline + inner)
    result = text[:at] + made + end + text[at:]
    parse(result)
    return result


def without_key(text: str, path: Sequence[str]) -> str:
    """The text without what `value_at` finds, and without an object that has nothing else in it.
    Raises JsoncError."""
    chain = [parse(text)]
    for key in path:
        chain.append(chain[-1].members[key])
    while len(chain) > 2 and _is_alone(text, chain[-2], chain[-1]):
        chain.pop()
    outer, member = chain[-2:]
    start, end, comma = member.key, member.end, _blank(text, member.end)
    if not text.startswith(",", comma):  # it is the last one, so the comma before it goes
        before = [each.end for each in outer.members.values() if each.end <= start]
        comma = _blank(text, max(before)) if before else -1
    cuts = [(start, end)]
    if comma >= 0 and text.startswith(",", comma):
        cuts.append((comma, comma + 1))
    behind = max(end, comma + 1)
    first, last = text.rfind("\n", 0, start) + 1, text.find("\n", behind) + 1
    if last and not text[first:start].strip() and not text[behind:last].strip():
        cuts += [(first, start), (behind, last)]
    elif comma > start:
        cuts.append((behind, behind + len(text[behind:]) - len(text[behind:].lstrip(" \t"))))
    else:
        cuts.append((len(text[:start].rstrip(" \t")), start))
    for begin, stop in sorted(cuts, reverse=True):
        text = text[:begin] + text[stop:]
    parse(text)
    return text


def _is_alone(text: str, outer: Node, member: Node) -> bool:
    """Whether nothing else is in an object, not even a comment."""
    around = text[outer.start + 1 : member.key] + text[member.end : outer.end - 1]
    return not around.replace(",", "").strip()


def _indentation(text: str, at: int) -> str:
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip())]


def _value(text: str, at: int, depth: int) -> Node:
    if depth > _DEEPEST:
        raise _error(text, at, "fewer levels")
    if text.startswith("{", at):
        return _object(text, at, depth)
    if text.startswith("[", at):
        return _array(text, at, depth)
    if match := _SCALAR.match(text, at):
        try:
            return Node(json.loads(match[0], strict=False), at, match.end())
        except ValueError:
            pass
    raise _error(text, at, "a value")


def _object(text: str, start: int, depth: int) -> Node:
    node, at = Node({}, start, start), _blank(text, start + 1)
    while not text.startswith("}", at):
        key = _value(text, at, depth + 1)
        if not isinstance(key.value, str):
            raise _error(text, at, "a key in quotes")
        at = _blank(text, key.end)
        if not text.startswith(":", at):
            raise _error(text, at, "a colon")
        member = _value(text, _blank(text, at + 1), depth + 1)
        node.value[key.value], member.key = member.value, key.start
        # Its place is the key's, except that what is put within it goes behind its bracket.
        node.members[key.value] = member
        at = _behind_comma(text, member.end, "}")
    node.end = at + 1
    return node


def _array(text: str, start: int, depth: int) -> Node:
    values, at = [], _blank(text, start + 1)
    while not text.startswith("]", at):
        item = _value(text, at, depth + 1)
        values.append(item.value)
        at = _behind_comma(text, item.end, "]")
    return Node(values, start, at + 1)


def _behind_comma(text: str, at: int, bracket: str) -> int:
    at = _blank(text, at)
    if text.startswith(",", at):
        return _blank(text, at + 1)
    if not text.startswith(bracket, at):
        raise _error(text, at, f"a comma or {bracket}")
    return at


def _blank(text: str, at: int) -> int:
    """Where white space and comments end."""
    match = _BLANK.match(text, at)
    assert match, "it matches nothing as well"
    return match.end()


def _error(text: str, at: int, wanted: str) -> JsoncError:
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return JsoncError(f"line {line}, column {column} should have {wanted}")
