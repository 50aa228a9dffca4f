"""The part of a large file that decides whether a text fits at the cursor.

`by_tree` leaves out statements, members and list elements that lie far from the cursor. They are
left out whole, so what is left is a file of the same language, and what a parser says of it near
the cursor holds for the whole. `by_lines` needs no tree: it keeps the lines round the cursor and,
of those further away, what is indented less: the heads of the blocks that hold the cursor, and what
closes them. It is right where indentation is, which it mostly is.

Sources are bytes of UTF-8 with LF line ends, offsets count them.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import compress, pairwise

from tree_sitter import Node

from infill_engine.budget import Budget
from infill_ls.syntax.language import Language
from infill_ls.syntax.parse import child_at

Excerpt = tuple[bytes, bytes]
"""What is left before and after the cursor."""

# So many statements on each side of the cursor stay in an excerpt, and so many at each end of a
# list, where what is not a plain element stands (`<?php`, `package`, `use strict`).
_NEAR, _ENDS = 2, 2
# Nodes of up to so many children are looked at closely before some are left out as list elements.
_SHORT = 60
_SEPARATORS = frozenset({",", ";", "\n"})
# Nodes smaller than this stay whole.
_SMALL = 400
# Of a tree no more nodes than these are looked at.
_MOST_NODES = 20_000


def far_from(
    root: Node, cursor: int, changed: list[tuple[int, int]], *, budget: Budget
) -> list[tuple[int, int]] | None:
    """What `by_tree` may leave out, in order: by the tree of a source, in which the ranges
    `changed` are not as the tree has them. None where the tree is too flat or too deep for it.
    Raises BudgetSpent."""
    try:
        return sorted(_dispensable(root, [(cursor, cursor), *changed], budget))
    except _TooManyNodes:
        return None


def by_tree(source: bytes, cursor: int, dispensable: list[tuple[int, int]]) -> Excerpt:
    """An excerpt without ranges that are in order and do not overlap."""
    return (
        _without(dispensable, source, 0, cursor),
        _without(dispensable, source, cursor, len(source)),
    )


class _TooManyNodes(Exception):
    """Of one excerpt."""


def _without(ranges: list[tuple[int, int]], source: bytes, start: int, end: int) -> bytes:
    """[start, end) of the source without the ranges, which are in order and do not overlap."""
    parts: list[bytes] = []
    for low, high in ranges:
        if start <= low and high <= end:
            parts.append(source[start:low])
            start = high
    return b"".join([*parts, source[start:end]])


def _dispensable(
    root: Node, keep: list[tuple[int, int]], budget: Budget
) -> Iterator[tuple[int, int]]:
    """Ranges of whole list elements that are far from all of `keep`."""
    stack = [] if _is_small(root) else [root]
    num_seen = 0
    while stack:
        budget.check()
        node = stack.pop()
        num_seen += node.child_count
        if num_seen > _MOST_NODES:
            raise _TooManyNodes
        here = [each for each in keep if _touches(node, each)]
        if node.child_count > _SHORT and node.child_count == node.named_child_count:
            stays, runs = _of_many(node, here)
            stack += [each for each in stays if not _is_small(each)]
            yield from runs
            continue
        children = node.children
        kept = _kept(node, children, here)
        stack += [each for each in compress(children, kept) if not _is_small(each)]
        last = 0
        while False in kept[last:]:
            first = kept.index(False, last)
            last = kept.index(True, first)  # the last child stays
            run = _whole_elements(children[first:last])
            if run:
                yield run[0].start_byte, run[-1].end_byte


def _is_small(node: Node) -> bool:
    return node.end_byte - node.start_byte < _SMALL


def _touches(node: Node, span: tuple[int, int]) -> bool:
    return node.start_byte <= span[1] and span[0] <= node.end_byte


def _kept(node: Node, children: list[Node], keep: list[tuple[int, int]]) -> list[bool]:
    """Which children of a node stay; `keep` are the places of interest that it touches."""
    count = len(children)
    ends, near = (_ENDS, _NEAR) if keep else (1, 0)
    if count <= 2 * (ends + near):
        return [True] * count
    kept = [True] * ends + [False] * (count - 2 * ends) + [True] * ends
    if count <= _SHORT:
        # Not every node of many children is a list: comments make a function's many, too. What
        # has a name for its parent, such as a body, stays.
        kept = [
            stays or node.field_name_for_child(index) is not None
            for index, stays in enumerate(kept)
        ]
    for start, end in keep:
        first = bisect_left(children, start, key=lambda child: child.end_byte)
        last = bisect_right(children, end, key=lambda child: child.start_byte) - 1
        low, high = min(first, last) - _NEAR, max(first, last) + _NEAR
        for index in range(max(low, 0), min(high + 1, count)):
            kept[index] = True
    return kept


def _of_many(node: Node, keep: list[tuple[int, int]]) -> tuple[list[Node], list[tuple[int, int]]]:
    """Which children of a node stay and what is between them, as by `_kept`: of a node with many
    children and no separators, such as a file of statements, few of them are looked at."""
    count = node.child_count
    ends, near = (_ENDS, _NEAR) if keep else (1, 0)
    kept = {*range(ends), *range(count - ends, count)}
    for start, end in keep:
        first = bisect_left(range(count), start, key=lambda index: child_at(node, index).end_byte)
        last = (
            bisect_right(range(count), end, key=lambda index: child_at(node, index).start_byte) - 1
        )
        low, high = min(first, last) - near, max(first, last) + near
        kept.update(range(max(low, 0), min(high + 1, count)))
    runs = [
        (child_at(node, before + 1).start_byte, child_at(node, after - 1).end_byte)
        for before, after in pairwise(sorted(kept))
        if after - before > 1
    ]
    return [child_at(node, index) for index in sorted(kept)], runs


def _whole_elements(run: list[Node]) -> list[Node]:
    """As much of the run as can go: elements, each with its separator where the list has some."""
    separators = {node.type for node in run if not node.is_named}
    if not separators:
        return run
    if len(separators) > 1 or not separators <= _SEPARATORS:
        return []
    ends_named = not run[0].is_named
    while run and run[-1].is_named != ends_named:
        run = run[:-1]
    return run


# --- by lines ------------------------------------------------------------------------------------

# So many lines and bytes on each side of the cursor stay whatever they are; up to so many, until
# a line begins a statement.
_NEAR_LINES, _NEAR_BYTES = 30, 1_500
_MOST_NEAR_LINES, _MOST_BYTES = 600, 12_000
# Of so many lines the indentation is looked at; of so many between two looks at the budget.
_MOST_LINES, _STRIDE = 10_000, 256
# Of a head that goes on over several lines so many stay.
_HEAD_LINES = 12
_CLOSES = re.compile(rb"[)\]}>]|</|/>|-->|\*/|\?>|%\}")
_WORD = re.compile(rb"\w+|;;")
_GOES_ON = (b"?", b"|", b"&", b"+")
_LACKS_MORE = (b"\\", b"=", b"&&", b"||", b"+")


def by_lines(source: bytes, cursor: int, language: Language, *, budget: Budget) -> Excerpt:
    """An excerpt by the lines' indentation. Raises BudgetSpent."""
    start = source.rfind(b"\n", 0, cursor) + 1
    end = source.find(b"\n", cursor)
    end = len(source) if end < 0 else end
    width = _width(source[start:end])
    above = _above(source, start, width, language, budget)
    below = _below(source, end, width, language, budget)
    opening = source[: source.find(b"\n") + 1] if source.startswith(b"<?") else b""
    if above.startswith(opening) or start == 0:
        opening = b""
    return opening + above + source[start:cursor], source[cursor:end] + below


