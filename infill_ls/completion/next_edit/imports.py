"""Python's imports after an edit: what is imported twice, no longer, not yet, or for nothing now.

By `ast`, so nothing is proposed where the file does not parse before and after the edit.
"""

import ast
import builtins
import re
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import chain

from infill_ls.completion.next_edit.changes import NAME
from infill_ls.completion.next_edit.module import Imported, Module, module_of
from infill_ls.completion.next_edit.proposal import Proposal, Site

# What stands for them since Python 3.9 and 3.10.
_GENERICS = {
    "Dict": "dict", "List": "list", "Set": "set", "FrozenSet": "frozenset", "Tuple": "tuple",
    "Type": "type",
}  # fmt: skip
_UNIONS = ("Optional", "Union")
_BUILTINS = frozenset(dir(builtins))
_KNOWN = {
    "typing": "Any Callable ClassVar Final Generic Iterable Iterator Literal Mapping NamedTuple "
    "Optional Protocol Sequence TypeVar Union cast overload TYPE_CHECKING",
    "pathlib": "Path PurePath PurePosixPath",
    "dataclasses": "dataclass field replace asdict",
    "collections": "defaultdict Counter OrderedDict deque namedtuple",
    "functools": "partial lru_cache cached_property wraps cache reduce",
    "contextlib": "contextmanager suppress ExitStack",
    "enum": "Enum IntEnum",
    "datetime": "datetime timedelta timezone",
}
_MODULE_OF = {name: module for module, names in _KNOWN.items() for name in names.split()}


def modules_of(site: Site) -> tuple[Module, Module] | None:
    """Before and after the edit; None where one of them does not parse, or the edit has nothing to
    do with imports."""
    new = site.source.module
    old = module_of(site.old_text) if new and _concerns_imports(site, new) else None
    return (old, new) if old and new else None


def _concerns_imports(site: Site, new: Module) -> bool:
    """Whether a statement that imports was changed, or a name came or went that one has or should
    have: it takes as long to know what was before as what is."""
    change = site.change
    said = "\n".join((*change.old, *change.new))
    if "import" in said or any(
        each.first <= change.end and change.first <= each.end for each in new.imports
    ):
        return True
    concerned = (new.bound - new.loaded) | (new.loaded - new.defined - _BUILTINS)
    return not concerned.isdisjoint(NAME.findall(said))


def mended_imports(site: Site, old: Module, new: Module) -> Iterator[Proposal]:
    yield from _twice(site, old, new)
    yield from _gone(site, old, new)
    yield from _for_nothing(site, old, new)
    yield from _missing(site, old, new)
    yield from _exported(site, old, new)


def _within(site: Site, each: Imported) -> bool:
    """Whether the edit made the statement."""
    return site.change.first < each.end and each.first < site.change.end


def added_by(site: Site, old: Module, new: Module) -> list[Imported]:
    """By the edit."""

    def said(each: Imported) -> tuple[str, str, str]:
        return each.module, each.name, each.bound

    before, after = (Counter(map(said, module.imports)) for module in (old, new))
    return [x for x in new.imports if _within(site, x) and after[said(x)] > before[said(x)]]


def _twice(site: Site, old: Module, new: Module) -> Iterator[Proposal]:
    """Names that the edit imports are imported elsewhere as well: there they go."""
    added = added_by(site, old, new)
    names = {each.bound: each for each in added}
    statements: dict[int, list[Imported]] = {}
    for other in new.imports:
        if (
            not _within(site, other)
            and (each := names.get(other.bound))
            and (each.top or not other.top)
        ):
            statements.setdefault(other.first, []).append(other)
    for others in _together(new, [*statements.values()]):
        same = all(names[other.bound].module == other.module for other in others)
        yield from _without(
            new,
            others,
            "twice",
            ("same_module", float(same)),
            ("top", float(others[0].top)),
            ("both_top", float(others[0].top and names[others[0].bound].top)),
            ("added", float(min(len(added), 4))),
        )


def _together(module: Module, statements: list[list[Imported]]) -> list[list[Imported]]:
    """Whole statements that follow each other, as one."""

    def whole(names: list[Imported]) -> bool:
        return not names[0].filling and len(names) == len(module.statement(names[0]))

    runs: list[list[list[Imported]]] = []
    for names in sorted(statements, key=lambda names: names[0].first):
        last = runs[-1][-1] if runs else []
        if last and last[0].end == names[0].first and whole(last) and whole(names):
            runs[-1].append(names)
        else:
            runs.append([names])
    return [[*chain.from_iterable(run)] for run in runs]


