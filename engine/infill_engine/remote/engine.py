"""A model that a server runs, or several do, behind the same face as a local one. No tensors.

    request ─► template ─► probe (once) ─┬► pinned canvas: POST /v1/completions, one a hole length
                                         └► in words: POST /v1/chat/completions, the join trimmed

What it is told. `model` is the server's URL, `http://gpu:8000` or `https://models.example/dg`,
with the model's name behind a "#" when several are served; or several URLs, with commas between
them, of servers that serve the same. A key is read from the environment variable `remote_key_env`
or the file `remote_key_file`, a private authority's certificate from `remote_ca_file`, our own
certificate from `remote_client_cert`. `remote_tokenizer` is the model's tokenizer.json; without it
the server's /tokenize is asked, a round trip more per request. Nothing is sent anywhere unless
`model` is a URL, and then only to what it names; directly, unless `remote_trust_env` allows the
proxies of the environment.

What the server is. vLLM from 0.32 takes DiffusionGemma's canvas from the request: the near suffix
is pinned behind the hole, so the answer joins it. vLLM before that, SGLang, NIM and anything else
that speaks the OpenAI dialect is asked in words (a cloze), and what repeats the text around the
hole is cut off here. `probe` finds out which it is by two requests that a server with pinned
canvas refuses for a reason that names its canvas and vocabulary, and one small pinned read.

Several servers. A document's requests go to one of them, which has its prompt cached; a spare is
asked where that takes longer than most, or fails (`routing`). One that serves another model, canvas
or vocabulary than the document's home is no spare of it.

What it runs best on, vLLM 0.33, one copy per GPU, all of them named in `model`:

    vllm serve google/diffusiongemma-26B-A4B-it --quantization fp8
        --diffusion-config '{"canvas_length": 64, "max_denoising_steps": 24}'
        --enable-prefix-caching --enable-prompt-tokens-details
        --max-model-len 16384 --max-num-batched-tokens 16384 --max-num-seqs 32

Limits. The server draws its own noise after the first step, so an answer repeats for a seed only
as far as the server's does. It does not say how many steps it took: `Draft.steps` is the cap that
was asked for, or 0. Entropies are read off one token's log-probability and are lower bounds.
"""

import logging
import secrets
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
from infill_engine.remote.http import Client, RemoteError
from infill_engine.remote.pinned import PinnedModel
from infill_engine.remote.probe import NOT_UNDERSTOOD, ServedModel, ServerProbe
from infill_engine.remote.router import Router
from infill_engine.remote.routing import Routes
from infill_engine.remote.tokens import LocalTokens
from infill_engine.request import Draft, EngineInfo, InfillRequest, Probe
from infill_engine.template import Template, template

CONTEXT_CHARS_PER_TOKEN = 3

log = logging.getLogger(__name__)


