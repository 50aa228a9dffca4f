"""What a server is and what it can do, found out by a few requests without any of the user's text.

/v1/models ─► /version ─► two canvases that are refused, for a reason that names the vocabulary
                 │        and the canvas ─► one small canvas that is filled ─► the chat template
                 └─ no vLLM, or a step of it fails because the server lacks it: asked in words
"""

import json
import re
import time
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from infill_engine.budget import Budget
from infill_engine.config import EngineConfig
from infill_engine.errors import ModelError
from infill_engine.remote.canvas import WIDTH_STEP, Row, canvas_output, canvas_request, positive
from infill_engine.remote.client import HttpClient
from infill_engine.remote.http import HttpRequest, HttpResponse, RemoteError, Unsupported
from infill_engine.remote.prompt import ChatTemplate, chat_template
from infill_engine.remote.tokens import LocalTokens, ServerTokens, Tokens
from infill_engine.request import Probe

NOT_UNDERSTOOD = {400, 404, 405, 422}  # what a server answers to a request that it does not know
TOO_LARGE = 2**31 - 1  # no vocabulary has such an id


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """What was found. `chat` is None where the model is asked in words."""

    probe: Probe
    chat: ChatTemplate | None

    @property
    def canvas_length(self) -> int:
        assert self.probe.canvas_length is not None, "a server with a chat template has a canvas"
        return self.probe.canvas_length

    @property
    def vocab_size(self) -> int:
        assert self.probe.vocab_size is not None, "a server with a canvas has a vocabulary"
        return self.probe.vocab_size


