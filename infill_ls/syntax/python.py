"""What Python's own parser says of the statements round the cursor.

tree-sitter's grammar is lenient where Python is not: it takes `if x:` without a block, any
indentation, `try` alone, a line that breaks off after a dot. This asks `ast` about the statements
that hold the cursor, sixty lines of at most 8,000 bytes, so it costs a millisecond or two.

The user's Python may be newer than the one that runs here, or much older. So an error only counts
against a text when it stands in it, or when the same statements were free of errors before.
Offsets are bytes of UTF-8.
"""

import ast
import re
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache

from tree_sitter import Node, Tree

from infill_engine.budget import Budget
from infill_ls.syntax.parse import path_to
from infill_ls.syntax.rules import Fault

_MOST_LINES = 60
_MOST_BYTES = 8_000  # `ast` cannot be interrupted
_LINE_NAMED = re.compile(r"on line (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Whole lines [low, high) of the source, and lines that stand for what is round them."""

    low: int
    high: int
    head: bytes
    tail: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Error:
    """Lines of the source from 0, `column` in bytes; `about` is another line it names, or -1."""

    line: int
    column: int
    about: int
    message: str


def fault(
    tree: Tree, source: bytes, span: tuple[int, int], before: Tree, *, budget: Budget
) -> Fault | None:
    """What is wrong with the span of the source, whose tree this is; None where nothing is, or
    nothing can be said. `before` is the tree of the source without it. Raises BudgetSpent."""
    start, end = span
    piece = _piece(tree, source, start, end, budget)
    now = _error(piece, source) if piece else None
    if now is None:
        return None
    without = source[:start] + source[end:]
    piece_before = _piece(before, without, start, start, budget)
    then = _error(piece_before, without) if piece_before else None
    if piece_before is None or then is not None:
        # Something was wrong already: is this the same, or is it the text's?
        line, column = _position(source, start)
        last = line + source.count(b"\n", start, end)
        if then and (now.line, now.column) == (then.line, then.column) < (line, column):
            return None
        if "'except' or 'finally'" in now.message and b"try" not in source[start:end]:
            return None
        if _lacks_its_block(now, source, start, end):
            return None
        # A block that the text opens shows its fault in the next line.
        rest = source[end:]
        following = last + rest[: len(rest) - len(rest.lstrip())].count(b"\n")
        if not (line <= now.line <= following or line <= now.about <= last):
            return None
    where = min(max(_line_start(source, now.line) + now.column, start), end)
    return Fault(start=where, end=where, message=now.message)


def _lacks_its_block(now: _Error, source: bytes, start: int, end: int) -> bool:
    """Whether the text ends what somebody began on its line, and only the block that it opens is
    still to be written: `if a` is no better than `if a > 1:`."""
    begun = source[:start].rpartition(b"\n")[2].strip()
    opens = source[start:end].rstrip().endswith(b":") and b"\n" not in source[start:end]
    return bool(begun) and opens and now.message.startswith("expected an indented block")


def _error(piece: _Piece, source: bytes) -> _Error | None:
    """The first syntax error in a piece of the source; None as well where it is too long."""
    if piece.high - piece.low > _MOST_BYTES:
        return None
    raw = _parse(piece.head + source[piece.low : piece.high] + piece.tail)
    if raw is None:
        return None
    shift = source.count(b"\n", 0, piece.low) - piece.head.count(b"\n") - 1
    about = raw.about + shift if raw.about >= 0 else -1
    return replace(raw, line=raw.line + shift, about=about)


@lru_cache(maxsize=16)  # a place is asked about without a text again and again
def _parse(lines: bytes) -> _Error | None:
    """The first syntax error in lines that count from 1."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(lines)
    except SyntaxError as error:
        named = _LINE_NAMED.search(error.msg)
        line = error.lineno or 1
        text = (lines.split(b"\n")[line - 1 : line] or [b""])[0].decode("utf-8", "replace")
        return _Error(
            line=line,
            column=len(text[: max((error.offset or 1) - 1, 0)].encode()),
            about=int(named.group(1)) if named else -1,
            message=error.msg,
        )
    except (ValueError, RecursionError, MemoryError):
        return None  # null bytes, or nested too deeply for this parser: nothing to say
    return None


def _piece(tree: Tree, source: bytes, start: int, end: int, budget: Budget) -> _Piece | None:
    """The largest statement of at most sixty lines that holds [start, end) without the white
    space at its ends, or the white space round a lone place; where there is none, those
    statements of a longer block that touch it.

    It is empty where no statement is, None where there is one too long or with an error in it."""
    text = source[start:end]
    if text.strip():
        low, high = end - len(text.lstrip()), start + len(text.rstrip())
    else:
        low, high = len(source[:start].rstrip()), len(source) - len(source[end:].lstrip())
    path = path_to(tree, min(low, high), high, budget)
    inner: list[Node] = []
    best: Node | None = None
    for parent, node in reversed(list(zip([None, *path], path, strict=False))):
        if _is_statement(node, parent):
            if node.end_point.row - node.start_point.row >= _MOST_LINES:
                header = None if best is not None or inner else _header(node, source, high)
                if header is not None:
                    return header
                break
            best = node
        elif node.type in ("block", "module") and best is None and not inner:
            inner = [
                child
                for child in node.named_children
                if child.start_byte <= high and child.end_byte >= low and _is_statement(child, node)
            ]
    nodes = [best] if best is not None else inner
    if not nodes:
        return _Piece(low=low, high=low, head=b"", tail=b"")
    if any(node.has_error for node in nodes):
        return None
    line_start = source.rfind(b"\n", 0, nodes[0].start_byte) + 1
    line_end = source.find(b"\n", nodes[-1].end_byte) + 1 or len(source)
    if source.count(b"\n", line_start, line_end) > 2 * _MOST_LINES:
        return None
    return _Piece(
        low=line_start,
        high=line_end,
        head=_head(nodes[0], source, line_start),
        tail=_tail(source, line_start, line_end),
    )


def _header(statement: Node, source: bytes, high: int) -> _Piece | None:
    """The lines before the block of a statement that is too long, where the place is in them."""
    definition = statement.child_by_field_name("definition") or statement
    body = definition.child_by_field_name("body") or definition.child_by_field_name("consequence")
    if body is None or body.start_byte <= high:
        return None
    low = source.rfind(b"\n", 0, definition.start_byte) + 1
    end = source.rfind(b"\n", 0, body.start_byte) + 1
    before = [child for child in definition.children if child.end_byte <= body.start_byte]
    if end <= low or any(child.has_error for child in before):
        return None
    return _Piece(
        low=low,
        high=end,
        head=_head(definition, source, low),
        tail=source[end : body.start_byte] + b"pass\n",
    )


def _is_statement(node: Node, parent: Node | None) -> bool:
    return (
        parent is not None
        and parent.type in ("block", "module")
        and node.is_named
        and node.type != "comment"
    )


def _head(first: Node, source: bytes, line_start: int) -> bytes:
    """Lines that put the piece at the depth where it stands."""
    previous = first.prev_named_sibling
    while previous is not None and (previous.type == "comment" or previous.end_byte > line_start):
        previous = previous.prev_named_sibling
    if previous is None:
        return b"if 1:\n" if source[line_start : line_start + 1] in (b" ", b"\t") else b""
    indentation = source[previous.start_byte - previous.start_point.column : previous.start_byte]
    if indentation.strip():
        return b"if 1:\n" if source[line_start : line_start + 1] in (b" ", b"\t") else b""
    return (b"if 1:\n" if indentation else b"") + indentation + b"pass\n"


def _tail(source: bytes, line_start: int, line_end: int) -> bytes:
    """A line for the statement that follows, unless it belongs to a block further out."""
    ended = b"" if source[line_end - 1 : line_end] == b"\n" else b"\n"
    for line in source[line_end : line_end + 2000].split(b"\n"):
        content = line.lstrip()
        if content and not content.startswith(b"#"):
            indentation = line[: len(line) - len(content)]
            within = indentation.startswith(_indentation(source, line_start))
            return ended + indentation + b"pass\n" if within else ended
    return ended


def _indentation(source: bytes, line_start: int) -> bytes:
    line = source[line_start : line_start + 200].split(b"\n")[0]
    return line[: len(line) - len(line.lstrip())]


def _position(source: bytes, offset: int) -> tuple[int, int]:
    return source.count(b"\n", 0, offset), offset - source.rfind(b"\n", 0, offset) - 1


def _line_start(source: bytes, line: int) -> int:
    start = 0
    for _ in range(line):
        start = source.find(b"\n", start) + 1 or len(source)
    return start
