"""Which tokens may come next while text that was taken back of a prefix is said again."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

MASKS = 64  # that are kept; a mask is a byte for each token


class Healing:
    """Over the UTF-8 of V tokens, b"" of those that are no text. Masks are [V] bool."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._token_bytes = token_bytes
        text = (token for token, said in enumerate(token_bytes) if said)
        self._order = sorted(text, key=token_bytes.__getitem__)
        self._mask = lru_cache(maxsize=MASKS)(self._allowed)

    def allowed(self, owed: bytes) -> NDArray[np.bool_]:
        """The tokens that may come next where the text has to go on with `owed`: those that begin
        with it, or that it begins with."""
        return self._mask(owed)

    def beginning_with(self, head: bytes) -> list[int]:
        """The tokens that begin with it, in the order of their bytes."""
        low = bisect_left(self._order, head, key=self._token_bytes.__getitem__)
        high = bisect_right(
            self._order, head, low, key=lambda at: self._token_bytes[at][: len(head)]
        )
        return self._order[low:high]

    def _allowed(self, owed: bytes) -> NDArray[np.bool_]:
        allowed = np.zeros(len(self._token_bytes), np.bool_)
        for size in range(1, len(owed)):
            at = bisect_left(self._order, owed[:size], key=self._token_bytes.__getitem__)
            while at < len(self._order) and self._token_bytes[self._order[at]] == owed[:size]:
                allowed[self._order[at]] = True
                at += 1
        allowed[self.beginning_with(owed)] = True
        return allowed