class ServerProbe:
    """One attempt to find out, which goes on where it was interrupted.

    `model` is the wanted one's name, "" for the only one. `tokens` is None where the server shall
    tokenize.
    """

    def __init__(
        self, client: HttpClient, config: EngineConfig, model: str, tokens: LocalTokens | None
    ) -> None:
        self._client = client
        self._config = config
        self._model = model
        self._tokens = tokens
        self._responses: dict[str, HttpResponse] = {}

    def run(self, budget: Budget) -> ServedModel:
        """Raises RemoteError when the server cannot be used, and BudgetSpent."""
        started = time.perf_counter()
        listed = self._send(HttpRequest(path="/v1/models"), budget)
        milliseconds = (time.perf_counter() - started) * 1e3
        if listed.status == 404 and self._model:
            card: dict[str, Any] = {"id": self._model}
        else:
            card = _choose(listed.checked().json(), self._model, self._client.base)
        probe = Probe(
            kind="cloze",
            url=self._client.base,
            model=card["id"],
            max_model_len=positive(card.get("max_model_len")),
            milliseconds=milliseconds,
            notes=self._cautions(),
        )
        version = _version(self._send(HttpRequest(path="/version"), budget))
        if version is None and card.get("owned_by") != "vllm":
            return ServedModel(probe=probe, chat=None)
        probe = replace(probe, kind="vllm", version=version or "")
        try:
            canvas_length, vocab_size, milliseconds = self._canvas(probe.model, budget)
        except RemoteError as error:
            _raise_unless_lacking(error)
            return ServedModel(probe=_noted(probe, f"No pinned canvas: {error}."), chat=None)
        probe = replace(
            probe, canvas_length=canvas_length, vocab_size=vocab_size, milliseconds=milliseconds
        )
        try:
            chat = chat_template(self._tokenizer(probe.model, vocab_size, budget), budget)
        except RemoteError as error:
            _raise_unless_lacking(error)
            note = f"The server has a pinned canvas that cannot be written to: {error}."
            return ServedModel(probe=_noted(probe, note), chat=None)
        return ServedModel(
            probe=replace(probe, kind="pinned", tokenizer=chat.tokens.source), chat=chat
        )

    def _send(self, request: HttpRequest, budget: Budget) -> HttpResponse:
        """The answer, remembered for an attempt that comes after an interruption."""
        key = json.dumps([request.path, request.body])
        if key not in self._responses:
            self._responses[key] = self._client.send(request, budget)
        return self._responses[key]

    def _cautions(self) -> tuple[str, ...]:
        keyed = self._config.remote_key_env or self._config.remote_key_file
        if keyed and _is_plain_to_others(self._client.base):
            return ("The key travels without encryption; serve over https.",)
        return ()

    def _canvas(self, model: str, budget: Budget) -> tuple[int, int, float]:
        """Canvas length, vocabulary size and the milliseconds of a small canvas.

        Raises Unsupported when the server has none.
        """
        vocab_size = self._refused(
            model, TOO_LARGE, r"diffusion_seed_canvas\D*\[0, (\d+)\)", budget
        )
        canvas_length = self._refused(model, 0, r"diffusion_seed_canvas\D*(\d+) ids", budget)
        if min(vocab_size, canvas_length) < 2:
            raise Unsupported(f"it names a canvas of {canvas_length} of {vocab_size} tokens")
        width = min(WIDTH_STEP, canvas_length)
        row = Row(seed=[0] * width, holes=[(1, width)], suffix_start=width)
        prompt = [2]
        request = canvas_request(model, prompt, row, max_steps=1)
        started = time.perf_counter()
        response = self._send(request, budget).checked()
        try:
            canvas_output(response, prompt, row, vocab_size)
        except RemoteError as error:
            raise Unsupported(str(error)) from None
        return canvas_length, vocab_size, (time.perf_counter() - started) * 1e3

    def _refused(self, model: str, seed: int, reason: str, budget: Budget) -> int:
        """The number that a server names when it refuses a canvas of one id."""
        fields = {"diffusion_seed_canvas": [seed], "diffusion_pinned": [0]}
        body = {"model": model, "prompt": [2], "max_tokens": 1, "vllm_xargs": fields}
        response = self._send(HttpRequest(path="/v1/completions", body=body), budget)
        if response.status == 200:
            raise Unsupported("it ignores the diffusion fields; vLLM takes them from 0.32 on")
        told = re.search(reason, response.said) if response.status == 400 else None
        if told is None:
            response.checked()
        assert told is not None, "checked() raises for every status but 200"
        return int(told[1])

    def _tokenizer(self, model: str, vocab_size: int, budget: Budget) -> Tokens:
        if self._tokens is None:
            return ServerTokens(self._client, model, vocab_size, budget)
        # Ids that mean something else to the server would give nonsense without any error.
        text = 'def main() -> int:\n    return [1, 2]["naïve"]\n'
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        response = self._send(HttpRequest(path="/tokenize", body=body), budget)
        theirs = response.json().get("tokens") if response.status == 200 else None
        (ours,) = self._tokens.encode([text], budget)
        if self._tokens.vocab_size > vocab_size or (theirs is not None and theirs != ours):
            raise ModelError(
                f"remote_tokenizer={self._config.remote_tokenizer!r} is not the tokenizer of "
                f"{model}; take tokenizer.json from that model, or leave it unset"
            )
        return self._tokens


def _is_plain_to_others(base: str) -> bool:
    """Whether what goes to this URL can be read on the way."""
    parts = urlsplit(base)
    return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


def _choose(answer: dict[str, Any], wanted: str, base: str) -> dict[str, Any]:
    """The wanted model's card, or the only one. Raises RemoteError naming what is there."""
    data = answer.get("data")
    cards = {
        card["id"]: card
        for card in (data if isinstance(data, list) else [])
        if isinstance(card, dict) and isinstance(card.get("id"), str)
    }
    if wanted in cards:
        return cards[wanted]
    names = ", ".join(cards) or "none"
    if wanted:
        raise RemoteError(f"{base} serves no model {wanted!r}; it serves: {names}")
    if len(cards) != 1:
        raise RemoteError(f"{base} serves these models: {names}; add #NAME of one to the URL")
    return next(iter(cards.values()))


def _noted(probe: Probe, note: str) -> Probe:
    return replace(probe, notes=(*probe.notes, note))


def _raise_unless_lacking(error: RemoteError) -> None:
    """A fault that may pass must not be taken for something that the server cannot do."""
    if not isinstance(error, Unsupported) and error.status not in NOT_UNDERSTOOD:
        raise error


def _version(response: HttpResponse) -> str | None:
    """vLLM's version; other servers have no such page."""
    if response.status != 200:
        return None
    try:
        found = response.json().get("version")
    except RemoteError:
        return None
    return found if isinstance(found, str) else None
