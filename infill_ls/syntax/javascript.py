"""What JavaScript and TypeScript refuse though tree-sitter's grammars take it.

The rules are ECMAScript's early errors (ECMA-262, "Static Semantics: Early Errors") as far as
models break them: what stands outside of what it belongs to, names that are declared twice,
targets that cannot be assigned to, statements that miss a part. Sloppy code may do what only
strict code may not, as nobody can tell a script from a module by half of it.
"""

from collections.abc import Iterator

from tree_sitter import Node

from infill_engine.budget import Budget
from infill_ls.syntax.parse import children
from infill_ls.syntax.rules import Placed, Rules
from infill_ls.syntax.scopes import declared_twice, same_parameters

Breach = tuple[Node, str]

_FUNCTIONS = {
    *("function_declaration", "function_expression", "generator_function", "arrow_function"),
    *("generator_function_declaration", "method_definition", "class_static_block"),
}
_NAMESPACES = {"module", "internal_module", "ambient_declaration"}
_MODULAR = {"import_statement", "export_statement"}
_LOOPS = {"for_statement", "for_in_statement", "while_statement", "do_statement"}
_LEFT = ("left", "object", "function", "expression", "argument", "condition", "tag")
_RESERVED = frozenset(
    b"break case catch class const continue debugger default delete do else enum export extends "
    b"false finally for function if in instanceof new null return switch throw true try typeof "
    b"var void while with".split()
)
_NAMES_ANYTHING = ("import_specifier", "export_specifier", "namespace_export")
_TARGETS = {
    *("identifier", "member_expression", "subscript_expression", "undefined"),
    *("parenthesized_expression", "non_null_expression", "as_expression", "satisfies_expression"),
    *("type_assertion", "array_pattern", "object_pattern", "call_expression"),
}
_SINGLE = {"if_statement", "else_clause", "labeled_statement", "with_statement", *_LOOPS}
_FLAGS = frozenset("dgimsuvy")
_SHORTHANDS = ("shorthand_property_identifier", "shorthand_property_identifier_pattern")
_ASSIGNS = ("assignment_expression", "augmented_assignment_expression", "update_expression")
_LISTS = ("object", "object_pattern", "arguments", "named_imports", "export_clause")


# --- where something stands ----------------------------------------------------------------------


def _function(placed: Placed) -> Node | None:
    """The innermost function that holds the node; None on the outside of all, or where a field's
    value or a parameter makes it hard to tell."""
    return next((each.node for each in placed.enclosing() if each.node.type in _FUNCTIONS), None)


def _is(function: Node, word: str, budget: Budget) -> bool:
    return any(child.type == word for child in children(function, budget))


def _await(placed: Placed, budget: Budget) -> Iterator[Breach]:
    function = _function(placed)
    if function is not None and not _is(function, "async", budget):
        for word in children(placed.node, budget):
            if word.type == "await":
                yield word, "await outside of an async function"


def _yield(placed: Placed, budget: Budget) -> Iterator[Breach]:
    function = _function(placed)
    generates = function is not None and (
        function.type.startswith("generator") or _is(function, "*", budget)
    )
    if not generates and placed.node.child_count > 1:
        yield placed.node, "yield outside of a generator"


def _jump(placed: Placed, _: Budget) -> Iterator[Breach]:
    """A `break` or `continue` with nothing to leave."""
    node = placed.node
    label = node.child_by_field_name("label")
    for outer in placed.enclosing():
        kind = outer.node.type
        if kind in _FUNCTIONS:
            break
        if label is not None:
            named, body = (outer.node.child_by_field_name(each) for each in ("label", "body"))
            if named is None or body is None or named.text != label.text:
                continue
            if node.type == "break_statement" or body.type in _LOOPS:
                return
        elif kind in _LOOPS or (kind == "switch_statement" and node.type == "break_statement"):
            return
    yield node, f"{node.type.partition('_')[0]} outside of what it leaves"


