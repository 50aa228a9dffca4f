"""The autoregressive baseline: the two-sided network's forward stream alone, from left to right.

It is the yardstick of the embedded default: the same network, weights of the same shapes, the same
tokenizer and the same windows, but one stream, one token after another. A text is read as
[bos, language, suffix…, eos, prefix…, middle…, end] (SPM order), so that typing pushes to its cache
and only an edit behind the cursor costs a new reading. From the last token before the cursor on,
tokens are read with the canvas's stream embedding: that is how the network knows where it writes.
What stands elsewhere after the same tokens is guessed and verified in one pass (prompt
lookup), which changes the speed of an answer and never the answer.

Shapes: B rows, N row length, D width, V vocabulary.
"""

import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.config import EngineConfig
from infill_engine.denoiser import Sides
from infill_engine.errors import ModelError
from infill_engine.local import WORTH_CONTINUING
from infill_engine.memories import NUM_MEMORIES, WORTH_REUSING
from infill_engine.models.two_sided.denoiser import (
    ENCODE_CHUNK,
    MAX_TOKENS,
    PREFIX_TOKENS,
    SUFFIX_TOKENS,
    TwoSidedDenoiser,
)
from infill_engine.models.two_sided.induction import canvas_induction_hints
from infill_engine.models.two_sided.kv_cache import SideCache, common_length
from infill_engine.models.two_sided.layers import CANVAS, PREFIX, Block, norm
from infill_engine.models.two_sided.loading import load_model
from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.training_pass import TrainingOps
from infill_engine.request import Cell, Draft, EngineInfo, Hole, InfillRequest
from infill_engine.template import Template, compose, distinct, template
from infill_engine.tokenizer import END, FIRST_LEARNED, Tokenizer

NAME = "ar-baseline"
NAMES = (NAME, "ar-twin")  # today's and the former: of `--model`, of files, in their metadata
FILE = f"{NAME}.safetensors"
# Tokens guessed at most, and how many tokens before them have to be found elsewhere.
GUESSED, LEAST_MATCH = 8, 2


def in_reading_order(sides: Sides) -> list[int]:
    """The ids before the middle: bos and language, the suffix up to its eos, the prefix."""
    return [*sides.prefix_ids[:2], *sides.suffix_ids, *sides.prefix_ids[2:]]


def states(
    network: TwoSidedNetwork,
    rows: Tensor,
    cursor: Tensor,
    hints: Tensor,
    *,
    dtype: torch.dtype | None = None,
    ops: TrainingOps = TrainingOps(),  # noqa: B008 (immutable)
) -> Tensor:
    """The training pass: rows [B, N] in reading order -> final hidden states [B, N, D].

    cursor [B] is the index of the last token before the middle, N or more where there is none;
    hints [B, N, 4] are those of the tokens of the whole row. Padding belongs at the right. `dtype`
    is what activations are kept in.
    """
    B, N = rows.shape
    dtype = dtype or network.dtype
    cos_table, sin_table = network.angles(torch.promote_types(dtype, torch.float32))
    i = torch.arange(N, device=rows.device)
    pos = i.repeat(B) + network.config.max_positions
    cos, sin = cos_table[pos], sin_table[pos]
    streams = torch.where(i < cursor[:, None], PREFIX, CANVAS)
    x = network.input_states(rows, hints, streams).flatten(0, 1).to(dtype)
    for block in network.blocks:
        assert isinstance(block, Block)
        q, k, v = (
            torch.unflatten(part, 0, (B, N))
            for part in ops.project(x, block.qkv, cos, sin, network.split)
        )
        attended = ops.causal_attention(q, k, v).flatten(0, 1)
        x = ops.mlp(x, attended, block.out, block.up, block.down)
    return norm(x).view(B, N, -1)


