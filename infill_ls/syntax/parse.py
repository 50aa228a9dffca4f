"""Parsing within a budget, and what a parser found wrong. Knows tree-sitter, nothing of documents.

tree-sitter calls back every hundred of its steps and whenever it wants more of the source, so a
parse ends within a millisecond of its budget, and other threads get their turn meanwhile. Sources
are bytes of UTF-8 with LF line ends, offsets count them.
"""

import threading
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Node, Parser, Point, Tree

from infill_engine.budget import UNLIMITED, Budget, BudgetSpent
from infill_ls.syntax.language import Language
from infill_ls.syntax.markup import unmatched_tags
from infill_ls.syntax.readable import is_readable, readable
from infill_ls.syntax.templates import template_faults

_CHUNK = 16_384  # bytes of the source that the parser is handed at once
_TOKEN_CHUNKS = 8  # how many of them a token may take
_STRIDE = 256  # nodes that are looked at before the budget is asked again
_FEW = 20  # children, among which nothing is looked for by halves

TAG = "tag"


class _Handed(threading.local):
    """The one object in which a thread's parsers are handed their source, chunk after chunk.

    py-tree-sitter never gives back its reference to what it was handed: all chunks that were ever
    parsed would stay.
    """

    def __init__(self) -> None:
        self.chunk = bytearray()


_handed = _Handed()


@dataclass(frozen=True, slots=True)
class Problem:
    """An ERROR node, or a MISSING one, which has no width; in markup also a tag alone.

    `hidden` is one that a tree does not show: all that can be said is that it lies in this range.
    """

    start: int
    end: int
    missing: bool
    kind: str
    hidden: bool = False

    def touches(self, start: int, end: int) -> bool:
        return self.start <= end and start <= self.end

    @property
    def visible(self) -> bool:
        """Others count it too: it is neither hidden nor a tag."""
        return not self.hidden and self.kind != TAG


def utf8(text: str) -> bytes:
    """Line ends become LF; half a surrogate pair, which UTF-8 cannot hold, a question mark."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.encode("utf-8", "replace")


def parse(parser: Parser, source: bytes, *, budget: Budget, old: Tree | None = None) -> Tree:
    """The tree of the source. `old` is the tree of an earlier one, told of the edits since.

    Raises BudgetSpent.
    """
    try:
        return parse_on(parser, source, budget=budget, old=old)
    except BudgetSpent:
        parser.reset()
        raise


def parse_code(
    parser: Parser, source: bytes, language: Language, *, budget: Budget, old: Tree | None = None
) -> Tree:
    """`parse` of a source in words that the grammar knows."""
    if is_readable(language):
        return parse(parser, source, budget=budget, old=old)
    # A brace more or less makes a tag of what follows it, or none: no edit tells of that.
    return parse(parser, readable(source, language), budget=budget)


def parse_on(parser: Parser, source: bytes, *, budget: Budget, old: Tree | None = None) -> Tree:
    """`parse`, but after BudgetSpent the parser keeps what it has: the next call with the same
    source and tree goes on from there. One with another source needs `parser.reset()` before it.
    """
    stopped = cut_short = parsed = False
    num_chunks = 0  # read since it asked last whether to stop
    handed = _handed.chunk

    def read(offset: int, _: Point) -> bytes | bytearray:
        nonlocal num_chunks, stopped, cut_short
        num_chunks += 1
        if parsed:  # the tree keeps this function: `Node.text` calls it, however late, for bytes
            return source[offset : offset + _CHUNK]
        if num_chunks > _TOKEN_CHUNKS and budget.over:
            # It is within an endless token: only the end of the source gets it out of there.
            stopped = cut_short = True
            return b""
        handed[:] = source[offset : offset + _CHUNK]
        return handed

    def stop(_offset: int, _has_error: bool) -> bool:
        nonlocal num_chunks, stopped
        num_chunks = 0
        stopped = stopped or budget.over
        return stopped

    budget.check()
    try:
        if old is None:
            tree = parser.parse(read, progress_callback=stop)
        else:
            tree = parser.parse(read, old, progress_callback=stop)
    except ValueError:  # what tree-sitter makes of being stopped
        if not stopped:
            raise
        tree = None
    parsed, budget = True, UNLIMITED  # nor need the function keep who wanted the tree
    if cut_short:
        parser.reset()
    if tree is None or stopped:
        raise BudgetSpent
    return tree


def problems(
    tree: Tree, source: bytes, language: Language, *, budget: Budget = UNLIMITED
) -> tuple[Problem, ...]:
    """Every ERROR and MISSING node and every tag that is wrong or alone, in no particular order.

    Raises BudgetSpent.
    """
    tags = [*unmatched_tags(tree, source, language, budget=budget)]
    if language.templates:
        tags += template_faults(source.decode("latin-1"), language)  # a character a byte
    return (*_wrong_nodes(tree, budget), *(Problem(*tag, False, TAG) for tag in tags))


def _wrong_nodes(tree: Tree, budget: Budget) -> Iterator[Problem]:
    stack = [tree.root_node]
    while stack:
        node = stack.pop()
        found = node.is_error or node.is_missing
        if found:
            yield Problem(node.start_byte, node.end_byte, node.is_missing, node.type)
        if node.has_error:
            # A skipped character is an ERROR node that has no error *in* it.
            inner = [
                child
                for child in children(node, budget)
                if child.has_error or child.is_error or child.is_missing
            ]
            stack += inner
            if not inner and not found:
                # A line end that the grammar wants but does not name, for example.
                yield Problem(node.start_byte, node.end_byte, True, node.type, hidden=True)


def children(node: Node, budget: Budget) -> Iterator[Node]:
    """A node's children one by one: an ERROR node can have a hundred thousand, and to list them
    all would hold up every thread. Raises BudgetSpent."""
    cursor = node.walk()
    more = cursor.goto_first_child()
    count = 0
    while more:
        if count % _STRIDE == 0:
            budget.check()
        count += 1
        child = cursor.node
        assert child is not None, "the cursor stands on a node"
        yield child
        more = cursor.goto_next_sibling()


def overlapping(node: Node, start: int, end: int, budget: Budget) -> Iterator[Node]:
    """Those of a node's children that share a byte with [start, end), or lie in it without any.
    Of many, such as a file's statements, the others are passed over. Raises BudgetSpent."""
    count = node.child_count
    if count <= _FEW or node.is_error:  # its children are found one behind the other
        for child in children(node, budget):
            if child.start_byte < end and start < child.end_byte:
                yield child
        return
    first = bisect_right(range(count), start, key=lambda index: child_at(node, index).end_byte)
    for index in range(first, count):
        if index % _STRIDE == 0:
            budget.check()
        child = child_at(node, index)
        if child.start_byte >= end:
            return
        yield child


def child_at(node: Node, index: int) -> Node:
    child = node.child(index)
    assert child is not None, f"it has more than {index} children"
    return child


def path_to(tree: Tree, start: int, end: int, budget: Budget) -> list[Node]:
    """The nodes that hold [start, end), from the root to the smallest.

    Once down: each `Node.parent` is looked for from the root, which in deep trees is many times.
    Raises BudgetSpent.
    """
    node = tree.root_node
    path = [node]
    smallest = node.descendant_for_byte_range(start, end)
    while smallest is not None and node != smallest:
        if len(path) % _STRIDE == 0:
            budget.check()
        child = node.child_with_descendant(smallest)
        if child is None:
            break
        node = child
        path.append(node)
    return path
