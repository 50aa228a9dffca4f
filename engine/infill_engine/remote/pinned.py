"""A canvas as vLLM takes it, and what it says when it comes back. Does no waiting of its own.

    prompt   <user: other files, the file's end> <model: ``` the file up to the cursor …
    canvas   … noise in the hole | the beginning of the suffix, pinned]

The pins are put right by construction: only holes are read from the answer, everything else is
taken from the request. What the server emits at a pinned place is the model's own opinion of it,
and tells how well the suffix joins.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infill_engine.budget import Budget
from infill_engine.errors import ModelError, RequestError
from infill_engine.remote.cloze import (
    PREFIX_CHARS,
    SUFFIX_CHARS,
    cut_lines,
    fenced,
    neighbours,
    stop_at,
)
from infill_engine.remote.http import Ask, RemoteError, Reply, Unsupported
from infill_engine.remote.tokens import Tokens, noise
from infill_engine.request import Hole, InfillRequest
from infill_engine.template import Template
from infill_engine.windows import last_tokens, prefix_window, suffix_window

# vLLM lets pins keep the model's own entropy, so every pinned token draws on the budget by which
# the hole's tokens are accepted. A short tail forces the join; the rest of the suffix is told in
# the prompt.
TAIL_TOKENS = 16
TAIL_CHARS = 600
WIDTH_STEP = 16  # vLLM's own example asks for multiples of it
JOIN_TOKENS = 8
FIRST_LENGTH = 8
FIRST_LENGTH_OF_A_LINE = 4
MOST_UNASKED = 64  # tokens of a hole whose length nobody named
MARKS = ("<bos>", "<|turn>", "<turn|>", "<|channel>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What is needed to write ids: the tokenizer and DiffusionGemma's chat frame around a text."""

    tokens: Tokens
    user: list[int]  # opens the user's turn
    model: list[int]  # ends it and opens the model's, with its empty thought
    end: list[int]  # closes the code block and the model's turn


