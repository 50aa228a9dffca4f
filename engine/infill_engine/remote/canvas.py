"""A canvas as vLLM takes it, and the tokens that it gives back. Does no waiting of its own.

    prompt │ noise in the hole │ the beginning of the suffix, pinned

The pins are put right by construction: only holes are read from the answer, everything else is
taken from the request. What the server emits at a pinned place is the model's own opinion of it,
and tells how well the suffix joins.
"""

import math
import random
import re
from dataclasses import dataclass
from typing import Any

from infill_engine.budget import Budget
from infill_engine.errors import RequestError
from infill_engine.remote.http import HttpRequest, HttpResponse, RemoteError
from infill_engine.remote.prompt import ChatTemplate, plain_ids, suffix_ids
from infill_engine.remote.tokens import noise
from infill_engine.request import Hole
from infill_engine.template import Template

# vLLM lets pins keep the model's own entropy, so every pinned token draws on the budget by which
# the hole's tokens are accepted. A short head of the suffix forces the join; the rest of it is
# told in the prompt.
SUFFIX_HEAD_TOKENS = 16
WIDTH_STEP = 16  # vLLM's own example asks for multiples of it
JOIN_TOKENS = 8
CACHE_BLOCK = 16  # vLLM keeps prompts in blocks of so many tokens, or of a multiple
FIRST_LENGTH = 8
FIRST_LENGTH_OF_A_LINE = 4
MAX_UNNAMED_TOKENS = 64  # of a hole whose length nobody named


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizedTemplate:
    """What the canvases of one request share.

    `pins` are the ids of the template's own text, `suffix` those of the suffix's head;
    `canvas_length` is the served one in tokens. `head` was taken from the prompt's end
    (`without_remainder`) and stands pinned before the first hole.
    """

    template: Template
    chat: ChatTemplate
    canvas_length: int
    pins: list[list[int]]
    suffix: list[int]
    head: tuple[int, ...] = ()

    @property
    def holes(self) -> list[Hole]:
        return [part for part in self.template.middle if isinstance(part, Hole)]


