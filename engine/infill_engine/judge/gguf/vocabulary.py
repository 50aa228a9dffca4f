"""The tokens of a GGUF model as text, and those that say something about text: where it ends, and
what stands before, behind and in a hole."""

import ctypes

import numpy as np

from infill_engine.errors import ModelError
from infill_engine.healing import Healing
from infill_engine.judge.gguf.library import library
from infill_engine.judge.gguf.model import Model

NO_VOCABULARY, NO_TOKEN = 0, -1
LONGEST = 1024  # bytes of a token
PROBE = "def f(x):\n\treturn {'naïve': x[0]}  # 𝒜\n\n    y = 10\n"


class GgufVocabulary:
    """V tokens. Raises ModelError where text does not come back from them as it was."""

    def __init__(self, model: Model) -> None:
        self._model = model  # which its tokens live in
        lib = library()
        self._lib, self._vocab = lib, lib.llama_model_get_vocab(model.address)
        if lib.llama_vocab_type(self._vocab) == NO_VOCABULARY:
            raise ModelError("it has no tokenizer")
        self._piece = ctypes.create_string_buffer(LONGEST)
        self.token_bytes = [
            self._bytes_of(token) for token in range(model.vocab_size)
        ]  # b"" for controls
        self._healing = Healing(self.token_bytes)
        self.allowed, self.beginning_with = self._healing.allowed, self._healing.beginning_with
        said = list(enumerate(self.token_bytes))
        self.ends = np.array(
            [i for i, text in said if not text and lib.llama_vocab_is_eog(self._vocab, i)], np.int64
        )
        self.line_ends = np.array(
            [i for i, text in said if text.lstrip(b" \t\r").startswith(b"\n")], np.int64
        )
        bos, eos = lib.llama_vocab_bos(self._vocab), lib.llama_vocab_eos(self._vocab)
        self.start = [bos] if bos != NO_TOKEN and lib.llama_vocab_get_add_bos(self._vocab) else []
        # Before the first token of a text there has to be one.
        self.nothing = next((token for token in (bos, eos) if token != NO_TOKEN), 0)
        marks = (lib.llama_vocab_fim_pre, lib.llama_vocab_fim_suf, lib.llama_vocab_fim_mid)
        prefix, suffix, middle = (mark(self._vocab) for mark in marks)
        # Before the prefix, the suffix and the middle of a hole, where the model knows such.
        self.fim = None if NO_TOKEN in (prefix, suffix, middle) else (prefix, suffix, middle)
        # Some tokenizers put a blank before a text, but none behind a line break.
        self._blank = self.decode(self._tokens("x")) == b" x"
        if self.decode(self.encode(PROBE)) != PROBE.encode():
            raise ModelError("its tokenizer does not give back the text that it is given")

    def __len__(self) -> int:
        return len(self.token_bytes)

    def encode(self, text: str) -> list[int]:
        """The ids of text with LF line ends; no text becomes a control."""
        if not self._blank:
            return self._tokens(text)
        ids, head = self._tokens("\n" + text), len(self._tokens("\n"))
        return ids[head:]

    def decode(self, ids: list[int]) -> bytes:
        """The UTF-8 of ids, perhaps cut within a character at either end; controls have none."""
        return b"".join([self.token_bytes[token] for token in ids])

    def _tokens(self, text: str) -> list[int]:
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        ids = (ctypes.c_int32 * room)()
        count = self._lib.llama_tokenize(self._vocab, data, len(data), ids, room, False, False)
        assert count >= 0, "no token is shorter than a byte"
        return list(ids[:count])

    def _bytes_of(self, token: int) -> bytes:
        size = self._lib.llama_token_to_piece(self._vocab, token, self._piece, LONGEST, 0, False)
        return ctypes.string_at(self._piece, max(size, 0))  # what is longer is no text of code
