"""The judge's tokenizer: text to ids by line, and which tokens may come while text is healed.

Byte-level BPE behind GPT-2's split, which has a border before every line break that follows
something else than white space: text may be cut there, and its parts encoded alone.
"""

import re
from array import array
from bisect import bisect_left
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from infill_engine.errors import ModelError
from infill_engine.tokenizer import SEGMENT_BYTES, RecentSegments, byte_of_symbol

CONTROLS = 3  # end of text, start and end of a message: ids 0, 1, 2
END_OF_TEXT = 0
SEGMENT = re.compile(r"(?<=\S)(?=\n)")  # where text may be cut
HEALING_MASKS = 64  # that are kept; a mask is a byte for each token


class JudgeVocabulary:
    """V tokens, of which the first are controls. Masks are [V] bool."""

    def __init__(self, path: Path) -> None:
        """Raises ModelError where the file is no tokenizer."""
        try:
            self._bpe = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # of the library, which raises no other type
            raise ModelError(f"cannot read the judge's tokenizer {path}: {error}") from error
        byte, symbols = byte_of_symbol(), self._bpe.get_vocab(with_added_tokens=False)
        self.token_bytes = [b""] * len(symbols)  # b"" for controls
        for symbol, token_id in symbols.items():
            if token_id >= CONTROLS:
                self.token_bytes[token_id] = bytes(byte[each] for each in symbol)
        self._order = sorted(range(CONTROLS, len(symbols)), key=self.token_bytes.__getitem__)
        self._recent = RecentSegments(SEGMENT_BYTES)
        self._mask = lru_cache(maxsize=HEALING_MASKS)(self._allowed)

    def __len__(self) -> int:
        return len(self.token_bytes)

    def encode(self, text: str) -> list[int]:
        """The ids of text with LF line ends; no text becomes a control."""
        ids: list[int] = []
        for segment in SEGMENT.split(text):
            found = self._recent.get(segment)
            if found is None:
                found = array("I", self._bpe.encode(segment, add_special_tokens=False).ids)
                self._recent.put(segment, found)
            ids += found
        return ids

    def decode(self, ids: list[int]) -> bytes:
        """The UTF-8 of ids, perhaps cut within a character at either end; controls have none."""
        return b"".join([self.token_bytes[i] for i in ids])

    def allowed(self, owed: bytes) -> NDArray[np.bool_]:
        """The tokens that may come next where the text has to go on with `owed`: those that begin
        with it, or that it begins with."""
        return self._mask(owed)

    def _allowed(self, owed: bytes) -> NDArray[np.bool_]:
        allowed = np.zeros(len(self), np.bool_)
        # In their order those that begin with it follow those that it begins with.
        for size in range(1, len(owed) + 1):
            at = bisect_left(self._order, owed[:size], key=self.token_bytes.__getitem__)
            while at < len(self._order) and self.token_bytes[self._order[at]] == owed[:size]:
                allowed[self._order[at]] = True
                at += 1
        while at < len(self._order) and self.token_bytes[self._order[at]].startswith(owed):
            allowed[self._order[at]] = True
            at += 1
        return allowed
