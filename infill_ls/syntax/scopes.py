"""Names that JavaScript or TypeScript declare twice in one scope."""

from collections.abc import Iterator

from tree_sitter import Node

from infill_engine.budget import Budget
from infill_ls.syntax.parse import children
from infill_ls.syntax.rules import Placed

_SCOPES = {"program", "statement_block", "switch_body", "class_static_block"}
_CLAUSES = {"switch_case", "switch_default"}
# What a `var` may name again.
_BY_VAR = {"variable_declaration", "function_declaration"}
# Those whose parameters may not share a name, whatever the mode.
_STRICT = {"arrow_function", "method_definition"}
_NAMES = {"identifier", "shorthand_property_identifier_pattern"}
_WRAPS = {
    *("object_pattern", "array_pattern", "rest_pattern", "pair_pattern", "assignment_pattern"),
    *("object_assignment_pattern", "required_parameter", "optional_parameter"),
}


def declared_twice(placed: Placed, budget: Budget) -> Iterator[tuple[Node, str]]:
    """A name of a declaration that its scope has already, unless by `var` both times."""
    scope = _scope(placed)
    if scope is None:
        return
    mine = {name.text: name for name in _declared(placed.node, budget)}
    by_var = placed.node.type == "variable_declaration"
    seen: set[bytes | None] = set()
    for other in _declarations(scope, budget):
        same = other == placed.node
        if not same and by_var and other.type in _BY_VAR:
            continue
        for name in _declared(other, budget):
            if name.text in mine and (not same or (name.text in seen and not by_var)):
                yield mine[name.text], f"{(name.text or b'').decode()} is declared twice"
            if same:
                seen.add(name.text)
    if not by_var and scope.node.type == "statement_block" and scope.outer is not None:
        for name in _parameters(scope.outer.node, budget):
            if name.text in mine:
                yield mine[name.text], f"{(name.text or b'').decode()} is a parameter already"


def same_parameters(placed: Placed, budget: Budget) -> Iterator[tuple[Node, str]]:
    """A parameter's name twice, where that is not allowed in sloppy code either."""
    function = placed.outer.node if placed.outer is not None else None
    parameters = [each for each in children(placed.node, budget) if each.is_named]
    simple = all(each.type == "identifier" for each in parameters)
    if function is None or (simple and function.type not in _STRICT):
        return
    seen: set[bytes | None] = set()
    for parameter in parameters:
        for name in _names(parameter, budget):
            if name.text in seen:
                yield placed.node, f"{(name.text or b'').decode()} is a parameter twice"
            seen.add(name.text)


def _scope(placed: Placed) -> Placed | None:
    """The block that a declaration stands in, if it stands there by itself."""
    outer = placed.outer
    while outer is not None and outer.node.type in (*_CLAUSES, "export_statement"):
        outer = outer.outer
    return outer if outer is not None and outer.node.type in _SCOPES else None


def _declarations(scope: Placed, budget: Budget) -> Iterator[Node]:
    for child in children(scope.node, budget):
        if child.type in _CLAUSES:
            yield from children(child, budget)
        elif child.type == "export_statement":
            declaration = child.child_by_field_name("declaration")
            if declaration is not None:
                yield declaration
        else:
            yield child


def _declared(declaration: Node, budget: Budget) -> Iterator[Node]:
    """The names that a statement declares in its scope."""
    kind = declaration.type
    if kind in ("lexical_declaration", "variable_declaration"):
        for each in children(declaration, budget):
            name = each.child_by_field_name("name") if each.type == "variable_declarator" else None
            if name is not None:
                yield from _names(name, budget)
    elif kind in ("class_declaration", "function_declaration", "generator_function_declaration"):
        name = declaration.child_by_field_name("name")
        if name is not None:
            yield name
    elif kind == "import_statement":
        yield from _imported(declaration, budget)


def _imported(statement: Node, budget: Budget) -> Iterator[Node]:
    stack = [each for each in children(statement, budget) if each.type == "import_clause"]
    if any(each.type == "type" for each in children(statement, budget)):
        return
    while stack:
        for each in children(stack.pop(), budget):
            if each.type == "identifier":
                yield each
            elif each.type == "import_specifier":
                name = each.child_by_field_name("alias") or each.child_by_field_name("name")
                if name is not None:
                    yield name
            else:
                stack.append(each)


def _parameters(function: Node, budget: Budget) -> Iterator[Node]:
    """The names of a function's or a catch clause's parameters."""
    for field in ("parameters", "parameter"):
        found = function.child_by_field_name(field)
        if found is not None:
            for each in children(found, budget) if field == "parameters" else (found,):
                yield from _names(each, budget)


def _names(pattern: Node, budget: Budget) -> Iterator[Node]:
    """The names that a pattern binds."""
    stack = [pattern]
    while stack:
        node = stack.pop()
        if node.type in _NAMES:
            yield node
        elif node.type in _WRAPS:
            part = next(filter(None, map(node.child_by_field_name, ("left", "pattern"))), None)
            value = node.child_by_field_name("value")
            if node.type == "pair_pattern":
                part = value
            stack += [part] if part is not None else [*children(node, budget)]