@dataclass(slots=True)
class ContextCache:
    """A cache of one place in one text; its first `context` tokens were read as what they are.

    Tokens behind those were read as a middle, and are of no use to another request.
    """

    cache: SideCache
    context: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a middle is written. Masks are [V].

    `ends` closes the middle, itself left out, as does the token that brings the line breaks to
    `max_lines`. `first` restricts the first token, which then closes nothing. `block` is how often
    a middle that reads badly is given up, in tokens.
    """

    forbidden: Tensor  # float, 0 or -inf
    ends: Tensor  # bool
    breaks: Sequence[int]  # line breaks in each token
    first: Tensor | None = None  # bool
    most: int = MAX_TOKENS
    max_lines: int | None = None
    block: int = MAX_TOKENS
    guessed: int = GUESSED
    temperature: float = 0.0
    seed: int = 0


@dataclass(slots=True)
class Middle:
    """What is written so far, with each token's log-probability and entropy in nats.

    `closing` is the log-probability of ending where it ends, NaN where that was not read.
    """

    ids: list[int] = field(default_factory=list)
    logs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    passes: int = 0
    closing: float = math.nan
    closed: bool = False


@torch.inference_mode()
def write(
    network: TwoSidedNetwork,
    place: ContextCache,
    sides: Sides,
    rules: Rules,
    *,
    forced: Sequence[int] = (),
    budget: Budget = UNLIMITED,
) -> Iterator[Middle]:
    """The middle after every pass over the network, the last one final; the same object each time.

    `forced` are the middle's first tokens. Yields nothing more once cancelled.
    """
    ids = in_reading_order(sides)
    context = read_context(network, place, ids, keep=ENCODE_CHUNK, budget=budget)
    cache, middle = place.cache, Middle()
    generator = torch.Generator(device=network.device).manual_seed(rules.seed)
    lines = 0
    pending = ids[len(cache) :]
    while not budget.cancelled():
        text = [*sides.prefix_ids, *middle.ids]
        room = min(rules.guessed, rules.most - len(middle.ids))
        guess = list(forced[len(middle.ids) :]) or _guess(text, sides.suffix_ids, room, rules)
        plain = max(0, context - len(cache))
        streams = torch.full((len(pending) + len(guess),), CANVAS, device=network.device)
        streams[:plain] = PREFIX
        hidden = network.push(cache, [*pending, *guess], streams)[len(pending) - 1 :]
        place.context = context
        middle.passes += 1
        logs = (network.logits(hidden).float() + rules.forbidden).log_softmax(-1)
        for i, seen in enumerate(logs):
            at = len(middle.ids)
            first = rules.first if at == 0 else None
            row = seen if first is None else seen.masked_fill(~first, -torch.inf).log_softmax(-1)
            token = forced[at] if at < len(forced) else _chosen(row, rules.temperature, generator)
            lines += rules.breaks[token] if first is None else 0
            full = rules.max_lines is not None and lines >= rules.max_lines
            ended = first is None and bool(rules.ends[token])
            if ended or full or at == rules.most or _doubtful(middle.logs, rules.block):
                middle.closing = float(seen[rules.ends].logsumexp(0))
                middle.closed = ended or full
                yield middle
                return
            middle.ids.append(token)
            middle.logs.append(float(seen[token]))
            middle.entropies.append(float(torch.special.entr(row.exp()).sum()))
            if i < len(guess) and token != guess[i]:
                break
        cache.truncate(context + len(middle.ids))
        pending = middle.ids[-1:]
        yield middle
        if budget.late:
            return


def read_context(
    network: TwoSidedNetwork,
    place: ContextCache,
    ids: Sequence[int],
    *,
    keep: int = 0,
    budget: Budget = UNLIMITED,
) -> int:
    """Makes the cache one of leading `ids`, never of the last, which is read under the cursor.

    Leaves out as many as `keep` before it, for the first pass to read. Returns len(ids) - 1.
    """
    context = len(ids) - 1
    cache = place.cache
    same = min(common_length(cache.ids[: place.context], ids), context)
    cache.truncate(same)
    place.context = same
    while len(cache) < context - keep and not budget.cancelled():
        with torch.inference_mode():
            network.push(cache, ids[len(cache) : min(context, len(cache) + ENCODE_CHUNK)])
        place.context = len(cache)
    return context


def _guess(text: Sequence[int], suffix: Sequence[int], size: int, rules: Rules) -> list[int]:
    """What followed the longest earlier match of the text's end; [] where none is long enough."""
    if size <= 0:
        return []
    guess: list[int] = []
    for token, match in canvas_induction_hints(text, suffix, size):
        if match < LEAST_MATCH or bool(rules.ends[token]):
            break
        guess.append(token)
    return guess


def _chosen(logs: Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logs.argmax())
    return int(torch.multinomial((logs / temperature).softmax(-1), 1, generator=generator))


def _doubtful(logs: Sequence[float], block: int) -> bool:
    """Whether another block was written that the network itself finds unlikely."""
    if not logs or len(logs) % block:
        return False
    return sum(logs[-block:]) / block < WORTH_CONTINUING


