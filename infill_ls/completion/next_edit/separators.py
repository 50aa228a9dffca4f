"""A run of values that is written with other separators, or between other brackets: elsewhere too,
however many there are. `isinstance(x, A | B)` became `isinstance(x, (A, B))`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from infill_ls.completion.next_edit.arguments import balanced
from infill_ls.completion.next_edit.changes import TokenChange, compared, token_changes
from infill_ls.completion.next_edit.patterns import LONGEST_LINE, alike_round
from infill_ls.completion.next_edit.proposal import Proposal, Site

_LONGEST = 160  # characters of a run


@dataclass(frozen=True, slots=True, kw_only=True)
class Separated:
    """`old` between values became `new`, `before` and `after` came round them."""

    old: str
    new: str
    before: str
    after: str


def separated(site: Site) -> Iterator[Proposal]:
    for change in token_changes(site.change):
        said = separators_of(change)
        if said is not None:
            yield from _elsewhere(site, change, said)


def separators_of(change: TokenChange) -> Separated | None:
    """None where it is another kind of change."""
    codes = [
        ("".join(change.old[low:high]), "".join(change.new[other:end]), low, high)
        for what, low, high, other, end in compared(change.old, change.new)
        if what != "equal"
    ]
    before = after = ""
    if codes and not codes[0][0] and codes[0][2] == 0:
        before = codes.pop(0)[1]
    if codes and not codes[-1][0] and codes[-1][3] == len(change.old):
        after = codes.pop()[1]
    pairs = {(old, new) for old, new, _, _ in codes}
    if len(pairs) != 1 or not (before or after or len(codes) > 1):
        return None
    ((old, new),) = pairs
    if not old.strip() or re.search(r"\w", old):
        return None
    return Separated(old=old, new=new, before=before, after=after)


def _elsewhere(site: Site, change: TokenChange, said: Separated) -> Iterator[Proposal]:
    head, tail = "".join(change.before[-2:]), "".join(change.after[:1])
    if not head or not tail:
        return
    run = re.compile(rf"(?<={re.escape(head)})([^=:;\n]{{1,{_LONGEST}}}?)(?={re.escape(tail)})")
    for at, line in enumerate(site.lines):
        if site.change.first <= at < site.change.end or said.old not in line:
            continue
        if len(line) > LONGEST_LINE:
            continue
        for match in run.finditer(line):
            if said.old not in match[1] or not balanced(match[1]):
                continue
            left, right, *_ = alike_round(change, line, match.start(), match.end())
            new = said.before + match[1].replace(said.old, said.new) + said.after
            yield Proposal(
                rule="separated",
                first=at,
                end=at + 1,
                lines=(line[: match.start()] + new + line[match.end() :],),
                evidence=(("left", min(left, 4.0) / 4), ("right", min(right, 4.0) / 4)),
            )
