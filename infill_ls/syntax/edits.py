"""What one version of a source changes in the one before, as tree-sitter wants to be told.

Offsets are bytes of UTF-8; points are rows and columns, where LF ends a row and columns are bytes.
"""

from tree_sitter import Point

from infill_ls.documents import shared_head, shared_tail


def difference(old: bytes, new: bytes) -> tuple[int, int, int]:
    """The one span that differs, at whole characters: its start, its end in old and in new."""
    start = shared_head(old, new)
    while start and _within_character(old, start):
        start -= 1
    tail = shared_tail(old, new, min(len(old), len(new)) - start)
    while tail and _within_character(old, len(old) - tail):
        tail -= 1
    return start, len(old) - tail, len(new) - tail


def row_at(source: bytes, offset: int, known: tuple[int, int]) -> int:
    """The row that holds `offset`, by the lines between it and an offset whose row is `known`."""
    near, row = known
    if near <= offset:
        return row + source.count(b"\n", near, offset)
    return row - source.count(b"\n", offset, near)


def tree_edit(
    old: bytes,
    new: bytes,
    start: int,
    old_end: int,
    new_end: int,
    *,
    known: tuple[int, int] = (0, 0),
) -> tuple[int, int, int, Point, Point, Point]:
    """The arguments of `Tree.edit` for [start, old_end) of `old` having become [start, new_end) of
    `new`. `known` is an offset of `old` and its row."""
    row, line_start = row_at(old, start, known), old.rfind(b"\n", 0, start) + 1
    return (
        *(start, old_end, new_end),
        Point(row, start - line_start),
        _point(old, row, line_start, old_end),
        _point(new, row, line_start, new_end),
    )


def _point(source: bytes, row: int, line_start: int, offset: int) -> Point:
    """Row and column of an offset behind the start of a known line."""
    rows = source.count(b"\n", line_start, offset)
    if rows:
        line_start = source.rfind(b"\n", 0, offset) + 1
    return Point(row + rows, offset - line_start)


def _within_character(source: bytes, index: int) -> bool:
    return index < len(source) and source[index] & 0xC0 == 0x80
