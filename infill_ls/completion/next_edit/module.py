"""What is to know of a source in Python: its imports, and which names it uses and binds."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

MAX_CHARACTERS = 120_000
_WORD = re.compile(r"\w+")
_LEAVES = ast.Name, ast.Constant
_BINDING = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
    ast.ExceptHandler, ast.MatchAs, ast.MatchStar,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A name that a statement of lines [first, end) binds; `module` is "" for `import name`. It is
    `alone` in its statement, and that `filling` where it is all of its block."""

    name: str
    bound: str
    module: str
    first: int
    end: int
    alone: bool
    top: bool
    filling: bool


class Module:
    """What is to know of a source that parses."""

    def __init__(self, tree: ast.Module, text: str) -> None:
        self.tree = tree
        self.lines = text.split("\n")

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All that says something, as `ast.walk` finds them, which takes three times as long."""
        found: list[ast.AST] = [self.tree]
        for node in found:  # it grows
            if isinstance(node, _LEAVES):
                continue
            for name in node._fields:
                if name == "ctx":
                    continue
                value = getattr(node, name, None)
                if isinstance(value, list):
                    found += [each for each in value if isinstance(each, ast.AST)]
                elif isinstance(value, ast.AST):
                    found.append(value)
        return found

    @cached_property
    def names(self) -> list[ast.Name]:
        return [node for node in self.nodes if isinstance(node, ast.Name)]

    @cached_property
    def imports(self) -> list[Imported]:
        found = []
        top = {id(node) for node in self.tree.body}
        statements = [x for x in self.nodes if isinstance(x, ast.Import | ast.ImportFrom)]
        for node in statements:
            module = "" if isinstance(node, ast.Import) else "." * node.level + (node.module or "")
            for alias in node.names:
                bound = alias.asname or (alias.name if module else alias.name.partition(".")[0])
                found.append(
                    Imported(
                        name=alias.name,
                        bound=bound,
                        module=module,
                        first=node.lineno - 1,
                        end=node.end_lineno or node.lineno,
                        alone=len(node.names) == 1,
                        top=id(node) in top,
                        filling=id(node) in self._filling,
                    )
                )
        return found

    @cached_property
    def _filling(self) -> set[int]:
        """Which statements are all of their blocks, by `id`."""
        bodies = (
            body
            for node in self.nodes
            if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case | ast.Module)
            for body in (getattr(node, "body", None), getattr(node, "orelse", None))
        )
        return {id(body[0]) for body in bodies if isinstance(body, list) and len(body) == 1}

    def statement(self, each: Imported) -> list[Imported]:
        """All that its statement binds."""
        return [other for other in self.imports if other.first == each.first]

    @cached_property
    def bound(self) -> frozenset[str]:
        """By imports."""
        return frozenset(each.bound for each in self.imports)

    @cached_property
    def loaded(self) -> frozenset[str]:
        """Names that are used, in annotations that are strings too."""
        found = {node.id for node in self.names}
        for node in self.nodes:
            match node:
                case ast.Constant(value=str(text)) if len(text) < 200:
                    found.update(_WORD.findall(text))
        return frozenset(found)

    @cached_property
    def spoken(self) -> frozenset[str]:
        """Names and attributes in code."""
        attributes = [node.attr for node in self.nodes if isinstance(node, ast.Attribute)]
        return frozenset([node.id for node in self.names] + attributes)

    @cached_property
    def defined(self) -> frozenset[str]:
        """Whatever binds a name, anywhere."""
        found = {node.id for node in self.names if not isinstance(node.ctx, ast.Load)}
        for node in self.nodes:
            if isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, _BINDING) and node.name:
                found.add(node.name)
        return self.bound | found

    @cached_property
    def exported(self) -> list[ast.Constant]:
        """The entries of `__all__`."""
        for node in self.tree.body:
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=entries))
                    | ast.Assign(targets=[ast.Name(id="__all__")], value=ast.Tuple(elts=entries))
                ):
                    texts = (each for each in entries if isinstance(each, ast.Constant))
                    return [each for each in texts if isinstance(each.value, str)]
        return []


def module_of(text: str) -> Module | None:
    """None where it does not parse, or would take long."""
    if len(text) > MAX_CHARACTERS:
        return None
    try:
        return Module(ast.parse(text), text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def annotations(module: Module) -> Iterator[ast.expr]:
    """Of parameters, results and variables."""
    for node in module.nodes:
        match node:
            case ast.AnnAssign(annotation=said) | ast.arg(annotation=ast.expr() as said):
                yield said
            case ast.FunctionDef(returns=ast.expr() as said):
                yield said
            case ast.AsyncFunctionDef(returns=ast.expr() as said):
                yield said