def _gone(site: Site, old: Module, new: Module) -> Iterator[Proposal]:
    """Names that the edit no longer imports are still used."""
    gone = {each.bound: each for each in old.imports if each.bound not in new.bound}
    came = {each.bound: each for each in new.imports if each.bound not in old.bound}
    for entry in new.exported:
        if entry.value in gone and entry.value not in new.defined:
            yield from _entry_removed(new, entry)
    modern = {
        name
        for name, each in gone.items()
        if each.module in ("typing", "typing_extensions") and (name in _GENERICS or name in _UNIONS)
    }
    modules = {each.bound: each.name for each in gone.values() if not each.module}
    for at, line in enumerate(site.lines):
        if site.change.first <= at < site.change.end:
            continue
        if modern and (changed := modernised(line, modern)) != line:
            yield Proposal(rule="modern", first=at, end=at + 1, lines=(changed,))
        for module, name in modules.items():
            # `typing.Any` with `import typing` gone and `Any` imported.
            pattern = re.compile(rf"(?<![\w.]){re.escape(module)}\.(\w+)")
            said = pattern.findall(line)
            # Types of Python's typing are those of collections.abc as well.
            bound = all(
                each in came and (name == "typing" or came[each].module == name) for each in said
            )
            if said and (bound or not came):
                lines = (pattern.sub(r"\1", line),)
                yield Proposal(
                    rule="unqualified",
                    first=at,
                    end=at + 1,
                    lines=lines,
                    evidence=(("bound", float(bound)), ("typing", float(name == "typing"))),
                )


def modernised(line: str, names: set[str]) -> str:
    """Generics and unions of `typing` as Python writes them itself."""
    for name in sorted(names):
        if name in _GENERICS:
            line = re.sub(rf"(?<![\w.\"'])(?:typing\.)?{name}(?!\w)", _GENERICS[name], line)
    for name in _UNIONS:
        while name in names and (match := re.search(rf"(?<![\w.]){name}\[", line)):
            end = _closing(line, match.end())
            if end < 0:
                return line
            inner = line[match.end() : end]
            new = f"{inner} | None" if name == "Optional" else " | ".join(_parts(inner))
            line = line[: match.start()] + new + line[end + 1 :]
    return line


def _closing(line: str, start: int) -> int:
    depth = 1
    for at in range(start, len(line)):
        depth += line[at] in "[("
        depth -= line[at] in "])"
        if not depth:
            return at
    return -1


def _parts(inner: str) -> list[str]:
    found, depth = [""], 0
    for character in inner:
        depth += character in "[("
        depth -= character in "])"
        if character == "," and not depth:
            found.append("")
        else:
            found[-1] += character
    return [part.strip() for part in found if part.strip()]


def _for_nothing(site: Site, old: Module, new: Module) -> Iterator[Proposal]:
    """A name that was used before the edit and no longer is."""
    if site.document.uri.endswith("__init__.py"):
        return
    for each in new.imports:
        unused = each.bound in old.loaded and each.bound not in new.loaded
        kept = "noqa" in new.lines[each.first] or each.module == "__future__"
        if unused and each.top and not kept and not _within(site, each):
            yield from _without(new, [each], "unused")


def _without(
    module: Module, gone: list[Imported], rule: str, *evidence: tuple[str, float]
) -> Iterator[Proposal]:
    """A statement without some of its names, or the file without the statement, or without several
    that follow each other."""
    first, end = gone[0].first, gone[-1].end
    if gone[-1].first > first or len(gone) == len(module.statement(gone[0])):
        if gone[0].filling:
            return
        before = module.lines[first - 1].strip() if first else ""
        after = module.lines[end].strip() if end < len(module.lines) else ""
        if not after and (not before or before.endswith(":")) and end < len(module.lines) - 1:
            end += 1
        yield Proposal(rule=rule, first=first, end=end, lines=(), evidence=evidence)
        return
    head, word, said = "\n".join(module.lines[first:end]).partition("import")
    for each in gone:
        name = re.escape(each.name)
        if each.bound != each.name and each.module:
            name += rf"\s+as\s+{re.escape(each.bound)}"
        for pattern in (
            rf"(?m)^[ \t]*{name},[ \t]*\n",
            rf"(?<!\w){name},[ \t]*",
            rf",\s*{name}(?!\w)",
        ):
            shorter = re.sub(pattern, "", said, count=1)
            if shorter != said:
                break
        else:
            return
        said = shorter
    if "(" not in said or "\n" in said:
        said = said.rstrip()
    lines = tuple((head + word + said).split("\n"))
    yield Proposal(rule=rule, first=first, end=end, lines=lines, evidence=evidence)


