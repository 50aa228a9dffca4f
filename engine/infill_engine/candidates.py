"""What may fill a hole, and how a judge ranks it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from infill_engine.budget import Budget
from infill_engine.denoiser import Scored
from infill_engine.judge.judge import Reading
from infill_engine.judge.ranking import evidence, order, prior
from infill_engine.request import Draft

# Of whole middles, the logarithm of how likely each is whatever a model says.
Proposals = Mapping[tuple[int, ...], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the next block of a hole might be; `full` says that more may follow it."""

    ids: list[int]
    full: bool
    draft: Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Row):
    """The same, read by the model."""

    scored: Scored
    log_probability: float


def as_judged(
    reading: Reading, candidates: Sequence[Candidate], proposals: Proposals, budget: Budget
) -> list[Candidate]:
    """As the judge ranks them, and as probable as they are now that they were judged."""
    priors = [prior(proposals.get(tuple(each.ids), -math.inf)) for each in candidates]
    judgements = reading.judge([each.draft.text for each in candidates], priors, budget)
    found = evidence(judgements, priors, [each.log_probability for each in candidates])
    best: list[Candidate] = []
    for at in order(judgements, priors):
        candidate, spoken = candidates[at], found[at]
        if spoken is not None:
            probable = reading.calibration.log_probability(spoken)
            draft = replace(candidate.draft, log_probability=probable, evidence=spoken.figures)
            candidate = replace(candidate, draft=draft)
        best.append(candidate)
    return best
