"""What stands elsewhere after the same text, in the file or in others: proposals for the hole, for
the model to judge.

Source repeats itself, and a small model copies worse than it recognises. The proposals are ranked
with what was denoised. (Prompt lookup does the same for autoregressive models.)
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.request import FILE_END

# A context of fewer characters stands in too many places to mean anything, and one of `MOST` is
# a copy of some lines.
LEAST, MOST = 4, 80
# So many texts are enough, and so many places of one context are looked at; lines of a block.
COPIES, PLACES, LINES = 6, 200, 8
COPIES_ELSEWHERE = 3  # are enough of those in other files
# The logarithm of the odds that what follows the longest context is right, in the file and in
# another one, and what each character of the context adds; where several places say the same it is
# likelier by AGREED, where they say different things each has its share (engine/train/LOG.md).
ODDS, ODDS_ELSEWHERE, CHARACTER, AGREED = -2.75, -3.1, 0.047, 1.6
OPENERS, CLOSERS = "([{", ")]}"


def copies(
    prefix: str,
    suffix: str,
    max_lines: int | None = 1,
    *,
    elsewhere: str = "",
    budget: Budget = UNLIMITED,
) -> dict[str, float]:
    """How the line goes on where the same text stands elsewhere: the longest context first, and of
    its places what most of them say, then the nearest before the cursor, then behind it. With the
    logarithm of how often that is right; of what follows shorter contexts, that says too little to
    count on.

    Ends before what already follows the cursor on its line. More than one line is copied only
    where that is wanted, nothing follows the cursor, and the context is some lines long itself.
    Behind those of the file itself come some of `elsewhere`, the text of other files, its first
    places first. Gives what was found until then once the budget is over.
    """
    found = _found(_Texts(prefix, (prefix, suffix), suffix, ODDS), max_lines, COPIES, budget)
    if elsewhere:
        others = _Texts(prefix, (elsewhere,), suffix, ODDS_ELSEWHERE)
        for text, worth in _found(others, max_lines, COPIES_ELSEWHERE, budget).items():
            found[text] = max(found.get(text, -math.inf), worth)
    return found


@dataclass(frozen=True, slots=True)
class _Texts:
    """What stands before the cursor, where the end of that is looked for, what follows the cursor,
    and the odds of what is found. In the prefix itself, which is told by its identity, the last
    place is the nearest."""

    prefix: str
    sources: tuple[str, ...]
    suffix: str
    odds: float


def _found(texts: _Texts, max_lines: int | None, most: int, budget: Budget) -> dict[str, float]:
    prefix, suffix = texts.prefix, texts.suffix
    found: dict[str, float] = {}
    length = longest = _longest(texts)
    several = max_lines != 1 and longest == MOST and not suffix.split("\n", 1)[0].strip()
    while length >= LEAST and not budget.over:
        if not prefix[len(prefix) - length :].strip():
            break  # blanks stand everywhere
        said = _said(texts, length)
        total = sum(map(len, said.values()))
        first = not found
        for line, places in said.items():
            worth = _worth(texts.odds, length, len(places), total) if first else -math.inf
            if several and not found:
                block = _block(prefix, suffix, *places[0], min(LINES, max_lines or LINES))
                if block.strip() and FILE_END not in block:
                    found[block] = worth
            found.setdefault(line, worth)
            if len(found) >= most:
                return found
        length = max(LEAST, length * 2 // 3) if length > LEAST else 0
    return found


def _said(texts: _Texts, length: int) -> dict[str, list[tuple[str, int]]]:
    """How the line goes on after the last so many characters, elsewhere, and where it does: what
    most places say first, else in their order."""
    said: dict[str, list[tuple[str, int]]] = {}
    for source, at in _places(texts, length):
        line = up_to(texts.suffix, _line(source, at))
        if line.strip() and FILE_END not in line:
            said.setdefault(line, []).append((source, at))
    return dict(sorted(said.items(), key=lambda each: -len(each[1])))


def _worth(odds: float, length: int, count: int, total: int) -> float:
    """The logarithm of how often what `count` of `total` places say is right."""
    agreed = AGREED if count == total > 1 else math.log(count / total)
    return -math.log1p(math.exp(-(odds + CHARACTER * length + agreed)))


def up_to(suffix: str, line: str) -> str:
    """A guessed rest of the line without what already follows the cursor there: where that closes
    a bracket, up to the one that the guess did not open."""
    rest = suffix.split("\n", 1)[0].strip()
    if not rest:
        return line.rstrip()
    if rest[0] not in CLOSERS:
        return line[:end] if (end := line.find(rest)) >= 0 else line
    depth = 0
    for at, character in enumerate(line):
        depth += (character in OPENERS) - (character in CLOSERS)
        if depth < 0:
            return line[:at]
    return line


def _block(prefix: str, suffix: str, source: str, at: int, most: int) -> str:
    """The lines from there on that are indented as the cursor's or deeper, up to the one that
    follows the cursor, at most so many; "" where that is one line."""
    begin = prefix.rfind("\n") + 1
    line = prefix[begin:]
    indentation = line[: len(line) - len(line.lstrip())]
    following = suffix.lstrip().partition("\n")[0].strip()
    # The cursor's own line is not whole yet.
    end = begin if source is prefix else len(source)
    lines = source[at:end].split("\n", most)[:most]
    ends = (
        number
        for number, each in enumerate(lines)
        if number and (not each.startswith(indentation) or each.strip() in ("", following))
    )
    taken = lines[: next(ends, len(lines))]
    return "\n".join(taken) if len(taken) > 1 else ""


def _line(text: str, at: int) -> str:
    """The rest of the line."""
    end = text.find("\n", at)
    return text[at:end] if end >= 0 else text[at:]


def _places(texts: _Texts, length: int) -> Iterator[tuple[str, int]]:
    """Where it goes on after the last so many characters before the cursor, elsewhere."""
    prefix = texts.prefix
    context = prefix[len(prefix) - length :]
    left = PLACES
    for source in texts.sources:
        end, at = len(prefix) - 1, -1
        while left:
            if source is prefix:
                at = prefix.rfind(context, 0, end)
                end = at + length - 1
            else:
                at = source.find(context, at + 1)
            if at < 0:
                break
            left -= 1
            yield source, at + length


def _longest(texts: _Texts) -> int:
    """How many characters before the cursor recur elsewhere; what recurs does so in every part."""
    prefix = texts.prefix
    low, high = 0, min(MOST, max(len(prefix) - 1, 0))
    while low < high:
        middle = (low + high + 1) // 2
        context = prefix[len(prefix) - middle :]
        ends = [len(prefix) - 1 if source is prefix else len(source) for source in texts.sources]
        pairs = zip(texts.sources, ends, strict=True)
        if any(source.find(context, 0, end) >= 0 for source, end in pairs):
            low = middle
        else:
            high = middle - 1
    return low