class RemoteEngine:
    """Implements `Engine` over HTTP. The constructor sends nothing.

    Servers are told apart by their place in `model`. Raises ModelError when a URL, a certificate or
    the tokenizer file cannot be used.
    """

    def __init__(self, config: EngineConfig) -> None:
        bases, self._name = servers(config)
        self._clients = [HttpClient(base, config) for base in bases]
        self._routes = Routes(bases, secrets.token_hex(8))
        self._config = config
        self._tokens = LocalTokens(config.remote_tokenizer) if config.remote_tokenizer else None
        self._probes = [self._new_probe(server) for server in range(len(bases))]
        self._served: dict[int, ServedModel] = {}
        self._models: dict[int, PinnedModel | chat.ChatModel] = {}

    def describe(self) -> EngineInfo:
        """What is known without asking: call `probe` before for the server's side of it."""
        served = self._served[min(self._served)] if self._served else None
        probe = None if served is None else served.probe
        pinned = served is not None and served.chat is not None
        lengths = (served.canvas_length,) if served is not None and pinned else ()
        where = ", ".join(client.base for client in self._clients)
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
            source=where + ("" if probe is None else f" ({probe.label})"),
        )

    def probe(self, budget: Budget = UNLIMITED) -> Probe:
        """Finds out, once, what the servers can do. Sends no text of the user's.

        Of several servers the first that can be used is told, with notes about the others that
        cannot. Raises ModelError when none can, and BudgetSpent; what was learnt until then is kept
        for the next attempt.
        """
        failed: dict[int, RemoteError] = {}
        for server in range(len(self._clients)):
            try:
                self._model(server, budget)
            except RemoteError as error:
                failed[server] = error
        if not self._served:
            raise failed[0]
        first = min(self._served)
        told = self._served[first].probe
        others = [
            f"{served.probe.url} serves something else than {told.url}, {served.probe.model} by "
            f"{served.probe.label}; it answers for its own documents alone."
            for served in self._served.values()
            if not _alike(served, self._served[first])
        ]
        away = [f"Of no use at present: {error}." for error in failed.values()]
        url = ", ".join(client.base for client in self._clients)
        return replace(told, url=url, notes=(*told.notes, *others, *away))

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        """Has the server encode the prompt now, if it is known to keep what it encoded; then finds
        out about a server that could be a spare."""
        if not self._models:
            return
        order = self._routes.order(request.document, time.monotonic())
        try:
            if order[0] in self._models:
                warmed = template(request).request
                self._models[order[0]].warm(warmed, self._client(order, request.document), budget)
            for server in order:
                if server not in self._models:
                    self._model(server, budget)
                    return
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
        failed: list[RemoteError] = []
        order = self._routes.order(request.document, time.monotonic())
        for at, server in enumerate(order):
            try:
                if budget.over:
                    break
                model = self._model(server, budget)
                client = self._client(order[at:], request.document)
                for draft in model.infill(checked, client, budget):
                    if budget.cancelled():
                        return
                    taken = (time.perf_counter() - started) * 1e3
                    yield _whole(draft, checked, taken)
                return
            except BudgetSpent:
                return
            except RemoteError as error:
                failed.append(error)
                self._routes.failed(server, time.monotonic())
                if error.status in NOT_UNDERSTOOD:  # it understood before: ask anew what it is
                    self._served.pop(server, None)
                    self._models.pop(server, None)
        if failed:
            raise failed[0]

    def _client(self, order: list[int], document: str) -> Client:
        """For what the first of these servers is asked: the others are its spares where they are
        known to serve the same."""
        home = self._served[order[0]]
        alike = [
            each for each in order if each in self._served and _alike(self._served[each], home)
        ]
        if len(alike) == 1:
            return self._clients[order[0]]
        return Router(self._clients, alike, self._routes, document)

    def _model(self, server: int, budget: Budget) -> PinnedModel | chat.ChatModel:
        if server not in self._models:
            try:
                served = self._probes[server].run(budget)
            except ModelError:
                self._probes[server] = self._new_probe(server)
                raise
            self._probes[server] = self._new_probe(server)
            self._served[server] = served
            log.info("%s: %s", self._clients[server].base, served.probe.label)
            if served.chat is None:
                self._models[server] = chat.ChatModel(served)
            else:
                steps = self._config.max_denoising_steps
                self._models[server] = PinnedModel(served, served.chat, steps)
        return self._models[server]

    def _new_probe(self, server: int) -> ServerProbe:
        return ServerProbe(self._clients[server], self._config, self._name, self._tokens)


def servers(config: EngineConfig) -> tuple[list[str], str]:
    """The URLs that `model` names, and the model's name on them, "" where it has none.

    Raises ModelError where there are several names.
    """
    parts = [part.strip().partition("#") for part in config.model.split(",") if part.strip()]
    named = {unquote(name) for _, _, name in parts if name}
    if len(named) > 1 and not config.remote_model:
        raise ModelError(
            f"the servers of {config.model!r} are to serve {' and '.join(sorted(named))}; they "
            "have to serve the same model: keep one name"
        )
    bases = [base.rstrip("/").removesuffix("/v1") for base, _, _ in parts]
    return list(dict.fromkeys(bases)), config.remote_model or "".join(named)


def _alike(one: ServedModel, other: ServedModel) -> bool:
    """Whether a request for one of them means the same to the other."""
    what = ("kind", "model", "canvas_length", "vocab_size")
    return all(getattr(one.probe, name) == getattr(other.probe, name) for name in what)


def _whole(draft: Draft, checked: Template, milliseconds: float) -> Draft:
    """With the template's head and tail, and the time it took."""
    return replace(
        draft,
        text=checked.head + draft.text + checked.tail,
        denoise_ms=milliseconds,
        others=tuple(_whole(other, checked, milliseconds) for other in draft.others),
    )
