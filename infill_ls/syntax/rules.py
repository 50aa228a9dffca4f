"""What a language refuses though its grammar takes it, told from the tree: the frame of such rules.

A grammar says how tokens follow one another; a language also says where a `break` may stand or
that a block may not be empty. A rule looks at one node that the text in question touches, and at
what holds it, so what was wrong before is nobody's fault. Offsets are bytes of UTF-8.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tree_sitter import Node, Tree

from infill_engine.budget import Budget
from infill_ls.syntax.parse import overlapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`start` and `end` are offsets in the source, within the text in question."""

    start: int
    end: int
    message: str


@dataclass(frozen=True, slots=True)
class Placed:
    """A node and the one that holds it: `Node.parent` is looked for from the root each time."""

    node: Node
    outer: "Placed | None"

    def enclosing(self) -> "Iterator[Placed]":
        """What holds the node, from the inside out."""
        outer = self.outer
        while outer is not None:
            yield outer
            outer = outer.outer


Rule = Callable[[Placed, Budget], Iterator[tuple[Node, str]]]
"""Yields the nodes to blame, and why; those that the text does not touch are left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """By the type of the node that they look at. `anywhere` are those that look at a node and its
    parts alone, `in_context` those that ask what holds it, which is a guess in a broken file."""

    anywhere: Mapping[str, tuple[Rule, ...]]
    in_context: Mapping[str, tuple[Rule, ...]]


def first_fault(tree: Tree, span: tuple[int, int], rules: Rules, *, budget: Budget) -> Fault | None:
    """The first breach of a rule in the span of a source, whose tree this is; None where there is
    none. Raises BudgetSpent."""
    start, end = span
    sound = not tree.root_node.has_error
    for placed in _touched(Placed(tree.root_node, None), start, end, budget):
        kind = placed.node.type
        rules_here = rules.anywhere.get(kind, ())
        if sound:
            rules_here += rules.in_context.get(kind, ())
        for rule in rules_here if sound or not placed.node.has_error else ():
            for node, message in rule(placed, budget):
                low, high = max(node.start_byte, start), min(node.end_byte, end)
                if low < high:
                    return Fault(start=low, end=high, message=message)
    return None


def _touched(top: Placed, start: int, end: int, budget: Budget) -> Iterator[Placed]:
    """The nodes that share a byte with [start, end), each before what is in it, but for what the
    parser could not read."""
    stack = [top]
    while stack:
        placed = stack.pop()
        yield placed
        inner = [
            Placed(child, placed)
            for child in overlapping(placed.node, start, end, budget)
            if not child.is_error
        ]
        stack += reversed(inner)
