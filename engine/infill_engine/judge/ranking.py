"""From what the judge says of some middles to their order, and to how sure one may be of each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from infill_engine.judge.judge import Judgement

# A text that stands elsewhere behind the same text is likelier than both models think: by so many
# nats where its context is long, by none where that is as short as it may be.
COPIED = 4.0
# What a middle's evidence counts for, and before any (`Evidence`), fitted on held-out packages by
# `train.evaluate --calibrate`: a logistic regression on whether it is exactly right.
WEIGHTS, CONSTANT = (0.0, 0.0, 0.0, 0.0, 0.0), 0.0
# Nats beyond which a figure says nothing more.
FAR = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What speaks for a middle, in nats.

    middle   the judge's log-probability of it
    suffix   of a token of what follows it, the mean
    ahead    how far the judge has it before the best of the others
    drafted  the drafting model's log-probability of it, or of its being copied
    first    how far the drafting model has it before the best of the others
    """

    middle: float
    suffix: float
    ahead: float
    drafted: float
    first: float

    @property
    def figures(self) -> tuple[float, ...]:
        figures = (self.middle, self.suffix, self.ahead, self.drafted, self.first)
        return tuple(max(-FAR, min(FAR, figure)) for figure in figures)

    @property
    def log_probability(self) -> float:
        """The logarithm of how likely the middle is right."""
        odds = CONSTANT + sum(w * x for w, x in zip(WEIGHTS, self.figures, strict=True))
        return -math.log1p(math.exp(-odds)) if odds > -700 else odds


def prior(worth: float) -> float:
    """Nats in favour of a middle that is right so often for another reason (its logarithm)."""
    return max(COPIED + worth, 0.0) if worth > -math.inf else 0.0


def order(judgements: Sequence[Judgement | None], priors: Sequence[float]) -> list[int]:
    """Indices, best first: those that were looked at closest, which were the best before, and at
    last, as they were, those that were not judged."""

    def worth(at: int) -> tuple[int, float]:
        judgement = judgements[at]
        if judgement is None:
            return -1, -at
        return judgement.tokens, judgement.both + priors[at]

    return sorted(range(len(judgements)), key=worth, reverse=True)


def evidence(
    judgements: Sequence[Judgement | None], priors: Sequence[float], drafted: Sequence[float]
) -> list[Evidence | None]:
    """Of each middle; None of those that were not judged. `drafted` are the drafting model's
    log-probabilities."""
    worth = [
        -math.inf if judgement is None else judgement.both + prior
        for judgement, prior in zip(judgements, priors, strict=True)
    ]
    found: list[Evidence | None] = []
    for at, judgement in enumerate(judgements):
        if judgement is None:
            found.append(None)
            continue
        # Who was looked at less is behind by what it was behind then, at least.
        alike = [
            worth[i]
            for i, other in enumerate(judgements)
            if i != at and other is not None and other.tokens == judgement.tokens
        ]
        found.append(
            Evidence(
                middle=judgement.middle,
                suffix=judgement.suffix / max(judgement.tokens, 1),
                ahead=worth[at] - max(alike, default=worth[at] - FAR),
                drafted=drafted[at],
                first=drafted[at]
                - max((d for i, d in enumerate(drafted) if i != at), default=-FAR),
            )
        )
    return found