def frame(tokens: Tokens, budget: Budget) -> Frame:
    """Raises Unsupported when the model's chat is not framed as DiffusionGemma's."""
    found = tokens.control(MARKS, budget)
    lacking = [mark for mark, ids in zip(MARKS[:3], found[:3], strict=True) if len(ids) != 1]
    if lacking:
        raise Unsupported(
            f"{', '.join(lacking)} is no token of this model, so its chat is not DiffusionGemma's"
        )
    thought = "<|channel>thought\n<channel|>" if len(found[3]) == 1 else ""
    user, model, end = tokens.control(
        ("<bos><|turn>user\n", f"<turn|>\n<|turn>model\n{thought}", "<turn|>"), budget
    )
    return Frame(tokens=tokens, user=user, model=model, end=end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What the canvases of one request share. `pins` are the template's, `tail` the suffix's ids.

    `canvas` is the served length in tokens.
    """

    asked: Template
    frame: Frame
    canvas: int
    pins: list[list[int]]
    tail: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A canvas: ids, with noise in the holes.

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
class Found:
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


def rows(sheet: Sheet, committed: int, block: int) -> list[Row]:
    """A canvas for each hole length, and an open one where a longer hole was asked for.

    `committed` tokens of the hole are written already. Raises RequestError when nothing fits.
    """
    asked, canvas, tokens = sheet.asked, sheet.canvas, sheet.frame.tokens
    holes = [part for part in asked.middle if isinstance(part, Hole)]
    pinned = sum(map(len, sheet.pins))
    room = (hole_room(canvas) - pinned) // len(holes)
    if room < 1:
        raise RequestError(
            f"{len(holes)} holes with {pinned} pinned tokens between them do not fit the "
            f"server's canvas of {canvas} tokens; ask for fewer holes at a time"
        )
    asked_for = max(hole.max_tokens or 0 for hole in holes)
    budget = (asked_for or min(MOST_UNASKED, room)) - committed
    lengths = hole_lengths(min(room, budget), asked.request.max_lines)
    while len(lengths) < asked.request.num_candidates:
        lengths.append(lengths[len(lengths) % len(set(lengths))])
    made = []
    for number, length in enumerate(lengths):
        source = random.Random(f"{asked.request.seed}/{block}/{number}")
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        between = iter(sheet.pins)
        for part in asked.middle:
            if isinstance(part, Hole):
                cells = min(length, part.max_tokens or length) if len(holes) > 1 else length
                spans.append((len(ids), len(ids) + cells))
                ids += noise(tokens, cells, source)
            else:
                ids += next(between)
        width = -(-(len(ids) + min(TAIL_TOKENS, canvas // 2)) // WIDTH_STEP) * WIDTH_STEP
        end = sheet.tail[: min(width, canvas) - len(ids)]
        made.append(Row(seed=ids + end, holes=spans, tail=len(ids)))
    if len(holes) == 1 and budget > room:
        source = random.Random(f"{asked.request.seed}/{block}/open")
        seed = noise(tokens, canvas, source)
        made.append(Row(seed=seed, holes=[(0, canvas)], tail=canvas, open=True))
    return made


def tail_ids(suffix: str, frame: Frame, budget: Budget) -> list[int]:
    """Ids of what follows the hole, to the end of the answer if that is near."""
    near = suffix[:TAIL_CHARS]
    last_line = "```" if near.endswith("\n") else "\n```"
    ids, fence = plain_ids(frame.tokens, [near, last_line], budget)
    if len(near) < len(suffix):
        return ids[:-1]  # the last one may be half of a word
    return ids + fence + frame.end


def plain_ids(tokens: Tokens, texts: Sequence[str], budget: Budget) -> list[list[int]]:
    """Ids of the user's text, without any that would mean something to the server."""
    return [
        [token for token in ids if token not in tokens.special]
        for ids in tokens.encode(texts, budget)
    ]


def prompt_ids(request: InfillRequest, frame: Frame, room: float, budget: Budget) -> list[int]:
    """The chat up to the cursor: far text in the user's turn, the file in the model's.

    At most `room` ids. Raises ModelError when that is too little for anything.
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
        before = before[:-1]  # a blank belongs to the word behind it; `score` takes it back
    shown_ids, task_ids, opening_ids, before_ids = plain_ids(
        frame.tokens, [shown, task, opening, before], budget
    )
    fixed = len(frame.user) + len(frame.model) + len(opening_ids)
    if fixed + len(shown_ids) + len(task_ids) + len(before_ids) > room:
        shown_ids = []
    if fixed + len(task_ids) + len(before_ids) > room:
        task_ids = task_ids[: max(0, int(room) // 4 - fixed)]
    left = room - fixed - len(shown_ids) - len(task_ids)
    if left < 1:
        raise ModelError(
            f"the served context leaves {room:g} tokens for the text, which is too few; serve the "
            "model with a larger --max-model-len"
        )
    if len(before_ids) > left:
        before_ids = last_tokens(before_ids, int(left))
    return frame.user + shown_ids + task_ids + frame.model + opening_ids + before_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What the server emitted at each place of a canvas. `tops` are log-probabilities by token."""

    ids: list[int]
    logprobs: list[float]
    tops: list[dict[int, float]]
    cached: int

    def logprob(self, at: int, token: int) -> float:
        """Of `token` at a position, in nats; at most, where the server told only another's."""
        if token == self.ids[at]:
            return self.logprobs[at]
        if token in self.tops[at]:
            return self.tops[at][token]
        other = math.exp(min(self.logprobs[at], 0.0))
        return math.log1p(-other) if other < 1.0 else -math.inf


def score(read: Read, row: Row, sheet: Sheet, committed: list[int], budget: Budget) -> Found:
    """The row's text, and how likely it is. May ask for the text: see `Tokens.decode`."""
    request, tokens = sheet.asked.request, sheet.frame.tokens
    fills, sure = [], []
    ended = False
    for start, stop in row.holes:
        last = start
        while last < stop and read.ids[last] not in tokens.special:
            last += 1
        ended = ended or last < stop
        fills.append(read.ids[start:last])
        # The token that ends the fill is part of what the model said.
        sure += read.logprobs[start : min(last + 1, stop)]
    texts = tokens.decode([committed + fills[0], *fills[1:]], budget)
    if request.prefix.endswith(" ") and request.prefix.rpartition("\n")[2].strip():
        texts[0] = texts[0].removeprefix(" ")
    if row.open:
        stopped = stop_at(texts[0].partition("\n```")[0], request.suffix)
        ended = ended or stopped != texts[0]
        texts[0] = stopped
    lines = tuple(cut_lines(text, request.max_lines) for text in texts)
    return Found(
        fills=fills,
        texts=lines,
        likelihood=_mean(sure),
        join=_mean([read.logprob(at, row.seed[at]) for at in row.joint]),
        entropy=_mean([_entropy(logprob) for logprob in sure]),
        open=row.open,
        ended=ended or lines != tuple(texts),
        cut=lines != tuple(texts),
    )


def ask(model: str, ids: list[int], row: Row, max_steps: int | None) -> Ask:
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
    return Ask(path="/v1/completions", body=body)


def read(reply: Reply, row: Row, vocabulary: int) -> Read:
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
    return Read(
        ids=ids,
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
    return (positive(details.get("cached_tokens")) or 0) if isinstance(details, dict) else 0


def _number(found: object) -> float:
    number = isinstance(found, int | float) and not isinstance(found, bool)
    return float(found) if number else math.nan  # type: ignore[arg-type]


def positive(found: object) -> int | None:
    return found if type(found) is int and found > 0 else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _entropy(logprob: float) -> float:
    """The least entropy, in nats, of a distribution that gives one token this log-probability."""
    p = math.exp(min(logprob, 0.0))
    return -p * logprob - (1 - p) * math.log1p(-p) if 0.0 < p < 1.0 else 0.0


def hole_room(canvas: int) -> int:
    """Cells of a canvas that holes and pins may take, with the least tail behind them."""
    return canvas - min(TAIL_TOKENS, canvas // 2)


def most_unasked(canvas: int) -> int:
    """Tokens of the longest hole that is tried when nobody named a length."""
    return min(MOST_UNASKED, hole_room(canvas))


def hole_lengths(most: int, max_lines: int | None) -> list[int]:
    """Doubling hole lengths up to `most`, which is always one of them."""
    length = FIRST_LENGTH_OF_A_LINE if max_lines == 1 else FIRST_LENGTH
    most = min(most, FIRST_LENGTH_OF_A_LINE * 8) if max_lines == 1 else most
    lengths = []
    while length < most:
        lengths.append(length)
        length *= 2
    return [*lengths, most]
