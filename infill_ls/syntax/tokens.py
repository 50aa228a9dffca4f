"""What a place in a source is by its tree: code, comment, a string of any sort, which regular
expressions, characters, symbols and here-documents are too, or a variable among a shell's words.
Offsets are bytes of UTF-8.
"""

import re
from functools import cache

from tree_sitter import Node, Tree

from infill_engine.budget import Budget
from infill_ls.syntax.parse import overlapping

_COMMENT = re.compile(r"comment(?!_statement)|shebang|hash_bang")
_STRING = re.compile(
    r"string|heredoc_body|heredoc_content|nowdoc|char|rune|regex|quoted|quote_scalar|raw_text"
    r"|(?:delimited|simple)_symbol|format_(?:specifier|clause)|^literal$"
)
# Named for the strings that they hold, or for types and words.
_OTHER = re.compile(
    r"concatenated|string_array|chained|herestring|unquoted|string_scalar|key_path|charset|keyword_"
    r"|_type$|^n?(?:var)?char$"
)
# A dollar makes one of the word, or the bracket, behind it; Lua's calls have the name of Make's.
_VARIABLE = re.compile(
    r"(?:variable|substitution)_reference|automatic_variable|(?:simple_)?expansion"
    r"|(?:shell_)?function_call|shell_function"
)
_CODE = re.compile(
    r"interpolat(?:ion(?!_format)|ed_expression)|substitution|expansion|embed|template_type"
)


def kinds(tree: Tree, start: int, end: int, *, budget: Budget) -> bytes:
    """Of every byte of [start, end): " ", "c", "s" or "v". Raises BudgetSpent."""
    found = bytearray(b" " * (end - start))
    stack = [tree.root_node]
    while stack:
        node = stack.pop()
        kind = _kind(node.type) if node.is_named else b""
        if kind == b"v" and not _has_dollar(node):
            kind = b""
        if kind:
            low, high = max(node.start_byte, start), min(node.end_byte, end)
            found[low - start : high - start] = kind * (high - low)
        if kind != b"c":
            stack += overlapping(node, start, end, budget)
    return bytes(found)


def _has_dollar(node: Node) -> bool:
    first = node.child(0)
    return first is not None and first.type.startswith("$")


@cache
def _kind(name: str) -> bytes:
    """b"" where a node is what holds it."""
    if _OTHER.search(name):
        return b""
    if _COMMENT.search(name):
        return b"c"
    if _VARIABLE.fullmatch(name):
        return b"v"
    if _CODE.search(name):
        return b" "
    return b"s" if _STRING.search(name) else b""
