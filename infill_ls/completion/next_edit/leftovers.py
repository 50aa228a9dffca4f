"""What an import of Python's leaves to be done with statements of its own: those that a gone name
was there for go, and class variables are called so once `ClassVar` is imported."""

import ast
from collections.abc import Iterator

from infill_ls.completion.next_edit.imports import added_by
from infill_ls.completion.next_edit.module import Module
from infill_ls.completion.next_edit.proposal import Proposal, Site

_BUILT = (ast.Dict, ast.List, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


def orphaned(site: Site, old: Module, new: Module) -> Iterator[Proposal]:
    """Statements that need a name which is no longer imported, and that nothing needs."""
    gone = {x.bound for x in old.imports} - new.defined
    users = [node for node in new.tree.body if _names(node) & gone] if gone else []
    for node in users:
        if not _needless(node, new):
            continue
        first, end = node.lineno - 1, node.end_lineno or node.lineno
        if first and not new.lines[first - 1].strip():
            first -= 1
        alone = ("alone", float(len(users) == 1))
        yield Proposal(rule="orphaned", first=first, end=end, lines=(), evidence=(alone,))


def _names(node: ast.stmt) -> set[str]:
    """What it says, apart from types."""
    said = node.value if isinstance(node, ast.AnnAssign) else node
    return {each.id for each in ast.walk(said or node) if isinstance(each, ast.Name)}


def _needless(node: ast.stmt, module: Module) -> bool:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            exported = {each.value for each in module.exported}
            return name not in exported and not any(
                each.id == name and isinstance(each.ctx, ast.Load) for each in module.names
            )
        case ast.If(body=[ast.Pass()], orelse=[]):
            return True
    return False


def class_variables(site: Site, old: Module, new: Module) -> Iterator[Proposal]:
    """What a class builds once for all of its instances."""
    added = {x.bound for x in added_by(site, old, new)}
    if "ClassVar" not in added:
        return
    for node in new.nodes:
        for each in node.body if isinstance(node, ast.ClassDef) else ():
            match each:
                case ast.AnnAssign(
                    target=ast.Name() as name, annotation=said, value=ast.expr() as value
                ):
                    kind = ast.get_source_segment("\n".join(new.lines), said) or ""
                    known, end = True, said.end_col_offset or 0
                case ast.Assign(targets=[ast.Name() as name], value=value):
                    kind, known = _kind(value, "Any" if "Any" in added else ""), False
                    end = name.end_col_offset or 0
                case _:
                    continue
            at, line = each.lineno - 1, new.lines[each.lineno - 1]
            if not isinstance(value, _BUILT) or not kind or "ClassVar" in kind:
                continue
            if site.change.first <= at < site.change.end or "\n" in kind or not line.isascii():
                continue
            yield Proposal(
                rule="class_variable",
                first=at,
                end=at + 1,
                lines=(f"{line[: name.end_col_offset]}: ClassVar[{kind}]{line[end:]}",),
                evidence=(("known", float(known)),),
            )


def _kind(value: ast.expr, every: str) -> str:
    """The type of what is built from constants, "" where they do not tell; values of mappings are
    of the type of `every` one where that is said."""
    match value:
        case ast.List(elts=elts):
            names = ["list", _type(elts)]
        case ast.Set(elts=elts):
            names = ["set", _type(elts)]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            names = ["dict", _type([key for key in keys if key]), every or _type(values)]
        case _:
            return ""
    return f"{names[0]}[{', '.join(names[1:])}]" if all(names) else ""


def _type(values: list[ast.expr]) -> str:
    """Of all of them."""
    kinds = {type(x.value).__name__ if isinstance(x, ast.Constant) else "" for x in values}
    return kinds.pop() if len(kinds) == 1 else ""
