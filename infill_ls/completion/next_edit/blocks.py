"""The same change of whole lines at other places: lines that were put in, taken out, or became
another number of lines.

Indentation may differ. What stands above and below says whether it is the same place.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from textwrap import dedent

from infill_engine.budget import UNLIMITED, Budget
from infill_ls.completion.next_edit.arguments import balanced
from infill_ls.completion.next_edit.changes import LineChange, token_change, tokens
from infill_ls.completion.next_edit.patterns import LONGEST_LINE, Pattern, evidence_of, patterns_of
from infill_ls.completion.next_edit.proposal import Proposal, Site

MOST_LINES, _MOST_PLACES = 4, 60  # lines of a block, and places
_WORD = re.compile(r"\w+")


def same_lines(site: Site) -> Iterator[Proposal]:
    old, new = site.change.old, site.change.new
    if max(len(old), len(new)) > MOST_LINES or len(old) == len(new):
        return
    if not old:
        found = _put_in(site)
    elif not new:
        found = _taken_out(site)
    else:
        found = _became(site)
    places = list(found)
    if len(places) <= _MOST_PLACES:
        yield from (replace(each, places=len(places)) for each in places)


def _outside(site: Site, size: int, rows: Iterable[int]) -> Iterator[int]:
    """Those rows at which so many lines begin that the edit did not touch; behind the last line end
    is none."""
    first, end = site.change.first, site.change.end
    last = len(site.lines) - (site.lines[-1] == "") - size
    for at in rows:
        if 0 <= at <= last and (at + size <= first or at >= end):
            yield at


def _put_in(site: Site) -> Iterator[Proposal]:
    """Between two lines as those between which the edit put some."""
    change, lines, rows = site.change, site.lines, site.source.rows
    above, below = change.above, change.below
    new = _without_indent(change.new)
    depth = _depth(above), _depth(below)
    base = min((_depth(line) for line in change.new if line.strip()), default=0)
    beside = {row + 1 for row in rows.get(above.strip(), ())} if above.strip() else set[int]()
    beside |= {*rows.get(below.strip(), ())} if below.strip() else set[int]()
    for at in _outside(site, 0, sorted(beside) if any(new) else range(len(lines) + 1)):
        if at in (change.first, change.end):
            continue
        over, under = _line(lines, at - 1), _line(lines, at)
        same_over, same_under = over.strip() == above.strip(), under.strip() == below.strip()
        of_kind = _kind(over) == _kind(above) and _kind(under) == _kind(below)
        if (site.has_edit or not any(new)) and not of_kind:
            continue
        if not (
            site.has_edit
            or not any(new)
            or (same_over and same_under)
            or _says(same_over, above, same_under, below)
        ):
            continue
        if [x.strip() for x in lines[at : at + len(new)]] == [x.strip() for x in new]:
            continue  # it is there
        # As deep as where the edit was, told by the line below or else the one above.
        shift = _depth(under) - depth[1] if below.strip() else _depth(over) - depth[0]
        mixed = len({_indent(line)[:1] for line in (*change.new, above, below, over, under)} - {""})
        if base + shift < 0 or (mixed > 1 and any(line[:1].isspace() for line in new)):
            continue
        indent = (base + shift) * (_indent(under)[:1] or _indent(over)[:1] or " ")
        alike = [
            _indent(line)
            for line, there in ((under, below), (over, above))
            if there.strip() and _depth(there) == base
        ]
        if alike:
            indent = alike[0]
        elif mixed > 1:  # how deep a tab is counts nobody knows
            continue
        yield Proposal(
            rule="put_in",
            first=at,
            end=at,
            lines=tuple(indent + x if x else "" for x in new),
            evidence=_around(over, under, above, below, new),
        )


def _taken_out(site: Site) -> Iterator[Proposal]:
    """Lines as those that the edit took out."""
    change, lines = site.change, site.lines
    above, below = change.above, change.below
    old = [line.strip() for line in change.old]
    size = len(old)
    for at in _outside(site, size, site.source.rows.get(old[0], ())):
        if [line.strip() for line in lines[at : at + size]] != old:
            continue
        over, under = _line(lines, at - 1), _line(lines, at + size)
        if not any(old) and not (_kind(over) == _kind(above) and _kind(under) == _kind(below)):
            continue
        yield Proposal(
            rule="removed",
            first=at,
            end=at + size,
            lines=(),
            evidence=_around(over, under, above, below, old),
        )


def _says(same_over: bool, above: str, same_under: bool, below: str) -> bool:
    """Whether a line that is the same has a word in it."""
    said = above * same_over + below * same_under
    return re.search(r"\w{3}", said) is not None


def _around(
    over: str, under: str, above: str, below: str, said: Sequence[str]
) -> tuple[tuple[str, float], ...]:
    return (
        ("same_above", float(over.strip() == above.strip())),
        ("same_below", float(under.strip() == below.strip())),
        ("like_above", float(_kind(over) == _kind(above))),
        ("like_below", float(_kind(under) == _kind(below))),
        ("blank", float(not any(said))),
        ("comment", float(any(x.startswith(("#", "//")) for x in said))),
        ("length", min(sum(map(len, said)), 40) / 40),
    )


def _became(site: Site) -> Iterator[Proposal]:
    """Lines that became more or fewer, elsewhere: what was kept may be another text there."""
    for pattern in block_patterns(site.change):
        yield from became(pattern, site)


def block_patterns(change: LineChange) -> Iterator[Pattern]:
    """Of lines that became more or fewer, less what all are indented by."""
    of_tokens = token_change(*map(tokens, _block((*change.old, *change.new), len(change.old))))
    if of_tokens.old:
        yield from patterns_of(of_tokens)


def became(pattern: Pattern, site: Site, budget: Budget = UNLIMITED) -> Iterator[Proposal]:
    """Where as many lines as the change's are what it looks for. Raises BudgetSpent."""
    size = len(site.change.old)
    part = max(pattern.longest.split("\n"), key=len)
    rows = {row - of for row in site.source.rows_with(part) for of in range(size)}
    for at in _outside(site, size, sorted(rows)):
        budget.check()
        window = site.lines[at : at + size]
        if any(line.strip() for line in window) and max(map(len, window)) <= LONGEST_LINE:
            yield from _replaced(pattern, site, at, window)


