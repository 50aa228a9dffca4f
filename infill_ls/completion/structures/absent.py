"""A value that is not there at all, laid out from its schema: structure as text, the rest slots."""

import json
from collections.abc import Sequence
from typing import Any

from infill_ls.completion.structures.scalars import Scalars, annotated, dumped
from infill_ls.completion.structures.schema import (
    TYPES,
    Contradiction,
    Schema,
    SchemaError,
    Shape,
    combined,
    pointer,
)
from infill_ls.completion.structures.slots import Piece, composed, joined

# From here on what may be left out is.
_DEEP, _DEEPEST = 4, 40
_ENOUGH, _MOST_VALUES = 200, 5_000
_MOST_TRIED = 64

Path = tuple[str | int, ...]


class Absent:
    """`unit` is one level of indentation; `everything` adds what is optional."""

    def __init__(self, schema: Schema, unit: str, *, everything: bool = False) -> None:
        self.schema = schema
        self.scalars = Scalars(schema)
        self.unit = unit
        self._everything = everything
        self._count = 0

    def value(
        self, raw: Any, path: Path, indent: str | None, *, depth: int = 0, nth: int = 0
    ) -> list[Piece]:
        """Pieces whose fallbacks satisfy the schema; the `nth` way to do so. `indent` is that of
        the line it begins on, None where everything is on one line.

        Raises Contradiction, with the place, where there is none.
        """
        self._count += 1
        if self._count > _MOST_VALUES:
            raise SchemaError(
                f"The schema asks for more than {_MOST_VALUES} values at {pointer(path)}; ask for "
                "a part of it."
            )
        if depth > _DEEPEST:
            raise Contradiction(f"at {pointer(path[:3])} it contains itself without end")
        shape = self.schema.shape(raw)
        why = f"at {pointer(path)} nothing is allowed"
        ways = (
            (each, kind, deep)
            for each in self.schema.alternatives(shape, simple_first=depth > 1)
            for kind in _kinds(each)
            # What may be left out is left out where it is what breaks a rule.
            for deep in sorted({depth, max(depth, _DEEP + 1)})
        )
        for each, kind, deep in ways:
            try:
                pieces = self._of(kind, each, raw, path, indent, deep, nth)
            except Contradiction as error:
                told = str(error)
                why = told if told.startswith("at #") else f"at {pointer(path)} {told}"
                continue
            structured = kind in ("object", "array")
            if not (shape.unions or (structured and shape.looked_at_whole)):
                return joined(pieces)
            complaint = self.schema.complaint(json.loads(composed(pieces)), raw)
            if complaint is None:
                return joined(pieces)
            # Not what is wrong with the value, which nobody wrote.
            rule = complaint.rule[-1] if complaint.rule else "false"
            why = f"at {pointer((*path, *complaint.path))} its {rule!r} leaves no value"
        for value in annotated(shape):
            if nth == 0 and self.schema.valid(value, raw):
                return [dumped(value)]
        raise Contradiction(why)

    def _of(
        self,
        kind: str,
        shape: Shape,
        raw: Any,
        path: Path,
        indent: str | None,
        depth: int,
        nth: int,
    ) -> list[Piece]:
        match kind:
            case "choice":
                return self.scalars.choice(shape.choices or [], raw, nth=nth)
            case "string":
                name = next((part for part in reversed(path) if isinstance(part, str)), "")
                return ['"', self.scalars.string(shape, raw, name=name, nth=nth), '"']
            case "number":
                return [self.scalars.number(shape, raw, nth=nth)]
            case "boolean":
                return self.scalars.choice([True, False], raw, nth=nth)
            case "null":
                return self.scalars.choice([None], raw, nth=nth)
            case "any":
                if nth:
                    return [dumped(nth)]
                return [self.scalars.anything(raw)]
            case "array":
                return self._array(shape, path, indent, depth, nth)
        return self._object(shape, path, indent, depth, nth)

    def _array(
        self, shape: Shape, path: Path, indent: str | None, depth: int, nth: int
    ) -> list[Piece]:
        count = shape.most("minItems")
        if count > (most := shape.least("maxItems", count)):
            raise Contradiction(f"minItems {count} is more than maxItems {most}")
        inside = self._deeper(indent)
        if count == 0 and depth <= _DEEP and shape.least("maxItems", 1) and nth == 0:
            item = shape.of_item(0)
            try:
                if item is not True and item is not False:
                    return self._list(self.items(shape, [], 1, path, inside, depth), indent)
            except Contradiction:
                pass
        if nth and count == 0:
            count = 1 if shape.of_item(0) is not False else 0
        if nth and not count:
            raise Contradiction("no other array satisfies the schema")
        return self._list(self.items(shape, [], count, path, inside, depth, nth=nth), indent)

    def items(
        self,
        shape: Shape,
        there: Sequence[Any],
        count: int,
        path: Path,
        indent: str | None,
        depth: int,
        *,
        nth: int = 0,
    ) -> list[list[Piece]]:
        """So many new items behind those that are there, and what `contains` wants besides. All
        differ where they must."""
        unique = any(shape.all("uniqueItems"))
        taken, new = list(there), list[list[Piece]]()
        wanted = [
            each["contains"]
            for each in shape.conjuncts
            if "contains" in each
            for _ in range(
                each.get("minContains", 1)
                - sum(self.schema.valid(value, each["contains"]) for value in there)
            )
        ]
        for at in range(max(count, len(wanted))):
            place = len(there) + at
            raw = combined([shape.of_item(place), *wanted[at : at + 1]])
            start = nth if at == 0 else 0
            for tried in range(start, start + _MOST_TRIED):
                pieces = self.value(raw, (*path, place), indent, depth=depth + 1, nth=tried)
                value = json.loads(composed(pieces))
                if not unique or dumped(value) not in map(dumped, taken):
                    break
            taken.append(value)
            new.append(pieces)
        return new

    def _object(
        self, shape: Shape, path: Path, indent: str | None, depth: int, nth: int
    ) -> list[Piece]:
        keys = shape.required([])
        optional = [key for key in shape.keys if key not in keys]
        extra = self._everything or not keys
        room = depth <= _DEEP and self._count < _ENOUGH
        may_be_left_out = optional if extra and room and nth == 0 else []
        inside = self._deeper(indent)
        members = self.properties(
            shape, {}, keys, may_be_left_out, path, inside, depth=depth, nth=nth
        )
        return self._list(members, indent, "{}")

    def properties(
        self,
        shape: Shape,
        there: dict[str, Any],
        keys: Sequence[str],
        optional: Sequence[str],
        path: Path,
        indent: str | None,
        *,
        depth: int = 0,
        nth: int = 0,
    ) -> list[list[Piece]]:
        """New properties: those of `keys`, those of `optional` that can be had and find room, and
        as many more as there must be."""
        found = dict[str, list[Piece]]()
        least, most = shape.most("minProperties"), shape.least("maxProperties", 10**9)
        varied = nth == 0
        for key in keys:
            value: list[Piece] | None = None
            if not varied:
                try:
                    value = self._property(shape, key, path, indent, depth, nth)
                    varied = True
                except Contradiction:
                    value = None
            found[key] = value or self._property(shape, key, path, indent, depth, 0)
        short = [*optional, *(key for key in shape.keys if key not in optional)]
        for at, key in enumerate(short):
            room = len(there) + len(found)
            if key in found or key in there or room >= most:
                continue
            if at < len(optional) or room < least:
                try:
                    found[key] = self._property(shape, key, path, indent, depth, 0)
                except Contradiction:
                    continue
        for at in range(_MOST_TRIED):
            if len(there) + len(found) >= least and varied:
                break
            new = self.new_key(shape, at + (0 if varied else nth))
            if new is not None and new not in found and new not in there:
                found[new] = self._property(shape, new, path, indent, depth, 0)
                varied = True
        if not varied:
            raise Contradiction("no other object satisfies the schema")
        return [[f"{dumped(key)}: ", *value] for key, value in found.items()]

    def new_key(self, shape: Shape, nth: int, begin: str = "") -> str | None:
        """A name that is not among the schema's, and allowed by it."""
        names = [{"type": "string", "minLength": 1}, *shape.all("propertyNames")]
        raws = [combined(names)]
        if shape.of_property("\0") is False:
            # Only what a pattern matches.
            patterns = [each for of in shape.all("patternProperties") for each in of]
            raws = [combined([*names, {"pattern": pattern}]) for pattern in patterns]
        for raw in raws:
            for each in self.schema.alternatives(self.schema.shape(raw)):
                try:
                    slot = self.scalars.string(each, raw, begin=begin, name="key", nth=nth)
                except Contradiction:
                    continue
                key: str = json.loads(f'"{slot.fallback}"')
                if (begin + key) and shape.of_property(begin + key) is not False:
                    return begin + key
        return None

    def _property(
        self, shape: Shape, key: str, path: Path, indent: str | None, depth: int, nth: int
    ) -> list[Piece]:
        raw = shape.of_property(key)
        if raw is False:
            raise Contradiction(f"at {pointer(path)} {key!r} is required, and not allowed")
        return self.value(raw, (*path, key), indent, depth=depth + 1, nth=nth)

    def _deeper(self, indent: str | None) -> str | None:
        return None if indent is None else indent + self.unit

    def _list(
        self, members: Sequence[list[Piece]], indent: str | None, ends: str = "[]"
    ) -> list[Piece]:
        if not members:
            return [ends]
        inside = self._deeper(indent)
        between = ", " if inside is None else f",\n{inside}"
        pieces: list[Piece] = [ends[0], "" if inside is None else f"\n{inside}"]
        for at, member in enumerate(members):
            pieces += [between] * bool(at) + member
        return [*pieces, "" if indent is None else f"\n{indent}", ends[1]]


def _kinds(shape: Shape) -> tuple[str, ...]:
    """How a value of the shape may be made, the likeliest first."""
    if shape.never:
        return ()
    if shape.choices is not None:
        return ("choice",)
    if shape.types[: len(TYPES)] == TYPES and not shape.all("type"):
        return ("any", *TYPES)
    return shape.types