class ArBaselineEngine:
    """Implements `Engine`. Reads the windows of the embedded model, healed as they are there.

    `guessed` is how many tokens are guessed at most; 0 writes one token a pass.
    Not thread-safe: one caller at a time.
    """

    def __init__(
        self,
        network: TwoSidedNetwork,
        tokenizer: Tokenizer,
        config: EngineConfig,
        source: str,
        *,
        guessed: int = GUESSED,
    ) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._reader = TwoSidedDenoiser(network, tokenizer, config, source)
        self._proposed = guessed
        self._places: list[ContextCache] = []  # most recently used last
        self._rules = plain_rules(network, tokenizer)

    def describe(self) -> EngineInfo:
        return replace(
            self._reader.describe(),
            model=NAME,
            canvas_lengths=(),
            noise="none",
        )

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        ids = in_reading_order(self._reader.sides(template(request).request))
        read_context(self._network, self._place(ids), ids, budget=budget)

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        """One draft a pass; several holes are filled from left to right.

        The draft's `join` is the log-probability of ending there. `encode_ms` is what reading took
        before the pass that writes the first token.
        """
        asked = template(request)
        started = time.perf_counter()
        encode_ms = 0.0

        def timed(draft: Draft) -> Draft:
            spent = (time.perf_counter() - started) * 1e3
            return replace(draft, encode_ms=encode_ms, denoise_ms=spent - encode_ms)

        written: list[Middle] = []
        fills: list[str] = []
        drafts: list[Draft] = []
        for at, hole in enumerate(asked.middle):
            if not isinstance(hole, Hole):
                continue
            later = asked.middle[at + 1 :]
            local = replace(
                asked.request,
                prefix=asked.request.prefix + compose(fills, asked.middle[:at]),
                suffix=compose([""] * len(later), later) + asked.request.suffix,
            )
            sides = self._reader.sides(local)
            rules = self._rules_for(local, hole, sides)
            ids = in_reading_order(sides)
            place = self._place(ids)
            encoding = time.perf_counter()
            read_context(self._network, place, ids, keep=ENCODE_CHUNK, budget=budget)
            encode_ms += (time.perf_counter() - encoding) * 1e3
            middle: Middle | None = None
            for middle in write(self._network, place, sides, rules, budget=budget):
                draft = self._draft(asked, [*fills, self._fill(middle, sides)], [*written, middle])
                yield timed(replace(draft, likelihood=math.nan, join=math.nan, converged=False))
            if middle is None or budget.cancelled():
                return
            middles = [middle]
            if request.num_candidates > 1:
                count = request.num_candidates
                middles += self._others(place, sides, rules, middle, count, budget)
            drafts = [
                self._draft(asked, [*fills, self._fill(each, sides)], [*written, each])
                for each in middles
            ]
            fills.append(self._fill(middle, sides))
            written.append(middle)
        best, *rest = drafts
        rest.sort(key=lambda other: -other.likelihood - other.join)
        others = tuple(distinct([best, *rest]))[1:]
        yield timed(replace(best, others=others))

    def _fill(self, middle: Middle, sides: Sides) -> str:
        return self._text(middle.ids).removeprefix(sides.healed_prefix.decode())

    def _draft(self, asked: Template, fills: Sequence[str], written: Sequence[Middle]) -> Draft:
        """A final draft of the holes written so far; the others are still empty."""
        holes = sum(isinstance(part, Hole) for part in asked.middle)
        logs = [log for middle in written for log in middle.logs]
        entropies = [entropy for middle in written for entropy in middle.entropies]
        tokens = [token for middle in written for token in middle.ids]
        text = compose([*fills, *[""] * (holes - len(fills))], asked.middle)
        return Draft(
            text=asked.head + text + asked.tail,
            fills=tuple(fills),
            steps=sum(middle.passes for middle in written),
            tokens=len(tokens),
            mean_entropy=_mean(entropies),
            likelihood=_mean(logs),
            join=written[-1].closing,
            log_probability=sum(logs) + written[-1].closing,
            converged=all(middle.closed for middle in written),
            cells=tuple(
                Cell(text=self._text([token]), entropy=entropy, state="settled")
                for token, entropy in zip(tokens, entropies, strict=True)
            ),
        )

    def _others(
        self,
        place: ContextCache,
        sides: Sides,
        rules: Rules,
        best: Middle,
        count: int,
        budget: Budget,
    ) -> Iterator[Middle]:
        """Middles that begin with other tokens than the best, the likeliest ones."""
        with torch.inference_mode():
            ids = in_reading_order(sides)
            context = read_context(self._network, place, ids)
            cursor = torch.tensor([CANVAS], device=self._network.device)
            hidden = self._network.push(place.cache, ids[context:], cursor)
            logits = self._network.logits(hidden[-1]).float() + rules.forbidden
            if rules.first is not None:
                logits = logits.masked_fill(~rules.first, -torch.inf)
            likely = logits.masked_fill(rules.ends, -torch.inf).topk(count)
        for logit, token in zip(likely.values.tolist(), likely.indices.tolist(), strict=True):
            if token in best.ids[:1] or logit == -math.inf:
                continue
            forced = (token,)
            passes = list(write(self._network, place, sides, rules, forced=forced, budget=budget))
            if budget.cancelled():
                return
            yield passes[-1]

    def _rules_for(self, request: InfillRequest, hole: Hole, sides: Sides) -> Rules:
        first = None
        if sides.healed_prefix:
            first = torch.zeros_like(self._rules.ends)
            first[self._tokenizer.healing_tokens(sides.healed_prefix)] = True
        ends = self._rules.ends
        if request.max_lines == 1:
            ends = ends | torch.tensor(self._rules.breaks, device=ends.device).bool()
        return replace(
            self._rules,
            ends=ends,
            first=first,
            most=(hole.max_tokens or MAX_TOKENS) + bool(sides.healed_prefix),
            max_lines=request.max_lines,
            block=max(self._reader.hole_lengths(request)),
            guessed=self._proposed,
            temperature=request.temperature,
            seed=request.seed,
        )

    def _place(self, ids: Sequence[int]) -> ContextCache:
        """The place that shares most with these ids, or a new one, as `Memories` does it."""
        reusable = [common_length(place.cache.ids[: place.context], ids) for place in self._places]
        best = max(reusable, default=0)
        enough = best >= min(WORTH_REUSING, len(ids) - 1)
        if reusable and (enough or len(self._places) == NUM_MEMORIES):
            place = self._places.pop(reusable.index(best) if enough else 0)
        else:
            capacity = PREFIX_TOKENS + SUFFIX_TOKENS + MAX_TOKENS + GUESSED
            place = ContextCache(self._network.cache(PREFIX, capacity=capacity))
        self._places.append(place)
        return place

    def _text(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids).decode("utf-8", errors="replace")


