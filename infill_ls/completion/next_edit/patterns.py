"""The same change at other places: what was replaced stands elsewhere, between the same tokens.

Works on tokens, in any language. What was kept within a change may be another text elsewhere, if
its brackets match: `Optional[X]` became `X | None` whatever X is.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from infill_engine.budget import UNLIMITED, Budget
from infill_ls.completion.next_edit.arguments import balanced
from infill_ls.completion.next_edit.changes import (
    NAME,
    TokenChange,
    compared,
    each_token,
    token_changes,
)
from infill_ls.completion.next_edit.proposal import Proposal, Site

_CONTEXT = 12  # tokens on each side that are compared
_NEAR = 4  # those that are looked for first where something was put in
_VALUE = re.compile(r"\w")
_MOST_PLACES, _MOST_GROUPS = 200, 3
LEAST = 0.7 / 8  # of "near": a name is the same, or three other tokens
# Characters, by how many groups an expression has: it takes long on more.
_LONGEST_LINES = (300, 300, 200, 120)
LONGEST_LINE = max(_LONGEST_LINES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """What to look for on a line, and what to put in its place. `kept` groups of `regex` come
    again in `template`, which is a list of literal texts and numbers of groups. `needed` are texts
    that a match has, one behind the other."""

    change: TokenChange
    regex: re.Pattern[str]
    needed: tuple[str, ...]
    template: tuple[str | int, ...]
    weight: float

    def filled(self, match: re.Match[str]) -> str:
        return "".join(part if isinstance(part, str) else match[part] for part in self.template)

    @property
    def longest(self) -> str:
        """Of the texts that are needed."""
        return max(self.needed, key=len, default="")

    def possible(self, text: str) -> bool:
        """Whether what it needs is there: the expression takes long to find out with its groups."""
        at = 0
        for each in self.needed:
            found = text.find(each, at)
            if found < 0:
                return False
            at = found + len(each)
        return True


def repeated(site: Site) -> Iterator[Proposal]:
    """The change of single lines, elsewhere."""
    seen: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
    for change in token_changes(site.change):
        if (change.old, change.new) in seen or only_names(change):  # names.py has those
            continue
        seen.add((change.old, change.new))
        for pattern in patterns_of(change):
            found = list(places(pattern, site))
            yield from (replace(each, places=len(found)) for each in found)
    yield from _together(site)


def _together(site: Site) -> Iterator[Proposal]:
    """All changes of the edit's lines, on lines where more than one is due."""
    changes = list(
        dict.fromkeys(
            (old, new)
            for x in token_changes(site.change)
            for old, new in _pieces(x)
            if old and "".join(old) not in "".join(new)
        )
    )
    if not changes:
        return
    literal = [(re.compile(_literal(old)), "".join(new)) for old, new in changes]
    found = []
    for at, line in enumerate(site.lines):
        if site.change.first <= at < site.change.end or len(line) > LONGEST_LINE:
            continue
        new, count, kinds = line, 0, 0
        for regex, text in literal:
            new, times = regex.subn(text.replace("\\", r"\\"), new)
            count, kinds = count + times, kinds + bool(times)
        if count > 1 and new != line:
            found.append((at, new, kinds))
    for at, new, kinds in found[:_MOST_PLACES]:
        yield Proposal(
            rule="together",
            first=at,
            end=at + 1,
            lines=(new,),
            places=len(found),
            evidence=(
                ("kinds", float(kinds > 1)),
                ("all", kinds / len(changes)),
                ("weight", min(max(_weight(old) for old, _ in changes), 4.0) / 4),
            ),
        )


def _pieces(change: TokenChange) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """What became what, without what was kept between."""
    for what, low, high, other_low, other_high in compared(change.old, change.new):
        if what != "equal":
            yield change.old[low:high], change.new[other_low:other_high]


def patterns_of(change: TokenChange, *, general: bool = True) -> Iterator[Pattern]:
    """`general` ones are right with other values too; where a string is formatted anew there is a
    rule for that."""
    yield Pattern(
        change=change,
        regex=re.compile(_literal(change.old) or ""),
        needed=("".join(change.old),) if change.old else _round(change),
        template=("".join(change.new),),
        weight=_weight(change.old),
    )
    if not general:
        return
    regex, template, needed, weight, has_groups = _generalised(change)
    if has_groups and weight > 0:
        yield Pattern(change=change, regex=regex, needed=needed, template=template, weight=weight)
    elif has_groups and change.before and change.after:
        # What is added round a text is told by what stands before and behind it.
        head, tail = [*change.before[-2:]], _plain(change.after) or [change.after[0]]
        behind = f"(?={re.escape(''.join(tail))})"
        needed = ("".join(head), *needed, "".join(tail))
        before = f"(?<={re.escape(''.join(head))})"
        yield Pattern(
            change=change,
            regex=re.compile(before + regex.pattern + behind),
            needed=needed,
            template=template,
            weight=_weight(head),
        )
        if len([*change.old]) == 1 and _weight(tail) > 0.3:
            # One name, told by what follows it alone.
            one = re.compile(rf"(?<![\w.])(\w+){behind}")
            yield Pattern(
                change=change,
                regex=one,
                needed=needed[-1:],
                template=template,
                weight=_weight(tail),
            )


def _literal(part: Sequence[str]) -> str:
    """Whole words only."""
    if not part:
        return ""
    said = re.escape("".join(part))
    head = r"(?<!\w)" if re.match(r"\w", part[0]) else ""
    tail = r"(?!\w)" if re.match(r"\w", part[-1]) else ""
    return head + said + tail


