"""Parsing one source after another that is nearly the same, each by what has changed in it.

What an incremental parse makes of a source with errors depends on its past, so only a tree without
any is taken from one; it is the same as from scratch. Offsets are bytes of UTF-8.
"""

from typing import Protocol

from tree_sitter import Language as Grammar
from tree_sitter import Parser, Tree

from infill_engine.budget import Budget
from infill_ls.syntax.edits import difference, tree_edit
from infill_ls.syntax.language import Language
from infill_ls.syntax.parse import parse, parse_code
from infill_ls.syntax.readable import is_readable


class Parse(Protocol):
    """One of a `Reparser`'s two ways."""

    def __call__(self, source: bytes, language: Language, *, budget: Budget) -> Tree: ...


class Reparser:
    """A parser, and the last source that had no errors. Belongs to one thread."""

    def __init__(self, grammar: Grammar) -> None:
        self.parser = Parser(grammar)
        self._source = b""
        self._tree: Tree | None = None

    def parse(self, source: bytes, language: Language, *, budget: Budget) -> Tree:
        """`parse_code` of a source that may well have no errors. Raises BudgetSpent."""
        tree = self._by_change(source, budget) if is_readable(language) else None
        return self.parse_anew(source, language, budget=budget) if tree is None else tree

    def parse_anew(self, source: bytes, language: Language, *, budget: Budget) -> Tree:
        """`parse_code` of one that is likely to have some: nothing is tried before. Raises
        BudgetSpent."""
        tree = parse_code(self.parser, source, language, budget=budget)
        if is_readable(language) and not tree.root_node.has_error:
            self._source, self._tree = source, tree
        return tree

    def _by_change(self, source: bytes, budget: Budget) -> Tree | None:
        """None where that is of no help, or the source has errors."""
        if self._tree is None or source == self._source:
            return self._tree
        start, old_end, new_end = difference(self._source, source)
        if old_end - start + new_end - start > len(source) // 2:
            return None
        old = self._tree.copy()
        old.edit(*tree_edit(self._source, source, start, old_end, new_end))
        tree = parse(self.parser, source, budget=budget, old=old)
        if tree.root_node.has_error:
            return None
        self._source, self._tree = source, tree
        return tree
