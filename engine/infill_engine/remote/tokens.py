"""Text to token ids and back for a model that runs elsewhere: by its tokenizer.json, or by asking.

The ids that mean something to the server's own bookkeeping (turns, images, padding) are kept apart:
they frame the prompt, and they never come out of a user's text, into the noise, or into an answer.
"""

import random
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer

from infill_engine.budget import Budget
from infill_engine.errors import ModelError
from infill_engine.remote.client import HttpClient
from infill_engine.remote.http import HttpRequest, HttpResponse, RemoteError, Unsupported

# The published DiffusionGemma: control ids below 107, images and unused ids from 255,999 on.
GEMMA_VOCABULARY = 262_144
GEMMA_TEXT = range(107, 255_999)
# What Gemma's tokenizer would take for control tokens. Angle brackets alone are code.
_CONTROL = re.compile(
    r"<\|[a-z_\"]+\|?>|<[a-z_]+\|>|<(?:pad|eos|bos|unk|mask|unused\d+|start_of_\w+|end_of_\w+)>"
    r"|\[multimodal\]"
)
NUM_REMEMBERED = 64


class Tokens(Protocol):
    """`special` are the ids that are no text; all others below `vocab_size` are."""

    source: str
    vocab_size: int
    special: frozenset[int]

    def encode(self, texts: Sequence[str], budget: Budget) -> list[list[int]]:
        """The ids of each text, none of them special. May raise RemoteError or BudgetSpent."""
        ...

    def decode(self, ids: Sequence[Sequence[int]], budget: Budget) -> list[str]:
        """The text of each list of ids. May raise RemoteError or BudgetSpent."""
        ...

    def control(self, texts: Sequence[str], budget: Budget) -> list[list[int]]:
        """The ids of our own framing text, in which control tokens mean what they say."""
        ...


def noise(tokens: Tokens, count: int, source: random.Random) -> list[int]:
    """`count` random ids of text."""
    drawn: list[int] = []
    while len(drawn) < count:
        token = source.randrange(tokens.vocab_size)
        if token not in tokens.special:
            drawn.append(token)
    return drawn


class LocalTokens:
    """By a tokenizer.json on this machine. Raises ModelError when it cannot be read."""

    source = "local"

    def __init__(self, path: str) -> None:
        file = Path(path).expanduser()
        if file.is_dir():
            file /= "tokenizer.json"
        if not file.is_file():
            raise ModelError(f"no tokenizer at {file}; set remote_tokenizer to a tokenizer.json")
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{file} cannot be read as a tokenizer: {error}") from None
        added = self._tokenizer.get_added_tokens_decoder()
        self.special = frozenset(
            token
            for token, entry in added.items()
            if entry.special or _CONTROL.fullmatch(entry.content)
        )
        self.vocab_size = self._tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, texts: Sequence[str], budget: Budget) -> list[list[int]]:
        # In the user's text "<turn|>" is seven characters, not the end of a turn.
        self._tokenizer.encode_special_tokens = True
        return self._encode(texts)

    def control(self, texts: Sequence[str], budget: Budget) -> list[list[int]]:
        self._tokenizer.encode_special_tokens = False
        return self._encode(texts)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [self._tokenizer.encode(text, add_special_tokens=False).ids for text in texts]

    def decode(self, ids: Sequence[Sequence[int]], budget: Budget) -> list[str]:
        return [self._tokenizer.decode(list(row), skip_special_tokens=False) for row in ids]


class ServerTokens:
    """By the server's /tokenize and /detokenize, which vLLM has. Nothing else than text is sent.

    Raises Unsupported when the server has no way to tell its special ids.
    """

    source = "server"

    def __init__(self, client: HttpClient, model: str, vocab_size: int, budget: Budget) -> None:
        self._client = client
        self._model = model
        self._remembered: OrderedDict[str, list[int]] = OrderedDict()
        self.vocab_size = vocab_size
        self.special = self._special(budget)

    def _special(self, budget: Budget) -> frozenset[int]:
        if self.vocab_size == GEMMA_VOCABULARY:
            return frozenset(set(range(self.vocab_size)) - set(GEMMA_TEXT))
        told = self._client.send(HttpRequest(path="/tokenizer_info"), budget)
        if told.status != 200:
            raise Unsupported(
                f"the special ids of this vocabulary of {self.vocab_size} are not known; set "
                "remote_tokenizer, or serve with --enable-tokenizer-info-endpoint"
            )
        added = told.json().get("added_tokens_decoder")
        if not isinstance(added, dict):
            raise Unsupported("/tokenizer_info does not list added tokens; set remote_tokenizer")
        return frozenset(
            int(token)
            for token, entry in added.items()
            if isinstance(entry, dict)
            and (entry.get("special") or _CONTROL.fullmatch(str(entry.get("content"))))
        )

    def encode(self, texts: Sequence[str], budget: Budget) -> list[list[int]]:
        pieces = [_plain(text) for text in texts]
        flat = [piece for text in pieces for piece in text]
        ids = iter(self._tokenize(flat, budget))
        return [[token for _ in text for token in next(ids)] for text in pieces]

    def control(self, texts: Sequence[str], budget: Budget) -> list[list[int]]:
        return self._tokenize(texts, budget)

    def _tokenize(self, texts: Sequence[str], budget: Budget) -> list[list[int]]:
        new = list(dict.fromkeys(text for text in texts if text not in self._remembered and text))
        bare = {"add_special_tokens": False}
        responses = self._send_all("/tokenize", [bare | {"prompt": text} for text in new], budget)
        for text, response in zip(new, responses, strict=True):
            found = response.json().get("tokens")
            if not isinstance(found, list) or not all(type(token) is int for token in found):
                raise RemoteError("/tokenize answered without a list of token ids; is it vLLM's?")
            self._remembered[text] = found
        ids = [self._remembered[text] if text else [] for text in texts]
        for text in filter(None, texts):
            self._remembered.move_to_end(text)
        while len(self._remembered) > NUM_REMEMBERED:
            self._remembered.popitem(last=False)
        return ids

    def decode(self, ids: Sequence[Sequence[int]], budget: Budget) -> list[str]:
        texts = []
        bodies = [{"tokens": list(row)} for row in ids]
        for response in self._send_all("/detokenize", bodies, budget):
            text = response.json().get("prompt")
            if not isinstance(text, str):
                raise RemoteError("/detokenize answered without text; is it vLLM's?")
            texts.append(text)
        return texts

    def _send_all(
        self, path: str, bodies: Sequence[Mapping[str, object]], budget: Budget
    ) -> list[HttpResponse]:
        requests = [HttpRequest(path=path, body={"model": self._model, **body}) for body in bodies]
        return [response.checked() for response in self._client.send_all(requests, budget)]


@lru_cache(maxsize=NUM_REMEMBERED)
def _plain(text: str) -> tuple[str, ...]:
    """Pieces in which the server sees no control tokens: each one that stands there is cut."""
    pieces, start = [], 0
    for found in _CONTROL.finditer(text):
        pieces.append(text[start : found.start() + 2])
        start = found.start() + 2
    pieces.append(text[start:])
    return tuple(pieces)
