"""A JSON Schema, checked, and what it says of one value: without references, alternatives apart.

What is not understood here is still held against the whole document by `jsonschema`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from urllib.parse import unquote

import jsonschema
from jsonschema.exceptions import SchemaError as NotASchema
from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for
from referencing.jsonschema import EMPTY_REGISTRY

from infill_engine import RequestError
from infill_ls.completion.structures.keywords import with_our_patterns
from infill_ls.completion.structures.patterns import (
    UnreadablePattern,
    UnsupportedPattern,
    check,
    is_found,
    is_plain,
)

_BRIEF = 100  # characters
TYPES = ("string", "number", "object", "array", "boolean", "null")
# What tells the type of a schema that does not name it.
_HINTS = {
    "object": ("properties", "required", "additionalProperties", "patternProperties",
               "minProperties", "maxProperties", "propertyNames", "dependentRequired"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength", "pattern", "format"),
}  # fmt: skip
# Values, not schemas: what looks like a reference there is none.
_NAMES = (("properties",), ("patternProperties",), ("$defs",), ("definitions",))
_DATA = ("enum", "const", "default", "examples", "example")
# Where several conjuncts have one, or where only the finished value tells.
LOOKED_AT_WHOLE = frozenset(
    (
        *("not", "contains", "uniqueItems", "minProperties", "maxProperties", "propertyNames"),
        *("dependentRequired", "dependentSchemas", "dependencies"),
        *("unevaluatedProperties", "unevaluatedItems"),
    )
)


class SchemaError(RequestError):
    """The schema is none, is not supported, or can be met by no value; with the place in it."""


class Contradiction(Exception):
    """What stands in the document, or what another part of the schema says, cannot be met.

    `offset` is the place in the document, None where it says nothing of it.
    """

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong, at which `path` of the value, and by which `rule` of the schema."""

    message: str
    path: tuple[str | int, ...]
    rule: tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """All of `conjuncts` hold, and one of each of `unions`. `never`: nothing satisfies it."""

    conjuncts: tuple[dict[str, Any], ...] = ()
    unions: tuple[tuple[Any, ...], ...] = ()
    never: bool = False

    def all(self, keyword: str) -> list[Any]:
        return [each[keyword] for each in self.conjuncts if keyword in each]

    def most(self, keyword: str, otherwise: int = 0) -> int:
        """The strictest lower bound."""
        return max([otherwise, *map(int, self.all(keyword))])

    def least(self, keyword: str, otherwise: int) -> int:
        return min([otherwise, *map(int, self.all(keyword))])

    @property
    def types(self) -> tuple[str, ...]:
        """Those a value may have, the likeliest first: as they are listed, null last."""
        named = [[each] if isinstance(each, str) else list(each) for each in self.all("type")]
        if not named:
            hinted = [name for name, words in _HINTS.items() if any(map(self.all, words))]
            return (*hinted, *(name for name in TYPES if name not in hinted))
        lists = [["number" if name == "integer" else name for name in each] for each in named]
        kept = [name for name in dict.fromkeys(lists[0]) if all(name in each for each in lists)]
        return tuple(sorted(kept, key="null".__eq__))

    @property
    def integral(self) -> bool:
        """Whether its numbers must be whole."""
        return any("number" not in each and "integer" in each for each in self.all("type"))

    @property
    def looked_at_whole(self) -> bool:
        return any(not LOOKED_AT_WHOLE.isdisjoint(each) for each in self.conjuncts)

    @property
    def choices(self) -> list[Any] | None:
        """The values that are listed; None where none are."""
        listed = [*self.all("enum"), *([value] for value in self.all("const"))]
        if not listed:
            return None
        return [each for each in listed[0] if all(_among(each, others) for others in listed[1:])]

    @property
    def keys(self) -> list[str]:
        """The properties that are named."""
        return list(dict.fromkeys(key for each in self.all("properties") for key in each))

    def required(self, there: Sequence[str]) -> list[str]:
        """What an object with these properties must have besides, closed under dependencies."""
        wanted = [key for each in self.all("required") if isinstance(each, list) for key in each]
        depends: dict[str, list[str]] = {}
        for each in (*self.all("dependentRequired"), *self.all("dependencies")):
            for key, others in each.items():
                if isinstance(others, list):
                    depends.setdefault(key, []).extend(others)
        found = dict.fromkeys(there)
        waiting = [*wanted, *(other for key in there for other in depends.get(key, ()))]
        while waiting:
            key = waiting.pop(0)
            if key not in found:
                found[key] = None
                waiting += depends.get(key, ())
        order = {key: at for at, key in enumerate(self.keys)}
        missing = [key for key in found if key not in there]
        return sorted(missing, key=lambda key: order.get(key, len(order)))

    def of_property(self, key: str) -> Any:
        """The schema of a property's value; False where there must be none of that name."""
        found, evaluated = [], False
        for each in self.conjuncts:
            own = [each["properties"][key]] if key in each.get("properties", ()) else []
            for pattern, of_pattern in each.get("patternProperties", {}).items():
                own += [of_pattern] if is_found(pattern, key) else []
            evaluated |= bool(own)
            found += own or (
                [each["additionalProperties"]] if "additionalProperties" in each else []
            )
        if not evaluated:
            found += self.all("unevaluatedProperties")
        return combined(found)

    def of_item(self, at: int) -> Any:
        found = []
        for each in self.conjuncts:
            items = each.get("items")
            listed = items if isinstance(items, list) else each.get("prefixItems", [])
            if at < len(listed):
                found.append(listed[at])
            elif isinstance(items, list):
                found.append(each.get("additionalItems", True))
            elif items is not None:
                found.append(items)
            elif "unevaluatedItems" in each:
                found.append(each["unevaluatedItems"])
        return combined(found)


