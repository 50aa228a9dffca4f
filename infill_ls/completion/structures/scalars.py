"""Slots for plain values of a schema: strings, numbers, and one of several.

Each knows a value that holds whatever the model says, and brings what it says as near as may be.
"""

import json
import re
import string
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from typing import Any

from infill_ls.completion.structures.formats import FORMATS, RIGHT
from infill_ls.completion.structures.numbers import NUMBER, beginning_with, range_of, written
from infill_ls.completion.structures.patterns import LONGEST_MADE, UnsupportedPattern, nearest
from infill_ls.completion.structures.schema import Contradiction, Schema, Shape, brief
from infill_ls.completion.structures.slots import Piece, Slot, one_of

_LONGEST, _TOKENS = 1_000_000, 12
_STRING_PART = re.compile(r'(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')
ALPHANUMERIC = string.ascii_letters + string.digits
_BARE = re.compile(r"[A-Za-z][\w./ -]*")
_OTHERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def inner(value: str) -> str:
    """A string as JSON has it between the quotes."""
    return json.dumps(value, ensure_ascii=False)[1:-1]


def dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def quoted(text: str) -> Iterator[str]:
    """A word or several without quotes, in quotes."""
    if found := _BARE.match(text):
        yield f'"{found.group().strip()}"'


class Scalars:
    """Of one schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def choice(self, options: list[Any], raw: Any, *, begin: str = "", nth: int = 0) -> list[Piece]:
        """One of the values, behind what there is of it. Raises Contradiction."""
        # They are looked up there already, and each would be again, among all.
        if isinstance(raw, dict):
            raw = {key: value for key, value in raw.items() if key not in ("enum", "const")}
        texts = [dumped(each) for each in options if self._schema.valid(each, raw)]
        left = [each[len(begin) :] for each in texts if each.startswith(begin)]
        if left and nth >= len(left):
            raise Contradiction("there are not enough different values")
        if not left and not begin:
            raise Contradiction("none of the values that are listed is allowed")
        if not left:
            raise Contradiction(f"none of the values of the schema begins with {begin}")
        if not begin and all(each.startswith('"') for each in left):
            return ['"', one_of([each[1:-1] for each in left], nth=nth), '"']
        if begin.startswith('"'):
            return [one_of([each[:-1] for each in left], nth=nth), '"']
        return [one_of(left, nth=nth)]

    def string(
        self, shape: Shape, raw: Any, *, begin: str = "", name: str = "", nth: int = 0
    ) -> Slot:
        """What stands between the quotes, behind `begin`. Raises Contradiction."""
        valid = self._schema.valid
        known = [each for each in shape.all("format") if each in FORMATS]
        right = [RIGHT.get(each, FORMATS[each]) for each in known]
        least, most = shape.most("minLength"), shape.least("maxLength", _LONGEST)
        if least > LONGEST_MADE and (least <= most or most == _LONGEST):
            raise Contradiction(
                f"minLength {least} is more than the {LONGEST_MADE} characters that are made here"
            )
        patterns = [*shape.all("pattern"), *(FORMATS[each] for each in known)]

        def holds(value: str) -> bool:
            return valid(value, raw) and all(re.search(each, value) for each in right)

        def repaired(near: str) -> str | None:
            found = nearest(patterns, near, begin=begin, least=least, most=most)
            return found if found is not None and holds(found) else None

        def candidates() -> Iterator[str | None]:
            if nth == 0:
                yield from (each for each in annotated(shape) if isinstance(each, str))
                yield from (begin, f"{begin}{name}")
                yield from map(repaired, ("", name))
            else:
                yield from (f"{begin}{name or 'item'}{nth + 1}", repaired(f"{name}{nth + 1}"))
                other = _OTHERS[nth % len(_OTHERS)]
                yield from (repaired(other), repaired(f"{nth}"), repaired(f"{other}{nth}"))

        def fit(proposal: str) -> str | None:
            found = _STRING_PART.match(proposal)
            said = json.loads(f'"{found.group() if found else ""}"')
            if not said.strip():
                return None
            whole = begin + said
            if not holds(whole):
                try:
                    repair = repaired(said)
                except UnsupportedPattern:
                    return None
                if repair is None:
                    return None
                whole = repair
            return inner(whole[len(begin) :])

        try:
            for each in candidates():
                if each is not None and each.startswith(begin) and holds(each):
                    tokens = min(_TOKENS, most // 2 + 2)
                    initials = "" if begin or patterns else ALPHANUMERIC
                    return Slot(
                        fallback=inner(each[len(begin) :]),
                        fit=fit,
                        max_tokens=tokens,
                        initials=initials,
                    )
        except UnsupportedPattern as why:
            raise Contradiction(
                f"the pattern {' or '.join(map(brief, patterns))} is not supported ({why}), and "
                "there is no default and no example that satisfies it"
            ) from None
        raise Contradiction(
            f"no string{f' that begins with {begin!r}' if begin else ''} satisfies the schema"
        )

    def number(self, shape: Shape, raw: Any, *, begin: str = "", nth: int = 0) -> Slot:
        """A number, behind its first digits. Raises Contradiction."""
        valid, allowed = self._schema.valid, range_of(shape)

        def holds(text: str) -> bool:
            return bool(NUMBER.fullmatch(text)) and valid(json.loads(text), raw)

        def candidates() -> Iterator[str]:
            if begin:
                yield from beginning_with(begin, allowed)
                return
            if nth == 0:
                yield from (dumped(each) for each in annotated(shape) if _is_number(each))
                yield from map(written, allowed.near(Fraction(0)))
            yield from map(written, allowed.nth(nth))
            # Some steps have no multiple that is one in binary fractions; a few further on may.
            yield from (text for at in range(1, 40) for text in map(written, allowed.nth(nth + at)))

        def fit(proposal: str) -> str | None:
            if begin:
                more = re.match(r"[0-9.eE+-]*", proposal.strip())
                text = begin + (more.group() if more else "")
                return text[len(begin) :] if holds(text) else None
            found = NUMBER.search(proposal)
            if found is None:
                return None
            if holds(found.group()):
                return found.group()
            number = Fraction(found.group()) if len(found.group()) < 40 else Fraction(0)
            return next(filter(holds, map(written, islice(allowed.near(number), 12))), None)

        for each in candidates():
            if holds(each):
                signed = allowed.low is None or allowed.low < 0
                initials = "" if begin else "0123456789" + "-" * signed
                return Slot(fallback=each[len(begin) :], fit=fit, max_tokens=5, initials=initials)
        raise Contradiction(
            f"no number{f' that begins with {begin}' if begin else ''} satisfies the schema"
        )

    def anything(self, raw: Any) -> Slot:
        """A plain value of any type."""

        def fit(proposal: str) -> str | None:
            text = proposal.strip().partition("\n")[0]
            for tried in (text, text + '"', *quoted(text)):
                try:
                    value, end = json.JSONDecoder().raw_decode(tried)
                except (ValueError, RecursionError):
                    continue
                plain = not isinstance(value, float) or value == value
                if plain and dumped(value) != '""' and self._schema.valid(value, raw):
                    return tried[:end] if _is_json(tried[:end]) else None
            return None

        return Slot(fallback="null", fit=fit, max_tokens=_TOKENS, initials=ALPHANUMERIC, value=True)


def _is_json(text: str) -> bool:
    """Python reads NaN and Infinity as well, which are none."""
    return not re.search(r"\b(NaN|Infinity)\b", text)


def annotated(shape: Shape) -> list[Any]:
    """What the schema itself gives as an example of a value."""
    return [
        *shape.all("default"),
        *(each for listed in shape.all("examples") if isinstance(listed, list) for each in listed),
        *shape.all("example"),
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
