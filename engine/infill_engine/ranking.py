"""Which of several middles is best: how probable each is, and what follows it."""

import math
from collections.abc import Sequence

from infill_engine.denoiser import Scored

# How many tokens the mean of those behind the hole counts for.
JOIN_WEIGHT = 6.0
# Nats for leaving a hole empty.
EMPTY = -10.0


def log_probability(scored: Scored, tokens: int, otherwise: float = -math.inf) -> float:
    """Of a middle: that the model would say it or that it is right for another reason
    (`otherwise`, such as that the same stands elsewhere), of which either is enough: p + q - pq."""
    said = scored.likelihood * tokens if tokens else EMPTY
    larger, smaller = max(said, otherwise), min(said, otherwise)
    if smaller == -math.inf:
        return min(larger, 0.0)
    return min(larger + math.log1p(math.exp(smaller - larger) * -math.expm1(min(larger, 0))), 0.0)


def ranked(scored: Sequence[Scored], probable: Sequence[float]) -> list[int]:
    """Indices of middles, best first: by how probable each is, and what follows after it.

    Choosing by the likelihood of the middle with a few suffix tokens after it is PILL's rule.
    """

    def worth(row: int) -> float:
        return probable[row] + JOIN_WEIGHT * scored[row].join

    return sorted(range(len(scored)), key=lambda row: -worth(row))
