"""A model that a server runs, behind the same face as a local one. Imports no tensors.

    request ─► template ─► probe (once) ─► ids of prompt and canvas, a row per hole length
                              │                  │ POST /v1/completions, several at a time
                              │                  ▼
                              │            argmax canvas ─► pins overlaid ─► rank ─► draft
                              └─ no pinned canvas: POST /v1/chat/completions, the join trimmed here

What it is told. `model` is the server's URL, `http://gpu:8000` or `https://models.example/dg`,
with the model's name behind a "#" when several are served. A key is read from the environment
variable `remote_key_env` or the file `remote_key_file`, a private authority's certificate from
`remote_ca_file`. `remote_tokenizer` is the model's tokenizer.json; without it the server's
/tokenize is asked, a round trip more per request. Nothing is sent anywhere unless `model` is a
URL, and then only to that server, directly.

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

import json
import logging
import math
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.config import EngineConfig
from infill_engine.errors import ModelError
from infill_engine.remote import chat as remote_chat
from infill_engine.remote import pinned as remote_canvas
from infill_engine.remote.cloze import PREFIX_CHARS, SUFFIX_CHARS
from infill_engine.remote.http import (
    Ask,
    Client,
    Interrupted,
    RemoteError,
    Reply,
    Unsupported,
    is_plain_to_others,
)
from infill_engine.remote.pinned import WIDTH_STEP, Found, Frame, Row, Sheet
from infill_engine.remote.tokens import LocalTokens, ServerTokens, Tokens, noise
from infill_engine.request import Draft, EngineInfo, InfillRequest, Probe
from infill_engine.template import Template, compose, distinct, template

CONTEXT_CHARS_PER_TOKEN = 3
WORTH_WARMING = 64  # tokens of a prompt that the server has not read
GRACE = 0.2  # seconds after the deadline to turn ids that have come into text
NOT_UNDERSTOOD = {400, 404, 405, 422}  # what a server answers to a request that it does not know
TOO_LARGE = 2**31 - 1  # no vocabulary has such an id

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    probe: Probe
    frame: Frame | None  # None: asked in words

    @property
    def canvas(self) -> int:
        assert self.probe.canvas_length is not None, "a server with a frame has a canvas"
        return self.probe.canvas_length

    @property
    def vocabulary(self) -> int:
        assert self.probe.vocab_size is not None, "a server with a canvas has a vocabulary"
        return self.probe.vocab_size


class RemoteEngine:
    """Implements `Engine` over HTTP. The constructor sends nothing.

    Raises ModelError when the URL, the CA file or the tokenizer file cannot be used.
    """

    def __init__(self, config: EngineConfig) -> None:
        base, _, fragment = config.model.partition("#")
        try:
            parts = urlsplit(base)
        except ValueError as error:
            raise ModelError(f"{base!r} is no URL of a server: {error}") from None
        self._client = Client(
            f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"
            + (f"?{parts.query}" if parts.query else ""),
            config,
        )
        self._config = config
        self._wanted = config.remote_model or unquote(fragment)
        self._local = (
            None if config.remote_tokenizer is None else LocalTokens(config.remote_tokenizer)
        )
        self._served: _Served | None = None
        self._heard: dict[str, Reply] = {}  # answers to a probe that was interrupted
        self._caches = False  # the server was seen to reuse a prompt
        self._sent: list[int] = []

    def close(self) -> None:
        """Closes idle connections; the engine can still be used."""
        self._client.close()

    def describe(self) -> EngineInfo:
        """What is known without asking: call `probe` before for the server's side of it."""
        served = self._served
        probe = None if served is None else served.probe
        pinned = served is not None and served.frame is not None
        canvas = (served.canvas,) if served is not None and pinned else ()
        return EngineInfo(
            model=self._wanted if probe is None else probe.model,
            parameters=0,
            device="server",
            dtype="",
            threads=0,
            canvas_lengths=canvas,
            max_tokens=remote_canvas.most_unasked(canvas[0]) if canvas else remote_chat.TOKENS,
            prefix_tokens=PREFIX_CHARS // CONTEXT_CHARS_PER_TOKEN,
            suffix_tokens=SUFFIX_CHARS // CONTEXT_CHARS_PER_TOKEN,
            noise="uniform" if canvas else "",
            source=self._client.base + ("" if probe is None else f" ({probe.label})"),
        )

    def probe(self, budget: Budget = UNLIMITED) -> Probe:
        """Finds out, once, what the server can do. Sends no text of the user's.

        Raises ModelError when the server cannot be used, and Interrupted when the budget ran out;
        what was learnt until then is kept for the next attempt.
        """
        return self._serve(budget).probe

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        """Has the server read the prompt ahead, if it was seen to keep what it read."""
        if self._served is None or self._served.frame is None or not self._caches:
            return
        served, frame = self._served, self._served.frame
        try:
            ids = self._prompt(template(request).request, served, frame, 0, budget)
            if len(ids) - _shared(ids, self._sent) < WORTH_WARMING:
                return
            seed = noise(frame.tokens, WIDTH_STEP, random.Random(0))
            row = Row(seed=seed, holes=[(0, WIDTH_STEP)], tail=WIDTH_STEP)
            ask = remote_canvas.ask(served.probe.model, ids, row, max_steps=1)
            self._client.one(ask, budget).checked()
            self._sent = ids
        except Interrupted:
            return
        except RemoteError as error:
            log.info("not read ahead: %s", error)

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        """As `Engine.infill`, a draft for every better row. Raises ModelError without an answer."""
        asked = template(request)
        started = time.perf_counter()
        try:
            if budget.over:
                return
            served = self._serve(budget)
            if served.frame is None:
                drafts = self._cloze(asked, served.probe, budget)
            else:
                drafts = self._pinned(asked, served, served.frame, budget)
            for draft in drafts:
                if budget.cancelled():
                    return
                taken = (time.perf_counter() - started) * 1e3
                yield _whole(draft, asked, taken)
        except Interrupted:
            return

    # What the server is

    def _serve(self, budget: Budget) -> _Served:
        if self._served is None:
            try:
                self._served = self._find_out(budget)
            except ModelError:
                self._heard.clear()
                raise
            self._heard.clear()
            log.info("%s: %s", self._client.base, self._served.probe.label)
        return self._served

    def _hear(self, ask: Ask, budget: Budget) -> Reply:
        key = json.dumps([ask.path, ask.body])
        if key not in self._heard:
            self._heard[key] = self._client.one(ask, budget)
        return self._heard[key]

    def _find_out(self, budget: Budget) -> _Served:
        started = time.perf_counter()
        listed = self._hear(Ask(path="/v1/models"), budget)
        milliseconds = (time.perf_counter() - started) * 1e3
        if listed.status == 404 and self._wanted:
            card: dict[str, Any] = {"id": self._wanted}
        else:
            card = _choose(listed.checked().json(), self._wanted, self._client.base)
        probe = Probe(
            kind="cloze",
            url=self._client.base,
            model=card["id"],
            max_model_len=remote_canvas.positive(card.get("max_model_len")),
            milliseconds=milliseconds,
            notes=self._cautions(),
        )
        version = _version(self._hear(Ask(path="/version"), budget))
        if version is None and card.get("owned_by") != "vllm":
            return _Served(probe=probe, frame=None)
        probe = replace(probe, kind="vllm", version=version or "")
        try:
            canvas, vocabulary, milliseconds = self._find_canvas(probe.model, budget)
        except RemoteError as error:
            _raise_unless_lacking(error)
            return _Served(probe=_noted(probe, f"No pinned canvas: {error}."), frame=None)
        probe = replace(
            probe, canvas_length=canvas, vocab_size=vocabulary, milliseconds=milliseconds
        )
        try:
            frame = self._find_frame(probe.model, vocabulary, budget)
        except RemoteError as error:
            _raise_unless_lacking(error)
            note = f"The server has a pinned canvas that cannot be written to: {error}."
            return _Served(probe=_noted(probe, note), frame=None)
        probe = replace(probe, kind="pinned", tokenizer=frame.tokens.source)
        return _Served(probe=probe, frame=frame)

    def _cautions(self) -> tuple[str, ...]:
        keyed = self._config.remote_key_env or self._config.remote_key_file
        if keyed and is_plain_to_others(self._client.base):
            return ("The key travels without encryption; serve over https.",)
        return ()

    def _find_canvas(self, model: str, budget: Budget) -> tuple[int, int, float]:
        """Canvas length, vocabulary size and the time of a read. Raises Unsupported without."""

        def refused(seed: int, reason: str) -> int:
            fields = {"diffusion_seed_canvas": [seed], "diffusion_pinned": [0]}
            body = {"model": model, "prompt": [2], "max_tokens": 1, "vllm_xargs": fields}
            reply = self._hear(Ask(path="/v1/completions", body=body), budget)
            if reply.status == 200:
                raise Unsupported("it ignores the diffusion fields; vLLM takes them from 0.32 on")
            told = re.search(reason, reply.said) if reply.status == 400 else None
            if told is None:
                reply.checked()
            assert told is not None, "checked() raises for every status but 200"
            return int(told[1])

        vocabulary = refused(TOO_LARGE, r"diffusion_seed_canvas\D*\[0, (\d+)\)")
        canvas = refused(0, r"diffusion_seed_canvas\D*(\d+) ids")
        width = min(WIDTH_STEP, canvas)
        row = Row(seed=[0] * width, holes=[(1, width)], tail=width)
        ask = remote_canvas.ask(model, [2], row, max_steps=1)
        started = time.perf_counter()
        reply = self._hear(ask, budget).checked()
        try:
            remote_canvas.read(reply, row, vocabulary)
        except RemoteError as error:
            raise Unsupported(str(error)) from None
        return canvas, vocabulary, (time.perf_counter() - started) * 1e3

    def _find_frame(self, model: str, vocabulary: int, budget: Budget) -> Frame:
        tokens: Tokens
        if self._local is None:
            tokens = ServerTokens(self._client, model, vocabulary, budget)
        else:
            tokens = self._local
            self._compare(tokens, model, vocabulary, budget)
        return remote_canvas.frame(tokens, budget)

    def _compare(self, tokens: Tokens, model: str, vocabulary: int, budget: Budget) -> None:
        """Ids that mean something else to the server would give nonsense without any error."""
        text = 'def main() -> int:\n    return [1, 2]["naïve"]\n'
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        reply = self._hear(Ask(path="/tokenize", body=body), budget)
        theirs = reply.json().get("tokens") if reply.status == 200 else None
        (ours,) = tokens.encode([text], budget)
        if tokens.vocab_size > vocabulary or (theirs is not None and theirs != ours):
            raise ModelError(
                f"remote_tokenizer={self._config.remote_tokenizer!r} is not the tokenizer of "
                f"{model}; take tokenizer.json from that model, or leave it unset"
            )

    def _forget(self, failed: Sequence[RemoteError]) -> None:
        """Asks anew what the server is when it does not understand what it understood before."""
        if any(error.status in NOT_UNDERSTOOD for error in failed):
            self._served = None

    # Pinned canvas

    def _pinned(
        self, asked: Template, served: _Served, frame: Frame, budget: Budget
    ) -> Iterator[Draft]:
        """Block after block until the suffix closes the hole better than more text would."""
        request, tokens = asked.request, frame.tokens
        pins = [part for part in asked.middle if isinstance(part, str)]
        sheet = Sheet(
            asked=asked,
            frame=frame,
            canvas=served.canvas,
            pins=remote_canvas.plain_ids(tokens, pins, budget),
            tail=remote_canvas.tail_ids(request.suffix, frame, budget),
        )
        committed: list[int] = []
        blocks = 0
        while True:
            rows = remote_canvas.rows(sheet, len(committed), blocks)
            prompt = self._prompt(request, served, frame, len(committed), budget) + committed
            found: list[Found] = []
            for one in self._reads(prompt, rows, sheet, committed, served, budget):
                found.append(one)
                if not one.open and max(found, key=lambda each: each.rank) is one:
                    yield self._draft(one, asked, committed, blocks + 1)
            if not found or budget.cancelled():
                return
            found.sort(key=lambda each: each.rank, reverse=True)
            blocks += 1
            if found[0].open and not found[0].ended and not budget.over:
                committed += found[0].fills[0]
                continue
            closed = [one for one in found if not one.open or one.ended]
            if closed:
                drafts = [self._draft(one, asked, committed, blocks) for one in closed]
                others = tuple(distinct(drafts))[1:]
                yield replace(drafts[0], converged=len(found) == len(rows), others=others)
            return

    def _prompt(
        self,
        request: InfillRequest,
        served: _Served,
        frame: Frame,
        committed: int,
        budget: Budget,
    ) -> list[int]:
        context = served.probe.max_model_len
        room = math.inf if context is None else context - served.canvas - committed
        return remote_canvas.prompt_ids(request, frame, room, budget)

    def _reads(
        self,
        prompt: list[int],
        rows: list[Row],
        sheet: Sheet,
        committed: list[int],
        served: _Served,
        budget: Budget,
    ) -> Iterator[Found]:
        """The rows that came back, as they come. Raises the first error when none did."""
        steps = self._config.max_denoising_steps
        asks = [remote_canvas.ask(served.probe.model, prompt, row, steps) for row in rows]
        failed: list[RemoteError] = []
        came = 0
        self._sent = prompt
        for number, reply in self._client.gather(asks, budget):
            try:
                if isinstance(reply, RemoteError):
                    raise reply
                read = remote_canvas.read(reply, rows[number], served.vocabulary)
                self._caches = self._caches or read.cached > 0
                # The row is here: its text is wanted even if time is up in this moment.
                late = replace(budget, deadline=max(budget.deadline, _soon()))
                found = remote_canvas.score(read, rows[number], sheet, committed, late)
            except RemoteError as error:
                log.warning("a canvas was lost: %s", error)
                failed.append(error)
                continue
            came += 1
            yield found
        if not came and failed and not budget.cancelled():
            self._forget(failed)
            raise failed[0]

    def _draft(self, found: Found, asked: Template, committed: list[int], blocks: int) -> Draft:
        return Draft(
            text=compose(found.texts, asked.middle),
            fills=found.texts,
            steps=(self._config.max_denoising_steps or 0) * blocks,
            tokens=len(committed) + sum(map(len, found.fills)),
            mean_entropy=found.entropy,
            likelihood=found.likelihood,
            join=found.join,
        )

    # Cloze

    def _cloze(self, asked: Template, probe: Probe, budget: Budget) -> Iterator[Draft]:
        asks = remote_chat.asks(asked, probe.model, thinks=probe.kind == "vllm")
        answers = [remote_chat.Answer() for _ in asks]
        failed: list[RemoteError] = []
        shown = ""
        for number, event in self._client.events(asks, budget):
            answer = answers[number]
            if answer.lost:
                continue
            try:
                if isinstance(event, RemoteError):
                    raise event
                answer.take(event)
            except RemoteError as error:
                log.warning("an answer was lost: %s", error)
                answer.lost = True
                failed.append(error)
                continue
            draft = answer.draft(asked)
            if draft is not None and not any(answers[:number]) and draft.text != shown:
                shown = draft.text
                yield draft
            if answer.cut and len(asks) == 1:
                break  # no further line is wanted; leaving the loop hangs up
        drafts = [draft for draft in (one.draft(asked) for one in answers) if draft is not None]
        if not drafts and len(failed) == len(asks) and not budget.cancelled():
            self._forget(failed)
            raise failed[0]
        if drafts and not budget.cancelled():
            others = tuple(distinct(drafts))[1:]
            yield replace(drafts[0], others=others)


def _whole(draft: Draft, asked: Template, milliseconds: float) -> Draft:
    """With the template's head and tail, and the time it took."""
    return replace(
        draft,
        text=asked.head + draft.text + asked.tail,
        denoise_ms=milliseconds,
        others=tuple(_whole(other, asked, milliseconds) for other in draft.others),
    )


def _soon() -> float:
    return time.monotonic() + GRACE


def _shared(left: Sequence[int], right: Sequence[int]) -> int:
    """The length of the common beginning."""
    for at, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return at
    return min(len(left), len(right))


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


def _version(reply: Reply) -> str | None:
    """vLLM's version; other servers have no such page."""
    if reply.status != 200:
        return None
    try:
        found = reply.json().get("version")
    except RemoteError:
        return None
    return found if isinstance(found, str) else None
