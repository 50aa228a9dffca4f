"""A model that a server runs, behind the same face as a local one. Imports no tensors.

    request ─► template ─► probe (once) ─┬► pinned canvas: POST /v1/completions, one a hole length
                                         └► in words: POST /v1/chat/completions, the join trimmed

What it is told. `model` is the server's URL, `http://gpu:8000` or `https://models.example/dg`,
with the model's name behind a "#" when several are served. A key is read from the environment
variable `remote_key_env` or the file `remote_key_file`, a private authority's certificate from
`remote_ca_file`, our own certificate from `remote_client_cert`. `remote_tokenizer` is the model's
tokenizer.json; without it the server's /tokenize is asked, a round trip more per request. Nothing
is sent anywhere unless `model` is a URL, and then only to that server; directly, unless
`remote_trust_env` allows the proxies of the environment.

What the server is. vLLM from 0.32 takes DiffusionGemma's canvas from the request: the near suffix
is pinned behind the hole, so the answer joins it. vLLM before that, SGLang, NIM and anything else
that speaks the OpenAI dialect is asked in words (a cloze), and what repeats the text around the
hole is cut off here. `probe` finds out which it is by two requests that a server with pinned
canvas refuses for a reason that names its canvas and vocabulary, and one small pinned read.

What it runs best on, vLLM 0.33, one copy per GPU behind a balancer that keeps a user on a GPU:

    vllm serve google/diffusiongemma-26B-A4B-it --quantization fp8
        --diffusion-config '{"canvas_length": 64, "max_denoising_steps": 24}'
        --enable-prefix-caching --enable-prompt-tokens-details
        --max-model-len 16384 --max-num-batched-tokens 16384 --max-num-seqs 32

Limits. The server draws its own noise after the first step, so an answer repeats for a seed only
as far as the server's does. It does not say how many steps it took: `Draft.steps` is the cap that
was asked for, or 0. Entropies are read off one token's log-probability and are lower bounds.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import unquote

from infill_engine.budget import UNLIMITED, Budget, BudgetSpent
from infill_engine.config import EngineConfig
from infill_engine.errors import ModelError
from infill_engine.remote import canvas, chat
from infill_engine.remote.client import HttpClient
from infill_engine.remote.cloze import PREFIX_CHARS, SUFFIX_CHARS
from infill_engine.remote.http import RemoteError
from infill_engine.remote.pinned import PinnedModel
from infill_engine.remote.probe import NOT_UNDERSTOOD, ServedModel, ServerProbe
from infill_engine.remote.tokens import LocalTokens
from infill_engine.request import Draft, EngineInfo, InfillRequest, Probe
from infill_engine.template import Template, template

CONTEXT_CHARS_PER_TOKEN = 3

log = logging.getLogger(__name__)


class RemoteEngine:
    """Implements `Engine` over HTTP. The constructor sends nothing.

    Raises ModelError when the URL, a certificate or the tokenizer file cannot be used.
    """

    def __init__(self, config: EngineConfig) -> None:
        base, _, fragment = config.model.partition("#")
        self._client = HttpClient(base.rstrip("/").removesuffix("/v1"), config)
        self._config = config
        self._name = config.remote_model or unquote(fragment)
        self._tokens = LocalTokens(config.remote_tokenizer) if config.remote_tokenizer else None
        self._probe = self._new_probe()
        self._served: ServedModel | None = None
        self._model: PinnedModel | chat.ChatModel | None = None

    def describe(self) -> EngineInfo:
        """What is known without asking: call `probe` before for the server's side of it."""
        served = self._served
        probe = None if served is None else served.probe
        pinned = served is not None and served.chat is not None
        lengths = (served.canvas_length,) if served is not None and pinned else ()
        return EngineInfo(
            model=self._name if probe is None else probe.model,
            parameters=0,
            device="server",
            dtype="",
            threads=0,
            canvas_lengths=lengths,
            max_tokens=canvas.max_unnamed_tokens(lengths[0]) if lengths else chat.MAX_TOKENS,
            prefix_tokens=PREFIX_CHARS // CONTEXT_CHARS_PER_TOKEN,
            suffix_tokens=SUFFIX_CHARS // CONTEXT_CHARS_PER_TOKEN,
            noise="uniform" if lengths else "",
            source=self._client.base + ("" if probe is None else f" ({probe.label})"),
        )

    def probe(self, budget: Budget = UNLIMITED) -> Probe:
        """Finds out, once, what the server can do. Sends no text of the user's.

        Raises ModelError when the server cannot be used, and BudgetSpent; what was learnt until
        then is kept for the next attempt.
        """
        self._known_model(budget)
        assert self._served is not None, "it is known now"
        return self._served.probe

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        """Has the server encode the prompt now, if it is known to keep what it encoded."""
        if self._model is None:
            return
        try:
            self._model.warm(template(request).request, budget)
        except BudgetSpent:
            return
        except RemoteError as error:
            log.info("not warmed: %s", error)

    def forget(self) -> None:
        """Nothing: what was encoded is the server's."""

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        """As `Engine.infill`, a draft for every better row. Raises ModelError without an answer."""
        checked = template(request)
        started = time.perf_counter()
        try:
            if budget.over:
                return
            for draft in self._known_model(budget).infill(checked, budget):
                if budget.cancelled():
                    return
                taken = (time.perf_counter() - started) * 1e3
                yield _whole(draft, checked, taken)
        except BudgetSpent:
            return
        except RemoteError as error:
            if error.status in NOT_UNDERSTOOD:  # it understood before: ask anew what it is
                self._served = self._model = None
            raise

    def _known_model(self, budget: Budget) -> PinnedModel | chat.ChatModel:
        if self._model is None:
            try:
                served = self._probe.run(budget)
            except ModelError:
                self._probe = self._new_probe()
                raise
            self._probe = self._new_probe()
            self._served = served
            log.info("%s: %s", self._client.base, served.probe.label)
            if served.chat is None:
                self._model = chat.ChatModel(self._client, served)
            else:
                steps = self._config.max_denoising_steps
                self._model = PinnedModel(self._client, served, served.chat, steps)
        return self._model

    def _new_probe(self) -> ServerProbe:
        return ServerProbe(self._client, self._config, self._name, self._tokens)


def _whole(draft: Draft, checked: Template, milliseconds: float) -> Draft:
    """With the template's head and tail, and the time it took."""
    return replace(
        draft,
        text=checked.head + draft.text + checked.tail,
        denoise_ms=milliseconds,
        others=tuple(_whole(other, checked, milliseconds) for other in draft.others),
    )
