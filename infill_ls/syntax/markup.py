"""Tags without their partner, which tree-sitter's grammars take without a word.

HTML's lets end tags be missing or close nothing, JSX's lets them have another name. Offsets are
bytes of UTF-8.
"""

from collections.abc import Iterator
from functools import cache

from tree_sitter import Language as Grammar
from tree_sitter import Node, Query, QueryCursor, Tree

from infill_engine.budget import Budget
from infill_ls.syntax.language import Language

# HTML lets authors leave these open.
MAY_STAY_OPEN = frozenset(
    b"html head body li dt dd p rt rp optgroup option colgroup thead tbody tfoot tr td th area "
    b"base br col embed hr img input link meta source track wbr".split()
)
_QUERIES = {
    "html": "(erroneous_end_tag) @wrong (element (start_tag (tag_name))) @element",
    "jsx": "(jsx_element) @element",
}


def unmatched_tags(
    tree: Tree, source: bytes, language: Language, *, budget: Budget
) -> Iterator[tuple[int, int]]:
    """Ranges of tags that close nothing, and of the start tags of elements left open.

    Raises BudgetSpent.
    """
    if not language.tags or b"<" not in source or (language.tags == "jsx" and b"</" not in source):
        return
    query = _query(tree.language, _QUERIES[language.tags])
    found = QueryCursor(query).captures(tree.root_node)
    budget.check()
    for node in found.get("wrong", []):
        yield node.byte_range
    wrong_tag = _left_open if language.tags == "html" else _named_otherwise
    for element in found.get("element", []):
        budget.check()
        tag = wrong_tag(element, source)
        if tag is not None:
            yield tag.byte_range


def _left_open(element: Node, source: bytes) -> Node | None:
    """The start tag of an element that has no end tag though it needs one."""
    start, end = element.child(0), element.child(element.child_count - 1)
    if start is None or end is None or end.type == "end_tag":
        return None
    name = source[start.start_byte : start.end_byte].strip(b"<>/ \n").split()[:1]
    return start if name and name[0].lower() not in MAY_STAY_OPEN else None


def _named_otherwise(element: Node, source: bytes) -> Node | None:
    """The name in an end tag that is not that of the start tag."""
    tags = (element.child_by_field_name(field) for field in ("open_tag", "close_tag"))
    names = [tag and tag.child_by_field_name("name") for tag in tags]
    if names[0] is None or names[1] is None:
        return None
    start, end = (source[name.start_byte : name.end_byte] for name in names if name)
    return names[1] if start != end else None


@cache
def _query(grammar: Grammar, source: str) -> Query:
    return Query(grammar, source)
