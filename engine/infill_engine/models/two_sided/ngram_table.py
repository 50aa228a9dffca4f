"""The n-gram table: which token most often follows one to four others in the training data.

A network of a few million weights that has read tens of millions of tokens has not seen what ten
times as many hold. Counting is cheaper than learning: which token follows one to four others, in
how many packages, fits into a few megabytes for what recurs, and every position of the prefix is
given, beside its own token and its induction hint, what the table says. Knows token ids only.

A hint is a pair (token id, level 1 to LEVELS), NO_NGRAM_HINT where no context was kept. The level
says how often the token was the right one where it was counted.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

NgramHint = tuple[int, int]

NO_NGRAM_HINT: NgramHint = (0, 0)
MAX_ORDER = 4  # tokens of a context
NO_TOKEN = -1
# Upper ends of all levels but the last: the share of packages in which the token was the next one.
LEVEL_EDGES = (0.2, 0.3, 0.42, 0.55, 0.68, 0.8, 0.92)
LEVELS = len(LEVEL_EDGES) + 1
# Its arrays in a file of weights, signed, for not every reader knows the unsigned ones: of the keys
# how much each is above the one before, which takes half the room.
ARRAYS = ("table.steps", "table.values")
FORMER_KEYS = "table.keys"  # what files of before version 0.2 have: the keys themselves

_TOKEN_BITS = 13
_WORD = (1 << 64) - 1


def contexts(ids: NDArray[np.int64], order: int) -> NDArray[np.uint32]:
    """The key of the `order` tokens up to each position from `order` - 1 on."""
    windows = (
        np.lib.stride_tricks.sliding_window_view(ids, order) if len(ids) >= order else ids[:0, None]
    )
    return _keys(windows)


def _keys(windows: NDArray[np.int64]) -> NDArray[np.uint32]:  # [n, order] -> [n]
    """Those of contexts that are given one by one."""
    key = np.zeros(len(windows), np.uint64)
    for column in windows.T:
        key = key * np.uint64(8192) + column.astype(np.uint64) + np.uint64(1)
    # Finalised as splitmix64 does it, for neighbouring ids must not have neighbouring keys.
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (key >> np.uint64(32)).astype(np.uint32)


def context(ids: Sequence[int]) -> int:
    """The key of one context, as `contexts` has it."""
    key = 0
    for token in ids:
        key = key * 8192 + token + 1
    key &= _WORD
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    key = (key ^ (key >> 27)) * 0x94D049BB133111EB & _WORD
    return key >> 32


def packed(
    tokens: NDArray[np.int64], shares: NDArray[np.float64]
) -> NDArray[np.uint16]:  # [n], [n] -> [n]
    """Tokens and how often each was right, as a table keeps them."""
    assert len(tokens) == 0 or tokens.max() < 1 << _TOKEN_BITS, f"token {tokens.max()} is too large"
    levels = np.digitize(shares, LEVEL_EDGES)
    return (tokens | (levels << _TOKEN_BITS)).astype(np.uint16)


class NgramTable:
    """A table of contexts: keys [n] ascending, values [n], as `contexts` and `packed` give them.

    Two contexts may share a key; with a million of them one lookup in four thousand is wrong.
    """

    def __init__(self, keys: NDArray[np.uint32], values: NDArray[np.uint16]) -> None:
        assert len(keys) == len(values), f"{len(keys)} keys, but {len(values)} values"
        self.keys, self.values = keys, values

    def after(self, ids: Sequence[int], start: int = 0) -> list[NgramHint]:
        """What follows each position from `start` on; longer contexts count first."""
        if len(ids) - start == 1:
            return [self.next(ids)]
        if start >= len(ids):
            return []
        low = max(0, start - MAX_ORDER + 1)
        missing = [NO_TOKEN] * (MAX_ORDER - 1 - (start - low))
        padded = np.array([*missing, *ids[low:]], np.int64)
        return self.after_each(np.lib.stride_tricks.sliding_window_view(padded, MAX_ORDER))

    def after_each(self, windows: NDArray[np.int64]) -> list[NgramHint]:
        """What follows the last tokens of several texts [n, MAX_ORDER], NO_TOKEN before their
        first."""
        found = np.zeros((len(windows), 2), np.int64)
        if len(self.keys):
            asked = np.stack([_keys(windows[:, -order:]) for order in range(1, MAX_ORDER + 1)])
            at = np.minimum(self.keys.searchsorted(asked), len(self.keys) - 1)
            hits = (self.keys[at] == asked) & (windows[:, ::-1].T != NO_TOKEN)
            # Of several the last counts, which is of the longest context.
            for hit, places in zip(hits, at, strict=True):
                value = self.values[places[hit]].astype(np.int64)
                found[hit, 0] = value & ((1 << _TOKEN_BITS) - 1)
                found[hit, 1] = (value >> _TOKEN_BITS) + 1
        hints: list[NgramHint] = [(token, level) for token, level in found.tolist()]
        return hints

    def next(self, ids: Sequence[int]) -> NgramHint:
        """What follows the last token."""
        for order in range(min(MAX_ORDER, len(ids)), 0, -1):
            key = np.uint32(context(ids[-order:]))
            at = int(self.keys.searchsorted(key))
            if at < len(self.keys) and self.keys[at] == key:
                value = int(self.values[at])
                return value & ((1 << _TOKEN_BITS) - 1), (value >> _TOKEN_BITS) + 1
        return NO_NGRAM_HINT

    def onward(self, ids: Sequence[int], size: int) -> list[NgramHint]:
        """How it goes on from the end of `ids`, one hint after the other, for `size` places."""
        tail, hints = [*ids[-MAX_ORDER:]], list[NgramHint]()
        while len(hints) < size:
            hint = self.next(tail)
            if hint == NO_NGRAM_HINT:
                break
            hints.append(hint)
            tail = [*tail, hint[0]][-MAX_ORDER:]
        return hints + [NO_NGRAM_HINT] * (size - len(hints))


def to_arrays(table: NgramTable) -> dict[str, NDArray[np.signedinteger]]:
    """As a file of weights holds it."""
    steps = np.diff(table.keys, prepend=np.uint32(0))
    kept = np.dtype(np.uint16 if steps.max(initial=0) < 1 << 16 else np.uint32)
    signed = np.dtype(f"i{kept.itemsize}")
    arrays = steps.astype(kept).view(signed), table.values.view(np.int16)
    return dict(zip(ARRAYS, arrays, strict=True))


def from_arrays(arrays: Mapping[str, NDArray[np.signedinteger]]) -> NgramTable:
    """The table in a file's arrays; its values stay where they are: mapped. Raises KeyError."""
    values = arrays[ARRAYS[1]].view(np.uint16)
    if FORMER_KEYS in arrays:
        return NgramTable(arrays[FORMER_KEYS].view(np.uint32), values)
    steps = arrays[ARRAYS[0]]
    unsigned = steps.view(np.dtype(f"u{steps.dtype.itemsize}"))
    return NgramTable(np.cumsum(unsigned, dtype=np.uint32), values)
