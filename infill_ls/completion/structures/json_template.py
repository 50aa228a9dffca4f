"""From a JSON document that is not finished, and a schema, to a template that satisfies it.

What stands in the document stays as it is, character by character; values that are missing are
laid out, and what is open is closed.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from infill_ls.completion.structures.absent import Absent, Path
from infill_ls.completion.structures.json_text import HOLE, DocumentError, Member, Node, read, where
from infill_ls.completion.structures.scalars import dumped, inner
from infill_ls.completion.structures.schema import (
    Contradiction,
    Schema,
    SchemaError,
    Shape,
    combined,
    exactly,
    pointer,
)
from infill_ls.completion.structures.slots import Edit, Piece, Slot, composed, joined, spliced

_UNIT = "  "
_MOST_TRIED = 64


def json_template(text: str, schema: Schema, *, everything: bool = False) -> list[Piece]:
    """Pieces that are the document, finished. Raises DocumentError where no text could finish it,
    and SchemaError where no value satisfies the schema."""
    root = read(text)
    builder = _Builder(text, schema, everything=everything)
    try:
        edits = builder.present(root, schema.root, ())
    except Contradiction as why:
        if why.offset is None:
            raise SchemaError(
                f"No value was found that satisfies the schema: {why}. Correct it there, or give a "
                "default or examples."
            ) from None
        raise DocumentError(
            f"{where(text, why.offset)}: {why}. Change the document there, or the schema."
        ) from None
    if root.end < len(text) and not root.whole:
        # Half an escape, and white space that would stand before what closes.
        edits.append(Edit(start=root.end, end=len(text), pieces=("\n",) * text.endswith("\n")))
    pieces = joined(spliced(text, 0, len(text), edits))
    value = json.loads(composed(pieces))
    if (wrong := schema.complaint(value, schema.root)) is not None:
        if text.strip() in ("", HOLE):
            raise SchemaError(
                f"No value was found that satisfies the schema: {pointer(wrong.rule)} of it "
                "leaves none. Correct it there, or give a default or examples."
            )
        raise SchemaError(
            f"At {pointer(wrong.path)} of the document {wrong.message}, and nothing that "
            "could be filled in changes that; change the document there, or the schema."
        )
    return pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """How new members of a container are set: `lead` before the first, `between` them, and
    `close` before the end where it is not there yet."""

    lead: str
    between: str
    close: str
    indent: str | None


class _Builder:
    def __init__(self, text: str, schema: Schema, *, everything: bool) -> None:
        self._text = text
        self._schema = schema
        self._multiline = "\n" in text.strip() or not text.strip("[]{} \t\r\n")
        self._absent = Absent(schema, self._unit(), everything=everything)
        self._everything = everything

    def present(self, node: Node, raw: Any, path: Path, nth: int = 0) -> list[Edit]:
        """What to change in a value so that it satisfies the schema; the `nth` way to do so, where
        there are several. Raises Contradiction."""
        if node.kind == "hole":
            return [self._filled(node, raw, path, nth)]
        if node.kind in ("string", "number", "literal"):
            return self._scalar(node, raw, nth)
        shape = self._schema.shape(raw)
        worst: Contradiction | None = None
        for each in self._listed(node, self._schema.alternatives(shape)):
            try:
                edits = self._container(node, each, path)
                pieces = spliced(self._text, node.start, node.end, edits)
                if shape.unions or shape.looked_at_whole or shape.all("enum"):
                    self._check(composed(pieces), raw, node)
                return edits
            except Contradiction as why:
                if worst is None or (why.offset or 0) > (worst.offset or 0):
                    worst = why
        raise worst or Contradiction("the schema allows nothing here", node.start)

    def _listed(self, node: Node, shapes: Iterator[Shape]) -> Iterator[Shape]:
        """The shapes; one that lists values as one for each that the node may become."""
        for shape in shapes:
            if shape.choices is None:
                yield shape
                continue
            kind = dict if node.kind == "object" else list
            for value in shape.choices:
                if isinstance(value, kind):
                    yield self._schema.shape(exactly(value))

    def _check(self, text: str, raw: Any, node: Node) -> None:
        complaint = self._schema.complaint(json.loads(text), raw)
        if complaint is not None:
            raise Contradiction(_sentence(complaint.message), node.start)

    def _filled(self, node: Node, raw: Any, path: Path, nth: int) -> Edit:
        """A value in place of a hole, with a space between it and a colon."""
        indent = self._line_indent(node.start) if self._multiline else None
        try:
            pieces = self._absent.value(raw, path, indent, nth=nth)
        except Contradiction as why:
            if self._text.strip() in ("", HOLE):
                raise
            raise Contradiction(f"no value can be put here: {why}", node.start) from None
        behind_colon = self._text[node.start - 1 : node.start] == ":"
        return Edit(start=node.start, end=node.end, pieces=(" " * behind_colon, *pieces))

    def _scalar(self, node: Node, raw: Any, nth: int) -> list[Edit]:
        text, why = self._text, ""
        at_end = not text[node.end :].strip()
        if node.whole:
            complaint = self._schema.complaint(node.value, raw)
            if complaint is None and nth == 0:
                return []
            why = _sentence(complaint.message) if complaint else "it is there twice"
            if not (node.kind == "number" and at_end):
                raise Contradiction(why, node.start)
        for shape in self._schema.alternatives(self._schema.shape(raw)):
            try:
                pieces = self._finished(node, shape, raw, nth)
                self._check(text[node.start : node.end] + composed(pieces), raw, node)
                return [Edit(start=node.end, end=node.end, pieces=tuple(pieces))]
            except Contradiction as error:
                why = why or _sentence(str(error))
        raise Contradiction(why or "the schema allows nothing here", node.start)

    def _finished(self, node: Node, shape: Shape, raw: Any, nth: int) -> list[Piece]:
        """What is missing of a value that is cut off."""
        begun = self._text[node.start : node.end]
        scalars = self._absent.scalars
        if shape.choices is not None:
            begin = dumped(node.value)[:-1] if node.kind == "string" else begun
            return scalars.choice(shape.choices, raw, begin=begin, nth=nth)
        wanted = {"string": "string", "number": "number", "literal": "boolean"}[node.kind]
        if wanted not in shape.types and not (node.kind == "literal" and "null" in shape.types):
            raise Contradiction(f"{begun[:30]} begins no {' or '.join(shape.types)}")
        if node.kind == "string":
            return [scalars.string(shape, raw, begin=node.value, nth=nth), '"']
        if node.kind == "number":
            return [scalars.number(shape, raw, begin=begun, nth=nth)]
        return scalars.choice([True, False, None], raw, begin=begun, nth=nth)

    def _container(self, node: Node, shape: Shape, path: Path) -> list[Edit]:
        if node.kind not in shape.types:
            raise Contradiction(
                f"here is an {node.kind}, and the schema wants {' or '.join(shape.types)}",
                node.start,
            )
        return (self._object if node.kind == "object" else self._array)(node, shape, path)

    def _array(self, node: Node, shape: Shape, path: Path) -> list[Edit]:
        edits: list[Edit] = []
        most = shape.least("maxItems", 10**9)
        there: list[Any] = []
        unique = any(shape.all("uniqueItems"))
        for at, member in enumerate(node.members):
            raw = shape.of_item(at)
            if raw is False or at >= most:
                raise Contradiction(f"the schema wants no more than {at} items", member.value.start)
            for nth in range(_MOST_TRIED):
                found = self.present(member.value, raw, (*path, at), nth)
                pieces = spliced(self._text, member.value.start, member.value.end, found)
                value = json.loads(composed(pieces))
                if not (unique and found and dumped(value) in map(dumped, there)):
                    break
            edits += found
            there.append(value)
        count = max(shape.most("minItems") - len(there), 0)
        may_follow = len(there) < most and shape.of_item(len(there)) is not False
        # A comma at the end of what there is so far says that something follows.
        count = max(count, int(node.comma is not None and not node.whole and may_follow))
        layout = self._layout(node)
        depth = len(path)
        new = self._absent.items(shape, there, count, path, layout.indent, min(depth, 2))
        return [*edits, *self._closed(node, new, layout)]

    def _object(self, node: Node, shape: Shape, path: Path) -> list[Edit]:
        edits: list[Edit] = []
        there: dict[str, Any] = {}
        begun: Member | None = None
        names = combined(shape.all("propertyNames"))
        for member in node.members:
            key = member.key
            assert key is not None, "an object's members have keys"
            if not (key.whole and member.colon):
                begun = member
                break
            raw = shape.of_property(key.value)
            if raw is False or not self._schema.valid(key.value, names):
                close = get_close_matches(key.value, shape.keys, n=1)
                meant = f"; it has {close[0]!r}" if close else ""
                raise Contradiction(f"the schema has no property {key.value!r}{meant}", key.start)
            found = self.present(member.value, raw, (*path, key.value))
            edits += found
            pieces = spliced(self._text, member.value.start, member.value.end, found)
            there[key.value] = json.loads(composed(pieces).strip())
        layout = self._layout(node)
        if begun is not None:
            edit, key_name = self._key(begun, shape, there, path, layout)
            edits.append(edit)
            there[key_name] = None
        missing = shape.required(list(there))
        optional = shape.keys if self._everything else []
        if node.comma is not None and not node.whole and not missing:
            optional = self._one_more(shape, there, optional)
        new = self._absent.properties(
            shape, there, missing, optional, path, layout.indent, depth=min(len(path), 2)
        )
        if node.comma is not None and not node.whole and not new:
            key_name = self._absent.new_key(shape, 0) or ""
            if (
                key_name
                and key_name not in there
                and len(there) < shape.least("maxProperties", 10**9)
            ):
                raw = shape.of_property(key_name)
                value = self._absent.value(raw, (*path, key_name), layout.indent)
                new = [['"', self._free_key(shape, there, "", key_name), '": ', *value]]
        return [*edits, *self._closed(node, new, layout)]

    def _one_more(self, shape: Shape, there: dict[str, Any], optional: list[str]) -> list[str]:
        """A property to follow a comma at the end: the next that the schema names."""
        left = [key for key in shape.keys if key not in there]
        return optional or left[:1]

    def _key(
        self, member: Member, shape: Shape, there: dict[str, Any], path: Path, layout: _Layout
    ) -> tuple[Edit, str]:
        """The rest of a property whose name is all there is, or a part of it; and its name."""
        key = member.key
        assert key is not None, "it has begun"
        begin: str = key.value
        pieces: list[Piece] = []
        if key.whole:
            name = begin
        else:
            wanted = [*shape.required(list(there)), *shape.keys]
            named = [each for each in wanted if each.startswith(begin) and each not in there]
            if named:
                name = named[0]
                pieces = [inner(name[len(begin) :]), '"']
            else:
                tried = (self._absent.new_key(shape, at, begin) for at in range(20))
                name = next((each for each in tried if each and each not in there), "")
                if not name:
                    raise Contradiction(
                        f"no property of the schema begins with {begin!r}", key.start
                    )
                pieces = [self._free_key(shape, there, begin, name), '"']
        raw = shape.of_property(name)
        if raw is False or name in there:
            again = "is there already" if name in there else "is not in the schema"
            raise Contradiction(f"the property {name!r} {again}", key.start)
        value = self._absent.value(raw, (*path, name), layout.indent)
        return Edit(start=key.end, end=key.end, pieces=(*pieces, ": ", *value)), name

    def _free_key(self, shape: Shape, there: dict[str, Any], begin: str, name: str) -> Slot:
        """A name that the engine may choose; what the schema says of it must stay the same."""
        names, of_name = combined(shape.all("propertyNames")), shape.of_property(name)

        def fit(proposal: str) -> str | None:
            said = begin + proposal.partition('"')[0].strip()
            taken = said in there or said == begin or not said.isprintable() or "\\" in said
            if taken or said in shape.keys or shape.of_property(said) != of_name:
                return None
            return inner(said[len(begin) :]) if self._schema.valid(said, names) else None

        return Slot(fallback=inner(name[len(begin) :]), fit=fit, max_tokens=6)

    def _closed(self, node: Node, new: list[list[Piece]], layout: _Layout) -> list[Edit]:
        """New members behind the others, and the container's end where it is missing."""
        pieces: list[Piece] = []
        for at, member in enumerate(new):
            pieces += [layout.between if at else layout.lead, *member]
        end = "}" if node.kind == "object" else "]"
        edits: list[Edit] = []
        if node.comma is not None and not new:
            edits.append(Edit(start=node.comma, end=node.comma + 1, pieces=()))
        if not node.whole:
            filled = bool(node.members or new)
            pieces += [layout.close if filled else "", end]
            at = node.end
            return [*edits, Edit(start=at, end=at, pieces=tuple(pieces))]
        if not new:
            return edits
        if node.comma is not None:
            at = node.comma + 1
            end_at = at if layout.indent is not None else node.end - 1
            return [Edit(start=at, end=end_at, pieces=tuple(pieces))]
        if node.members:
            at = node.members[-1].value.end
        else:
            inside = Edit(start=node.start + 1, end=node.end - 1, pieces=(*pieces, layout.close))
            return [inside]
        return [Edit(start=at, end=at, pieces=tuple(pieces))]

    def _layout(self, node: Node) -> _Layout:
        outer = self._line_indent(node.start)
        first = None
        if node.members:
            first = node.members[0].key or node.members[0].value
        if first is not None:
            gap = self._text[node.start + 1 : first.start]
            indent = gap.rpartition("\n")[2] if "\n" in gap else None
        else:
            indent = outer + self._absent.unit if self._multiline else None
        if indent is None:
            lead = " " if node.comma is not None else ", " if node.members else ""
            return _Layout(lead=lead, between=", ", close="", indent=None)
        comma = "," if node.members and node.comma is None else ""
        line = f"\n{indent}"
        return _Layout(lead=comma + line, between="," + line, close=f"\n{outer}", indent=indent)

    def _line_indent(self, at: int) -> str:
        line = self._text[self._text.rfind("\n", 0, at) + 1 : at]
        return line[: len(line) - len(line.lstrip(" \t"))]

    def _unit(self) -> str:
        """One level of indentation: that of the document's first indented line."""
        for line in self._text.split("\n"):
            content = line.lstrip(" \t")
            if content and line != content:
                return line[: len(line) - len(content)]
        return _UNIT


def _sentence(message: str) -> str:
    return message.rstrip(".")
