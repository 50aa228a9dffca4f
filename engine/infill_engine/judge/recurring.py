"""What followed the same tokens elsewhere in the text: a cache model beside a language model.

A judge reads some hundred tokens before the cursor; the rest of the file, what stands behind the
hole, and other files say what names are and how lines go on. So of the places where the text has
the same last tokens as the context, those with the most are looked up, and what follows them has a
share of the probability: p = (1 - w) * judge + w * counts. Knows token ids only.

A cache model is Kuhn and De Mori's (1990); that w is learned of how the places look is usual since.
"""

import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

LEAST, LONGEST = 2, 16  # tokens that are compared
MOST_PLACES = 256  # of two tokens that are looked at, the last ones of a text
BORDER, NOTHING = -1, -2  # between two parts of the text, and before a context
# The odds of the weight, in nats: before any evidence, and what the logarithm of the length counts
# for, that of how often it recurs, and the share of what followed most. Fitted on packages that the
# judge cannot have read (train/judge_recurring.py); the odds of all are 1 less than there, for with
# more of it a right line is crowded out by what followed last time (train/LOG.md).
WEIGHTS = (-6.6, 0.9, 0.37, 3.36)
MOST = 8  # tokens that followed, of those that did so most often
Token = TypeVar("Token", int, NDArray[np.int64])


@dataclass(frozen=True, slots=True)
class Places:
    """Where a text goes on as a context ends: by the index of what follows there, how many tokens
    before it are the context's, at least LEAST; and the context's last token."""

    lengths: Mapping[int, int]
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """What followed the `length` last tokens of a context, the most that recur at `count` places:
    the share of each token."""

    length: int
    count: int
    shares: Mapping[int, float]

    @property
    def figures(self) -> tuple[float, ...]:
        """What `WEIGHTS` are of."""
        most = max(self.shares.values())
        return 1.0, math.log(self.length), math.log(self.count), most

    def mixed(self, said: Mapping[int, float]) -> dict[int, float]:
        """Log-probabilities of tokens, of those that the judge gives them."""
        odds = sum(w * x for w, x in zip(WEIGHTS, self.figures, strict=True))
        weight = 1 / (1 + math.exp(-odds))
        found = {}
        for token, nats in said.items():
            nats += math.log1p(-weight)
            share = self.shares.get(token, 0.0)
            found[token] = _log_sum(nats, math.log(weight * share)) if share else nats
        return found


def _log_sum(one: float, other: float) -> float:
    """log(exp(one) + exp(other))"""
    least, most = sorted((one, other))
    return most + math.log1p(math.exp(least - most))


class Recurring:
    """Text that is looked through, as parts that are each without a gap."""

    def __init__(self, parts: Iterable[Sequence[int]]) -> None:
        self.tokens = array("q", [BORDER])
        for part in parts:
            self.tokens.extend(part)
            self.tokens.append(BORDER)
        row = np.array(self.tokens)
        pairs = _pair(row[:-1], row[1:])
        order = np.argsort(pairs, kind="stable")
        self._sorted = array("q", pairs[order].tobytes())
        self._order = array("q", (order + 1).tobytes())

    def places(self, context: Sequence[int]) -> Places:
        """Where the end of a context recurs."""
        if len(context) < LEAST:
            return Places({}, context[-1] if context else NOTHING)
        head = Places({}, context[-LONGEST:][0])
        for token in context[-LONGEST:][1:]:
            head = self.after(head, token)
        return head

    def after(self, places: Places, token: int) -> Places:
        """Those of the context and one more token."""
        pair = _pair(places.last, token)
        low = bisect_left(self._sorted, pair)
        high = bisect_left(self._sorted, pair + 1, low)
        before = places.lengths
        found = self._order[max(low, high - MOST_PLACES) : high]
        return Places({at + 1: min(before.get(at, 1) + 1, LONGEST) for at in found}, token)


def following(
    found: Iterable[tuple[Recurring, Places]], allowed: NDArray[np.bool_] | None = None
) -> Following | None:
    """What followed in several texts, of the tokens that are allowed [V]; None where no such token
    did."""
    longest, counts = 0, Counter[int]()
    for text, places in found:
        for at, length in places.lengths.items():
            token = text.tokens[at]
            if length < longest or token == BORDER or not (allowed is None or allowed[token]):
                continue
            if length > longest:
                longest, counts = length, Counter()
            counts[token] += 1
    if not longest:
        return None
    count = counts.total()
    shares = {token: each / count for token, each in counts.most_common(MOST)}
    return Following(length=longest, count=count, shares=shares)


def _pair(before: Token, token: Token) -> Token:
    """Two tokens as one number."""
    return (before + 1 << 32) + token + 1
