"""Infill by a server that takes DiffusionGemma's canvas: the suffix is pinned behind the hole.

template ─► ids ─► a row per hole length ─► the server, several at a time ─► rank ─► draft
              ▲                                                                │
              └────── the hole is longer than a canvas: its first block ◄──────┘
"""

import logging
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from infill_engine.budget import Budget
from infill_engine.remote.canvas import (
    WIDTH_STEP,
    CanvasOutput,
    Row,
    TokenizedTemplate,
    canvas_output,
    canvas_request,
    rows,
    tokenized,
    without_remainder,
)
from infill_engine.remote.cloze import cut_lines, stop_at
from infill_engine.remote.http import Client, RemoteError
from infill_engine.remote.probe import ServedModel
from infill_engine.remote.prompt import ChatTemplate, ends_between_words, prompt_ids
from infill_engine.remote.tokens import noise
from infill_engine.request import Draft, InfillRequest
from infill_engine.template import Template, compose, distinct

MIN_WARM_TOKENS = 64  # fewer new ones in a prompt are not worth a request
GRACE = 0.2  # seconds after the deadline to turn ids that have come into text

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledRow:
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


class PinnedModel:
    """One served model with a pinned canvas, and what is known of its prompt cache."""

    def __init__(self, served: ServedModel, chat: ChatTemplate, max_steps: int | None) -> None:
        self._served = served
        self._chat = chat
        self._max_steps = max_steps
        self._caches = False  # the server was seen to reuse a prompt
        self._last_prompt: list[int] = []

    def warm(self, request: InfillRequest, client: Client, budget: Budget) -> None:
        """Has the server encode the prompt now, if it was seen to keep what it encoded.

        Raises RemoteError or BudgetSpent.
        """
        if not self._caches:
            return
        prompt, _ = without_remainder(self._prompt(request, [], budget))
        if len(prompt) - _num_shared(prompt, self._last_prompt) < MIN_WARM_TOKENS:
            return
        seed = noise(self._chat.tokens, WIDTH_STEP, random.Random(0))
        row = Row(seed=seed, holes=[(0, WIDTH_STEP)], suffix_start=WIDTH_STEP)
        request_ = canvas_request(self._served.probe.model, prompt, row, max_steps=1)
        client.send(request_, budget).checked()
        self._last_prompt = prompt

    def infill(self, template: Template, client: Client, budget: Budget) -> Iterator[Draft]:
        """Block after block until the suffix closes the hole better than more text would.

        Raises RemoteError when no row came back, or BudgetSpent.
        """
        text = tokenized(template, self._chat, self._served.canvas_length, budget)
        committed: list[int] = []
        num_blocks = 0
        while True:
            prompt, head = without_remainder(self._prompt(template.request, committed, budget))
            text = replace(text, head=head)
            block = rows(text, len(committed), num_blocks)
            filled: list[FilledRow] = []
            for row in self._filled_rows(text, block, prompt, committed, client, budget):
                filled.append(row)
                if not row.open and max(filled, key=lambda each: each.rank) is row:
                    yield self._draft(row, template, committed, num_blocks + 1)
            if not filled or budget.cancelled():
                return
            filled.sort(key=lambda row: row.rank, reverse=True)
            num_blocks += 1
            if filled[0].open and not filled[0].ended and not budget.over:
                committed += filled[0].fills[0]
                continue
            closed = [row for row in filled if not row.open or row.ended]
            if closed:
                drafts = [self._draft(row, template, committed, num_blocks) for row in closed]
                others = tuple(distinct(drafts))[1:]
                yield replace(drafts[0], converged=len(filled) == len(block), others=others)
            return

    def _prompt(self, request: InfillRequest, committed: list[int], budget: Budget) -> list[int]:
        context = self._served.probe.max_model_len
        taken = self._served.canvas_length + len(committed)
        max_ids = math.inf if context is None else context - taken
        return prompt_ids(request, self._chat, max_ids, budget) + committed

    def _filled_rows(
        self,
        text: TokenizedTemplate,
        block: list[Row],
        prompt: list[int],
        committed: list[int],
        client: Client,
        budget: Budget,
    ) -> Iterator[FilledRow]:
        """The rows that came back, as they come. Raises the first error when none did."""
        probe = self._served.probe
        requests = [canvas_request(probe.model, prompt, row, self._max_steps) for row in block]
        failed: list[RemoteError] = []
        num_filled = 0
        self._last_prompt = prompt
        for number, event in client.events(requests, budget):
            assert not isinstance(event, bytes), "no events were asked for"
            try:
                if isinstance(event, RemoteError):
                    raise event
                row = block[number]
                output = canvas_output(event, prompt, row, self._served.vocab_size)
                self._caches = self._caches or output.num_cached > 0
                # The row is here: its text is wanted even if time is up in this moment.
                grace = max(budget.deadline, time.monotonic() + GRACE)
                filled = fill(row, output, text, committed, replace(budget, deadline=grace))
            except RemoteError as error:
                log.warning("a canvas was lost: %s", error)
                failed.append(error)
                continue
            num_filled += 1
            yield filled
        if not num_filled and failed and not budget.cancelled():
            raise failed[0]

    def _draft(
        self, row: FilledRow, template: Template, committed: list[int], num_blocks: int
    ) -> Draft:
        return Draft(
            text=compose(row.texts, template.middle),
            fills=row.texts,
            steps=(self._max_steps or 0) * num_blocks,
            tokens=len(committed) + sum(map(len, row.fills)),
            mean_entropy=row.entropy,
            likelihood=row.likelihood,
            join=row.join,
        )


