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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from infill_engine.config import EngineConfig
from infill_engine.errors import ModelError, RequestError
from infill_engine.remote_cloze import (
    PREFIX_CHARS,
    SUFFIX_CHARS,
    cut_lines,
    fenced,
    fills_of,
    has_block,
    middle_of,
    neighbours,
    prompt,
    stop_at,
)
from infill_engine.remote_http import (
    Ask,
    Client,
    Interrupted,
    Patience,
    RemoteError,
    Reply,
    Unsupported,
)
from infill_engine.remote_tokens import LocalTokens, ServerTokens, Tokens, noise
from infill_engine.request import Draft, EngineInfo, Hole, InfillRequest, never
from infill_engine.windows import last_tokens, prefix_window, suffix_window

# vLLM lets pins keep the model's own entropy, so every pinned token draws on the budget by which
# the hole's tokens are accepted. A short tail forces the join; the rest of the suffix is told in
# the prompt.
TAIL_TOKENS = 16
TAIL_CHARS = 600
WIDTH_STEP = 16
JOIN_TOKENS = 8
FIRST_LENGTH = 8
FIRST_LENGTH_OF_A_LINE = 4
MOST_UNASKED = 64  # tokens of a hole whose length nobody named
CLOZE_TOKENS = 256
CONTEXT_CHARS_PER_TOKEN = 3
WORTH_WARMING = 64
NOT_UNDERSTOOD = {400, 404, 405, 422}  # what a server answers to a request that it does not know
GRACE = 0.2  # seconds after the deadline to turn ids that have come into text
TOO_LARGE = 2**31 - 1

log = logging.getLogger(__name__)

