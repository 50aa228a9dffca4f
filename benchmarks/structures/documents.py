"""Random documents of JSON, YAML and TOML that are not finished: cut off, or values missing."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from benchmarks.structures.schemas import WORDS

LANGUAGES = ("json", "yaml", "toml")
_MARK = "zqholezq"
_STRINGS = (
    "",
    "two words",
    "it's",
    'a "quote"',
    "ünïcode 漢",
    "1.2.3",
    "# no comment",
    "a: b",
    "\\",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    language_id: str
    text: str


def documents(count: int, seed: int = 15) -> list[Unfinished]:
    return [_document(random.Random(f"{seed}/{at}"), LANGUAGES[at % 3]) for at in range(count)]


def _document(rng: random.Random, language_id: str) -> Unfinished:
    holes = rng.random() < 0.5
    value = _table(rng, 0, nulls=language_id != "toml", holes=0.3 if holes else 0.0)
    match language_id:
        case "json":
            text = json.dumps(value, indent=rng.choice((None, 2)), ensure_ascii=False)
            text = _marked(rng, text, f'"{_MARK}"')
        case "yaml":
            flow = rng.choice((None, None, False, True))
            text = yaml.safe_dump(
                value, default_flow_style=flow, allow_unicode=True, sort_keys=False
            )
            text = _marked(rng, text, _MARK, always=True)
        case _:
            text = _marked(rng, "\n".join(_toml(value, ())) + "\n", f'"{_MARK}"')
    if not holes or rng.random() < 0.3:
        text = text[: rng.randrange(len(text) + 1)]
    return Unfinished(language_id=language_id, text=text)


def _marked(rng: random.Random, text: str, mark: str, *, always: bool = False) -> str:
    """Holes with a mark or nothing in them; in YAML nothing only at a line's end, where it is a
    value that is missing."""
    first, *others = text.split(mark)
    parts = [first]
    for other in others:
        nothing = rng.random() < 0.5 and (not always or other.startswith("\n"))
        parts += ["" if nothing else "___", other]
    return "".join(parts)


def _table(rng: random.Random, depth: int, *, nulls: bool, holes: float) -> dict[str, Any]:
    keys = rng.sample(WORDS, rng.randrange(1, 6))
    return {key: _any(rng, depth + 1, nulls=nulls, holes=holes) for key in keys}


def _any(rng: random.Random, depth: int, *, nulls: bool, holes: float) -> Any:
    if rng.random() < holes:
        return _MARK
    kind = rng.randrange(7 if depth < 4 else 5)
    match kind:
        case 0:
            return rng.choice((*_STRINGS, *WORDS))
        case 1:
            return rng.choice((rng.randrange(-99, 9999), round(rng.uniform(-9, 9), 3), 1e20))
        case 2:
            return rng.random() < 0.5
        case 3:
            return None if nulls and rng.random() < 0.5 else rng.choice(WORDS)
        case 5:
            return _table(rng, depth, nulls=nulls, holes=holes)
        case _:
            return [_any(rng, depth + 1, nulls=nulls, holes=holes) for _ in range(rng.randrange(4))]


def _toml(table: dict[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Lines: what is no table first, then tables with a header each."""
    for key, value in table.items():
        if not isinstance(value, dict):
            yield f"{key} = {_toml_value(value)}"
    for key, value in table.items():
        if isinstance(value, dict):
            yield f"\n[{'.'.join((*path, key))}]"
            yield from _toml(value, (*path, key))


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{key} = {_toml_value(each)}" for key, each in value.items()) + " }"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, str) and "\\" not in value and "'" not in value and len(value) > 8:
        return f"'{value}'" if value != _MARK else f'"{value}"'
    return json.dumps(value, ensure_ascii=False)