def tokenized(
    template: Template, chat: ChatTemplate, canvas_length: int, budget: Budget
) -> TokenizedTemplate:
    """May raise RemoteError or BudgetSpent, where the server tokenizes."""
    pins = [part for part in template.middle if isinstance(part, str)]
    return TokenizedTemplate(
        template=template,
        chat=chat,
        canvas_length=canvas_length,
        pins=plain_ids(chat.tokens, pins, budget),
        suffix=suffix_ids(template.request.suffix, chat, budget),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A canvas: ids, with noise in the holes.

    `holes` are the start and the end of each; `suffix_start` is where the suffix's ids start. An
    open row has no suffix, because the hole goes on behind it.
    """

    seed: list[int]
    holes: list[tuple[int, int]]
    suffix_start: int
    open: bool = False

    @property
    def pinned(self) -> list[int]:
        free = {at for start, stop in self.holes for at in range(start, stop)}
        return [at for at in range(len(self.seed)) if at not in free]

    @property
    def join_positions(self) -> range:
        """Those by which it is told how well the suffix follows the hole."""
        return range(self.suffix_start, min(self.suffix_start + JOIN_TOKENS, len(self.seed)))


def rows(text: TokenizedTemplate, num_committed: int, block: int) -> list[Row]:
    """A canvas for each hole length, and an open one where a longer hole was asked for.

    `num_committed` tokens of the hole are written already. Raises RequestError when nothing fits.
    """
    request, holes = text.template.request, text.holes
    num_pinned = len(text.head) + sum(map(len, text.pins))
    room = (hole_room(text.canvas_length) - num_pinned) // len(holes)
    if room < 1:
        raise RequestError(
            f"{len(holes)} holes with {num_pinned} pinned tokens between them do not fit the "
            f"server's canvas of {text.canvas_length} tokens; ask for fewer holes at a time"
        )
    max_tokens = max(hole.max_tokens or 0 for hole in holes)
    wanted = (max_tokens or min(MAX_UNNAMED_TOKENS, room)) - num_committed
    lengths = hole_lengths(min(room, wanted), request.max_lines)
    while len(lengths) < request.num_candidates:
        lengths.append(lengths[len(lengths) % len(set(lengths))])
    made = [
        _row(text, length, random.Random(f"{request.seed}/{block}/{number}"))
        for number, length in enumerate(lengths)
    ]
    if len(holes) == 1 and wanted > room:
        width, start = text.canvas_length, len(text.head)
        source = random.Random(f"{request.seed}/{block}/open")
        seed = [*text.head, *noise(text.chat.tokens, width - start, source)]
        made.append(Row(seed=seed, holes=[(start, width)], suffix_start=width, open=True))
    return made


def _row(text: TokenizedTemplate, length: int, source: random.Random) -> Row:
    """Every hole of `length` tokens, but for those that want less."""
    canvas_length, several = text.canvas_length, len(text.holes) > 1
    ids: list[int] = [*text.head]
    spans: list[tuple[int, int]] = []
    pins = iter(text.pins)
    for part in text.template.middle:
        if isinstance(part, Hole):
            cells = min(length, part.max_tokens or length) if several else length
            spans.append((len(ids), len(ids) + cells))
            ids += noise(text.chat.tokens, cells, source)
        else:
            ids += next(pins)
    least = len(ids) + min(SUFFIX_HEAD_TOKENS, canvas_length // 2)
    width = min(-(-least // WIDTH_STEP) * WIDTH_STEP, canvas_length)
    return Row(seed=ids + text.suffix[: width - len(ids)], holes=spans, suffix_start=len(ids))


def without_remainder(prompt: list[int]) -> tuple[list[int], tuple[int, ...]]:
    """The prompt, and what of its end has to stand on the canvas.

    A prompt that was read before, with all its blocks kept but for one token, killed the engine of
    vLLM 0.25 (vllm-project/vllm#49495). Several rows of one prompt, and reading ahead, make just
    that; so no prompt is one token longer than whole blocks.
    """
    cut = len(prompt) - (len(prompt) > 1 and len(prompt) % CACHE_BLOCK == 1)
    return prompt[:cut], tuple(prompt[cut:])


def hole_room(canvas_length: int) -> int:
    """Cells of a canvas that holes and pins may take, with the least of the suffix behind them."""
    return canvas_length - min(SUFFIX_HEAD_TOKENS, canvas_length // 2)


def max_unnamed_tokens(canvas_length: int) -> int:
    """Tokens of the longest hole that is tried when nobody named a length."""
    return min(MAX_UNNAMED_TOKENS, hole_room(canvas_length))


def hole_lengths(most: int, max_lines: int | None) -> list[int]:
    """Doubling hole lengths up to `most`, which is always one of them."""
    length = FIRST_LENGTH_OF_A_LINE if max_lines == 1 else FIRST_LENGTH
    most = min(most, FIRST_LENGTH_OF_A_LINE * 8) if max_lines == 1 else most
    lengths = []
    while length < most:
        lengths.append(length)
        length *= 2
    return [*lengths, most]


def canvas_request(model: str, prompt: list[int], row: Row, max_steps: int | None) -> HttpRequest:
    """The request for one canvas.

    `max_tokens` defaults to 16 on this endpoint and would cut the answer, so it is the width. Every
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
        "prompt": prompt,
        "max_tokens": len(row.seed),
        "logprobs": 1,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        "skip_special_tokens": False,
        "vllm_xargs": fields,
    }
    join_ids = sorted({row.seed[at] for at in row.join_positions})
    if join_ids:
        # The pins' own log-probabilities at their places: how well the suffix joins. Where both
        # are given, vLLM wants as many of one as of the other.
        body |= {"logprob_token_ids": join_ids, "logprobs": len(join_ids)}
    return HttpRequest(path="/v1/completions", body=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanvasOutput:
    """What the server emitted at each place of a canvas. `tops` are log-probabilities by token.

    Log-probabilities are in nats, NaN where the server told none.
    """

    ids: list[int]
    logprobs: list[float]
    tops: list[dict[int, float]]
    num_cached: int

    def logprob(self, at: int, token: int) -> float:
        """Of `token` at a position, in nats; at most, where the server told only another's."""
        if token == self.ids[at]:
            return self.logprobs[at]
        if token in self.tops[at]:
            return self.tops[at][token]
        other = math.exp(min(self.logprobs[at], 0.0))
        return math.log1p(-other) if other < 1.0 else -math.inf


def canvas_output(
    response: HttpResponse, prompt: list[int], row: Row, vocab_size: int
) -> CanvasOutput:
    """Raises RemoteError for an answer that is not a whole canvas of this request."""
    path, answer = response.path, response.checked().json()
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    choice = choice if isinstance(choice, dict) else {}
    ids = choice.get("token_ids")
    width = len(row.seed)
    if not isinstance(ids, list) or len(ids) != width:
        got = f"{len(ids)} tokens" if isinstance(ids, list) else "no token ids"
        raise RemoteError(
            f"{path} answered with {got} for a canvas of {width}; is it vLLM from 0.32 on?"
        )
    if not all(type(token) is int and 0 <= token < vocab_size for token in ids):
        raise RemoteError(
            f"{path} answered with ids that are not in the vocabulary of {vocab_size} tokens; "
            "does a balancer in between serve several models?"
        )
    if choice.get("prompt_token_ids") not in (None, prompt):
        raise RemoteError(
            f"{path} gave the answer to another request; the proxy or balancer in between mixes "
            "answers up: connect without it"
        )
    told = choice.get("logprobs")
    told = told if isinstance(told, dict) else {}
    logprobs = [_number(value) for value in _listed(told.get("token_logprobs"), width)]
    if told.get("token_logprobs") is not None and all(map(math.isnan, logprobs)):
        raise RemoteError(
            f"{path} answered with log-probabilities that are no numbers, so the model computes "
            "nonsense; serve it in another --dtype or --quantization"
        )
    return CanvasOutput(
        ids=ids,
        logprobs=logprobs,
        tops=[_by_token(value) for value in _listed(told.get("top_logprobs"), width)],
        num_cached=_num_cached(answer),
    )


def _listed(found: object, length: int) -> list[object]:
    return found if isinstance(found, list) and len(found) == length else [None] * length


def _by_token(found: object) -> dict[int, float]:
    """{"token_id:17": -0.5} -> {17: -0.5}"""
    if not isinstance(found, dict):
        return {}
    named = ((re.fullmatch(r"token_id:(\d{1,9})", name), each) for name, each in found.items())
    return {int(token[1]): _number(each) for token, each in named if token}


def _num_cached(answer: dict[str, Any]) -> int:
    usage = answer.get("usage")
    details = usage.get("prompt_tokens_details") if isinstance(usage, dict) else None
    return (positive(details.get("cached_tokens")) or 0) if isinstance(details, dict) else 0


def _number(found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float):
        return math.nan
    try:
        return float(found)
    except OverflowError:  # JSON's whole numbers have no largest
        return math.nan


def positive(found: object) -> int | None:
    return found if type(found) is int and found > 0 else None
