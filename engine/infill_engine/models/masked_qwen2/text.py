"""Text to the ids that a masked Qwen2 reads, and back. Knows no tensors.

    <bos>  the file up to the cursor  [mask] … [mask]  what follows the cursor  <eos>

Neither chat nor instruction: the file itself is read, with noise where text is missing.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from infill_engine.denoiser import Sides
from infill_engine.errors import ModelError
from infill_engine.healing import Healing
from infill_engine.models.checkpoint import TOKENIZER_CONFIG, mask_token, read_json
from infill_engine.request import InfillRequest
from infill_engine.tokenizer import byte_of_symbol
from infill_engine.windows import first_tokens, last_tokens, prefix_window, suffix_window

CHARACTERS_PER_TOKEN = 3.5
EXPAND = "<|expand|>"
# How Qwen2 cuts text before it merges bytes (its published tokenizers).
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class QwenText:
    """The tokenizer of a checkpoint's folder; `vocab_size` is the network's.

    mask    noise
    expand  said of a cell in whose place two belong; None where a model cannot say it
    end     said of a cell that is one too many, and so of those to its right; None likewise
    bos     before a file's text; None where a model knows none
    eos     after a file's text; None likewise
    absent  no token at all: a cell that is not there

    Raises ModelError when the files do not fit.
    """

    def __init__(self, folder: Path, vocab_size: int, description: dict[str, Any]) -> None:
        self._bpe, vocabulary, added = _read(folder)
        highest = max([*vocabulary.values(), *added.values()], default=0)
        if highest >= vocab_size:
            raise ModelError(
                f"{folder}'s tokenizer has ids up to {highest}, the model only {vocab_size} "
                "tokens; put the files it was published with beside the weights"
            )
        byte = byte_of_symbol()
        self.absent = vocab_size
        # Ids without text are those that are added, those that nothing has, and `absent`.
        self.token_bytes: list[bytes] = [b""] * (vocab_size + 1)
        for symbol, token in vocabulary.items():
            if symbol not in added:
                try:
                    self.token_bytes[token] = bytes(byte[character] for character in symbol)
                except KeyError as error:
                    raise ModelError(
                        f"{folder}'s tokenizer has {symbol!r}, which is no text in bytes; put the "
                        "files it was published with beside the weights"
                    ) from error
        told = read_json(folder / TOKENIZER_CONFIG)
        mask = self._special(folder, added, mask_token(folder), description, "mask_token_id")
        if mask is None:
            raise ModelError(
                f"{folder} names no mask token in {TOKENIZER_CONFIG}; put the files it was "
                "published with beside the weights"
            )
        self.mask = mask
        self.bos = self._special(folder, added, told.get("bos_token"), {}, "")
        self.eos = self._special(folder, added, told.get("eos_token"), {}, "")
        grows = EXPAND if EXPAND in added else None
        self.expand = self._special(folder, added, grows, description, "expand_token_id")
        if self.expand is not None and self.eos is None:
            raise ModelError(
                f"{folder} can make holes longer and not shorter: {TOKENIZER_CONFIG} names no "
                "eos_token; put the files it was published with beside the weights"
            )
        self.end = self.eos if self.expand is not None else None
        self._healing = Healing(self.token_bytes)

    @staticmethod
    def _special(
        folder: Path, added: dict[str, int], token: Any, description: dict[str, Any], key: str
    ) -> int | None:
        """The id of a token that stands for no text, by its name or as config.json has it."""
        if isinstance(token, dict):
            token = token.get("content")
        if token in added:
            return added[token]
        told = description.get(key)
        return told if isinstance(told, int) else None

    @cached_property
    def special(self) -> frozenset[int]:
        """The ids that stand for no text."""
        return frozenset(token for token, piece in enumerate(self.token_bytes[:-1]) if not piece)

    def encode(self, text: str) -> list[int]:
        """The ids of text; whatever it spells, none of them is special."""
        ids: list[int] = self._bpe.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> bytes:
        """The text of ids as UTF-8, perhaps cut within a character; special ids have none."""
        return b"".join([self.token_bytes[token] for token in ids])

    def continuations(self, piece: bytes) -> list[int]:
        """The tokens that start with `piece`, without a line break after it (token healing)."""
        begins = self._healing.beginning_with(piece)
        return [token for token in begins if b"\n" not in self.token_bytes[token][len(piece) :]]

    @cached_property
    def line_breaks(self) -> list[int]:
        """The tokens that hold a line break."""
        return [token for token, piece in enumerate(self.token_bytes) if b"\n" in piece]

    def sides(self, request: InfillRequest, *, prefix: int, suffix: int) -> Sides:
        """Both sides within so many tokens; the end of the file is told only where it is seen."""
        before = prefix_window(request.prefix, int(prefix * CHARACTERS_PER_TOKEN))
        before_ids = last_tokens(self.encode(before), prefix - 1)
        healed_prefix = self._healed(before_ids)
        if healed_prefix:
            before_ids = before_ids[:-1]
        after = suffix_window(request.suffix, int(suffix * CHARACTERS_PER_TOKEN))
        whole = self.encode(after)
        after_ids = first_tokens(whole, suffix - 1)
        opening = [] if self.bos is None else [self.bos]
        seen = len(after) == len(request.suffix) and len(after_ids) == len(whole)
        closing = [self.end] if seen and self.end is not None else []
        return Sides(
            prefix_ids=(*opening, *before_ids),
            suffix_ids=(*after_ids, *closing),
            healed_prefix=healed_prefix,
        )

    def _healed(self, ids: list[int]) -> bytes:
        """The text of the last token, if some other token could continue it."""
        piece = self.token_bytes[ids[-1]] if ids else b""
        try:
            piece.decode("utf-8")
        except UnicodeDecodeError:
            return b""
        return piece if piece and len(self.continuations(piece)) > 1 else b""


def _read(folder: Path) -> tuple[Tokenizer, dict[str, int], dict[str, int]]:
    """What encodes text, its vocabulary, and the tokens that were added to that.

    Dream's folders have no tokenizer.json: their vocabulary and merges are Qwen2's, in two files.
    """
    path = folder / "tokenizer.json"
    told = read_json(folder / TOKENIZER_CONFIG)
    added = {
        entry["content"]: int(token)
        for token, entry in (told.get("added_tokens_decoder") or {}).items()
    }
    try:
        if path.is_file():
            description = json.loads(path.read_text(encoding="utf-8"))
            added |= {entry["content"]: entry["id"] for entry in description["added_tokens"]}
            # Without this list nothing that a file spells becomes a special token.
            description["added_tokens"] = []
            vocabulary: dict[str, int] = description["model"]["vocab"]
            return Tokenizer.from_str(json.dumps(description)), vocabulary, added
        vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        added |= {**read_json(folder / "added_tokens.json")}
        bpe = Tokenizer(
            models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
        )
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} has neither tokenizer.json nor vocab.json with merges.txt; put the model's "
            "own there"
        ) from error
    except Exception as error:  # the library raises bare Exception
        raise ModelError(f"cannot read the tokenizer in {folder}: {error}") from error
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    return bpe, vocabulary, added
