"""What Bash refuses though tree-sitter's grammar takes it: a reserved word where a command stands
(`fi` alone), blocks without a command, `;;` outside of `case`, a redirection to nowhere.

Every rule is the grammar's of the manual, "Shell Commands" and "Redirections".
"""

import itertools
from collections.abc import Iterator
from functools import cache

from tree_sitter import Language as Grammar
from tree_sitter import Node, Query, QueryCursor, Tree

from infill_engine.budget import Budget
from infill_ls.syntax.parse import children
from infill_ls.syntax.rules import Fault, Placed, Rules, first_fault

# But `time`, `!` and `coproc`, which stand before a command.
_RESERVED = (
    *("if", "then", "elif", "else", "fi", "for", "while", "until", "select"),
    *("do", "done", "case", "esac", "in", "function", "{", "}"),
)
_BRACES = frozenset({b"{", b"}"})
# The words that open a list of commands, in a node that may hold several such lists.
_OPENING = {"{", "(", "do", "then", "else", "if", "elif", "while", "until"}
_CLOSING = {"}", ")", "done", "then", "else_clause", "elif_clause", "fi", "do_group"}


def fault(tree: Tree, span: tuple[int, int], before: Tree, *, budget: Budget) -> Fault | None:
    """What Bash refuses because of the span of a source, whose tree this is; None where nothing
    is to be said. `before` is the tree of the source without it. Raises BudgetSpent."""
    return first_fault(tree, span, _RULES, budget=budget) or _reserved(tree, span, before, budget)


def _reserved(tree: Tree, span: tuple[int, int], before: Tree, budget: Budget) -> Fault | None:
    """A reserved word for a command in the span, or more of them elsewhere than before: a `fi`
    that closes what goes on with `else`."""
    if tree.root_node.has_error:
        return None
    start, end = span
    loose = _reserved_commands(tree, budget)
    within = [name for name in loose if name.start_byte < end and start < name.end_byte]
    if not within and (
        not loose
        or before.root_node.has_error
        or len(loose) <= len(_reserved_commands(before, budget))
    ):
        return None
    name = (within or loose)[0]
    low, high = max(name.start_byte, start), min(name.end_byte, end)
    word = (name.text or b"").decode("utf-8", "replace")
    where = (low, high) if low < high else span
    return Fault(start=where[0], end=where[1], message=f"`{word}` without what it belongs to")


def _reserved_commands(tree: Tree, budget: Budget) -> list[Node]:
    """The names of commands that are reserved words, which they are not behind assignments or
    redirections. The grammar takes assignments of several lines for one command with a loop behind
    them, whose end is then alone: so none at all where one stands on a later line than its
    command begins."""
    found = QueryCursor(_query(tree.language)).captures(tree.root_node)
    budget.check()
    loose: list[Node] = []
    for name in found.get("name", []):
        before = name.prev_sibling
        while before is not None and before.prev_sibling is not None:
            before = before.prev_sibling
        if before is None:
            loose.append(name)
        elif before.start_point.row < name.start_point.row:
            return []
    if any(name.text in _BRACES for name in loose):
        # Behind `!`, `time` and a test's name (bats) the grammar takes a brace for a word.
        braces = QueryCursor(_words(tree.language, _BRACES)).captures(tree.root_node)
        if _paired(braces.get("word", [])):
            loose = [name for name in loose if name.text not in _BRACES]
    return loose


def _paired(braces: list[Node]) -> bool:
    """Whether each closes one that stands before it, and none is left."""
    depth = 0
    for brace in sorted(braces, key=lambda brace: brace.start_byte):
        depth += 1 if brace.text == b"{" else -1
        if depth < 0:
            return False
    return depth == 0


@cache
def _words(grammar: Grammar, texts: frozenset[bytes]) -> Query:
    words = " ".join(f'"{text.decode()}"' for text in sorted(texts))
    return Query(grammar, f"((word) @word (#any-of? @word {words}))")


@cache
def _query(grammar: Grammar) -> Query:
    words = " ".join(f'"{word}"' for word in sorted(_RESERVED))
    return Query(grammar, f"((command_name (word)) @name (#any-of? @name {words}))")


def _empty_list(placed: Placed, budget: Budget) -> Iterator[tuple[Node, str]]:
    """Between the words that open and close a list no command stands."""
    opening: Node | None = None
    for child in children(placed.node, budget):
        if opening is not None and child.type in _CLOSING:
            yield opening, f"no command after `{opening.type}`"
            yield child, f"no command after `{opening.type}`"
        if child.type in _OPENING:
            opening = child
        elif child.type != "comment":
            opening = None
    if opening is not None:
        yield opening, f"no command after `{opening.type}`"


def _case_end(placed: Placed, budget: Budget) -> Iterator[tuple[Node, str]]:
    if placed.outer is not None and placed.outer.node.type != "case_item":
        yield placed.node, f"`{placed.node.type}` outside of a case"


def _nowhere(placed: Placed, budget: Budget) -> Iterator[tuple[Node, str]]:
    """A redirection whose target stands on another line."""
    text, start = placed.node.text or b"", placed.node.start_byte
    for operator, target in itertools.pairwise(children(placed.node, budget)):
        between = text[operator.end_byte - start : target.start_byte - start]
        if not operator.is_named and b"\n" in between.replace(b"\\\n", b""):
            yield operator, "a redirection without its target"


def _heredoc(placed: Placed, budget: Budget) -> Iterator[tuple[Node, str]]:
    """A here-document that no line ends: all that follows belongs to it. The line has nothing but
    the word, and behind `<<-` tabs before it."""
    parts = {each.type: each for each in children(placed.node, budget)}
    start, end = parts.get("heredoc_start"), parts.get("heredoc_end")
    if start is not None and end is not None:
        word = (start.text or b"").translate(None, b"'\"\\")
        text, at = placed.node.text or b"", end.start_byte - placed.node.start_byte
        lead = text[text.rfind(b"\n", 0, at) + 1 : at] + (end.text or b"")
        if (lead.lstrip(b"\t") if "<<-" in parts else lead).rstrip() != word.strip():
            yield start, "a here-document without its end"


_LISTS = (
    *("compound_statement", "subshell", "do_group", "if_statement", "elif_clause", "else_clause"),
    "while_statement",
)
_RULES = Rules(
    anywhere={
        **dict.fromkeys(_LISTS, (_empty_list,)),
        "file_redirect": (_nowhere,),
        "heredoc_redirect": (_heredoc,),
    },
    in_context={
        **dict.fromkeys((";;", ";&", ";;&"), (_case_end,)),
    },
)
