"""What was changed in other documents, where it is due in this one too: most changes go through
several files.

The rules are those for places of the same document; how often, where and how lately a change was
made tells how likely it is due here.
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice

from infill_engine.budget import UNLIMITED, Budget
from infill_ls.completion.next_edit.blocks import MOST_LINES, became, block_patterns, same_lines
from infill_ls.completion.next_edit.calibration import ELSEWHERE
from infill_ls.completion.next_edit.changes import NAME, LineChange, token_changes
from infill_ls.completion.next_edit.fstrings import as_f_strings, formats
from infill_ls.completion.next_edit.patterns import (
    LEAST,
    LONGEST_LINE,
    Pattern,
    patterns_of,
    places,
    regex_of,
)
from infill_ls.completion.next_edit.proposal import Proposal, Site
from infill_ls.completion.next_edit.record import NO_RECORD, Record
from infill_ls.completion.next_edit.source import IMPORT, Lines, names_used

_MOST_LIKE = 3  # changes of a kind whose surroundings are compared, the newest ones
_NEWEST = 3  # documents that were changed last
_MANY = 8  # documents, and changes: more say no more
_F_STRINGS = "f-strings"

Evidence = tuple[tuple[str, float], ...]
_OldNew = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Kind:
    """What changes have in common that count as the same one, what became what in it, and the
    pattern that finds where it is due; whole lines have none."""

    key: Hashable
    change: _OldNew = ((), ())
    pattern: Pattern | None = None


@dataclass(frozen=True, kw_only=True)
class ChangeElsewhere:
    """A change of another document, by its URI."""

    uri: str
    change: LineChange

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        return kinds_of(self.change)


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What was changed in other documents, oldest first, what some of these are now, by URI, and
    what became of what was proposed for them."""

    changes: tuple[ChangeElsewhere, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    record: Record = NO_RECORD


NOTHING_ELSEWHERE = Elsewhere()
_Seen = tuple[ChangeElsewhere, Kind]


def changed_elsewhere(
    site: Site, elsewhere: Elsewhere, budget: Budget = UNLIMITED
) -> Iterator[tuple[Proposal, Site]]:
    """Each proposal comes with the site that its change would have here; the newest changes come
    first. Raises BudgetSpent."""
    alike: dict[Hashable, list[_Seen]] = {}
    undone = _undone_by(site.change)
    for each in reversed(elsewhere.changes):
        budget.check()
        for kind in each.kinds:
            if kind.change not in undone:
                alike.setdefault(kind.key, []).append((each, kind))
    own = {kind.key for kind in kinds_of(site.change)}
    along = {each.uri for key in own for each, _ in alike.get(key, ())}
    texts = [Lines(text) for text in elsewhere.texts.values()]
    newest = list(islice(dict.fromkeys(each.uri for each in reversed(elsewhere.changes)), _NEWEST))
    for key, seen in alike.items():
        budget.check()
        found: dict[tuple[int, int, tuple[str, ...]], tuple[Proposal, Site]] = {}
        for proposal, there in _places(site, seen, budget):
            budget.check()
            place = proposal.first, proposal.end, proposal.lines
            if place not in found or _alike(proposal) > _alike(found[place][0]):
                found[place] = proposal, there
        if not found:
            continue
        of = {each.uri for each, _ in seen}
        evidence = (
            ("documents", min(len(of), _MANY) / _MANY),
            ("times", min(len(seen), _MANY) / _MANY),
            ("once", float(len(seen) == 1)),
            ("own", float(key in own)),
            ("along", float(bool(along))),
            ("together", len(of & along) / max(len(along), 1)),
            ("newest", float(not of.isdisjoint(newest))),
            ("last", float(newest[0] in of)),
            *_untouched(seen, texts),
        )
        for proposal, there in found.values():
            said = replace(
                proposal,
                rule=proposal.rule + ELSEWHERE,
                places=len(found),
                evidence=(*proposal.evidence, *evidence, *_imports(site, proposal)),
            )
            yield said, there


def _places(site: Site, seen: Sequence[_Seen], budget: Budget) -> Iterator[tuple[Proposal, Site]]:
    pattern = seen[0][1].pattern
    if pattern and not pattern.possible(site.document.text):
        return
    for each, kind in seen[:_MOST_LIKE]:
        change = each.change
        there = replace(site, change=replace(change, first=len(site.lines) + 1))
        if kind.pattern and len(change.old) != len(change.new):
            found = became(kind.pattern, there, budget)
        elif kind.pattern:
            found = places(kind.pattern, there, budget)
        elif kind.key == _F_STRINGS:
            found = as_f_strings(there)
        else:
            needed = {line.strip() for line in change.old or (change.above, change.below)} - {""}
            is_blank = not any(map(str.strip, (*change.old, *change.new)))
            due = is_blank or any(x in site.source.rows for x in needed)
            found = same_lines(there) if due else iter(())
        for proposal in found:
            edited = site.change.first <= proposal.first < site.change.end
            if not edited and dict(proposal.evidence).get("near", 1.0) >= LEAST:
                yield proposal, there


def _untouched(seen: Sequence[_Seen], texts: Sequence[Lines]) -> Evidence:
    """How much of what a pattern finds was left as it is in other documents."""
    pattern = seen[0][1].pattern
    if not pattern or "\n" in pattern.longest:
        return ()
    regex = regex_of(pattern)
    left = sum(
        sum(1 for _ in regex.finditer(line))
        for each in texts
        if pattern.possible(each.text)
        for line in map(each.lines.__getitem__, each.rows_with(pattern.longest))
        if len(line) <= LONGEST_LINE and pattern.possible(line)
    )
    return ("untouched", left / (left + len(seen))), ("none_left", float(not left))


def _imports(site: Site, proposal: Proposal) -> Evidence:
    """Of lines that import: whether a name that goes is used still, and none that comes is yet."""
    old = site.lines[proposal.first : proposal.end]
    if not any(map(IMPORT.search, (*old, *proposal.lines))):
        return ()
    before, after = (set(NAME.findall("\n".join(lines))) for lines in (old, proposal.lines))
    here, used = Counter(name for line in old for name in names_used(line)), site.source.uses
    come = after - before
    return (
        ("import", 1.0),
        ("gone_but_used", float(any(used.get(x, 0) > here[x] for x in before - after))),
        ("come_unused", float(bool(come) and not any(used.get(x, 0) > here[x] for x in come))),
    )


def _undone_by(change: LineChange) -> set[_OldNew]:
    """What it is the undoing of: nobody wants that back who has just made it."""
    if not (change.old or change.new):
        return set()
    lines = [tuple(line.strip() for line in each) for each in (change.new, change.old)]
    return {(lines[0], lines[1])} | {(x.new, x.old) for x in token_changes(change)}


def _alike(proposal: Proposal) -> float:
    """How much is the same round a place as where the change was made."""
    found = dict(proposal.evidence)
    return found.get("near", found.get("same_above", 0.0) + found.get("same_below", 0.0))


def kinds_of(change: LineChange) -> tuple[Kind, ...]:
    if len(change.old) != len(change.new):
        old, new = (tuple(line.strip() for line in lines) for lines in (change.old, change.new))
        of_lines = (old, new)
        found = [Kind(of_lines, of_lines)]
        if old and new and max(len(old), len(new)) <= MOST_LINES:
            with suppress(re.error):  # as below
                for pattern in block_patterns(change):
                    found.append(Kind((pattern.regex.pattern, pattern.template), of_lines, pattern))
        return tuple(found)
    is_f_string = any(formats(change))
    found = [Kind(_F_STRINGS)] if is_f_string else []
    for of_line in token_changes(change):
        try:
            for pattern in patterns_of(of_line, general=not is_f_string):
                key = regex_of(pattern).pattern, pattern.template
                found.append(Kind(key, (of_line.old, of_line.new), pattern))
        except re.error:  # what stood before is longer than an expression may be
            continue
    return tuple(found)
