"""What a change of Python's imports says of the lines that use them."""

import ast
import re
from collections.abc import Iterator

from infill_ls.completion.next_edit.arguments import arguments
from infill_ls.completion.next_edit.imports import (
    added_by,
    mended_imports,
    modernised,
    modules_of,
)
from infill_ls.completion.next_edit.leftovers import class_variables, orphaned
from infill_ls.completion.next_edit.module import Module, annotations
from infill_ls.completion.next_edit.moved_imports import moved
from infill_ls.completion.next_edit.proposal import Proposal, Site

_TYPING = ("typing", "typing_extensions")
_MODERN = frozenset(("Dict", "List", "Set", "FrozenSet", "Tuple", "Type", "Optional", "Union"))
_ANY_MODERN = "|".join(sorted(_MODERN))
_PART = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_CAST = re.compile(r"(?<![\w.])cast\(")
_MOST_LINES = 12


def migrated(site: Site) -> Iterator[Proposal]:
    modules = modules_of(site)
    if modules is None:
        return
    old, new = modules
    yield from mended_imports(site, old, new)
    outside = [n for n in range(len(site.lines)) if not site.change.first <= n < site.change.end]
    yield from _annotations(site, old, new, outside)
    yield from _uncast(site, old, new, outside)
    yield from _qualified(site, old, new, outside)
    yield from _instead(site, old, new, outside)
    yield from moved(site, old, new)
    yield from orphaned(site, old, new)
    yield from class_variables(site, old, new)


def _annotations(site: Site, old: Module, new: Module, outside: list[int]) -> Iterator[Proposal]:
    """Annotations are no longer evaluated: they may be written as Python has them now, and without
    quotes."""
    if not any(x.module == "__future__" for x in added_by(site, old, new)):
        return
    names = {x.bound for x in new.imports if x.module in _TYPING and x.bound in _MODERN}
    modules = {x.bound for x in new.imports if not x.module and x.name in _TYPING}
    imports = {row for x in new.imports for row in range(x.first, x.end)}
    quoted = _quoted(new)
    for at in outside:
        line = site.lines[at]
        plain = line
        for start, end in quoted.get(at, ()):
            plain = plain[:start] + plain[start + 1 : end - 1] + plain[end:]
        of_line = set(names)
        for module in modules:
            pattern = re.compile(rf"(?<![\w.]){re.escape(module)}\.({_ANY_MODERN})(?!\w)")
            of_line.update(pattern.findall(plain))
            plain = pattern.sub(r"\1", plain)
        plain = modernised(plain, of_line)
        if at not in imports and plain != line:
            yield Proposal(
                rule="annotated",
                first=at,
                end=at + 1,
                lines=(plain,),
                evidence=(("quoted", float(at in quoted)),),
            )


def _quoted(module: Module) -> dict[int, list[tuple[int, int]]]:
    """By line where in it annotations are in quotes, the last ones first."""
    found: dict[int, list[tuple[int, int]]] = {}
    for said in annotations(module):
        for part in _texts(said):
            row, start, end = part.lineno - 1, part.col_offset, part.end_col_offset or 0
            line = module.lines[row]
            if line.isascii() and line[start + 1 : end - 1] == part.value:
                found.setdefault(row, []).append((start, end))
    return {row: sorted(spans, reverse=True) for row, spans in found.items()}


def _texts(said: ast.expr) -> Iterator[ast.Constant]:
    """Strings that stand for types."""
    match said:
        case ast.Constant(value=str()):
            yield said
        case ast.Subscript(value=ast.Name(id="Literal") | ast.Attribute(attr="Literal")):
            return
        case _:
            for child in ast.iter_child_nodes(said):
                if isinstance(child, ast.expr):
                    yield from _texts(child)


def _uncast(site: Site, old: Module, new: Module, outside: list[int]) -> Iterator[Proposal]:
    """`cast(Type, value)` where `cast` is gone."""
    if not any(x.bound == "cast" and x.module in _TYPING for x in old.imports):
        return
    if "cast" in new.bound:
        return
    for at in outside:
        line = site.lines[at]
        match = _CAST.search(line)
        found = arguments(line, match.end()) if match else None
        if match and found and len(found[0]) == 2:
            lines = (line[: match.start()] + found[0][1] + line[found[1] :],)
            yield Proposal(rule="uncast", first=at, end=at + 1, lines=lines)


def _qualified(site: Site, old: Module, new: Module, outside: list[int]) -> Iterator[Proposal]:
    """`from a.b import c` is gone and `b` or `a.b` is imported: `c` is `b.c` now."""
    came = {
        f"{x.module}.{x.name}".lstrip(".") if x.module else x.name: x.bound
        for x in added_by(site, old, new)
    }
    gone = [x for x in old.imports if x.module and x.bound not in new.defined and x.module in came]
    for each in gone:
        pattern = re.compile(rf"(?<![\w.]){re.escape(each.bound)}(?!\w)")
        found = [at for at in outside if pattern.search(site.lines[at])]
        if len(found) > _MOST_LINES:
            continue
        said = f"{came[each.module]}.{each.name}"
        for at in found:
            lines = (pattern.sub(said, site.lines[at]),)
            yield Proposal(rule="qualified", first=at, end=at + 1, lines=lines, places=len(found))


def _instead(site: Site, old: Module, new: Module, outside: list[int]) -> Iterator[Proposal]:
    """A name came that nothing uses yet: in place of one whose words it has."""
    came = [
        x.bound for x in added_by(site, old, new) if x.bound not in new.loaded and len(x.bound) > 2
    ]
    if not came or len(came) > 3:
        return
    names = {x for x in new.spoken if len(x) > 2} - {*came}
    for name in came:
        words = _words(name)
        best = sorted(
            (-1.0 if _letters(x) == _letters(name) else -_shared(words, _words(x)), x)
            for x in names
        )[:2]
        for share, other in best:
            if -share < 0.5:
                continue
            # With what it was an attribute of; not where it is what something else is called.
            said = rf"(?:[a-z]\w*\.)?{re.escape(other)}(?!\w)"
            pattern = re.compile(rf"(?<=-> ){said}|(?<![\w.]){said}(?!\s*:\s*\w|\s*=(?!=))")
            found = [at for at in outside if pattern.search(site.lines[at])]
            if len(found) > _MOST_LINES:
                continue
            for at in found:
                line = site.lines[at]
                yield Proposal(
                    rule="instead",
                    first=at,
                    end=at + 1,
                    lines=(pattern.sub(name, line),),
                    places=len(found),
                    evidence=(
                        ("shared", -share),
                        ("all", float(share == -1)),
                        ("import", float("import" in line)),
                        ("called", float(f"{other}(" in line)),
                        ("imported", float(other in new.bound)),
                        ("class", float(name[:1].isupper())),
                    ),
                )


def _letters(name: str) -> str:
    return name.lower().replace("_", "")


def _words(name: str) -> frozenset[str]:
    return frozenset(x.lower() for x in _PART.findall(name))


def _shared(words: frozenset[str], other: frozenset[str]) -> float:
    """Which part of the other's words these have, where it is not one short word."""
    return len(words & other) / len(other) if sum(map(len, other)) > 4 else 0.0
