"""Induction hints: the token that came next when the same tokens were read before.

Source repeats itself, and a network has to read billions of tokens before it finds that out by
itself (the induction heads of Olsson et al., 2209.11895). Here it is told: every position reads,
beside its own token, what followed the last place that looked like this one. Knows token ids only.

A hint is a pair (token id, match length 1 to MAX_MATCH), NO_INDUCTION_HINT where nothing matches.
"""

from collections.abc import Iterable, Sequence

InductionHint = tuple[int, int]

MAX_MATCH = 8  # tokens of a match that count
NO_INDUCTION_HINT: InductionHint = (0, 0)
_KEYS = (3, 2, 1)  # tokens that are looked up; a longer match is found by looking further back


class InductionIndex:
    """A growing sequence, a stack, that knows the hint at each of its positions."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.found: list[InductionHint] = []  # at each position
        self._ends: dict[tuple[int, ...], list[int]] = {}  # a run's last positions, in order

    def extend(self, ids: Iterable[int]) -> None:
        text, ends = self.ids, self._ends
        for token in ids:
            text.append(token)
            at = len(text) - 1
            hint = NO_INDUCTION_HINT
            for n in _KEYS:
                if n > at + 1:
                    continue
                places = ends.setdefault(tuple(text[at - n + 1 :]), [])
                if places and hint is NO_INDUCTION_HINT:
                    hint = (text[places[-1] + 1], matched(text, places[-1], text, at, n))
                places.append(at)
            self.found.append(hint)

    def truncate(self, length: int) -> None:
        """Forgets all but the first `length` tokens."""
        text = self.ids
        for at in range(len(text) - 1, length - 1, -1):
            for n in _KEYS:
                if n <= at + 1:
                    key = tuple(text[at - n + 1 : at + 1])
                    places = self._ends[key]
                    places.pop()
                    if not places:  # or all that was ever typed would be kept
                        del self._ends[key]
            text.pop()
            self.found.pop()


def matched(text: Sequence[int], at: int, other: Sequence[int], end: int, known: int = 1) -> int:
    """How many tokens up to text[at] are those up to other[end], `known` of them at least."""
    n = known
    while n < MAX_MATCH and n <= at and n <= end and text[at - n] == other[end - n]:
        n += 1
    return n


def canvas_induction_hints(
    prefix: Sequence[int], suffix: Sequence[int], size: int
) -> list[InductionHint]:
    """What followed the longest match of the prefix's end, one token for each of `size` cells.

    Both sides in reading order. The nearest place counts where several are as long: first those
    before the hole, then those behind it.
    """
    last, end = prefix[-1], len(prefix) - 1
    best = 0
    found: Sequence[int] = ()
    for text, places in ((prefix, range(end - 1, -1, -1)), (suffix, range(len(suffix) - 1))):
        for at in places:
            if text[at] == last and (n := matched(text, at, prefix, end)) > best:
                best, found = n, text[at + 1 : at + 1 + size]
                if n == MAX_MATCH:
                    break
    hints = [(token, best) for token in found]
    return hints + [NO_INDUCTION_HINT] * (size - len(hints))


def stream_induction_hints(ids: Iterable[int]) -> list[InductionHint]:
    """The hint at each position of a whole sequence."""
    index = InductionIndex()
    index.extend(ids)
    return index.found