def _entry_removed(module: Module, entry: ast.Constant) -> Iterator[Proposal]:
    at = entry.lineno - 1
    line = module.lines[at]
    said = re.escape(line[entry.col_offset : entry.end_col_offset])
    if re.fullmatch(rf"\s*{said},?\s*", line):
        yield Proposal(rule="exported", first=at, end=at + 1, lines=())
        return
    new = re.sub(rf"{said},\s*", "", line, count=1)
    if new == line:
        new = re.sub(rf",\s*{said}", "", line, count=1)
    if new != line:
        yield Proposal(rule="exported", first=at, end=at + 1, lines=(new,))


def _exported(site: Site, old: Module, new: Module) -> Iterator[Proposal]:
    """Where the names that come from beside it are exported, a new one is as well."""
    names = [str(each.value) for each in new.exported]
    rows = [entry.lineno - 1 for entry in new.exported]
    added = [
        x for x in added_by(site, old, new) if x.bound not in names and x.module.startswith(".")
    ]
    relative = [x for x in old.imports if x.module.startswith(".") and x.top]
    exported = sum(each.bound in names for each in relative)
    if (
        len(added) != 1
        or exported < 2
        or exported < 0.6 * len(relative)
        or len({*rows}) < len(rows)
    ):
        return
    name = added[0].bound
    if sorted(names) == names:
        place = next((n for n, other in enumerate(names) if other > name), len(names))
    else:  # in the order of the imports
        order = [x.bound for x in new.imports if x.bound in names or x is added[0]]
        before = order[: order.index(name)]
        if not before:
            return
        place = names.index(before[-1]) + 1
    model = min(place, len(rows) - 1)
    line = new.lines[rows[model]].replace(names[model], name)
    if line.rstrip().endswith(","):
        row = rows[place] if place < len(rows) else rows[-1] + 1
        yield Proposal(rule="export", first=row, end=row, lines=(line,))


def _missing(site: Site, old: Module, new: Module) -> Iterator[Proposal]:
    """A name that the edit uses and nothing binds, where it is known what has it."""
    text = "\n".join(site.change.new)
    for name in sorted(new.loaded - old.loaded - new.defined - _BUILTINS):
        module = _MODULE_OF.get(name, "")
        known = module or (name in sys.stdlib_module_names and f"{name}." in text)
        if known and re.search(rf"(?<![\w.\"']){name}(?!\w)", text):
            yield from _import_added(new, module, name)


def _import_added(module: Module, of: str, name: str) -> Iterator[Proposal]:
    """`from of import name`, or `import name` where there is no `of`, in its place among those of
    the standard library."""
    single = [x for x in module.imports if x.top and x.end - x.first == 1]
    same = next((x for x in single if of and x.module == of), None)
    if same is not None:
        head, _, said = module.lines[same.first].partition(" import ")
        if "#" in said or "(" in said:
            return
        names = [each.strip() for each in said.split(",")]
        in_order = names == sorted(names, key=_isort)
        names.append(name)
        line = f"{head} import {', '.join(sorted(names, key=_isort) if in_order else names)}"
        yield Proposal(rule="import", first=same.first, end=same.end, lines=(line,))
        return
    stdlib = [
        x
        for x in single
        if (x.module or x.name).partition(".")[0] in sys.stdlib_module_names - {"__future__"}
    ]
    if stdlib:
        line = f"from {of} import {name}" if of else f"import {name}"
        key = bool(of), of or name
        before = [x for x in stdlib if (bool(x.module), x.module or x.name) < key]
        at = before[-1].end if before else stdlib[0].first
        yield Proposal(rule="import", first=at, end=at, lines=(line,))


def _isort(name: str) -> tuple[int, str]:
    """Constants, classes, then the rest."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2, name)
