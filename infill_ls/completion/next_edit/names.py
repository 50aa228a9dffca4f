"""Names that were changed, where else they stand: in the function that they belong to, or the file.

Which lines a name's scope has is told by indentation, in any language.
"""

import re
from collections.abc import Iterator, Sequence

from infill_ls.completion.next_edit.changes import (
    LineChange,
    TokenChange,
    renamed,
    token_changes,
)
from infill_ls.completion.next_edit.patterns import alike_round, only_names
from infill_ls.completion.next_edit.proposal import Proposal, Site

_FUNCTION = re.compile(
    r"\b(?:def|function|fn|func|fun)\b|=>\s*\{?\s*$|^\s+[\w$]+\([^()]*\)\s*\{\s*$"
)
_SIGNATURE_END = re.compile(r"[:{]\s*(?:#.*|//.*)?$")
_COMMENT = re.compile(r"^\s*(?:#|//|\*|/\*|--)")


def rename_elsewhere(site: Site) -> Iterator[Proposal]:
    """Every line on which an old name still stands, with all of them renamed."""
    change = site.change
    names = {
        old: new
        for old, new in renamed(change).items()
        if len(old) > 1 and _fewer(old, change) and not _of_module(old, change.old)
    }
    if all(_COMMENT.match(line) and "@typedef" not in line for line in change.old):
        return
    contexts = [each for each in token_changes(change) if only_names(each)]
    alone = _replaced(change, names)
    for old, new in names.items():
        low, high = scope_of(site, old)
        outside = (*site.lines[low : change.first], *site.lines[change.end : high])
        is_attribute = any(re.search(rf"\.{old}(?!\w)", line) for line in change.old)
        is_method = any(re.search(rf"^\s+(?:async\s+)?def\s+{old}\b", line) for line in change.old)
        local = high - low < len(site.lines)
        here = _attribute(old) if is_attribute else _word(old) if is_method else _plain(old, local)
        found = [
            at
            for at in range(low, high)
            if not change.first <= at < change.end and here.search(site.lines[at])
        ]
        defined, still = _defines(old, change.old), _defines(old, outside)
        evidence = {
            "alone": float(alone),
            "left_over": float(_stands(old, change.new)),
            "several": float(len(names) > 1),
            "length": min(len(old), 16) / 16,
            "alike": _alike(old, new),
            "defined": float(defined),
            "broken": float(alone and defined and not still),
            "attribute": float(is_attribute),
            "local": float(local),
            "import": float(any("import" in line for line in change.old)),
            "new_there": float(_stands(new, outside)),
        }
        for at in found:
            line = site.lines[at]
            left, right = _context(contexts, old, line)
            new_line = here.sub(new, line)
            for other, renamed_to in names.items():
                if other != old:
                    new_line = _plain(other, local).sub(renamed_to, new_line)
            of_place = {
                "left": min(left, 4.0) / 4,
                "right": min(right, 4.0) / 4,
                "quoted": float(re.search(rf"[\"'`]{old}[\"'`]", line) is not None),
                "in_comment": float(_COMMENT.match(line) is not None),
                "with_import": float("import" in line),
            }
            yield Proposal(
                rule="renamed",
                first=at,
                end=at + 1,
                lines=(new_line,),
                places=len(found),
                evidence=tuple((evidence | of_place).items()),
            )


def _of_module(name: str, lines: Sequence[str]) -> bool:
    """Whether it is where something is imported from, or what Python's typing makes types of."""
    head = rf"\bfrom\s+[\w.]*\b{name}\b[\w.]*\s+import\b"
    special = r"\b(?:Any|Optional|Union|TYPE_CHECKING|TypeAlias|cast)\b"
    return any(re.search(head, x) or ("import" in x and re.fullmatch(special, name)) for x in lines)


def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")


def _attribute(name: str) -> re.Pattern[str]:
    """Of something, or where it is defined as one."""
    return re.compile(rf"(?:(?<=\.)|(?<=\bdef )){re.escape(name)}(?!\w)")


def _plain(name: str, local: bool) -> re.Pattern[str]:
    """Of nothing; and where it is local, no keyword of a call."""
    return re.compile(rf"(?<![\w.]){re.escape(name)}(?!\w{'|=(?!=)' if local else ''})")


def _replaced(change: LineChange, names: dict[str, str]) -> bool:
    """Whether nothing but these names changed."""
    text = "\n".join(change.old)
    for old, new in names.items():
        text = _word(old).sub(new, text)
    return text == "\n".join(change.new)


def _context(contexts: list[TokenChange], old: str, line: str) -> tuple[float, float]:
    """How much is the same on both sides of a name as where it was renamed: of the best place."""
    best = 0.0, 0.0
    for context in contexts:
        if context.old != (old,):
            continue
        for match in _word(old).finditer(line):
            left, right, *_ = alike_round(context, line, match.start(), match.end())
            best = max(best, (left, right), key=sum)
    return best


def _fewer(name: str, change: LineChange) -> bool:
    """Whether it stands in fewer places of the lines than before, and the last one is gone: what
    an import calls something comes last."""
    pattern = _word(name)
    before, after = (pattern.findall("\n".join(lines)) for lines in (change.old, change.new))
    return not after or (len(change.old) == 1 and 2 * len(after) == len(before))


def _stands(name: str, lines: tuple[str, ...]) -> bool:
    pattern = _word(name)
    return any(pattern.search(line) for line in lines)


def _alike(one: str, other: str) -> float:
    """Which part of the words of both is shared."""
    a, b = (set(re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", each)) for each in (one, other))
    return len(a & b) / max(len(a | b), 1)


def _defines(name: str, lines: Sequence[str]) -> bool:
    said = re.escape(name)
    pattern = re.compile(
        rf"\b(?:def|class|function|const|let|var|fn|func|type|struct|enum)\s+{said}\b"
        rf"|\b(?:def|function|fn|func)\b.*[(,]\s*\*{{0,2}}{said}\s*[:,)=]"
        rf"|\bimport\b.*\b{said}\b|^\s*(?:self\.)?{said}\s*(?::[^=]*)?(?: =(?!=)|,?$)"
        rf"|\bfor\b.*\b{said}\b.*\bin\b|\bas\s+{said}\b"
    )
    return any(map(pattern.search, lines))


def scope_of(site: Site, name: str) -> tuple[int, int]:
    """Lines [low, high) that a name of the edit may stand on: of the function that the edit is in,
    where it is a local name there or a parameter; else all."""
    lines, whole, said = site.lines, (0, len(site.lines)), re.escape(name)
    declared = rf"\b(?:def|class|function|import|from)\s+(?:.*\b)?{said}\b(?!\s*[:,)=])"
    if re.search(rf"\.{said}\b|{declared}", "\n".join(site.change.old)):
        return whole
    start = function_above(lines, min(site.change.first, len(lines) - 1))
    if start is None:
        return whole
    depth, opened = _indent(lines[start]), False
    for end in range(start, len(lines)):
        line = lines[end]
        if line.strip() and opened and _indent(line) <= depth:
            return start, end
        opened = opened or bool(_SIGNATURE_END.search(line))
    return start, len(lines)


def function_above(lines: Sequence[str], at: int) -> int | None:
    """Where the function begins whose signature or body a line is in."""
    if _FUNCTION.search(lines[at]):
        return at
    depth, closes = _indent(lines[at]), False
    for row in range(at - 1, -1, -1):
        line = lines[row]
        indent = _indent(line)
        if line.strip() and (indent < depth or (closes and indent == depth)):
            if _FUNCTION.search(line):
                return row
            depth, closes = indent, line.lstrip()[0] in ")]}"
    return None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
