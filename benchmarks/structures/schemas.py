"""Random schemas, each round a value that satisfies it, and documents of that value that are not
finished. Made without what is measured: a value is drawn, then a schema that has room for it."""

import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

WORDS = (
    *("name", "version", "port", "host", "user", "email", "path", "size", "color", "price"),
    *("total", "items", "tags", "label", "kind", "state", "owner", "group", "level", "limit"),
    *("offset", "query", "title", "body", "image", "token", "script", "build", "target", "source"),
)
_SAMPLES: tuple[tuple[str, Callable[[random.Random], str]], ...] = (
    (r"^[A-Z]{2}-\d{4}$", lambda r: f"{r.choice('ABXY')}{r.choice('CDZ')}-{r.randrange(10000):04}"),
    (r"^\d+\.\d+\.\d+$", lambda r: ".".join(str(r.randrange(20)) for _ in range(3))),
    (r"^(low|mid|high)$", lambda r: r.choice(("low", "mid", "high"))),
    (r"^#[0-9a-f]{6}$", lambda r: f"#{r.randrange(1 << 24):06x}"),
    (r"^[a-z][a-z0-9_]*$", lambda r: f"{r.choice(WORDS)}_{r.randrange(100)}"),
    (r"[0-9]$", lambda r: f"{r.choice(WORDS)} {r.randrange(100)}"),
    (r"^\S+@\S+$", lambda r: f"{r.choice(WORDS)}@{r.choice(WORDS)}"),
    (r"^/(\w+/)*\w*$", lambda r: "/" + "/".join(r.sample(WORDS, r.randrange(3)))),
)
_FORMATS: tuple[tuple[str, Callable[[random.Random], str]], ...] = (
    ("date", lambda r: f"{r.randrange(1970, 2030)}-0{r.randrange(1, 10)}-{r.randrange(10, 29)}"),
    ("email", lambda r: f"{r.choice(WORDS)}@{r.choice(WORDS)}.org"),
    ("ipv4", lambda r: ".".join(str(r.randrange(256)) for _ in range(4))),
    ("date-time", lambda r: f"2024-0{r.randrange(1, 10)}-11T1{r.randrange(10)}:30:00Z"),
    ("uri", lambda r: f"https://{r.choice(WORDS)}.example.com/{r.choice(WORDS)}"),
    ("uuid", lambda r: f"{r.randrange(16**8):08x}-0b1c-4d2e-8f3a-{r.randrange(16**12):012x}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`document` is a part of a text that satisfies the schema: `parts` with holes between them,
    each as it is `marked`, and where it `ends_open` with one behind the last."""

    schema: Any
    parts: tuple[str, ...]
    marked: tuple[str, ...] = ()
    ends_open: bool = False
    how: str  # "cut" | "holes" | "empty"

    @property
    def document(self) -> str:
        first, *others = self.parts
        marked = zip(self.marked, others, strict=True)
        return first + "".join(mark + part for mark, part in marked)


def cases(count: int, seed: int = 17) -> list[Case]:
    return [_case(random.Random(f"{seed}/{at}")) for at in range(count)]


def _case(rng: random.Random) -> Case:
    drawn = _Drawn(rng)
    value, schema = drawn.object(0)
    if drawn.defs:
        schema["$defs"] = drawn.defs
    indent = rng.choice((None, 2, 2, 4))
    text = json.dumps(value, indent=indent, ensure_ascii=rng.random() < 0.5)
    how = rng.choice(("cut", "cut", "cut", "holes", "holes", "empty"))
    parts, ends_open = ("",), True
    if how == "cut":
        parts = (text[: rng.randrange(len(text))],)
    elif how == "holes":
        parts, ends_open = _with_holes(rng, value, indent), rng.random() < 0.3
        if ends_open:
            last = rng.randrange(len(parts))
            parts = (*parts[:last], parts[last][: rng.randrange(1, len(parts[last]) + 1)])
    marked = tuple(rng.choice(("", "___", '"___"')) for _ in parts[1:])
    return Case(schema=schema, parts=parts, marked=marked, ends_open=ends_open, how=how)


def _with_holes(rng: random.Random, value: Any, indent: int | None) -> tuple[str, ...]:
    """The text round some of its values."""
    mark = "\x07"

    def holed(part: Any, top: bool = False) -> Any:
        if not top and rng.random() < 0.3:
            return mark
        if isinstance(part, dict):
            return {key: holed(each) for key, each in part.items()}
        return [holed(each) for each in part] if isinstance(part, list) else part

    return tuple(json.dumps(holed(value, top=True), indent=indent).split(json.dumps(mark)))


@dataclass(slots=True)
class _Drawn:
    rng: random.Random
    defs: dict[str, Any] = field(default_factory=dict)

    def any(self, depth: int) -> tuple[Any, Any]:
        """A value and a schema that it satisfies."""
        rng = self.rng
        makers: list[Callable[[int], tuple[Any, Any]]] = [
            *(self.string, self.string, self.number, self.number, self.boolean),
            *(self.choice, self.null, self.either),
        ]
        if depth < 3:
            makers += [self.object, self.object, self.array, self.array, self.reference]
        value, schema = rng.choice(makers)(depth)
        if rng.random() < 0.05:
            schema = {"allOf": [schema, rng.choice((True, {"description": "any"}, schema))]}
        return value, schema

    def object(self, depth: int) -> tuple[Any, Any]:
        rng = self.rng
        keys = rng.sample(WORDS, rng.randrange(1, 6 if depth else 7))
        properties, value = dict[str, Any](), dict[str, Any]()
        for key in keys:
            of_key, properties[key] = self.any(depth + 1)
            if rng.random() < 0.85:
                value[key] = of_key
        required = [key for key in value if rng.random() < 0.75]
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if required:
            schema["required"] = required
        if rng.random() < 0.6:
            schema["additionalProperties"] = False
        elif rng.random() < 0.3:
            of_extra, schema["additionalProperties"] = self.number(depth)
            value["x_" + rng.choice(WORDS)] = of_extra
        elif rng.random() < 0.2:
            of_extra, of_pattern = self.string(depth)
            schema["patternProperties"] = {"^p_": of_pattern}
            value["p_" + rng.choice(WORDS)] = of_extra
        if rng.random() < 0.1:
            schema["minProperties"] = rng.randrange(len(value) + 1)
        if rng.random() < 0.1:
            schema["maxProperties"] = len(set(value) | set(properties))
        if rng.random() < 0.1 and len(value) > 1:
            first, second = rng.sample(sorted(value), 2)
            schema["dependentRequired"] = {first: [second]}
        return value, schema

    def array(self, depth: int) -> tuple[Any, Any]:
        rng = self.rng
        if rng.random() < 0.15:
            drawn = [self.any(depth + 1) for _ in range(rng.randrange(1, 4))]
            schema = {"type": "array", "prefixItems": [each for _, each in drawn], "items": False}
            if rng.random() < 0.5:
                schema["minItems"] = len(drawn)
            return [value for value, _ in drawn], schema
        first, items = self.any(depth + 1)
        value = [first] * rng.randrange(1, 5)
        schema = {"type": "array", "items": items}
        if rng.random() < 0.5:
            schema["minItems"] = rng.randrange(len(value) + 1)
        if rng.random() < 0.5:
            schema["maxItems"] = len(value) + rng.randrange(3)
        if rng.random() < 0.2:
            value = rng.sample(WORDS, rng.randrange(1, 5))
            schema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
            schema["minItems"] = len(value)
        return value, schema

    def string(self, _: int) -> tuple[Any, Any]:
        rng = self.rng
        kind = rng.randrange(4)
        if kind == 0:
            pattern, sample = rng.choice(_SAMPLES)
            value, schema = sample(rng), {"type": "string", "pattern": pattern}
        elif kind == 1:
            name, sample = rng.choice(_FORMATS)
            return sample(rng), {"type": "string", "format": name}
        else:
            letters = string.ascii_letters + " äß\"\\\n/'漢😀-_"
            value = "".join(rng.choice(letters) for _ in range(rng.randrange(12)))
            schema = {"type": "string"}
        if rng.random() < 0.4:
            schema["minLength"] = rng.randrange(len(value) + 1)
        if rng.random() < 0.4:
            schema["maxLength"] = len(value) + rng.randrange(8)
        return value, schema

    def number(self, _: int) -> tuple[Any, Any]:
        rng = self.rng
        if rng.random() < 0.6:
            value: Any = rng.randrange(-50, 10_000)
            schema: dict[str, Any] = {"type": "integer"}
            if rng.random() < 0.3 and value:
                schema["multipleOf"] = rng.choice([d for d in (1, 2, 3, 5, 10) if value % d == 0])
        else:
            value = rng.choice((round(rng.uniform(-5, 90), 2), rng.randrange(100) / 4))
            schema = {"type": "number"}
        if rng.random() < 0.5:
            schema["minimum"] = value - rng.randrange(5)
        elif rng.random() < 0.3:
            schema["exclusiveMinimum"] = value - 0.5
        if rng.random() < 0.5:
            schema["maximum"] = value + rng.randrange(500)
        elif rng.random() < 0.3:
            schema["exclusiveMaximum"] = value + 1
        return value, schema

    def boolean(self, _: int) -> tuple[Any, Any]:
        return self.rng.random() < 0.5, {"type": "boolean"}

    def null(self, depth: int) -> tuple[Any, Any]:
        value, schema = self.string(depth)
        nullable = schema | {"type": ["string", "null"]}
        return (None if self.rng.random() < 0.5 else value), nullable

    def choice(self, _: int) -> tuple[Any, Any]:
        options: list[Any] = self.rng.sample(WORDS, self.rng.randrange(1, 6))
        if self.rng.random() < 0.3:
            options += self.rng.sample((1, 2.5, None, True, [], {"a": 1}), 2)
        if self.rng.random() < 0.2:
            return options[0], {"const": options[0]}
        return self.rng.choice(options), {"enum": options}

    def either(self, depth: int) -> tuple[Any, Any]:
        """anyOf with others, or oneOf of objects that a constant tells apart."""
        if self.rng.random() < 0.5 or depth >= 3:
            one, other = self.any(max(depth + 1, 3)), self.any(max(depth + 1, 3))
            return one[0], {"anyOf": self.rng.sample((one[1], other[1]), 2)}
        kinds = self.rng.sample(WORDS, 3)
        branches, values = [], []
        for kind in kinds:
            value, schema = self.object(max(depth + 1, 2))
            schema["properties"]["type"] = {"const": kind}
            schema["required"] = [*schema.get("required", []), "type"]
            if "maxProperties" in schema:
                schema["maxProperties"] += 1
            branches.append(schema)
            values.append({"type": kind, **value})
        return self.rng.choice(values), {"oneOf": branches}

    def reference(self, depth: int) -> tuple[Any, Any]:
        value, schema = self.any(depth + 1)
        name = f"d{len(self.defs)}"
        self.defs[name] = schema
        if self.rng.random() < 0.3 and schema.get("type") == "object" and "properties" in schema:
            # It may contain itself.
            schema["properties"]["next"] = {
                "anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]
            }
            value = {**value, "next": None} if "maxProperties" not in schema else value
        return value, {"$ref": f"#/$defs/{name}"}