Kind = Literal["pinned", "vllm", "cloze"]
_LABELS: dict[Kind, str] = {
    "pinned": "vLLM with pinned canvas",
    "vllm": "vLLM without pinned canvas, cloze",
    "cloze": "OpenAI-compatible, cloze",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a server turned out to be. `notes` are sentences about what it lacks, and remedies.

    `canvas_length` and `max_model_len` are in tokens, `milliseconds` is one small pinned read, or
    one listing of the models where there is no canvas.
    """

    kind: Kind
    url: str
    model: str
    version: str = ""
    max_model_len: int | None = None
    canvas_length: int | None = None
    vocab_size: int | None = None
    tokenizer: str = ""  # "local", "server" or "" where none is needed
    milliseconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return _LABELS[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """What is needed to write ids: the tokenizer and DiffusionGemma's chat frame around a text."""

    tokens: Tokens
    user: list[int]  # opens the user's turn
    model: list[int]  # ends it and opens the model's, with its empty thought
    end: list[int]  # closes the code block and the model's turn


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    probe: Probe
    frame: _Frame | None  # None: asked in words


@dataclass(frozen=True, slots=True, kw_only=True)
class _Template:
    """`request` with the pinned head and tail of `middle` moved to the sides they touch."""

    request: InfillRequest
    head: str
    tail: str
    middle: tuple[str | Hole, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A canvas: its ids, noise in the holes, and what to compare the tail with.

    `holes` are the first and the last but one position of each; `tail` is where the suffix's ids
    start. An open row has no suffix, because the hole goes on behind it.
    """

    seed: list[int]
    holes: list[tuple[int, int]]
    tail: int
    open: bool = False

    @property
    def pinned(self) -> list[int]:
        free = {at for start, stop in self.holes for at in range(start, stop)}
        return [at for at in range(len(self.seed)) if at not in free]

    @property
    def joint(self) -> range:
        return range(self.tail, min(self.tail + JOIN_TOKENS, len(self.seed)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A row as the server filled it. `fills` are ids, the entropy a lower bound in nats."""

    fills: list[list[int]]
    texts: tuple[str, ...]
    likelihood: float
    join: float
    entropy: float
    open: bool
    ended: bool  # an open row needs no more text
    cut: bool  # a fill had more lines than were asked for

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """Larger is better: whole characters, the lines asked for, then how it reads and joins."""
        score = self.likelihood + (self.likelihood if self.open else self.join)
        if not any(self.fills):
            score = self.join - 1.0
        broken = any("�" in text for text in self.texts)
        return not broken, not self.cut, -math.inf if math.isnan(score) else score


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
        canvas: tuple[int, ...] = ()
        if served is not None and served.frame is not None and served.probe.canvas_length:
            canvas = (served.probe.canvas_length,)
        return EngineInfo(
            model=self._wanted if probe is None else probe.model,
            parameters=0,
            device="server",
            dtype="",
            threads=0,
            canvas_lengths=canvas,
            max_tokens=min(MOST_UNASKED, _room(canvas[0])) if canvas else CLOZE_TOKENS,
            prefix_tokens=PREFIX_CHARS // CONTEXT_CHARS_PER_TOKEN,
            suffix_tokens=SUFFIX_CHARS // CONTEXT_CHARS_PER_TOKEN,
            noise="uniform" if canvas else "",
            source=self._client.base + ("" if probe is None else f" ({probe.label})"),
        )

    def probe(self, patience: Patience | None = None) -> Probe:
        """Finds out, once, what the server can do. Sends no text of the user's.

        Raises ModelError when the server cannot be used, and Interrupted when patience ran out;
        what was learnt until then is kept for the next attempt.
        """
        return self._serve(patience or Patience()).probe

    def warm(self, request: InfillRequest, *, cancelled: Callable[[], bool] = never) -> None:
        """Has the server read the prompt ahead, if it was seen to keep what it read."""
        if self._served is None or self._served.frame is None or not self._caches:
            return
        served, frame, patience = self._served, self._served.frame, Patience(cancelled=cancelled)
        try:
            canvas = served.probe.canvas_length or WIDTH_STEP
            ids = self._prompt_ids(_template(request).request, served, frame, canvas, patience)
            if len(ids) - _shared(ids, self._sent) < WORTH_WARMING:
                return
            seed = noise(frame.tokens, WIDTH_STEP, random.Random(0))
            row = _Row(seed=seed, holes=[(0, WIDTH_STEP)], tail=WIDTH_STEP)
            self._client.one(self._ask(ids, row, served, max_steps=1), patience).checked()
            self._sent = ids
        except Interrupted:
            return
        except RemoteError as error:
            log.info("not read ahead: %s", error)

    def infill(
        self, request: InfillRequest, *, cancelled: Callable[[], bool] = never
    ) -> Iterator[Draft]:
        """As `Engine.infill`, a draft for every better row. Raises ModelError without an answer."""
        asked = _template(request)
        patience = Patience(
            deadline=math.inf if request.deadline is None else request.deadline,
            cancelled=cancelled,
        )
        started = time.perf_counter()
        try:
            if patience.over:
                return
            served = self._serve(patience)
            if served.frame is None:
                drafts = self._cloze(asked, served.probe, patience)
            else:
                drafts = self._pinned(asked, served, served.frame, patience)
            for draft in drafts:
                if cancelled():
                    return
                taken = (time.perf_counter() - started) * 1e3
                yield _whole(draft, asked, taken)
        except Interrupted:
            return

    # What the server is

    def _serve(self, patience: Patience) -> _Served:
        if self._served is None:
            try:
                self._served = self._find_out(patience)
            except ModelError:
                self._heard.clear()
                raise
            self._heard.clear()
            log.info("%s: %s", self._client.base, self._served.probe.label)
        return self._served

    def _hear(self, ask: Ask, patience: Patience) -> Reply:
        key = json.dumps([ask.path, ask.body])
        if key not in self._heard:
            self._heard[key] = self._client.one(ask, patience)
        return self._heard[key]

    def _find_out(self, patience: Patience) -> _Served:
        started = time.perf_counter()
        listed = self._hear(Ask(path="/v1/models"), patience)
        milliseconds = (time.perf_counter() - started) * 1e3
        if listed.status == 404 and self._wanted:
            card: dict[str, Any] = {"id": self._wanted}
        else:
            card = _choose(listed.checked().json(), self._wanted, self._client.base)
        probe = Probe(
            kind="cloze",
            url=self._client.base,
            model=card["id"],
            max_model_len=_positive(card.get("max_model_len")),
            milliseconds=milliseconds,
        )
        version = _version(self._hear(Ask(path="/version"), patience))
        if version is None and card.get("owned_by") != "vllm":
            return _Served(probe=probe, frame=None)
        probe = replace(probe, kind="vllm", version=version or "")
        try:
            canvas, vocabulary, milliseconds = self._find_canvas(probe.model, patience)
        except RemoteError as error:
            _raise_unless_lacking(error)
            return _Served(probe=replace(probe, notes=(f"No pinned canvas: {error}.",)), frame=None)
        probe = replace(
            probe, canvas_length=canvas, vocab_size=vocabulary, milliseconds=milliseconds
        )
        try:
            frame = self._find_frame(probe.model, vocabulary, patience)
        except RemoteError as error:
            _raise_unless_lacking(error)
            note = f"The server has a pinned canvas that cannot be written to: {error}."
            return _Served(probe=replace(probe, notes=(note,)), frame=None)
        probe = replace(probe, kind="pinned", tokenizer=frame.tokens.source)
        return _Served(probe=probe, frame=frame)

    def _find_canvas(self, model: str, patience: Patience) -> tuple[int, int, float]:
        """Canvas length, vocabulary size and the time of a read. Raises Unsupported without."""

        def refused(seed: int, reason: str) -> int:
            fields = {"diffusion_seed_canvas": [seed], "diffusion_pinned": [0]}
            body = {"model": model, "prompt": [2], "max_tokens": 1, "vllm_xargs": fields}
            reply = self._hear(Ask(path="/v1/completions", body=body), patience)
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
        row = _Row(seed=[0] * width, holes=[(1, width)], tail=width)
        body = _body(model, [2], row, max_steps=1)
        started = time.perf_counter()
        reply = self._hear(Ask(path="/v1/completions", body=body), patience).checked()
        try:
            _read(reply, row, vocabulary)
        except RemoteError as error:
            raise Unsupported(str(error)) from None
        return canvas, vocabulary, (time.perf_counter() - started) * 1e3

    def _find_frame(self, model: str, vocabulary: int, patience: Patience) -> _Frame:
        tokens: Tokens
        if self._local is None:
            tokens = ServerTokens(self._client, model, vocabulary, patience)
        else:
            tokens = self._local
            self._compare(tokens, model, vocabulary, patience)
        marks = ("<bos>", "<|turn>", "<turn|>", "<|channel>")
        found = tokens.control(marks, patience)
        lacking = [mark for mark, ids in zip(marks[:3], found[:3], strict=True) if len(ids) != 1]
        if lacking:
            raise Unsupported(
                f"{', '.join(lacking)} is no token of this model, so its chat is not "
                "DiffusionGemma's"
            )
        thought = "<|channel>thought\n<channel|>" if len(found[3]) == 1 else ""
        user, model_turn, end = tokens.control(
            ("<bos><|turn>user\n", f"<turn|>\n<|turn>model\n{thought}", "<turn|>"), patience
        )
        return _Frame(tokens=tokens, user=user, model=model_turn, end=end)

    def _compare(self, tokens: Tokens, model: str, vocabulary: int, patience: Patience) -> None:
        """Ids that mean something else to the server would give nonsense without any error."""
        text = 'def main() -> int:\n    return [1, 2]["naïve"]\n'
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        reply = self._hear(Ask(path="/tokenize", body=body), patience)
        theirs = reply.json().get("tokens") if reply.status == 200 else None
        (ours,) = tokens.encode([text], patience)
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
        self, asked: _Template, served: _Served, frame: _Frame, patience: Patience
    ) -> Iterator[Draft]:
        """Block after block until the suffix closes the hole better than more text would."""
        canvas = served.probe.canvas_length
        assert canvas is not None, "a pinned canvas has a length"
        request = asked.request
        pins = frame.tokens.encode([p for p in asked.middle if isinstance(p, str)], patience)
        tail = self._tail(request.suffix, frame, patience)
        committed: list[int] = []
        blocks = 0
        while True:
            rows = self._rows(asked, pins, tail, canvas, len(committed), blocks, frame)
            cells = canvas + len(committed)
            ids = self._prompt_ids(request, served, frame, cells, patience) + committed
            found: list[_Found] = []
            for one in self._reads(ids, rows, committed, asked, served, frame, patience):
                found.append(one)
                if not one.open and max(found, key=lambda f: f.rank) is one:
                    yield self._draft(one, asked, committed, blocks + 1)
            if not found or patience.cancelled():
                return
            found.sort(key=lambda one: one.rank, reverse=True)
            closed = [one for one in found if not one.open or one.ended]
            blocks += 1
            if found[0].open and not found[0].ended and not patience.over:
                committed += found[0].fills[0]
                continue
            if closed:
                drafts = [self._draft(one, asked, committed, blocks) for one in closed]
                others = tuple(_distinct(drafts))[1 : request.num_candidates]
                whole = len(found) == len(rows)
                yield replace(drafts[0], converged=whole, others=others)
            return

    def _rows(
        self,
        asked: _Template,
        pins: Sequence[list[int]],
        tail: list[int],
        canvas: int,
        committed: int,
        block: int,
        frame: _Frame,
    ) -> list[_Row]:
        """A canvas for each hole length, and an open one where a longer hole was asked for."""
        middle, special = asked.middle, frame.tokens.special
        holes = [part for part in middle if isinstance(part, Hole)]
        pinned = sum(map(len, pins))
        room = (_room(canvas) - pinned) // len(holes)
        if room < 1:
            raise RequestError(
                f"{len(holes)} holes with {pinned} pinned tokens between them do not fit the "
                f"server's canvas of {canvas} tokens; ask for fewer holes at a time"
            )
        asked_for = max(hole.max_tokens or 0 for hole in holes)
        budget = (asked_for or min(MOST_UNASKED, room)) - committed
        lengths = _lengths(min(room, budget), asked.request.max_lines)
        while len(lengths) < asked.request.num_candidates:
            lengths.append(lengths[len(lengths) % len(set(lengths))])
        rows = []
        for number, length in enumerate(lengths):
            source = random.Random(f"{asked.request.seed}/{block}/{number}")
            ids: list[int] = []
            spans: list[tuple[int, int]] = []
            between = iter(pins)
            for part in middle:
                if isinstance(part, Hole):
                    cells = min(length, part.max_tokens or length) if len(holes) > 1 else length
                    spans.append((len(ids), len(ids) + cells))
                    ids += noise(frame.tokens, cells, source)
                else:
                    ids += [token for token in next(between) if token not in special]
            width = -(-(len(ids) + min(TAIL_TOKENS, canvas // 2)) // WIDTH_STEP) * WIDTH_STEP
            end = tail[: min(width, canvas) - len(ids)]
            rows.append(_Row(seed=ids + end, holes=spans, tail=len(ids)))
        if len(holes) == 1 and budget > room:
            source = random.Random(f"{asked.request.seed}/{block}/open")
            seed = noise(frame.tokens, canvas, source)
            rows.append(_Row(seed=seed, holes=[(0, canvas)], tail=canvas, open=True))
        return rows

    def _tail(self, suffix: str, frame: _Frame, patience: Patience) -> list[int]:
        """Ids of what follows the hole, to the end of the answer if that is near."""
        near = suffix[:TAIL_CHARS]
        last_line = "```" if near.endswith("\n") else "\n```"
        ids, fence = frame.tokens.encode([near, last_line], patience)
        ids = [token for token in ids if token not in frame.tokens.special]
        if len(near) < len(suffix):
            return ids[:-1]  # the last one may be half of a word
        return ids + fence + frame.end

    def _prompt_ids(
        self,
        request: InfillRequest,
        served: _Served,
        frame: _Frame,
        cells: int,
        patience: Patience,
    ) -> list[int]:
        """The chat up to the cursor: far text in the user's turn, the file in the model's.

        Leaves room for so many cells. Raises ModelError when the served context has none.
        """
        language = request.language_id
        what = f"{language} file" if language else "file"
        near = neighbours(request)
        shown = f"From other files of the project:\n{fenced(near)}\n\n" if near else ""
        after = suffix_window(request.suffix, SUFFIX_CHARS)
        told = f" It ends like this:\n{fenced(after, language)}" if after.strip() else ""
        task = f"Write the {what}, without any explanation.{told}"
        opening = f"```{language}\n"
        before = prefix_window(request.prefix, PREFIX_CHARS)
        if before.endswith(" ") and before.rpartition("\n")[2].strip():
            before = before[:-1]  # a blank belongs to the word behind it; `_score` takes it back
        shown_ids, task_ids, opening_ids, before_ids = (
            [token for token in ids if token not in frame.tokens.special]
            for ids in frame.tokens.encode([shown, task, opening, before], patience)
        )
        most = served.probe.max_model_len
        room = math.inf if most is None else most - cells
        fixed = len(frame.user) + len(frame.model) + len(opening_ids)
        if fixed + len(shown_ids) + len(task_ids) + len(before_ids) > room:
            shown_ids = []
        if fixed + len(task_ids) + len(before_ids) > room:
            task_ids = task_ids[: max(0, int(room) // 4 - fixed)]
        left = room - fixed - len(shown_ids) - len(task_ids)
        if left < 1:
            raise ModelError(
                f"{served.probe.model} is served with a context of {most} tokens, too short for a "
                f"canvas of {cells}; serve it with a larger --max-model-len"
            )
        if len(before_ids) > left:
            before_ids = last_tokens(before_ids, int(left))
        return frame.user + shown_ids + task_ids + frame.model + opening_ids + before_ids

    def _ask(self, ids: list[int], row: _Row, served: _Served, max_steps: int | None) -> Ask:
        body = _body(served.probe.model, ids, row, max_steps)
        return Ask(path="/v1/completions", body=body)

    def _reads(
        self,
        ids: list[int],
        rows: list[_Row],
        committed: list[int],
        asked: _Template,
        served: _Served,
        frame: _Frame,
        patience: Patience,
    ) -> Iterator[_Found]:
        """The rows that came back, as they come. Raises the first error when none did."""
        vocabulary = served.probe.vocab_size
        assert vocabulary is not None, "a pinned canvas has a vocabulary"
        asks = [self._ask(ids, row, served, self._config.max_denoising_steps) for row in rows]
        failed: list[RemoteError] = []
        came = 0
        self._sent = ids
        for number, reply in self._client.gather(asks, patience):
            try:
                if isinstance(reply, RemoteError):
                    raise reply
                read = _read(reply, rows[number], vocabulary)
                self._caches = self._caches or read.cached > 0
                # The row is here: its text is wanted even if time is up in this moment.
                late = replace(patience, deadline=max(patience.deadline, _soon()))
                found = self._score(read, rows[number], committed, asked, frame, late)
            except RemoteError as error:
                log.warning("a canvas was lost: %s", error)
                failed.append(error)
                continue
            came += 1
            yield found
        if not came and failed and not patience.over:
            self._forget(failed)
            raise failed[0]

    def _score(
        self,
        read: "_Read",
        row: _Row,
        committed: list[int],
        asked: _Template,
        frame: _Frame,
        patience: Patience,
    ) -> _Found:
        fills, sure = [], []
        ended = False
        for start, stop in row.holes:
            last = start
            while last < stop and read.ids[last] not in frame.tokens.special:
                last += 1
            ended = ended or last < stop
            fills.append(read.ids[start:last])
            # The token that ends the fill is part of what the model said.
            sure += read.logprobs[start : min(last + 1, stop)]
        texts = frame.tokens.decode([committed + fills[0], *fills[1:]], patience)
        request = asked.request
        if request.prefix.endswith(" ") and request.prefix.rpartition("\n")[2].strip():
            texts[0] = texts[0].removeprefix(" ")
        if row.open:
            stopped = stop_at(texts[0].partition("\n```")[0], request.suffix)
            ended = ended or stopped != texts[0]
            texts[0] = stopped
        lines = tuple(cut_lines(text, request.max_lines) for text in texts)
        return _Found(
            fills=fills,
            texts=lines,
            likelihood=_mean(sure),
            join=_mean([read.logprob(at, row.seed[at]) for at in row.joint]),
            entropy=_mean([_entropy(logprob) for logprob in sure]),
            open=row.open,
            ended=ended or lines != tuple(texts),
            cut=lines != tuple(texts),
        )

    def _draft(self, found: _Found, asked: _Template, committed: list[int], blocks: int) -> Draft:
        return Draft(
            text=_compose(found.texts, asked.middle),
            fills=found.texts,
            steps=(self._config.max_denoising_steps or 0) * blocks,
            tokens=len(committed) + sum(map(len, found.fills)),
            mean_entropy=found.entropy,
            likelihood=found.likelihood,
            join=found.join,
        )

    # Cloze

    def _cloze(self, asked: _Template, probe: Probe, patience: Patience) -> Iterator[Draft]:
        request = asked.request
        holes = [part for part in asked.middle if isinstance(part, Hole)]
        body: dict[str, Any] = {
            "model": probe.model,
            "messages": [{"role": "user", "content": prompt(request, asked.middle)}],
            "max_tokens": _cloze_tokens(holes, asked.middle),
            "stream": True,
        }
        if probe.kind == "vllm":
            body["chat_template_kwargs"] = {"enable_thinking": False}
        # Greedy answers are all alike, so only the first may be greedy.
        asks = [
            Ask(
                path="/v1/chat/completions",
                body=body | {"temperature": max(request.temperature, 0.8 if number else 0.0)},
                events=True,
            )
            for number in range(request.num_candidates)
        ]
        answers = [_Answer() for _ in asks]
        failed: list[RemoteError] = []
        shown = ""
        for number, event in self._client.events(asks, patience):
            answer = answers[number]
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
        if not drafts and len(failed) == len(asks) and not patience.over:
            self._forget(failed)
            raise failed[0]
        if drafts and not patience.cancelled():
            yield replace(drafts[0], others=tuple(_distinct(drafts))[1 : request.num_candidates])


class _Answer:
    """A chat answer as it grows, from server-sent events or from one JSON object."""

    def __init__(self) -> None:
        self.text = ""
        self.tokens = 0
        self.finished = ""
        self.lost = False
        self.cut = False  # it has more lines than were asked for

    def __bool__(self) -> bool:
        return bool(self.text) and not self.lost

    def take(self, event: bytes | Reply) -> None:
        """Raises RemoteError for what is no answer, and for one that broke off."""
        if isinstance(event, Reply):
            event.checked()
            if event.body:
                self._add(event.json(), "message")
            elif not self.finished:
                raise RemoteError("the stream of the answer ended before the answer did")
            return
        field, _, data = event.partition(b":")
        data = data.strip()
        if field != b"data":
            return
        if data == b"[DONE]":
            self.finished = self.finished or "stop"
            return
        try:
            chunk = json.loads(data)
        except ValueError:
            chunk = None
        if not isinstance(chunk, dict):
            raise RemoteError(f"the stream of the answer holds no JSON: {data[:60]!r}")
        if "error" in chunk:
            raise RemoteError(f"the server gave up: {str(chunk['error'])[:300]}")
        self._add(chunk, "delta")

    def _add(self, chunk: dict[str, Any], part: str) -> None:
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self.tokens = _positive(usage.get("completion_tokens")) or self.tokens
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise RemoteError("the answer has no choices")
        if not choices:
            return
        choice = choices[0] if isinstance(choices[0], dict) else {}
        said = choice.get(part)
        content = said.get("content") if isinstance(said, dict) else None
        if isinstance(content, str):
            self.text += content
        if choice.get("finish_reason"):
            self.finished = str(choice["finish_reason"])

    def draft(self, asked: _Template) -> Draft | None:
        """The middle so far, or None while there is nothing that could be one."""
        if not self or not (self.finished or has_block(self.text)):
            return None  # before its code block begins it may be prose
        # While it grows, its last line may be the beginning of the fence that closes the block.
        grown = self.text if self.finished else re.sub(r"\n[ \t]*`*\Z", "\n", self.text)
        text = middle_of(grown, asked.request)
        fills = fills_of(text, asked.middle)
        if fills is None or not text.strip():
            return None
        lines = tuple(cut_lines(fill, asked.request.max_lines) for fill in fills)
        self.cut = lines != fills
        return Draft(
            text=_compose(lines, asked.middle),
            fills=lines,
            steps=0,
            tokens=self.tokens,
            mean_entropy=math.nan,
            converged=self.finished == "stop",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """An answered canvas, its pins as they were sent. `tops` are log-probabilities by token."""

    ids: list[int]
    emitted: list[int]
    logprobs: list[float]
    tops: list[dict[int, float]]
    cached: int

    def logprob(self, at: int, token: int) -> float:
        """Of `token` at a position, in nats; at most, where the server told only another's."""
        if token == self.emitted[at]:
            return self.logprobs[at]
        if token in self.tops[at]:
            return self.tops[at][token]
        other = math.exp(min(self.logprobs[at], 0.0))
        return math.log1p(-other) if other < 1.0 else -math.inf


def _body(model: str, ids: list[int], row: _Row, max_steps: int | None) -> dict[str, Any]:
    """The request for one canvas.

    `max_tokens` defaults to 16 on this endpoint and would cut the read, so it is the width. Every
    diffusion field is a whole number or a list of them: booleans are not in the endpoint's schema.
    """
    fields: dict[str, int | list[int]] = {
        "diffusion_canvas_length": len(row.seed),
        "diffusion_seed_canvas": row.seed,
        "diffusion_read_only": 1,
    }
    if row.pinned:
        fields["diffusion_pinned"] = row.pinned
    if max_steps is not None:
        fields["diffusion_max_steps"] = max_steps
    body: dict[str, Any] = {
        "model": model,
        "prompt": ids,
        "max_tokens": len(row.seed),
        "logprobs": 1,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        "skip_special_tokens": False,
        "vllm_xargs": fields,
    }
    joint = sorted({row.seed[at] for at in row.joint})
    if joint:
        # The pins' own log-probabilities at their places: how well the suffix joins. Where both
        # are given, vLLM wants as many of one as of the other.
        body |= {"logprob_token_ids": joint, "logprobs": len(joint)}
    return body


def _read(reply: Reply, row: _Row, vocabulary: int) -> _Read:
    """Raises RemoteError for an answer that is not a whole canvas of this vocabulary."""
    answer = reply.checked().json()
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    ids = choice.get("token_ids") if isinstance(choice, dict) else None
    width = len(row.seed)
    if not isinstance(ids, list) or len(ids) != width:
        got = f"{len(ids)} tokens" if isinstance(ids, list) else "no token ids"
        raise RemoteError(f"{reply.path} answered with {got} for a canvas of {width}")
    if not all(type(token) is int and 0 <= token < vocabulary for token in ids):
        raise RemoteError(f"{reply.path} answered with ids that are not in the vocabulary")
    assert isinstance(choice, dict), "it held the ids"
    told = choice.get("logprobs")
    told = told if isinstance(told, dict) else {}
    overlaid = list(ids)
    for at in row.pinned:
        overlaid[at] = row.seed[at]  # the emitted token is the model's own opinion of the pin
    return _Read(
        ids=overlaid,
        emitted=ids,
        logprobs=[_number(value) for value in _listed(told.get("token_logprobs"), width)],
        tops=[_by_token(value) for value in _listed(told.get("top_logprobs"), width)],
        cached=_cached(answer),
    )


def _listed(found: object, length: int) -> list[object]:
    return found if isinstance(found, list) and len(found) == length else [None] * length


def _by_token(found: object) -> dict[int, float]:
    """{"token_id:17": -0.5} -> {17: -0.5}"""
    if not isinstance(found, dict):
        return {}
    named = ((str(name).removeprefix("token_id:"), value) for name, value in found.items())
    return {int(name): _number(value) for name, value in named if name.isascii() and name.isdigit()}


def _cached(answer: dict[str, Any]) -> int:
    usage = answer.get("usage")
    details = usage.get("prompt_tokens_details") if isinstance(usage, dict) else None
    return (_positive(details.get("cached_tokens")) or 0) if isinstance(details, dict) else 0


def _number(found: object) -> float:
    number = isinstance(found, int | float) and not isinstance(found, bool)
    return float(found) if number else math.nan  # type: ignore[arg-type]


def _positive(found: object) -> int | None:
    return found if type(found) is int and found > 0 else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _entropy(logprob: float) -> float:
    """The least entropy, in nats, of a distribution that gives one token this log-probability."""
    p = math.exp(min(logprob, 0.0))
    return -p * logprob - (1 - p) * math.log1p(-p) if 0.0 < p < 1.0 else 0.0


def _template(request: InfillRequest) -> _Template:
    """Checks the request and folds its pinned ends into prefix and suffix."""
    parts = request.middle
    holes = [at for at, part in enumerate(parts) if isinstance(part, Hole)]
    if not holes:
        raise RequestError(f"middle={parts!r} has no Hole, so there is nothing to fill")
    for part in parts:
        if isinstance(part, Hole) and part.max_tokens is not None and part.max_tokens < 1:
            raise RequestError(f"Hole(max_tokens={part.max_tokens}) must be at least 1, or None")
    for name in ("max_lines", "num_candidates"):
        value = getattr(request, name)
        if value is not None and value < 1:
            raise RequestError(f"{name}={value} must be at least 1")
    if not 0 <= request.temperature < math.inf:
        raise RequestError(f"temperature={request.temperature} must be 0 (greedy) or more")
    head = "".join(part for part in parts[: holes[0]] if isinstance(part, str))
    tail = "".join(part for part in parts[holes[-1] + 1 :] if isinstance(part, str))
    return _Template(
        request=replace(
            request, prefix=request.prefix + head, suffix=tail + request.suffix, middle=(Hole(),)
        ),
        head=head,
        tail=tail,
        middle=parts[holes[0] : holes[-1] + 1],
    )


def _compose(fills: Sequence[str], middle: Sequence[str | Hole]) -> str:
    """The middle: fills in the holes, the template's own text verbatim."""
    filled = iter(fills)
    return "".join(part if isinstance(part, str) else next(filled) for part in middle)


def _whole(draft: Draft, asked: _Template, milliseconds: float) -> Draft:
    """With the template's head and tail, and the time it took."""
    return replace(
        draft,
        text=asked.head + draft.text + asked.tail,
        denoise_ms=milliseconds,
        others=tuple(_whole(other, asked, milliseconds) for other in draft.others),
    )


def _distinct(drafts: Sequence[Draft]) -> list[Draft]:
    """The first draft of each text."""
    seen: dict[str, Draft] = {}
    for draft in drafts:
        seen.setdefault(draft.text, draft)
    return list(seen.values())


def _soon() -> float:
    return time.monotonic() + GRACE


def _room(canvas: int) -> int:
    """Cells of a canvas that holes and pins may take, with the least tail behind them."""
    return canvas - min(TAIL_TOKENS, canvas // 2)


def _lengths(most: int, max_lines: int | None) -> list[int]:
    """Doubling hole lengths up to `most`, which is always one of them."""
    length = FIRST_LENGTH_OF_A_LINE if max_lines == 1 else FIRST_LENGTH
    most = min(most, FIRST_LENGTH_OF_A_LINE * 8) if max_lines == 1 else most
    lengths = []
    while length < most:
        lengths.append(length)
        length *= 2
    return [*lengths, most]


def _cloze_tokens(holes: Sequence[Hole], middle: Sequence[str | Hole]) -> int:
    """For the holes as asked for, the template's text, and a code block around them."""
    wanted = sum(hole.max_tokens or CLOZE_TOKENS for hole in holes)
    return wanted + sum(len(part) for part in middle if isinstance(part, str)) + 16


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
