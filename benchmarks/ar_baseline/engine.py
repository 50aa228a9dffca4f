"""The baseline as an engine."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from benchmarks.ar_baseline.reading import ContextCache, in_reading_order, read_context
from benchmarks.ar_baseline.writing import GUESSED, Middle, Rules, write
from infill_engine.budget import UNLIMITED, Budget
from infill_engine.config import EngineConfig
from infill_engine.denoiser import Sides
from infill_engine.memories import NUM_MEMORIES, WORTH_REUSING
from infill_engine.models.two_sided.config import CANVAS, PREFIX
from infill_engine.models.two_sided.denoiser import (
    ENCODE_CHUNK,
    MAX_TOKENS,
    PREFIX_TOKENS,
    SUFFIX_TOKENS,
    TwoSidedDenoiser,
)
from infill_engine.models.two_sided.inference import InferenceNetwork
from infill_engine.models.two_sided.kv_cache import common_length
from infill_engine.request import Cell, Draft, EngineInfo, Hole, InfillRequest
from infill_engine.template import Template, compose, distinct, template
from infill_engine.tokenizer import END, FIRST_LEARNED, Tokenizer

NAME = "ar-baseline"


class ArBaselineEngine:
    """Implements `Engine`. Reads the windows of the embedded model, healed as they are there.

    `guessed` is how many tokens are guessed at most; 0 writes one token a pass.
    Not thread-safe: one caller at a time.
    """

    def __init__(
        self,
        network: InferenceNetwork,
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
        self._caches: list[ContextCache] = []  # most recently used last
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
        read_context(self._network, self._cache_for(ids), ids, budget=budget)

    def forget(self) -> None:
        self._caches.clear()

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
            cache = self._cache_for(ids)
            encoding = time.perf_counter()
            read_context(self._network, cache, ids, keep=ENCODE_CHUNK, budget=budget)
            encode_ms += (time.perf_counter() - encoding) * 1e3
            middle: Middle | None = None
            for middle in write(self._network, cache, sides, rules, budget=budget):
                draft = self._draft(asked, [*fills, self._fill(middle, sides)], [*written, middle])
                yield timed(replace(draft, likelihood=math.nan, join=math.nan, converged=False))
            if middle is None or budget.cancelled():
                return
            middles = [middle]
            if request.num_candidates > 1:
                count = request.num_candidates
                middles += self._others(cache, sides, rules, middle, count, budget)
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
        cache: ContextCache,
        sides: Sides,
        rules: Rules,
        best: Middle,
        count: int,
        budget: Budget,
    ) -> Iterator[Middle]:
        """Middles that begin with other tokens than the best, the likeliest ones."""
        with torch.inference_mode():
            ids = in_reading_order(sides)
            context = read_context(self._network, cache, ids)
            hidden = self._network.push(cache.cache, ids[context:], np.array([CANVAS]))
            logits = torch.from_numpy(self._network.head.matrix(hidden)[-1]) + rules.forbidden
            if rules.first is not None:
                logits = logits.masked_fill(~rules.first, -torch.inf)
            likely = logits.masked_fill(rules.ends, -torch.inf).topk(count)
        for logit, token in zip(likely.values.tolist(), likely.indices.tolist(), strict=True):
            if token in best.ids[:1] or logit == -math.inf:
                continue
            forced = (token,)
            passes = list(write(self._network, cache, sides, rules, forced=forced, budget=budget))
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

    def _cache_for(self, ids: Sequence[int]) -> ContextCache:
        """The cache that shares most with these ids, or a new one, as `Memories` does it."""
        reusable = [common_length(each.cache.ids[: each.context], ids) for each in self._caches]
        best = max(reusable, default=0)
        enough = best >= min(WORTH_REUSING, len(ids) - 1)
        if reusable and (enough or len(self._caches) == NUM_MEMORIES):
            cache = self._caches.pop(reusable.index(best) if enough else 0)
        else:
            capacity = PREFIX_TOKENS + SUFFIX_TOKENS + MAX_TOKENS + GUESSED
            cache = ContextCache(self._network.cache(PREFIX, capacity=capacity))
        self._caches.append(cache)
        return cache

    def _text(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids).decode("utf-8", errors="replace")


def plain_rules(network: InferenceNetwork, tokenizer: Tokenizer) -> Rules:
    """Greedy up to the end token; specials are never written."""
    vocab = network.config.vocab_size
    forbidden = torch.zeros(vocab)
    forbidden[:FIRST_LEARNED] = -torch.inf
    forbidden[END] = 0.0
    forbidden[tokenizer.vocab_size :] = -torch.inf
    ends = torch.zeros(vocab, dtype=torch.bool)
    ends[END] = True
    breaks = [token.count(b"\n") for token in tokenizer.token_bytes]
    breaks += [0] * (vocab - len(breaks))
    return Rules(forbidden=forbidden, ends=ends, breaks=breaks)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
