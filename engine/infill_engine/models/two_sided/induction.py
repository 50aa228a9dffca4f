"""Echoes: the token that came next when the same tokens were read before, and how many they were.

Source repeats itself, and a network has to read billions of tokens before it finds that out by
itself (the induction heads of Olsson et al., 2209.11895). Here it is told: every position reads,
beside its own token, what followed the last place that looked like this one. Knows token ids only.

An echo is a pair (token id, match length 1 to MOST), NOTHING where nothing matches.
"""

from collections.abc import Iterable, Sequence

Echo = tuple[int, int]

MOST = 8  # tokens of a match that count
NOTHING: Echo = (0, 0)
_KEYS = (3, 2, 1)  # tokens that are looked up; a longer match is found by looking further back


class Echoes:
    """A growing sequence, a stack, that knows the echo at each of its positions."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.found: list[Echo] = []  # at each position
        self._ends: dict[tuple[int, ...], list[int]] = {}  # a run's last positions, in order

    def extend(self, ids: Iterable[int]) -> None:
        text, ends = self.ids, self._ends
        for token in ids:
            text.append(token)
            at = len(text) - 1
            echo = NOTHING
            for n in _KEYS:
                if n > at + 1:
                    continue
                places = ends.setdefault(tuple(text[at - n + 1 :]), [])
                if places and echo is NOTHING:
                    echo = (text[places[-1] + 1], matched(text, places[-1], text, at, n))
                places.append(at)
            self.found.append(echo)

    def truncate(self, length: int) -> None:
        """Forgets all but the first `length` tokens."""
        text = self.ids
        for at in range(len(text) - 1, length - 1, -1):
            for n in _KEYS:
                if n <= at + 1:
                    self._ends[tuple(text[at - n + 1 : at + 1])].pop()
            text.pop()
            self.found.pop()


def matched(text: Sequence[int], at: int, other: Sequence[int], end: int, known: int = 1) -> int:
    """How many tokens up to text[at] are those up to other[end], `known` of them at least."""
    n = known
    while n < MOST and n <= at and n <= end and text[at - n] == other[end - n]:
        n += 1
    return n


def canvas_echoes(prefix: Sequence[int], suffix: Sequence[int], size: int) -> list[Echo]:
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
                if n == MOST:
                    break
    echoes = [(token, best) for token in found]
    return echoes + [NOTHING] * (size - len(echoes))


def stream_echoes(ids: Iterable[int]) -> list[Echo]:
    """The echo at each position of a whole sequence."""
    echoes = Echoes()
    echoes.extend(ids)
    return echoes.found
