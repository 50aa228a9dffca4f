"""The judge's tokenizer: text to ids by line, and which tokens may come while text is healed.

Byte-level BPE behind GPT-2's split, which has a border before every line break that follows
something else than white space: text may be cut there, and its parts encoded alone.
"""

import re
from array import array
from pathlib import Path

from tokenizers import Tokenizer

from infill_engine.errors import ModelError
from infill_engine.healing import Healing
from infill_engine.tokenizer import SEGMENT_BYTES, RecentSegments, byte_of_symbol

CONTROLS = 3  # end of text, start and end of a message: ids 0, 1, 2
END_OF_TEXT = 0
SEGMENT = re.compile(r"(?<=\S)(?=\n)")  # where text may be cut


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
        breaks = (at for at, said in enumerate(self.token_bytes) if said.startswith(b"\n"))
        self.line_ends = [END_OF_TEXT, *breaks]
        self._recent = RecentSegments(SEGMENT_BYTES)
        self.allowed = Healing(self.token_bytes).allowed

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
