"""What a place in a source is by its tree: code, comment, or a string of any sort, which regular
expressions, characters and here-documents are too. Offsets are bytes of UTF-8.
"""

import re
from functools import cache

from tree_sitter import Node, Tree

from infill_engine.budget import Budget
from infill_ls.syntax.parse import children

_COMMENT = re.compile(r"comment(?!_statement)|shebang|hash_bang")
_STRING = re.compile(
    r"string|heredoc_body|heredoc_content|nowdoc|char|rune|regex|quoted|quote_scalar|raw_text"
    r"|delimited_symbol|^literal$"
)
# Named for the strings that they hold, or for types and words.
_OTHER = re.compile(
    r"concatenated|string_array|chained|herestring|unquoted|string_scalar|key_path|charset|keyword_"
    r"|_type$|^n?(?:var)?char$"
)
_CODE = re.compile(r"interpolation|substitution|expansion|embed|template_type|replacement_field")


def kinds(tree: Tree, start: int, end: int, *, budget: Budget) -> bytes:
    """Of every byte of [start, end): " ", "c" or "s". Raises BudgetSpent."""
    found = bytearray(b" " * (end - start))
    stack = [tree.root_node]
    while stack:
        node = stack.pop()
        kind = _kind(node.type) if node.is_named else b""
        if kind:
            low, high = max(node.start_byte, start), min(node.end_byte, end)
            found[low - start : high - start] = kind * (high - low)
        if kind != b"c":
            stack += [each for each in children(node, budget) if _overlaps(each, start, end)]
    return bytes(found)


def _overlaps(node: Node, start: int, end: int) -> bool:
    return node.start_byte < end and start < node.end_byte


@cache
def _kind(name: str) -> bytes:
    """b"" where a node is what holds it."""
    if _OTHER.search(name):
        return b""
    if _COMMENT.search(name):
        return b"c"
    if _CODE.search(name):
        return b" "
    return b"s" if _STRING.search(name) else b""
