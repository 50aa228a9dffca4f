"""Branches of a template's condition that each open or close the same elements, such as
`{% if a %}<div class="b">{% else %}<div>{% endif %}`: of these a page has but one.

Looks at markup by its tags alone. Takes time in proportion to the text.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from infill_ls.syntax.markup import MAY_STAY_OPEN

_MARKUP = re.compile(r"<(?P<ends>/?)(?P<name>[A-Za-z][\w:.-]*)|(?P<empty>/?)>|(?P<quote>[\"'])")

Range = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """[start, end) is a tag of the template that `opens` a block, begins its next branch, or
    `ends` as many blocks."""

    start: int
    end: int
    opens: bool = False
    ends: int = 0


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a piece of markup leaves open to both sides: end tags and start tags without their
    partner, and whether it ends within a tag, and within which quotes there."""

    closers: int = 0
    openers: int = 0
    in_tag: bool = False
    quote: str = ""

    def then(self, other: "_Shape") -> "_Shape":
        matched = min(self.openers, other.closers)
        return replace(
            other,
            closers=self.closers + other.closers - matched,
            openers=self.openers + other.openers - matched,
        )


@dataclass(slots=True)
class _Block:
    """`before` is the shape of what stands before it in the same branch of the outer block."""

    before: _Shape
    branches: list[tuple[Range, _Shape]] = field(default_factory=list)
    start: int = 0  # of the branch that is open


def other_branches(text: str, marks: Iterable[Mark]) -> Iterator[Range]:
    """Where the branches are that would say again what the first one of their block opens or
    closes."""
    blocks: list[_Block] = []
    shape, at = _Shape(), 0
    for mark in marks:
        shape = _read(text, at, mark.start, shape)
        at = mark.end
        if mark.opens:
            blocks.append(_Block(shape, start=at))
            shape = replace(shape, closers=0, openers=0)
        elif blocks and not mark.ends:
            block = blocks[-1]
            block.branches.append(((block.start, mark.start), shape))
            block.start = at
            shape = replace(block.before, closers=0, openers=0)
        for _ in range(min(mark.ends, len(blocks))):
            block = blocks.pop()
            block.branches.append(((block.start, mark.start), shape))
            block.start = mark.start
            left_out, shape = _joined(text, block)
            yield from left_out


def _joined(text: str, block: _Block) -> tuple[list[Range], _Shape]:
    """The branches to leave out, and the shape of the outer branch up to the block's end."""
    first, *others = block.branches
    if others and not text[slice(*first[0])].strip():
        first, *others = others  # `{% case a %}` before the first `{% when %}`
    outside = replace(block.before, closers=0, openers=0)
    if others and first[1] != outside and all(shape == first[1] for _, shape in others):
        return [span for span, _ in others], block.before.then(first[1])
    shape = block.before
    for _, each in block.branches:
        shape = shape.then(each)
    return [], shape


def _read(text: str, start: int, end: int, shape: _Shape) -> _Shape:
    closers, openers, in_tag, quote = shape.closers, shape.openers, shape.in_tag, shape.quote
    counted = False  # the tag that is open is one that has to be closed
    for found in _MARKUP.finditer(text, start, end):
        if quote:
            quote = "" if found[0] == quote else quote
        elif found["quote"]:
            quote = found[0] if in_tag else ""
        elif found["name"]:
            in_tag = True
            counted = found["name"].lower().encode() not in MAY_STAY_OPEN
            if counted and found["ends"]:
                openers, closers = max(openers - 1, 0), closers + (openers == 0)
            openers += counted and not found["ends"]
        elif in_tag:
            in_tag = False
            openers -= bool(counted and found["empty"] and openers)
    return _Shape(closers, openers, in_tag, quote)
