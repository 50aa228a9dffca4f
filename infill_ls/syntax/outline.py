"""The tree of a large document, good enough to make excerpts by: followed through edits, parsed in
instalments. Offsets are bytes of UTF-8.
"""

from dataclasses import dataclass

from tree_sitter import Language as Grammar
from tree_sitter import Parser, Tree

from infill_engine.budget import Budget, BudgetSpent
from infill_ls.syntax.edits import difference, tree_edit
from infill_ls.syntax.excerpt import Excerpt, by_tree, far_from
from infill_ls.syntax.parse import parse_on

# The tree lacks the edits since it was parsed. With more places than this, or more bytes of them,
# it is of no use; before that, it is parsed anew when nobody waits.
_MOST_PLACES, _MOST_CHANGED = 16, 8_000
_MANY_PLACES, _MUCH_CHANGED = 1, 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """A parse that ran out of its budget: what of, and the tree that it started from."""

    source: bytes
    old: Tree | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What was left out for a cursor in the line [start, end), and may be again while the edits
    are in that line."""

    start: int
    end: int
    dispensable: list[tuple[int, int]]

    def after(self, source: bytes, start: int, old_end: int, new_end: int) -> "_Kept | None":
        """The same after [start, old_end) has become [start, new_end) of `source`."""
        if not self.start <= start <= old_end <= self.end or b"\n" in source[start:new_end]:
            return None
        shift = new_end - old_end
        return _Kept(
            start=self.start,
            end=self.end + shift,
            dispensable=[
                (low, high) if high <= self.start else (low + shift, high + shift)
                for low, high in self.dispensable
            ],
        )


def _kept(source: bytes, cursor: int, dispensable: list[tuple[int, int]]) -> _Kept | None:
    """None where something of the cursor's line is left out."""
    start, end = source.rfind(b"\n", 0, cursor) + 1, source.find(b"\n", cursor)
    end = len(source) if end < 0 else end
    if any(low < end and start < high for low, high in dispensable):
        return None
    return _Kept(start=start, end=end, dispensable=dispensable)


class Outline:
    """The last tree of one document. Belongs to one thread."""

    def __init__(self, grammar: Grammar) -> None:
        self._parser = Parser(grammar)
        self._source = b""
        self._tree: Tree | None = None  # of the source, but for what has changed
        self._changed: list[tuple[int, int]] = []  # in order, and apart from one another
        self._much_changed = _MUCH_CHANGED
        self._begun: _Begun | None = None
        self._kept: _Kept | None = None
        self._row = 0, 0  # of the last edit, its offset and row: to count all lines takes long

    def follow(self, source: bytes) -> None:
        """Takes note of an edit; nothing is parsed."""
        if source == self._source:
            return
        if self._tree is not None:
            start, old_end, new_end = difference(self._source, source)
            edit = tree_edit(self._source, source, start, old_end, new_end, known=self._row)
            self._tree.edit(*edit)
            self._row = start, edit[3].row
            self._changed = _with_change(self._changed, start, old_end, new_end)
            self._kept = self._kept and self._kept.after(source, start, old_end, new_end)
        self._source = source

    @property
    def faultless(self) -> bool:
        """Is there a tree, and one without errors?"""
        return self._tree is not None and not self._tree.root_node.has_error

    def excerpt(self, cursor: int, *, budget: Budget) -> Excerpt | None:
        """The source before and after the cursor without what is far from it.

        None where no tree is to be had within the budget, or where it is of no help. What was
        parsed until then is not lost.
        """
        try:
            if not self._usable:
                self._parse(budget)
            if self._tree is None or not self._usable:
                return None
            if self._kept is None or not self._kept.start <= cursor <= self._kept.end:
                found = far_from(self._tree.root_node, cursor, self._changed, budget=budget)
                if found is None:
                    return None
                self._kept = _kept(self._source, cursor, found)
                return by_tree(self._source, cursor, found)
            return by_tree(self._source, cursor, self._kept.dispensable)
        except BudgetSpent:
            return None

    def refresh(self, *, budget: Budget) -> None:
        """Goes on with a parse that was begun, and begins one where much has changed.

        Raises BudgetSpent.
        """
        many = len(self._changed) > _MANY_PLACES or _size(self._changed) > self._much_changed
        if self._begun is not None or many or not self._usable:
            self._parse(budget)

    @property
    def _usable(self) -> bool:
        few = len(self._changed) <= _MOST_PLACES and _size(self._changed) <= _MOST_CHANGED
        return self._tree is not None and few

    def _parse(self, budget: Budget) -> None:
        if self._begun is None:
            old = None if self._tree is None else self._tree.copy()
            self._begun = _Begun(source=self._source, old=old)
        source, old = self._begun.source, self._begun.old
        tree = parse_on(self._parser, source, budget=budget, old=old)
        self._begun = None
        if tree.root_node.has_error and self.faultless and self._usable:
            # Somebody is typing. Excerpts are better made by what was there before, for a while.
            self._much_changed = _size(self._changed) + _MUCH_CHANGED
            return
        self._tree, self._changed, self._much_changed = tree, [], _MUCH_CHANGED
        self._kept = None
        if source != self._source:
            latest, self._source, self._row = self._source, source, (0, 0)
            self.follow(latest)


def _size(spans: list[tuple[int, int]]) -> int:
    return sum(end - start for start, end in spans)


def _with_change(
    spans: list[tuple[int, int]], start: int, old_end: int, new_end: int
) -> list[tuple[int, int]]:
    """The spans after [start, old_end) has become [start, new_end), and that among them."""
    shift = new_end - old_end
    apart: list[tuple[int, int]] = []
    low, high = start, new_end
    for span in spans:
        if span[1] < start:
            apart.append(span)
        elif span[0] > old_end:
            apart.append((span[0] + shift, span[1] + shift))
        else:
            low, high = min(low, span[0]), max(high, span[1] + shift)
    return sorted([*apart, (low, high)])
