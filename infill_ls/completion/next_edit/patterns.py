"""The same change at other places: what was replaced stands elsewhere, between the same tokens.

Works on tokens, in any language. What was kept within a change may be another text elsewhere, if
its brackets match: `Optional[X]` became `X | None` whatever X is.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import takewhile

from infill_ls.completion.next_edit.arguments import balanced
from infill_ls.completion.next_edit.changes import (
    NAME,
    TokenChange,
    token_changes,
    tokens,
)
from infill_ls.completion.next_edit.proposal import Proposal, Site

_CONTEXT = 12  # tokens on each side that are compared
_NEAR = 4  # those that are looked for first where something was put in
_MOST_PLACES, _LONGEST_LINE, _MOST_GROUPS = 200, 300, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """What to look for on a line, and what to put in its place. `kept` groups of `regex` come
    again in `template`, which is a list of literal texts and numbers of groups."""

    change: TokenChange
    regex: re.Pattern[str]
    template: tuple[str | int, ...]
    weight: float

    def filled(self, match: re.Match[str]) -> str:
        return "".join(part if isinstance(part, str) else match[part] for part in self.template)


def repeated(site: Site) -> Iterator[Proposal]:
    """The change of single lines, elsewhere."""
    seen: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
    for change in token_changes(site.change):
        if (change.old, change.new) in seen or only_names(change):  # names.py has those
            continue
        seen.add((change.old, change.new))
        for pattern in patterns_of(change):
            found = list(_places(pattern, site))
            yield from (replace(each, places=len(found)) for each in found)


def patterns_of(change: TokenChange) -> Iterator[Pattern]:
    regex, template, weight, general = _generalised(change)
    yield Pattern(
        change=change,
        regex=re.compile(_literal(change.old) or ""),
        template=("".join(change.new),),
        weight=_weight(change.old),
    )
    if general and weight > 0:
        yield Pattern(change=change, regex=regex, template=template, weight=weight)
    elif general and change.before and change.after:
        # What is added round a text is told by what stands before and behind it.
        head = [*change.before[-2:]]
        regex = re.compile(
            f"(?<={re.escape(''.join(head))}){regex.pattern}(?={re.escape(change.after[0])})"
        )
        yield Pattern(change=change, regex=regex, template=template, weight=_weight(head))


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
) -> tuple[re.Pattern[str], tuple[str | int, ...], float, bool]:
    """With what was kept within the change as groups."""
    matcher = SequenceMatcher(None, change.old, change.new, autojunk=False)
    regex, template, weight, groups = "", list[str | int](), 0.0, 0
    for what, low, high, other_low, other_high in matcher.get_opcodes():
        part = change.old[low:high]
        if what == "equal" and any(NAME.fullmatch(token) for token in part):
            groups += 1
            regex += r"(\S(?:[^\n]*?\S)??)"
            template.append(groups)
        else:
            regex += _literal(part)
            template.append("".join(change.new[other_low:other_high]))
            weight += _weight(part)
    return re.compile(regex), tuple(template), weight, 0 < groups <= _MOST_GROUPS


def _weight(part: Sequence[str]) -> float:
    return sum(1.0 if NAME.fullmatch(token) else 0.3 for token in part if token.strip())


def _places(pattern: Pattern, site: Site) -> Iterator[Proposal]:
    change, count = pattern.change, 0
    regex = pattern.regex if change.old else _gap(change)
    for at, line in enumerate(site.lines):
        if site.change.first <= at < site.change.end or not line.strip():
            continue
        if len(line) > _LONGEST_LINE:
            continue
        for match in regex.finditer(line):
            if not all(balanced(group) for group in match.groups()):
                continue
            left, whole_left = alike(change.before[::-1], tokens(line[: match.start()])[::-1])
            right, whole_right = alike(change.after, tokens(line[match.end() :]))
            new = line[: match.start()] + pattern.filled(match) + line[match.end() :]
            if new == line:
                continue
            count += 1
            yield Proposal(
                rule="repeated",
                first=at,
                end=at + 1,
                lines=(new,),
                evidence=(
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
                ),
            )
        if count > _MOST_PLACES:
            return


def only_names(change: TokenChange) -> bool:
    return all(
        len(part) == 1 and NAME.fullmatch(part[0]) is not None for part in (change.old, change.new)
    )


def _gap(change: TokenChange) -> re.Pattern[str]:
    """What stands round an insertion: some tokens to the next name on either side, or that one."""
    before = re.escape("".join(reversed(_plain(change.before[::-1]))))
    after = re.escape("".join(_plain(change.after)))
    head = f"(?<={before})" if before else r"(?<=\w)" if change.before else "^"
    return re.compile(head + (f"(?={after})" if after else r"(?=\w)" if change.after else "$"))


def _plain(part: Sequence[str]) -> list[str]:
    """The first tokens of it, up to a name."""
    return list(takewhile(lambda token: not NAME.fullmatch(token), part[:_NEAR]))


def alike(one: Sequence[str], other: Sequence[str]) -> tuple[float, bool]:
    """How much is the same on from the change, and whether it is all of the line."""
    total = 0.0
    for count, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b and (a.strip() or b.strip()):
            return total, False
        total += _weight((a,))
        if count == _CONTEXT:
            return total, False
    return total, not "".join(one[len(other) :]).strip() and not "".join(other[len(one) :]).strip()