def _among(value: Any, others: Sequence[Any]) -> bool:
    """JSON's equality: 1 is 1.0 and is not true."""
    return any(
        value == other and isinstance(value, bool) == isinstance(other, bool) for other in others
    )


def combined(schemas: Sequence[Any]) -> Any:
    """One that says what all of them do."""
    said = [each for each in schemas if each is not True and each != {}]
    if any(each is False for each in said):
        return False
    return True if not said else said[0] if len(said) == 1 else {"allOf": said}


def exactly(value: Any) -> dict[str, Any]:
    """A schema of this value alone that says it part by part, for one that is there in part."""
    if isinstance(value, dict):
        parts = {key: exactly(each) for key, each in value.items()}
        return {
            "type": "object",
            "properties": parts,
            "required": [*value],
            "additionalProperties": False,
        }
    if isinstance(value, list):
        count = len(value)
        items = [exactly(each) for each in value]
        return {"type": "array", "prefixItems": items, "minItems": count, "maxItems": count}
    return {"const": value}


class Schema:
    """A schema and its validator. Raises SchemaError where it is none or reaches out of itself."""

    def __init__(self, root: Any) -> None:
        self.root: Any = root
        if not isinstance(self.root, dict | bool):
            raise SchemaError(
                f"The schema is {_kind(root)}; a JSON Schema is an object, or true or false."
            )
        kind: Any = validator_for(root, default=jsonschema.Draft202012Validator)
        if kind is jsonschema.Draft3Validator:
            raise SchemaError("The schema is of draft 3, which is not supported; take a later one.")
        for path, each in _leaves(root):
            if isinstance(each, float) and not math.isfinite(each):
                raise SchemaError(
                    f"The schema has a number at {pointer(path)} that is none in JSON, or is too "
                    "large. Correct it there."
                )
        try:
            kind.check_schema(self.root)
        except NotASchema as error:
            raise SchemaError(
                f"The schema is not valid at {pointer(error.absolute_path)}: {_message(error)}. "
                "Correct it there."
            ) from None
        _check_patterns(root)
        self.root = _undeclared(root)
        # With a registry of its own it fetches nothing.
        self._validator = with_our_patterns(kind)(
            self.root, format_checker=kind.FORMAT_CHECKER, registry=EMPTY_REGISTRY
        )
        for each, path in _schemas(root) if isinstance(root, dict) else ():
            for keyword in _REFERENCES:
                reference = each.get(keyword)
                if isinstance(reference, str) and self._resolved(reference) is None:
                    raise SchemaError(
                        f"The {keyword} {reference!r} at {pointer(path)} of the schema leads "
                        "nowhere in it; put what it names into $defs of the same file."
                    )

    def valid(self, value: Any, schema: Any) -> bool:
        try:
            return bool(self._validator.evolve(schema=schema).is_valid(value))
        except OverflowError:
            return False

    def complaint(self, value: Any, schema: Any) -> Complaint | None:
        """What is wrong with a value; None where nothing is."""
        try:
            error = best_match(self._validator.evolve(schema=schema).iter_errors(value))
        except OverflowError:
            return Complaint("a number is too large to be compared", (), ())
        if error is None:
            return None
        return Complaint(
            _message(error), tuple(error.absolute_path), tuple(error.absolute_schema_path)
        )

    def shape(self, schema: Any) -> Shape:
        return self._flat(schema, frozenset())

    def _flat(self, schema: Any, seen: frozenset[str]) -> Shape:
        if isinstance(schema, bool):
            return Shape(never=not schema)
        shape = Shape()
        own = {key: value for key, value in schema.items() if key not in _ELSEWHERE}
        if own:
            shape = replace(shape, conjuncts=(own,))
        for keyword in _REFERENCES:
            if keyword in schema and schema[keyword] not in seen:
                reference = schema[keyword]
                shape = _both(shape, self._flat(self._resolved(reference), seen | {reference}))
        for each in schema.get("allOf", ()):
            shape = _both(shape, self._flat(each, seen))
        unions = [tuple(schema[keyword]) for keyword in ("anyOf", "oneOf") if keyword in schema]
        if "if" in schema:
            then, otherwise = schema.get("then", True), schema.get("else", True)
            unions.append((combined([schema["if"], then]), otherwise))
        return replace(shape, unions=(*shape.unions, *unions))

    def alternatives(self, shape: Shape, *, simple_first: bool = False) -> Iterator[Shape]:
        """The shape without unions, for each way to choose among them."""
        if shape.never:
            return
        if not shape.unions:
            yield shape
            return
        first, *others = shape.unions
        if simple_first:
            first = tuple(sorted(first, key=lambda each: _weight(each)))
        for branch in first:
            chosen = _both(replace(shape, unions=tuple(others)), self.shape(branch))
            yield from self.alternatives(chosen, simple_first=simple_first)

    @cached_property
    def _anchors(self) -> dict[str, Any]:
        return {
            schema[keyword]: schema
            for schema, _ in _schemas(self.root)
            for keyword in ("$anchor", "$dynamicAnchor")
            if isinstance(schema.get(keyword), str)
        }

    def _resolved(self, reference: str) -> Any:
        """The schema that a reference within the document names; None where there is none."""
        own = self.root.get("$id", self.root.get("id", "")) if isinstance(self.root, dict) else ""
        where, _, fragment = reference.partition("#")
        if where and (not isinstance(own, str) or where != own.rstrip("#")):
            return None
        if not fragment:
            return self.root
        if not fragment.startswith("/"):
            return self._anchors.get(fragment)
        found: Any = self.root
        for part in unquote(fragment).split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(part)] if isinstance(found, list) else found[part]
            except (KeyError, IndexError, ValueError, TypeError):
                return None
        return found if isinstance(found, dict | bool) else None


