"""A middle written token by token behind a cached context, with prompt lookup.

Shapes: V vocabulary.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from benchmarks.ar_baseline.reading import ContextCache, in_reading_order, read_context
from infill_engine.budget import UNLIMITED, Budget
from infill_engine.denoiser import Sides
from infill_engine.local import WORTH_CONTINUING
from infill_engine.models.two_sided.config import CANVAS, PREFIX
from infill_engine.models.two_sided.denoiser import (
    ENCODE_CHUNK,
    MAX_TOKENS,
)
from infill_engine.models.two_sided.induction import canvas_induction_hints
from infill_engine.models.two_sided.inference import InferenceNetwork

# Tokens guessed at most, and how many tokens before them have to be found elsewhere.
GUESSED, LEAST_MATCH = 8, 2


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
    network: InferenceNetwork,
    context_cache: ContextCache,
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
    context = read_context(network, context_cache, ids, keep=ENCODE_CHUNK, budget=budget)
    cache, middle = context_cache.cache, Middle()
    generator = torch.Generator().manual_seed(rules.seed)
    lines = 0
    pending = ids[len(cache) :]
    while not budget.cancelled():
        text = [*sides.prefix_ids, *middle.ids]
        room = min(rules.guessed, rules.most - len(middle.ids))
        guess = list(forced[len(middle.ids) :]) or _guess(text, sides.suffix_ids, room, rules)
        plain = max(0, context - len(cache))
        streams = np.full(len(pending) + len(guess), CANVAS)
        streams[:plain] = PREFIX
        hidden = network.push(cache, [*pending, *guess], streams)[len(pending) - 1 :]
        context_cache.context = context
        middle.passes += 1
        logits = torch.from_numpy(network.head.matrix(hidden)).float()
        logs = (logits + rules.forbidden).log_softmax(-1)
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
