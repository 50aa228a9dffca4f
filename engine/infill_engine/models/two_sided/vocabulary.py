"""The tokenizer as the network's head sees it: masks over its vocabulary, and texts of a hole.

Shapes: V tokens of the network, of which the tokenizer may have fewer.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from infill_engine.tokenizer import END, FIRST_LEARNED, Tokenizer

# Masks of healed pieces that are kept; a mask is a byte for each token.
HEALING_MASKS = 64


class Vocabulary:
    """All masks are [V] bool.

    forbidden       what is never an answer
    ends            what ends a hole
    ends_or_breaks  what ends a hole that stays on its line
    """

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self.tokenizer = tokenizer
        # Specials are never an answer, but END is; ids past the tokenizer's have no text.
        token = np.arange(size)
        self.ends: NDArray[np.bool_] = token == END
        self.forbidden = ~self.ends & ((token < FIRST_LEARNED) | (token >= tokenizer.vocab_size))
        self.ends_or_breaks = self.ends.copy()
        self.ends_or_breaks[tokenizer.line_breaks()] = True
        self._beginning_with = lru_cache(maxsize=HEALING_MASKS)(self._mask)
        self._initials = lru_cache(maxsize=HEALING_MASKS)(self._starting)

    def healing_mask(self, healed_prefix: bytes) -> NDArray[np.bool_] | None:
        """The tokens that begin with what was taken back of the prefix, if anything."""
        return self._beginning_with(healed_prefix) if healed_prefix else None

    def initials(self, characters: str, healed_prefix: bytes) -> NDArray[np.bool_]:
        """The tokens whose text, behind what was taken back of the prefix, begins with one of the
        characters."""
        return self._initials(characters, healed_prefix)

    def exactly(self, piece: bytes) -> NDArray[np.bool_]:
        """The one token with this text."""
        allowed = np.zeros_like(self.ends)
        allowed[self.tokenizer.ids[piece]] = True
        return allowed

    def _mask(self, piece: bytes) -> NDArray[np.bool_]:
        allowed = np.zeros_like(self.ends)
        allowed[self.tokenizer.healing_tokens(piece)] = True
        return allowed

    def _starting(self, characters: str, healed_prefix: bytes) -> NDArray[np.bool_]:
        wanted = tuple(char.encode() for char in characters)
        allowed = np.zeros_like(self.ends)
        for token, said in enumerate(self.tokenizer.token_bytes):
            allowed[token] = said.startswith(healed_prefix) and said[
                len(healed_prefix) :
            ].startswith(wanted)
        return allowed

    def text(self, ids: list[int], healed_prefix: bytes) -> str:
        """What ids in the hole say, without what was taken back of the prefix."""
        return self.tokenizer.decode(ids).removeprefix(healed_prefix).decode("utf-8", "ignore")

    def ids(self, text: str, healed_prefix: bytes) -> list[int]:
        """The ids of a text in the hole, what was taken back of the prefix included."""
        ids = self.tokenizer.encode(healed_prefix.decode() + text)
        if not self.tokenizer.token_bytes[ids[0]].startswith(healed_prefix):
            # Together they are split elsewhere: what was taken back stays a token of its own.
            ids = [self.tokenizer.ids[healed_prefix], *self.tokenizer.encode(text)]
        return ids