_BLANK = 10_000
"""The width of a line without anything in it: deeper than all others."""


def _above(source: bytes, end: int, width: int, language: Language, budget: Budget) -> bytes:
    """What stays of the lines up to `end`, where the cursor's begins."""
    start = end
    num_lines = 0
    while start > 0:
        line_start = source.rfind(b"\n", 0, start - 1) + 1
        line = source[line_start : start - 1]
        if end - line_start > _MOST_BYTES or num_lines == _MOST_NEAR_LINES:
            break
        start, num_lines = line_start, num_lines + 1
        here = _width(line)
        width = min(width, here)
        enough = num_lines >= _NEAR_LINES or end - start >= _NEAR_BYTES
        if enough and here == width != _BLANK and _begins(source, start, line, language):
            break
    return _heads(source, start, width, language, budget) + source[start:end]


def _begins(source: bytes, start: int, line: bytes, language: Language) -> bool:
    """Does a statement begin with the line at `start`, rather than go on or end?"""
    before = source[max(start - 200, 0) : max(start - 1, 0)]
    return not (_goes_on(line, language) or before.endswith(_LACKS_MORE))


def _goes_on(line: bytes, language: Language) -> bool:
    content = line.strip()
    word = _WORD.match(content)
    name = word[0].decode("utf-8", "replace") if word else ""
    return (
        content == b"{"
        or content.startswith(_GOES_ON)
        or _CLOSES.match(content) is not None
        or name in language.carry_on
        or name in language.close
    )


