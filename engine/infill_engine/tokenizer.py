"""Text to token ids and back, for the embedded model: byte-level BPE, read from tokenizer.json.

The pre-split makes a newline with the indentation after it one piece, so text can be encoded line
by line and the ids concatenated: at a keystroke only the cursor's line is encoded again.
"""

import json
import re
import sys
from array import array
from collections import OrderedDict
from pathlib import Path

from tokenizers import Tokenizer as BpeTokenizer

from infill_engine.errors import ModelError
from infill_engine.healing import Healing

PAD, MASK, BOS, EOS, END = range(5)
FIRST_TAG = 6
FIRST_LEARNED = 48
TAGS = (
    "python",
    "javascript",
    "typescript",
    "java",
    "go",
    "rust",
    "c",
    "cpp",
    "csharp",
    "ruby",
    "php",
    "bash",
    "html",
    "css",
    "json",
    "yaml",
    "toml",
    "markdown",
    "other",
)
ALIASES = {
    "javascriptreact": "javascript",
    "jsx": "javascript",
    "typescriptreact": "typescript",
    "tsx": "typescript",
    "shellscript": "bash",
    "sh": "bash",
    "jsonc": "json",
    "dockercompose": "yaml",
    "cuda-cpp": "cpp",
    "objective-c": "c",
    "scss": "css",
    "less": "css",
    "vue": "html",
    "svelte": "html",
    "htmldjango": "html",
    "jinja": "html",
}
# A run of newlines with their indentation, and the rest of that line.
SEGMENT = re.compile(r"(?:\n[ \t]*)+[^\n]*|[^\n]+")

# What is kept of encoded segments: some ten thousand lines, or one that was typed for a while.
SEGMENT_BYTES = 4 << 20


class RecentSegments:
    """The ids of the segments that were encoded or asked for last, within `limit` bytes.

    Bytes and not segments are counted: on a line of thousands of characters every keystroke makes
    another segment of that length.
    """

    OVERHEAD = 250  # bytes of an entry beside its text and its ids

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self._ids: OrderedDict[str, array[int]] = OrderedDict()

    def get(self, segment: str) -> "array[int] | None":
        ids = self._ids.get(segment)
        if ids is not None:
            self._ids.move_to_end(segment)
        return ids

    def put(self, segment: str, ids: "array[int]") -> None:
        self._ids[segment] = ids
        self.size += self._bytes(segment, ids)
        while self.size > self.limit:
            self.size -= self._bytes(*self._ids.popitem(last=False))

    def _bytes(self, segment: str, ids: "array[int]") -> int:
        return sys.getsizeof(segment) + sys.getsizeof(ids) + self.OVERHEAD


def byte_of_symbol() -> dict[str, int]:
    """The printable stand-ins that byte-level BPE writes for bytes (GPT-2's table)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in plain}
    others = (byte for byte in range(256) if byte not in set(plain))
    return table | {chr(0x100 + i): byte for i, byte in enumerate(others)}


class Tokenizer:
    """Encodes text as it is: no text, whatever it spells, becomes a special token."""

    def __init__(self, path: Path) -> None:
        try:
            description = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot read the tokenizer {path}: {error}") from error
        # Without this list the BPE cannot mistake "<html>" in a source file for a language tag.
        description["added_tokens"] = []
        vocabulary: dict[str, int] = description["model"]["vocab"]
        self._bpe = BpeTokenizer.from_str(json.dumps(description))
        byte = byte_of_symbol()
        self.vocab_size = max(vocabulary.values()) + 1
        self.token_bytes: list[bytes] = [b""] * self.vocab_size  # b"" for specials
        for symbol, token_id in vocabulary.items():
            if token_id >= FIRST_LEARNED:
                self.token_bytes[token_id] = bytes(byte[character] for character in symbol)
        self.ids = {token: token_id for token_id, token in enumerate(self.token_bytes) if token}
        self._healing = Healing(self.token_bytes)
        self._recent = RecentSegments(SEGMENT_BYTES)

    def encode(self, text: str) -> list[int]:
        """The ids of text with LF line ends."""
        ids: list[int] = []
        for segment in SEGMENT.findall(text):
            ids += self._encode_segment(segment)
        return ids

    def decode(self, ids: list[int]) -> bytes:
        """The UTF-8 of ids, perhaps cut within a character at either end; specials have none."""
        return b"".join([self.token_bytes[i] for i in ids])

    def healing_tokens(self, piece: bytes) -> list[int]:
        """The tokens that start with `piece`, without a line break after it (token healing)."""
        size = len(piece)
        begins = self._healing.beginning_with(piece)
        return [token_id for token_id in begins if b"\n" not in self.token_bytes[token_id][size:]]

    def line_breaks(self) -> list[int]:
        """The tokens that hold a line break."""
        return [token_id for token_id, token in enumerate(self.token_bytes) if b"\n" in token]

    def tag(self, language_id: str) -> int:
        """The token that tells the model the language; unknown languages are "other"."""
        name = ALIASES.get(language_id, language_id)
        return FIRST_TAG + TAGS.index(name if name in TAGS else "other")

    def _encode_segment(self, segment: str) -> "array[int]":
        ids = self._recent.get(segment)
        if ids is None:
            ids = array("I", self._bpe.encode(segment, add_special_tokens=False).ids)
            self._recent.put(segment, ids)
        return ids
