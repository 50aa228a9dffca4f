"""Tags without their partner, which tree-sitter's grammars take without a word.

HTML's lets end tags be missing or close nothing, JSX's lets them have another name. Offsets are
bytes of UTF-8.
"""

from collections.abc import Iterator
from functools import cache

from tree_sitter import Language, Query, QueryCursor, Tree

# HTML lets authors leave these open.
_MAY_STAY_OPEN = frozenset(
    b"html head body li dt dd p rt rp optgroup option colgroup thead tbody tfoot tr td th area "
    b"base br col embed hr img input link meta source track wbr".split()
)
_HTML = "(erroneous_end_tag) @wrong (element (start_tag (tag_name) @name)) @element"
_JSX = """
(jsx_element
  open_tag: (jsx_opening_element name: (_) @open)
  close_tag: (jsx_closing_element name: (_) @close)
  (#not-eq? @open @close)) @wrong
"""
_QUERIES = {"html": _HTML, "javascript": _JSX, "typescriptreact": _JSX}


def unmatched_tags(tree: Tree, source: bytes, name: str) -> Iterator[tuple[int, int]]:
    """Ranges of tags that close nothing, and of the start tags of elements left open."""
    if name not in _QUERIES or b"<" not in source or (name != "html" and b"</" not in source):
        return
    found = QueryCursor(_query(tree.language, name)).captures(tree.root_node)
    if name == "html":
        for node in found.get("wrong", []):
            yield node.byte_range
        for node in found.get("element", []):
            start, end = node.children[0], node.children[-1]
            tag = source[start.start_byte : start.end_byte].strip(b"<>/ \n").split()[:1]
            if end.type != "end_tag" and tag and tag[0].lower() not in _MAY_STAY_OPEN:
                yield start.byte_range
    else:
        for node in found.get("close", []):
            yield node.byte_range


@cache
def _query(grammar: Language, name: str) -> Query:
    return Query(grammar, _QUERIES[name])