def _replaced(pattern: Pattern, site: Site, at: int, window: Sequence[str]) -> Iterator[Proposal]:
    text = dedent("\n".join(window))
    match = pattern.regex.search(text) if pattern.possible(text) else None
    if match is None or not all(balanced(group) for group in match.groups()):
        return
    if "\n" in text[: match.start()] or "\n" in text[match.end() :]:
        return  # of fewer lines
    changed = text[: match.start()] + pattern.filled(match) + text[match.end() :]
    indent = min((_indent(line) for line in window if line.strip()), key=len)
    lines = tuple(indent + line if line else "" for line in changed.split("\n"))
    yield Proposal(
        rule="block",
        first=at,
        end=at + len(window),
        lines=lines,
        evidence=evidence_of(pattern, text, match),
    )


def _block(lines: Sequence[str], size: int) -> tuple[str, str]:
    """The first so many lines and the others, less what all are indented by."""
    plain = dedent("\n".join(lines)).split("\n")
    return "\n".join(plain[:size]), "\n".join(plain[size:])


def _without_indent(lines: Sequence[str]) -> list[str]:
    return dedent("\n".join(lines)).split("\n")


def _line(lines: Sequence[str], at: int) -> str:
    return lines[at] if 0 <= at < len(lines) else ""


def _kind(line: str) -> tuple[str, str]:
    """What a line begins with and ends with: its first word, and what closes it."""
    said = line.strip()
    word = _WORD.match(said)
    head = word[0] if word else said[:3]
    return head, said[-1:] if said[-1:] in ":,({[\"')" else ""


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _depth(line: str) -> int:
    return len(_indent(line))