def fill(
    row: Row, output: CanvasOutput, text: TokenizedTemplate, committed: list[int], budget: Budget
) -> FilledRow:
    """The row's text, and how likely it is. May ask the server for the text.

    Raises RemoteError for an answer of padding, or what `Tokens.decode` raises.
    """
    request, tokens = text.template.request, text.chat.tokens
    if row.pinned and len(set(output.ids)) == 1 and output.ids[0] in tokens.special:
        # At the pinned places, too: a model that wants the hole empty says the suffix there.
        raise RemoteError(
            f"the server answered with a canvas of nothing but the control token {output.ids[0]}, "
            "so the model computes nonsense; serve it in another --dtype or --quantization"
        )
    fills, logprobs = [], []
    ended = False
    for start, stop in row.holes:
        end = start
        while end < stop and output.ids[end] not in tokens.special:
            end += 1
        ended = ended or end < stop
        fills.append(output.ids[start:end])
        # The token that ends the fill is part of what the model said.
        logprobs += output.logprobs[start : min(end + 1, stop)]
    texts = tokens.decode([committed + fills[0], *fills[1:]], budget)
    if ends_between_words(request.prefix):
        texts[0] = texts[0].removeprefix(" ")
    if row.open:
        stopped = stop_at(texts[0].partition("\n```")[0], request.suffix)
        ended = ended or stopped != texts[0]
        texts[0] = stopped
    cut = tuple(cut_lines(each, request.max_lines) for each in texts)
    return FilledRow(
        fills=fills,
        texts=cut,
        likelihood=_mean(logprobs),
        join=_mean([output.logprob(at, row.seed[at]) for at in row.join_positions]),
        entropy=_mean([_least_entropy(logprob) for logprob in logprobs]),
        open=row.open,
        ended=ended or cut != tuple(texts),
        cut=cut != tuple(texts),
    )


def _num_shared(left: Sequence[int], right: Sequence[int]) -> int:
    """The length of the common beginning."""
    for at, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return at
    return min(len(left), len(right))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _least_entropy(logprob: float) -> float:
    """The least entropy, in nats, of a distribution that gives one token this log-probability."""
    p = math.exp(min(logprob, 0.0))
    return -p * logprob - (1 - p) * math.log1p(-p) if 0.0 < p < 1.0 else 0.0