_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_ELSEWHERE = {*_REFERENCES, "allOf", "anyOf", "oneOf", "if", "then", "else"}


def _both(one: Shape, other: Shape) -> Shape:
    return Shape(
        conjuncts=(*one.conjuncts, *other.conjuncts),
        unions=(*one.unions, *other.unions),
        never=one.never or other.never,
    )


def _weight(schema: Any) -> int:
    """How far a branch may lead: a reference or a structure further than a plain value."""
    if isinstance(schema, bool):
        return 1
    if "$ref" in schema or "allOf" in schema or "anyOf" in schema or "oneOf" in schema:
        return 3
    kind = schema.get("type")
    return 2 if kind in ("object", "array") or "properties" in schema else 0


def _schemas(
    schema: Any, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[dict[str, Any], tuple[str | int, ...]]]:
    """Every object in a schema that may be one itself, and where it is."""
    if isinstance(schema, dict):
        yield schema, path
    children = schema.items() if isinstance(schema, dict) else enumerate(schema)
    named = path[-1:] in _NAMES
    for key, child in children:
        if isinstance(child, dict | list) and (named or key not in _DATA):
            yield from _schemas(child, (*path, key))


def _check_patterns(root: Any) -> None:
    """Raises SchemaError where one is not supported."""
    schemas = list(_schemas(root)) if isinstance(root, dict) else []
    looked_at = any("unevaluatedProperties" in each for each, _ in schemas)
    for each, path in schemas:
        names = each.get("patternProperties")
        names = list(names) if isinstance(names, dict) else []
        own = each.get("pattern")
        places = [((*path, "patternProperties", name), name) for name in names]
        if isinstance(own, str):
            places.append(((*path, "pattern"), own))
        for place, pattern in places:
            try:
                check(pattern)
                if looked_at and pattern in names and not is_plain(pattern):
                    raise UnsupportedPattern(
                        "beside unevaluatedProperties one may branch or repeat twice, and repeat "
                        "single characters"
                    )
            except UnreadablePattern:
                pass  # no schema is there, or it would have been refused
            except UnsupportedPattern as why:
                raise SchemaError(
                    f"At {pointer(place)} the pattern {brief(pattern)} is not supported: {why}. "
                    "Write it more simply there."
                ) from None


def _undeclared(schema: Any, path: tuple[str | int, ...] = ()) -> Any:
    """Without `$schema`, by which jsonschema would leave our class of validators for its own."""
    if isinstance(schema, list):
        return [_undeclared(child, (*path, at)) for at, child in enumerate(schema)]
    if not isinstance(schema, dict):
        return schema
    named = path[-1:] in _NAMES
    return {
        key: child if key in _DATA and not named else _undeclared(child, (*path, key))
        for key, child in schema.items()
        if named or key != "$schema"
    }


def _leaves(
    value: Any, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every plain value in one of JSON, and where it is."""
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(child, (*path, key))
    else:
        yield path, value


def _message(error: Any) -> str:
    """What jsonschema says of a value, which it repeats as a whole."""
    said: str = error.message
    return said.replace(repr(error.instance), brief(error.instance))


def brief(value: Any) -> str:
    """A value in at most so many characters that a sentence with it can be read."""
    whole = repr(value)
    return whole if len(whole) <= _BRIEF else f"{whole[: _BRIEF - 1]}…"


def pointer(path: Sequence[str | int]) -> str:
    """A place as a JSON Pointer, as `$ref` writes it."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return "#" + "".join(f"/{part}" for part in parts)


def _kind(value: Any) -> str:
    names = {str: "a string", list: "an array", type(None): "null"}
    return names.get(type(value), "a number")
