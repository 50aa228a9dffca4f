"""What may fill a hole, and how a judge ranks it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from infill_engine.budget import Budget
from infill_engine.denoiser import Scored
from infill_engine.judge.judge import Reading, ends_line
from infill_engine.judge.ranking import evidence, order, prior
from infill_engine.request import Draft, InfillRequest, LeftOut

# The best line is gone on from by the judge, up to so many lines. A further one is worth being
# shown where it is rather right than wrong: that speaks for it, in nats.
LINES, LINE_WORTH = 6, math.log(2)
# A judge reads so many tokens at once at most, and none where there is no time for them.
AT_ONCE = 16

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


def with_lines(
    reading: Reading,
    request: InfillRequest,
    best: list[Candidate],
    middles: Callable[[Sequence[str]], list[Row]],
    budget: Budget,
) -> list[Candidate]:
    """The best one with further lines before it, up to the last that is rather right than wrong,
    where what follows the hole follows them as well. It stays as sure as its first line is.
    `middles` makes rows of texts."""
    first, most = best[0], min(request.max_lines or LINES, LINES)
    if not may_have_lines(request, first):
        return best
    choice = [first]
    for row in middles(reading.further(first.draft.text, most - 1, budget)):
        said = row.draft
        draft = replace(first.draft, text=said.text, fills=said.fills, tokens=said.tokens)
        choice.append(replace(first, ids=row.ids, draft=draft))
    if len(choice) == 1:
        return best
    worth = [LINE_WORTH * each.draft.text.count("\n") for each in choice]
    judgements = reading.judge([each.draft.text for each in choice], worth, budget)
    at = order(judgements, worth)[0]
    return [choice[at], *best] if at else best


def unjudged(
    request: InfillRequest, best: Sequence[Candidate], tokens_left: float
) -> Iterator[LeftOut]:
    """What a judge had no time for, in which it could still read so many tokens. One that has time
    may pass over texts for another reason."""
    judged = [bool(each.draft.evidence) for each in best]
    if not all(judged) and tokens_left < AT_ONCE:
        yield "texts" if any(judged) else "judging"
    if tokens_left < 1 and may_have_lines(request, best[0]):
        yield "lines"


def may_have_lines(request: InfillRequest, best: Candidate) -> bool:
    """Whether the judge may go on with it."""
    several = request.max_lines is None or request.max_lines > 1
    line = ends_line(request.suffix) and "\n" not in best.draft.text
    return several and line and not best.full