def _return(placed: Placed, budget: Budget) -> Iterator[Breach]:
    """Node's own modules are functions, the language's are not."""
    if _function(placed) is not None:
        return
    program = [outer.node for outer in placed.enclosing()][-1]
    if any(each.type in _MODULAR for each in children(program, budget)):
        yield placed.node, "return outside of a function"


def _top_level(placed: Placed, _: Budget) -> Iterator[Breach]:
    outer = placed.outer
    if outer is None or outer.node.type == "program":
        return
    holder = outer.outer.node.type if outer.outer is not None else ""
    if outer.node.type != "statement_block" or holder not in _NAMESPACES:
        yield placed.node, f"{placed.node.type.partition('_')[0]} within a block"


def _super(placed: Placed, _: Budget) -> Iterator[Breach]:
    calls = placed.outer is not None and placed.outer.node.type == "call_expression"
    for node in (outer.node for outer in placed.enclosing()):
        if node.type.endswith("field_definition") or (
            node.type == "class_static_block" and not calls
        ):
            return
        if node.type == "method_definition":
            name = node.child_by_field_name("name")
            if not calls or (name is not None and name.text == b"constructor"):
                return
        if node.type in _FUNCTIONS and node.type != "arrow_function":
            break
    yield placed.node, "super outside of a method"


# --- what a statement lacks or has twice ---------------------------------------------------------


def _single(placed: Placed, _: Budget) -> Iterator[Breach]:
    """A declaration where only a statement may stand, as in `if (a) const b = 1`."""
    outer = placed.outer
    if outer is None or outer.node.type not in _SINGLE:
        return
    if outer.node.child_by_field_name("initializer") != placed.node:
        yield placed.node, "a declaration needs a block here"


def _initialised(placed: Placed, budget: Budget) -> Iterator[Breach]:
    if any(outer.node.type == "ambient_declaration" for outer in placed.enclosing()):
        return
    constant = any(each.type == "const" for each in children(placed.node, budget))
    for each in children(placed.node, budget):
        if each.type != "variable_declarator" or any(
            map(each.child_by_field_name, ("value", "type"))
        ):
            continue
        name = each.child_by_field_name("name")
        if constant or (name is not None and name.type.endswith("_pattern")):
            yield placed.node, "a declaration without a value"


def _try(placed: Placed, _: Budget) -> Iterator[Breach]:
    if not any(placed.node.child_by_field_name(each) for each in ("handler", "finalizer")):
        yield placed.node.children[0], "try without catch or finally"


def _defaults(placed: Placed, budget: Budget) -> Iterator[Breach]:
    found = [each for each in children(placed.node, budget) if each.type == "switch_default"]
    if len(found) > 1:
        yield from ((each, "a second default in a switch") for each in found)


def _constructors(placed: Placed, budget: Budget) -> Iterator[Breach]:
    found = [
        name
        for each in children(placed.node, budget)
        if each.type == "method_definition"
        and (name := each.child_by_field_name("name")) is not None
        and name.text == b"constructor"
        and not _is(each, "static", budget)
    ]
    if len(found) > 1:
        yield from ((each, "a second constructor in a class") for each in found)


def _throw(placed: Placed, _: Budget) -> Iterator[Breach]:
    if placed.node.child_count > 1:
        word, what = placed.node.children[:2]
        if word.end_point.row < what.start_point.row:
            yield word, "a line end after throw"


# --- expressions ---------------------------------------------------------------------------------


def _reserved(placed: Placed, _: Budget) -> Iterator[Breach]:
    holder = placed.outer.node.type if placed.outer is not None else ""
    if placed.node.text in _RESERVED and not (
        holder in _NAMES_ANYTHING or holder.startswith(("jsx_", "nested_"))
    ):
        yield placed.node, "a reserved word is no name"


