"""From what the judge says of some middles to their order, and what speaks for each."""

import math
from collections.abc import Sequence

from infill_engine.judge.calibration import FAR, Evidence
from infill_engine.judge.judge import Judgement

# A text that stands elsewhere behind the same text is likelier than both models think: by so many
# nats where its context is long, by none where that is as short as it may be.
COPIED = 2.0


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