def plain_rules(network: TwoSidedNetwork, tokenizer: Tokenizer) -> Rules:
    """Greedy up to the end token; specials are never written."""
    vocab = network.config.vocab_size
    forbidden = torch.zeros(vocab, device=network.device)
    forbidden[:FIRST_LEARNED] = -torch.inf
    forbidden[END] = 0.0
    forbidden[tokenizer.vocab_size :] = -torch.inf
    ends = torch.zeros(vocab, dtype=torch.bool, device=network.device)
    ends[END] = True
    breaks = [token.count(b"\n") for token in tokenizer.token_bytes]
    breaks += [0] * (vocab - len(breaks))
    return Rules(forbidden=forbidden, ends=ends, breaks=breaks)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def data_folder() -> Path:
    """Where a person's own models are kept, as the platform has it."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "infill-ls"


def is_ar_baseline(model: str) -> bool:
    """Whether `model` is "ar-baseline", or a file that says of itself that it is one."""
    if model in NAMES:
        return True
    path = Path(model).expanduser()
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("architecture") in NAMES
    except (OSError, SafetensorError):
        return False  # whoever loads it says what is wrong with it


def load_ar_baseline(config: EngineConfig) -> ArBaselineEngine:
    """The baseline in the file that `config.model` names, or in the first place where one is.

    Raises ModelError when there is none, saying where it was looked for, or it cannot be read.
    """
    path = Path(config.model).expanduser()
    if config.model in NAMES:
        places = [data_folder() / f"{name}.safetensors" for name in NAMES]
        found = [place for place in places if place.is_file()]
        if not found:
            looked = " or ".join(map(str, places))
            raise ModelError(
                f"no weights of the autoregressive baseline at {looked}; "
                "a checkout of the project trains them: PYTHONPATH=engine:kernels python -m "
                f"train.ar_baseline --data data/shards --minutes 30 --target {data_folder()}"
            )
        path = found[0]
    network, tokenizer = load_model(config, path)
    return ArBaselineEngine(network, tokenizer, config, str(path))
