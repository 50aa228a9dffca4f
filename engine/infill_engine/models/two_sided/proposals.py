"""What may stand in the hole besides what is denoised: copies, and how the prefix itself goes on.

A row that starts from how the forward stream continues the prefix is often right where a canvas
from noise is not (engine/train/LOG.md). The engine ranks all of them together.
"""

import math
from dataclasses import dataclass, field

from infill_engine.budget import Budget
from infill_engine.copying import copies, up_to
from infill_engine.denoiser import Sides
from infill_engine.models.two_sided.hints import Hints
from infill_engine.models.two_sided.inference import InferenceNetwork
from infill_engine.models.two_sided.kv_cache import SideCache
from infill_engine.models.two_sided.vocabulary import Vocabulary
from infill_engine.request import InfillRequest

CLOSERS = " \t)]}>,;:'\"`"  # what may follow a hole that reaches over its line's end
# What is copied is judged as a whole, up to so many tokens.
COPY_TOKENS = 64
# A prefix is continued by so many tokens at most, in so many rows; a row is given up once it is
# less likely than this (nats).
CONTINUATION_TOKENS, CONTINUATION_ROWS, UNLIKELY = 32, 2, -4.0


def goes_on(suffix: str) -> bool:
    """Whether the cursor's line has more behind it than what closes something."""
    return bool(suffix.split("\n", 1)[0].strip(CLOSERS))


def proposals(
    network: InferenceNetwork,
    vocabulary: Vocabulary,
    sides: Sides,
    request: InfillRequest,
    prefix: SideCache | None,
    most: int,
    budget: Budget,
) -> dict[tuple[int, ...], float]:
    """As `Denoiser.proposals`; where `prefix` is given and the line ends behind the hole, it is
    continued.

    (Within a line that was no help on the validation packages, and takes time.)
    """
    texts = copies(
        request.prefix,
        request.suffix,
        request.max_lines,
        elsewhere=request.elsewhere,
        budget=budget,
    )
    if prefix is not None and most <= CONTINUATION_TOKENS and not goes_on(request.suffix):
        continued = continuations(network, vocabulary, sides, request.suffix, prefix, most, budget)
        for text in continued:
            texts.setdefault(text, -math.inf)
    found: dict[tuple[int, ...], float] = {}
    for text, worth in texts.items():
        ids = tuple(vocabulary.ids(text, sides.healed_prefix)) if text.strip() else ()
        if 0 < len(ids) <= COPY_TOKENS:
            found.setdefault(ids, worth)
    return found


@dataclass(slots=True)
class _Row:
    """One continuation, `last` and `hints` being what the network reads next."""

    last: int
    hints: Hints
    ids: list[int] = field(default_factory=list)
    nats: float = 0.0
    going: bool = True


def continuations(
    network: InferenceNetwork,
    vocabulary: Vocabulary,
    sides: Sides,
    suffix: str,
    prefix: SideCache,
    most: int,
    budget: Budget,
) -> list[str]:
    """Rests of the line as the prefix's stream has them: one from each of its likeliest first
    tokens, from there on the likeliest, up to where the line or what follows the hole ends it;
    none that is less likely than `UNLIKELY` as a whole, and none at all once the budget is over.
    """
    healed, head = sides.healed_prefix, network.head
    begins = vocabulary.healing_mask(healed)
    forbidden = vocabulary.forbidden | vocabulary.ends
    bias = head.bias(forbidden)
    context = network.continuation_context(prefix, CONTINUATION_ROWS, most)
    (told,) = prefix.hints(len(prefix) - 1)
    rows = [_Row(last=prefix.ids[-1], hints=told) for _ in range(CONTINUATION_ROWS)]
    for at in range(most):
        if budget.over:
            return []
        ids, hints = [row.last for row in rows], [row.hints for row in rows]
        hidden = network.continuation_step(context, at, ids, hints)
        if at == 0:
            never = bias if begins is None else head.bias(forbidden | ~begins)
            first = head.likeliest(hidden[:1], CONTINUATION_ROWS, bias=never)
            found = first.best[0], first.most[0] - first.total
        else:
            said = head(hidden, bias=bias)
            found = said.best, said.most - said.total
        for row, token, nats in zip(rows, *(part.tolist() for part in found), strict=True):
            if not row.going:
                continue
            row.nats += nats
            ends = bool(vocabulary.ends_or_breaks[token]) and not (at == 0 and healed)
            if ends or row.nats < UNLIKELY:
                row.going = False
                continue
            row.ids.append(token)
            text = vocabulary.text(row.ids, healed)
            row.going = len(up_to(suffix, text)) >= len(text.rstrip())
            row.last, row.hints = token, prefix.hints_after(row.ids, len(prefix))[-1]
        if not any(row.going for row in rows):
            break
    return [up_to(suffix, vocabulary.text(row.ids, healed)) for row in rows if row.nats >= UNLIKELY]
