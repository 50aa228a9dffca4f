"""A name that was put beside another one: where that one stands again, the new one is due as well.

An entry of a list, a parameter, a member of an enum: `self.height = height` follows when `height`
came behind `width` among the parameters, and there is `self.width = width`. The same the other way
round: a name that was taken out of one list is taken out of the others.
"""

import re
from collections.abc import Iterator

from infill_ls.completion.next_edit.arguments import balanced
from infill_ls.completion.next_edit.changes import NAME, token_change, tokens
from infill_ls.completion.next_edit.proposal import Proposal, Site

_MOST = 60


def beside(site: Site) -> Iterator[Proposal]:
    change = site.change
    if len(change.old) == 0 and len(change.new) == 1:
        yield from _lines_like(site)
    elif len(change.old) == 1 and len(change.new) == 1:
        yield from _entry(site)


def _lines_like(site: Site) -> Iterator[Proposal]:
    """A line was put behind or before one that says the same of another name."""
    (line,), at = site.change.new, site.change.first
    for above, row in ((True, at - 1), (False, at + 1)):
        if not 0 <= row < len(site.lines):
            continue
        pair = _one_name(site.lines[row], line)
        if pair is not None:
            yield from _wherever(site, *pair, above)


def _entry(site: Site) -> Iterator[Proposal]:
    """A name came into a list on a line."""
    change = token_change(tokens(site.change.old[0]), tokens(site.change.new[0]))
    names = [token for token in change.new if NAME.fullmatch(token)]
    said = "".join(change.new)
    if change.old or "," not in said or not names:
        return
    new = names[0]
    before = next((t for t in reversed(change.before) if NAME.fullmatch(t)), None)
    earlier = re.findall(r"[(,]\s*\*{0,2}(\w+)", "".join(change.before))
    near = earlier[-1] if earlier else before
    if near is not None and near != new:
        yield from _wherever(site, near, new, True)


def _one_name(one: str, other: str) -> tuple[str, str] | None:
    """The name that stands in place of which other one, where all else is the same."""
    a, b = tokens(one), tokens(other)
    if len(a) != len(b):
        return None
    pairs = {(x, y) for x, y in zip(a, b, strict=True) if x != y}
    if len(pairs) != 1:
        return None
    ((x, y),) = pairs
    return (x, y) if NAME.fullmatch(x) and NAME.fullmatch(y) else None


def _wherever(site: Site, near: str, new: str, above: bool) -> Iterator[Proposal]:
    """Lines with the name near which the new one came, said of the new one."""
    if len(new) < 2 or len(near) < 2:
        return
    word, new_word = _word(near), _word(new)
    change = site.change
    outside = [n for n in range(len(site.lines)) if not change.first <= n < change.end]
    if any(new_word.search(site.lines[n]) for n in outside):
        return
    model = change.first - 1 if above else change.end
    found = [n for n in outside if word.search(site.lines[n]) and n != model]
    if len(found) > _MOST:
        return
    said = re.escape(near)
    assigned = rf"\s*(?:self|this)\.{said} = {said};?"
    for at in found:
        line = site.lines[at]
        if not balanced(line) or not line.strip() or line.rstrip().endswith((":", "{")):
            continue
        row = at + 1 if above else at
        # Its neighbour says the same of a third name: a series.
        others = [site.lines[n] for n in (at - 1, at + 1) if 0 <= n < len(site.lines)]
        if not any(_one_name(line, other) is not None for other in others):
            continue
        yield Proposal(
            rule="beside",
            first=row,
            end=row,
            lines=(word.sub(new, line),),
            places=len(found),
            evidence=(
                ("line", float(not change.old)),
                ("entry", float(re.fullmatch(rf"\s*[\"']?{said}[\"']?,", line) is not None)),
                ("assigned", float(re.fullmatch(assigned, line) is not None)),
            ),
        )


def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