def _target(placed: Placed, _: Budget) -> Iterator[Breach]:
    """What is assigned to, or counted up or down."""
    node = placed.node
    target = node.child_by_field_name("left") or node.child_by_field_name("argument")
    if target is None or target.type not in _TARGETS:
        if target is not None and node.type != "assignment_expression":
            yield node, "nothing that can be assigned to"
        return
    if target.type == "call_expression":
        yield node, "a call cannot be assigned to"
    while target is not None and target.type in ("member_expression", "subscript_expression"):
        if target.child_by_field_name("optional_chain") is not None:
            yield node, "an optional chain cannot be assigned to"
        target = target.child_by_field_name("object")


def _mixed(placed: Placed, _: Budget) -> Iterator[Breach]:
    """`??` beside `||` or `&&` without parentheses."""
    node = placed.node
    operators = [_operator(node)]
    operators += [_operator(node.child_by_field_name(each)) for each in ("left", "right")]
    if "??" in operators and ("||" in operators or "&&" in operators) and operators[0] in _LOGICAL:
        yield node, "?? and || need parentheses"


_LOGICAL = ("??", "||", "&&")


def _operator(node: Node | None) -> str:
    operator = node and node.type == "binary_expression" and node.child_by_field_name("operator")
    return operator.type if operator else ""


def _begins(placed: Placed, budget: Budget) -> Iterator[Breach]:
    """A statement that begins with `function` or `{` is none that begins with an expression."""
    first: Node | None = placed.node.child(0)
    while first is not None and first.type not in ("object", "function_expression"):
        fields = [first.child_by_field_name(name) for name in _LEFT]
        first = next((each for each in fields if each is not None), None)
    if first is None or first.start_byte != placed.node.start_byte:
        return
    if first.type == "function_expression":
        if first.child_by_field_name("name") is None:
            yield first, "a function without a name"
        return
    members = (each for each in children(first, budget) if each.is_named)
    for index, member in enumerate(each for each in members if each.type != "comment"):
        key = member.child_by_field_name("key")
        labelled = key is not None and key.type == "property_identifier" and not index
        if not (member.type == "shorthand_property_identifier" or labelled):
            yield first, "an object where a block stands"


def _gap(placed: Placed, budget: Budget) -> Iterator[Breach]:
    """Nothing between two commas; only arrays may have that."""
    before = ""
    for each in children(placed.node, budget):
        if each.type == "," and before in (",", "{", "("):
            yield each, "nothing before a comma"
        if each.type != "comment":
            before = each.type


def _flags(placed: Placed, _: Budget) -> Iterator[Breach]:
    flags = (placed.node.text or b"").decode("utf-8", "replace")
    if len(set(flags)) < len(flags) or not _FLAGS.issuperset(flags):
        yield placed.node, "unknown flags of a regular expression"


RULES = Rules(
    anywhere={
        "lexical_declaration": (_single,),
        "class_declaration": (_single,),
        "try_statement": (_try,),
        "switch_body": (_defaults,),
        "class_body": (_constructors,),
        "throw_statement": (_throw,),
        **dict.fromkeys(("identifier", *_SHORTHANDS), (_reserved,)),
        **dict.fromkeys(_ASSIGNS, (_target,)),
        **dict.fromkeys(_LISTS, (_gap,)),
        "binary_expression": (_mixed,),
        "expression_statement": (_begins,),
        "regex_flags": (_flags,),
        "formal_parameters": (_gap, same_parameters),
    },
    in_context={
        "await_expression": (_await,),
        "for_in_statement": (_await,),
        "yield_expression": (_yield,),
        "break_statement": (_jump,),
        "continue_statement": (_jump,),
        "return_statement": (_return,),
        "import_statement": (_top_level,),
        "export_statement": (_top_level,),
        "super": (_super,),
        "lexical_declaration": (_initialised, declared_twice),
        "variable_declaration": (_initialised, declared_twice),
        "class_declaration": (declared_twice,),
    },
)