def _generalised(
    change: TokenChange,
) -> tuple[re.Pattern[str], tuple[str | int, ...], tuple[str, ...], float, bool]:
    """With what was kept within the change as groups."""
    regex, template, needed, weight, groups = "", list[str | int](), list[str](), 0.0, 0
    for what, low, high, other_low, other_high in compared(change.old, change.new):
        part = change.old[low:high]
        if what == "equal" and any(_VALUE.match(token) for token in part):
            groups += 1
            regex += r"(\S(?:[^\n]*?\S)??)"
            template.append(groups)
        else:
            regex += _literal(part)
            needed.append("".join(part))
            template.append("".join(change.new[other_low:other_high]))
            weight += _weight(part)
    general = 0 < groups <= _MOST_GROUPS
    return re.compile(regex), tuple(template), tuple(needed), weight, general


def _weight(part: Sequence[str]) -> float:
    return sum(1.0 if NAME.fullmatch(token) else 0.3 for token in part if token.strip())


def regex_of(pattern: Pattern) -> re.Pattern[str]:
    """What is looked for; where something was put in, the place between what stands round it."""
    return pattern.regex if pattern.change.old else _gap(pattern.change)


def places(pattern: Pattern, site: Site, budget: Budget = UNLIMITED) -> Iterator[Proposal]:
    """Where it is found on the document's lines, but for those of the edit. Raises BudgetSpent."""
    # Alone it is not LEAST; nor with both sides, where neither even begins as there. That is told
    # in a fraction of the time, and of a comma or a bracket it holds nearly everywhere.
    regex, count, is_weak = regex_of(pattern), 0, pattern.weight < 8 * LEAST
    left, right = _beside(pattern.change)
    longest = _LONGEST_LINES[min(regex.groups, _MOST_GROUPS)]
    for at in site.source.rows_with(pattern.longest):
        line = site.lines[at]
        if site.change.first <= at < site.change.end or not line.strip():
            continue
        if len(line) > longest or not pattern.possible(line):
            continue
        budget.check()
        for match in regex.finditer(line):
            if is_weak and not (
                _last_of(line[: match.start()]) == left
                or _last_of(line[match.end() :][::-1]) == right
            ):
                continue
            if not all(balanced(group) for group in match.groups()):
                continue
            if any(
                f"({group})" in pattern.filled(match) for group in match.groups() if group[0] == "("
            ):
                continue  # between brackets already
            new = line[: match.start()] + pattern.filled(match) + line[match.end() :]
            if new == line:
                continue
            evidence = evidence_of(pattern, line, match)
            if dict(evidence)["near"] < LEAST:
                continue
            count += 1
            yield Proposal(
                rule="repeated",
                first=at,
                end=at + 1,
                lines=(new,),
                evidence=evidence,
            )
        if count > _MOST_PLACES:
            return


def _beside(change: TokenChange) -> tuple[tuple[bool, str], tuple[bool, str]]:
    """Of either side whether blanks are next to it, and the first character that is none."""
    left, right = "".join(change.before), "".join(change.after)
    return _last_of(left), _last_of(right[::-1])


def _last_of(line: str) -> tuple[bool, str]:
    bare = line.rstrip()
    return len(bare) < len(line), bare[-1:]


def evidence_of(pattern: Pattern, text: str, match: re.Match[str]) -> tuple[tuple[str, float], ...]:
    """How much is the same round a place as where the change was made."""
    change = pattern.change
    left, right, whole_left, whole_right = alike_round(change, text, match.start(), match.end())
    return (
        ("left", min(left, 6.0) / 6),
        ("right", min(right, 6.0) / 6),
        ("weight", min(pattern.weight, 4.0) / 4),
        ("near", min(left + right + pattern.weight, 8.0) / 8),
        ("whole_left", float(whole_left)),
        ("whole_right", float(whole_right)),
        ("both", float(whole_left and whole_right)),
        ("gap_left", float(left < 0.5)),
        ("gap_right", float(right < 0.5 and not whole_right)),
        ("insertion", float(not change.old)),
        ("deletion", float(not change.new)),
        ("general", float(bool(match.groups()))),
    )


def only_names(change: TokenChange) -> bool:
    return all(
        len(part) == 1 and NAME.fullmatch(part[0]) is not None for part in (change.old, change.new)
    )


def _gap(change: TokenChange) -> re.Pattern[str]:
    """What stands round an insertion: some tokens to the next name on either side, or that one."""
    before, after = map(re.escape, _round(change))
    head = f"(?<={before})" if before else r"(?<=\w)" if change.before else "^"
    return re.compile(head + (f"(?={after})" if after else r"(?=\w)" if change.after else "$"))


def _round(change: TokenChange) -> tuple[str, str]:
    return "".join(reversed(_plain(change.before[::-1]))), "".join(_plain(change.after))


def _plain(part: Sequence[str]) -> list[str]:
    """The first tokens of it, up to a name."""
    return list(takewhile(lambda token: not NAME.fullmatch(token), part[:_NEAR]))


def alike_round(
    change: TokenChange, line: str, start: int, end: int
) -> tuple[float, float, bool, bool]:
    """How much is the same on both sides of [start, end) as round the change, and on which it is
    all of the line."""
    # A line is cut into the same tokens from its end on.
    before = (said[::-1] for said in each_token(line[:start][::-1]))
    left, whole_left = _alike(change.before[::-1], before)
    right, whole_right = _alike(change.after, each_token(line[end:]))
    return left, right, whole_left, whole_right


def _alike(one: Sequence[str], other: Iterator[str]) -> tuple[float, bool]:
    """From the change on."""
    total, rest = 0.0, iter(one)
    for count, a in enumerate(rest):
        b = next(other, None)
        if b is None:
            return total, not a.strip() and not "".join(rest).strip()
        if a != b and (a.strip() or b.strip()):
            return total, False
        total += _weight((a,))
        if count == _CONTEXT:
            return total, False
    return total, not any(map(str.strip, other))
