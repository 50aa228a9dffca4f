"""Where in a text an editor's cursor may leave a hole: spans in characters, drawn at random.

Syntax comes from tree-sitter, so that every language with a grammar is treated alike. Knows nothing
of token ids.
"""

import random
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import accumulate

from tree_sitter import Language, Node, Parser

KINDS = ("tail", "line", "expression", "lines", "block", "characters", "empty")
TAIL, LINE, EXPRESSION, LINES, BLOCK, CHARACTERS, EMPTY = range(len(KINDS))
# Drawn rather than kept: long lines runs and blocks are often over 64 tokens and fall away.
WEIGHTS = (28, 18, 22, 17, 18, 6, 4)
CHARACTERS_PER_SPAN = 90
# Of the spans of a kind, how many start inside an identifier, and of the tails how many start
# between a space and what follows it (where the cursor stands after "x = ").
CUT_INSIDE = {TAIL: 0.3, EXPRESSION: 0.12, CHARACTERS: 0.5}
CUT_AFTER_SPACE = 0.12
GRAMMARS = {
    "python": ("tree_sitter_python", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
    "json": ("tree_sitter_json", "language"),
}
ARGUMENTS = {
    "argument_list", "arguments", "parameters", "formal_parameters", "lambda_parameters",
    "subscript", "list", "dictionary", "tuple", "array", "object", "set", "type_arguments",
    "parenthesized_expression", "named_imports",
}  # fmt: skip
EXPRESSIONS = ARGUMENTS | {
    "call", "binary_operator", "boolean_operator", "comparison_operator", "not_operator",
    "unary_operator", "attribute", "conditional_expression", "lambda", "list_comprehension",
    "dictionary_comprehension", "generator_expression", "set_comprehension", "keyword_argument",
    "await", "string", "typed_parameter", "default_parameter", "generic_type", "pair",
    "call_expression", "binary_expression", "unary_expression", "member_expression",
    "subscript_expression", "arrow_function", "template_string", "ternary_expression",
    "new_expression", "await_expression", "assignment_expression", "as_expression",
    "jsx_attribute", "union_type", "object_type", "required_parameter",
}  # fmt: skip
FIELDS = {"right", "value", "condition", "argument", "alternative", "return_type", "type", "left"}
BODIES = {"block", "statement_block", "class_body", "object_type", "switch_body", "interface_body"}
STATEMENTS = {
    "if_statement", "for_statement", "while_statement", "with_statement", "try_statement",
    "function_definition", "decorated_definition", "return_statement", "raise_statement",
    "for_in_statement", "function_declaration", "method_definition", "lexical_declaration",
    "expression_statement", "else_clause", "elif_clause", "except_clause", "switch_statement",
    "throw_statement", "export_statement", "match_statement", "case_clause",
}  # fmt: skip


@cache
def _parser(language: str) -> Parser | None:
    if language not in GRAMMARS:
        return None
    module, function = GRAMMARS[language]
    return Parser(Language(getattr(import_module(module), function)()))


def parse(text: str, language: str, path: str = "") -> Node | None:
    """The root of a text's syntax tree, or None for a language without a grammar here."""
    parser = _parser("tsx" if path.endswith("tsx") else language)
    return parser.parse(text.encode()).root_node if parser else None


class HoleDrawer:
    """A text with its piece boundaries, lines and tree, to draw spans (character offsets) from."""

    def __init__(self, text: str, root: Node | None, pieces: list[str], rng: random.Random):
        self.text, self.root, self.pieces, self.rng = text, root, pieces, rng
        self.starts = [0, *accumulate(map(len, pieces))]
        self.lines = _lines(text)
        self.ascii = text.isascii()
        self.data = b"" if self.ascii else text.encode()

    def drawn(self, longest: int) -> set[tuple[int, int, int]]:
        """Spans of at most `longest` characters, as (start, end, kind)."""
        draw = (
            self.tail, self.line, self.expression, self.some_lines, self.block, self.characters,
            self.empty,
        )  # fmt: skip
        chosen: set[tuple[int, int, int]] = set()
        count = max(1, len(self.text) // CHARACTERS_PER_SPAN)
        for kind in self.rng.choices(range(len(KINDS)), WEIGHTS, k=count):
            for _ in range(4):
                span = draw[kind]()
                if span and span[1] - span[0] <= longest:
                    chosen.add((*span, kind))
                    break
        return chosen

    def byte(self, character: int) -> int:
        return character if self.ascii else len(self.text[:character].encode())

    def character(self, byte: int) -> int:
        return byte if self.ascii else len(self.data[:byte].decode(errors="ignore"))

    def any_piece(self) -> int:
        return self.rng.randrange(len(self.pieces))

    def any_cut(self) -> tuple[int, int] | None:
        """A piece and an offset inside its identifier."""
        for _ in range(8):
            piece = self.any_piece()
            if cut := self.inside(piece):
                return piece, cut
        return None

    def inside(self, piece: int) -> int | None:
        """An offset inside the identifier of a piece, between its letters."""
        word = self.pieces[piece]
        lead = len(word) - len(word.lstrip(" "))
        if len(word) - lead < 2 or not (word[lead].isalpha() or word[lead] == "_"):
            return None
        return self.starts[piece] + self.rng.randrange(lead + 1, len(word))

    def line_end(self, offset: int) -> int:
        end = self.text.find("\n", offset)
        return len(self.text) if end < 0 else end

    def tail(self) -> tuple[int, int] | None:
        draw = self.rng.random()
        if draw < CUT_INSIDE[TAIL]:
            found = self.any_cut()
            return (found[1], self.line_end(found[1])) if found else None
        piece = self.any_piece()
        start = self.starts[piece]
        if not self.pieces[piece].strip():
            return None
        if draw < CUT_INSIDE[TAIL] + CUT_AFTER_SPACE and self.pieces[piece][0] == " ":
            start += 1
        return start, self.line_end(start)

    def line(self) -> tuple[int, int] | None:
        return self.rng.choice(self.lines) if self.lines else None

    def some_lines(self) -> tuple[int, int] | None:
        count = self.rng.choice((2, 2, 2, 3, 3, 4, 5))
        if len(self.lines) < count:
            return None
        first = self.rng.randrange(len(self.lines) - count + 1)
        return self.lines[first][0], self.lines[first + count - 1][1]

    def characters(self) -> tuple[int, int] | None:
        size = int(2 ** self.rng.uniform(1, 6.5))
        found = self.any_cut() if self.rng.random() < CUT_INSIDE[CHARACTERS] else None
        piece = found[0] if found else self.any_piece()
        start = found[1] if found else self.starts[piece]
        last = piece
        while last + 1 < len(self.pieces) and self.starts[last + 1] < start + size:
            last += 1
        end = self.starts[last + 1]
        if found and self.rng.random() < 0.5:
            end = self.inside(last) or end
        return (start, end) if end > start else None

    def empty(self) -> tuple[int, int]:
        if self.lines and self.rng.random() < 0.6:
            at = self.rng.choice(self.lines)[1]
        else:
            at = self.starts[self.any_piece()]
        return at, at

    def ancestors(self) -> Iterator[tuple[Node, int]]:
        """Nodes around a random place, with their size in bytes, while small enough for a span."""
        if self.root is None:
            return
        at = self.byte(self.starts[self.any_piece()])
        node = self.root.named_descendant_for_byte_range(at, at + 1)
        while node is not None and (size := node.end_byte - node.start_byte) <= 400:
            yield node, size
            node = node.parent

    def expression(self) -> tuple[int, int] | None:
        found: list[tuple[int, int]] = []
        for node, size in self.ancestors():
            if node.type in ARGUMENTS:
                # The hole an editor leaves between auto-closed brackets.
                first, last = node.children[:1], node.children[-1:]
                if (
                    first
                    and not first[0].is_named
                    and not last[0].is_named
                    and len(node.children) > 2
                ):
                    found.append((first[0].end_byte, last[0].start_byte))
                    continue
            parent = node.parent
            if node.type in EXPRESSIONS and size > 1:
                found.append((node.start_byte, node.end_byte))
            elif parent is not None:
                at = parent.children.index(node) if len(parent.children) < 40 else -1
                if at >= 0 and parent.field_name_for_child(at) in FIELDS:
                    found.append((node.start_byte, node.end_byte))
        return self._trimmed(found, CUT_INSIDE[EXPRESSION])

    def block(self) -> tuple[int, int] | None:
        found: list[tuple[int, int]] = []
        for node, _ in self.ancestors():
            if node.type in BODIES:
                start, end = node.start_byte, node.end_byte
                if node.type != "block" and len(node.children) > 2:
                    start, end = node.children[0].end_byte, node.children[-1].start_byte
                found.append((start, end))
            elif node.type in STATEMENTS:
                found.append((node.start_byte, node.end_byte))
        return self._trimmed(found, 0.0)

    def _trimmed(self, found: list[tuple[int, int]], cut: float) -> tuple[int, int] | None:
        if not found:
            return None
        start, end = map(self.character, self.rng.choice(found))
        inside = self.text[start:end]
        start += len(inside) - len(inside.lstrip())
        end -= len(inside) - len(inside.rstrip())
        if end - start > 4 and self.rng.random() < cut and self.text[start : start + 2].isalpha():
            start += self.rng.choice((1, 2))
        return (start, end) if end > start else None


def _lines(text: str) -> list[tuple[int, int]]:
    """Each line that is not blank, from its indentation's end to its own end."""
    found, offset = [], 0
    for line in text.split("\n"):
        lead = len(line) - len(line.lstrip(" \t"))
        if lead < len(line) and not line.isspace():
            found.append((offset + lead, offset + len(line)))
        offset += len(line) + 1
    return found
