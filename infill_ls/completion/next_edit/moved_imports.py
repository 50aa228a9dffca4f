"""Where an import of Python's goes that was taken out and is still needed."""

import ast
import re
import sys
from collections.abc import Iterator

from infill_ls.completion.next_edit.module import Imported, Module, annotations
from infill_ls.completion.next_edit.proposal import Proposal, Site

_BLOCK = re.compile(r"\s*if\s+(?:typing\.|t\.)?TYPE_CHECKING\s*:\s*(?:#.*)?$")


def moved(site: Site, old: Module, new: Module) -> Iterator[Proposal]:
    """Imports that are gone and still needed: where they belong, which is not where they stood."""
    gone = [x for x in old.imports if x.bound not in new.defined and x.bound in new.loaded]
    if not 0 < len(gone) <= 3:
        return
    before = tuple(site.old_text.split("\n"))
    for said in _statements(gone):
        kinds, typed = set[str](), _in_annotations_alone(new, {x.bound for x in said})
        for at, end, lines, kind in _places(new, said):
            made = at < site.change.end and site.change.first < end  # by the edit, without them
            if kind in kinds or made or (*site.lines[:at], *lines, *site.lines[end:]) == before:
                continue
            kinds.add(kind)
            yield Proposal(
                rule="moved",
                first=at,
                end=end,
                lines=lines,
                evidence=(
                    (kind, 1.0),
                    ("gone", len(gone) / 3),
                    ("from", float(bool(said[0].module))),
                    ("only_gone", float(not site.change.new)),
                    ("typed", float(typed)),
                    (f"{kind}_typed", float(typed)),
                ),
            )


def _in_annotations_alone(module: Module, names: set[str]) -> bool:
    """Whether nothing needs them when it runs."""
    typed = {id(node) for said in annotations(module) for node in ast.walk(said)}
    return not any(node.id in names and id(node) not in typed for node in module.names)


def _statements(gone: list[Imported]) -> list[list[Imported]]:
    """Names of one module are imported together."""
    found: dict[str, list[Imported]] = {}
    for each in gone:
        found.setdefault(each.module or f"import {each.name}", []).append(each)
    return list(found.values())


def _places(
    module: Module, said: list[Imported]
) -> Iterator[tuple[int, int, tuple[str, ...], str]]:
    """Lines [at, end) that become lines with it, and what kind of place that is."""
    each, names = said[0], [_name(x) for x in said]
    statement = f"import {names[0]}"
    if each.module:
        statement = f"from {each.module} import {', '.join(sorted(names, key=_isort))}"
    single = [x for x in module.imports if x.end - x.first == 1]
    alike = {x.top: x for x in single if each.module and x.module == each.module}
    for same in alike.values():
        line = module.lines[same.first]
        head, _, there = line.partition(" import ")
        if not re.search(r"[(#*]", there) and len(line) < 80:
            every = [x.strip() for x in there.split(",")]
            lines = (f"{head} import {', '.join(sorted([*every, *names], key=_isort))}",)
            yield same.first, same.end, lines, "joined" if same.top else "joined_in_block"
    block = next((n for n, line in enumerate(module.lines) if _BLOCK.match(line)), None)
    top = [x for x in single if x.top and x.module != "__future__"]
    if block is not None:
        inside = [
            x for x in single if not x.top and x.first > block and _in(module, block, x.first)
        ]
        if inside and False not in alike:
            yield from _in_block(inside, each, _blank(module.lines[inside[0].first]) + statement)
    elif "TYPE_CHECKING" in module.bound and "TYPE_CHECKING" not in module.loaded and top:
        at = max(x.end for x in module.imports if x.top)
        yield at, at, ("", "if TYPE_CHECKING:", f"    {statement}"), "new_block"
    if top and True not in alike:
        yield from _sorted_in(_section(top, each), each, statement, "top")


def _name(each: Imported) -> str:
    return (
        each.name if each.bound == each.name or not each.module else f"{each.name} as {each.bound}"
    )


def _in_block(
    inside: list[Imported], each: Imported, line: str
) -> Iterator[tuple[int, int, tuple[str, ...], str]]:
    """In the section of what is like it, or one of its own: the standard library comes first."""
    sections: list[list[Imported]] = []
    for x in inside:
        if sections and x.first <= sections[-1][-1].end:
            sections[-1].append(x)
        else:
            sections.append([x])
    alike = [s for s in sections if any(_root(x) == _root(each) for x in s)]
    standard = [s for s in sections if any(map(_standard, s))]
    if alike or (standard and _standard(each)):
        yield from _sorted_in((alike or standard)[0], each, line, "block")
    elif standard:
        at = standard[-1][-1].end
        yield at, at, ("", line), "block"
    else:
        at = inside[0].first
        yield at, at, (line, ""), "block"


def _standard(each: Imported) -> bool:
    return _root(each) in sys.stdlib_module_names


def _in(module: Module, block: int, row: int) -> bool:
    """Whether a line is below that of a block, deeper, with nothing less deep between."""
    depth = len(_blank(module.lines[block]))
    return all(
        len(_blank(line)) > depth for line in module.lines[block + 1 : row + 1] if line.strip()
    )


def _section(imports: list[Imported], each: Imported) -> list[Imported]:
    """Those that stand together with what is likest: of the standard library, or the package."""
    root = _root(each)
    alike = [x for x in imports if _root(x) == root] or [
        x for x in imports if _standard(x) == _standard(each)
    ]
    if not alike:
        return []
    rows = {x.first: x for x in imports}
    found, at = [alike[0]], alike[0].first
    while at - 1 in rows:
        at -= 1
        found.insert(0, rows[at])
    at = alike[0].first
    while at + 1 in rows:
        at += 1
        found.append(rows[at])
    return found


def _root(each: Imported) -> str:
    return (each.module or each.name).partition(".")[0]


def _sorted_in(
    imports: list[Imported], each: Imported, line: str, kind: str
) -> Iterator[tuple[int, int, tuple[str, ...], str]]:
    """In the order in which they are: imports before those of names, or by modules alone."""
    for by in (_by_kind, _by_module):
        if imports and (len(imports) < 2 or imports == sorted(imports, key=by)):
            before = [x for x in imports if by(x) <= by(each)]
            at = before[-1].end if before else imports[0].first
            yield at, at, (line,), kind


def _by_kind(each: Imported) -> tuple[bool, str, str]:
    return bool(each.module), (each.module or each.name).lower(), ""


def _by_module(each: Imported) -> tuple[str, bool]:
    return (each.module or each.name).lower(), bool(each.module)


def _isort(said: str) -> tuple[int, str]:
    """Constants, classes, then the rest."""
    return (0 if said.isupper() and len(said) > 1 else 1 if said[:1].isupper() else 2, said)


def _blank(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
