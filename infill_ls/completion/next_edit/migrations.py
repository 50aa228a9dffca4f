"""What a change of Python's imports says of the lines that use them, and where an import goes that
was taken out and is still needed."""

import re
import sys
from collections.abc import Iterator

from infill_ls.completion.next_edit.arguments import arguments
from infill_ls.completion.next_edit.imports import (
    Imported,
    Module,
    added_by,
    mended_imports,
    modernised,
    modules_of,
)
from infill_ls.completion.next_edit.proposal import Proposal, Site

_TYPING = ("typing", "typing_extensions")
_MODERN = frozenset(("Dict", "List", "Set", "FrozenSet", "Tuple", "Type", "Optional", "Union"))
_BLOCK = re.compile(r"\s*if\s+(?:typing\.|t\.)?TYPE_CHECKING\s*:\s*(?:#.*)?$")
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
    yield from _moved(old, new)


def _annotations(site: Site, old: Module, new: Module, outside: list[int]) -> Iterator[Proposal]:
    """Annotations are no longer evaluated: they may be written as Python has them now."""
    if not any(x.module == "__future__" for x in added_by(site, old, new)):
        return
    names = {x.bound for x in new.imports if x.module in _TYPING and x.bound in _MODERN}
    imports = {row for x in new.imports for row in range(x.first, x.end)}
    for at in outside:
        line = site.lines[at]
        if at not in imports and (changed := modernised(line, names)) != line:
            yield Proposal(rule="annotated", first=at, end=at + 1, lines=(changed,))


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
            (-1.0 if x.lower() == name.lower() else -_shared(words, _words(x)), x) for x in names
        )[:2]
        for share, other in best:
            if -share < 0.5:
                continue
            # With what it was an attribute of.
            pattern = re.compile(rf"(?<![\w.])(?:[a-z]\w*\.)?{re.escape(other)}(?!\w)")
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


def _words(name: str) -> frozenset[str]:
    return frozenset(x.lower() for x in _PART.findall(name))


def _shared(words: frozenset[str], other: frozenset[str]) -> float:
    """Which part of the other's words these have, where it is not one short word."""
    return len(words & other) / len(other) if sum(map(len, other)) > 4 else 0.0


def _moved(old: Module, new: Module) -> Iterator[Proposal]:
    """An import that is gone and still needed: where it belongs."""
    gone = [x for x in old.imports if x.bound not in new.defined and x.bound in new.loaded]
    if len(gone) > 3:
        return
    for each in gone:
        for at, end, lines, kind in _places(new, each):
            yield Proposal(
                rule="moved",
                first=at,
                end=end,
                lines=lines,
                evidence=((kind, 1.0), ("gone", len(gone) / 3), ("from", float(bool(each.module)))),
            )


def _places(module: Module, each: Imported) -> Iterator[tuple[int, int, tuple[str, ...], str]]:
    """Lines [at, end) that become lines with it, and what kind of place that is."""
    name = (
        each.name if each.bound == each.name or not each.module else f"{each.name} as {each.bound}"
    )
    said = f"from {each.module} import {name}" if each.module else f"import {name}"
    single = [x for x in module.imports if x.end - x.first == 1]
    same = next((x for x in single if each.module and x.module == each.module and x.top), None)
    if same is not None and same.name[:1] != "*":
        line = module.lines[same.first]
        head, _, names = line.partition(" import ")
        if "(" not in names and "#" not in names and len(line) < 80:
            every = [x.strip() for x in names.split(",")]
            lines = (f"{head} import {', '.join(sorted([*every, name], key=_isort))}",)
            yield same.first, same.end, lines, "joined"
    block = next((n for n, line in enumerate(module.lines) if _BLOCK.match(line)), None)
    if block is not None:
        inside = [
            x for x in single if not x.top and x.first > block and _in(module, block, x.first)
        ]
        if inside:
            indent = _blank(module.lines[inside[0].first])
            yield from _sorted_in(inside, each, indent + said, "block")
    top = [x for x in single if x.top and x.module != "__future__"]
    if top:
        yield from _sorted_in(_section(top, each), each, said, "top")


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
        x
        for x in imports
        if (_root(x) in sys.stdlib_module_names) == (root in sys.stdlib_module_names)
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
            return


def _by_kind(each: Imported) -> tuple[bool, str, str]:
    return bool(each.module), (each.module or each.name).lower(), ""


def _by_module(each: Imported) -> tuple[str, bool]:
    return (each.module or each.name).lower(), bool(each.module)


def _isort(said: str) -> tuple[int, str]:
    """Constants, classes, then the rest."""
    return (0 if said.isupper() and len(said) > 1 else 1 if said[:1].isupper() else 2, said)


def _blank(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