def _heads(source: bytes, end: int, width: int, language: Language, budget: Budget) -> bytes:
    """Of the lines up to `end` those that are indented less than all kept below them; where such
    a line does not begin a statement, the one that does as well."""
    heads: list[bytes] = []
    unbegun, below = False, end
    for count in range(_MOST_LINES):
        if count % _STRIDE == 0:
            budget.check()
        if end == 0 or (width == 0 and not unbegun):
            break
        start = source.rfind(b"\n", 0, end - 1) + 1
        line = source[start : end - 1]
        here = _width(line)
        if here < width or (unbegun and here == width):
            heads.append(_head(source, start, end, below, width))
            width, unbegun, below = here, _goes_on(line, language), start
        end = start
    return b"".join(reversed(heads))


def _head(source: bytes, start: int, end: int, below: int, width: int) -> bytes:
    """The line [start, end) and those of its continuation: all up to the next that stays, at
    `below`, where they are few, else what is indented more than its body, which has `width`."""
    if source.count(b"\n", end, below) <= _HEAD_LINES:
        return source[start:below]
    for _ in range(_HEAD_LINES):
        following = source.find(b"\n", end) + 1
        if not following or not _BLANK > _width(source[end:following]) > width:
            return source[start:end]
        end = following
    return source[start:end]


def _below(source: bytes, start: int, width: int, language: Language, budget: Budget) -> bytes:
    """What stays of the lines from `start` on, where the cursor's line ends."""
    end = start
    num_lines = 0
    while end < len(source):
        line_end = source.find(b"\n", end + 1)
        line_end = len(source) if line_end < 0 else line_end
        line = source[end + 1 : line_end]
        if line_end - start > _MOST_BYTES or num_lines == _MOST_NEAR_LINES:
            break
        here = _width(line)
        enough = num_lines >= _NEAR_LINES or end - start >= _NEAR_BYTES
        if enough and here <= width and _begins(source, end + 1, line, language):
            break
        width = min(width, here)
        end, num_lines = line_end, num_lines + 1
    if end >= len(source):
        return source[start:]
    return (
        _without_comma(source[start:end]) + _closers(source, end, width, language, budget) + b"\n"
    )


def _closers(source: bytes, start: int, width: int, language: Language, budget: Budget) -> bytes:
    """Of the lines from `start` on those that close what `_heads` opened."""
    closers: list[bytes] = []
    for count in range(_MOST_LINES):
        if count % _STRIDE == 0:
            budget.check()
        if start >= len(source) or width == 0:
            break
        end = source.find(b"\n", start + 1)
        end = len(source) if end < 0 else end
        line = source[start:end]
        here = _width(line[1:])
        if here < width:
            width = here
            if _CLOSES.match(line.lstrip()) or _closing_word(line, language):
                closers.append(_without_comma(line))
        start = end
    return b"".join(closers)


def _without_comma(lines: bytes) -> bytes:
    """What follows is left out, and not every list may end with a comma."""
    content = lines.rstrip()
    return content[:-1] if content.endswith(b",") else lines


def _closing_word(line: bytes, language: Language) -> bool:
    word = _WORD.match(line.lstrip())
    return word is not None and word[0].decode("utf-8", "replace") in language.close


def _width(line: bytes) -> int:
    """Columns of a line's indentation, of which a thousand are enough; a tab counts as four."""
    head = line[:1000]
    content = head.lstrip(b" \t")
    if not content.strip():
        return _BLANK
    return len(head[: len(head) - len(content)].expandtabs(4))
