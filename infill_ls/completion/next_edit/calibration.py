"""How likely a proposal is right, by what speaks for it: a logistic regression for each rule.

Fitted on edits of packages that the benchmark does not measure, by `python -m
benchmarks.next_edit --fit`.
"""

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from infill_ls.completion.next_edit.proposal import Proposal, Site
from infill_ls.completion.next_edit.record import NO_RECORD, Record

# So probable is what nobody asked for, to be shown. Of a document that has no edit yet it is not
# even known that there is something to be done, and most that somebody opens have nothing. What the
# rules find less likely than UNSURE is left out at once.
SHOWN_FROM, SHOWN_FROM_OPENED = 0.22, 0.5
UNSURE = 0.05
CERTAIN = 1 - 1e-6  # that several rules agree may come to 1 by rounding
NEAR = 21  # lines
# What is seldom or never due after a file's first change, by which the others are fitted: imports
# stand at its head, and calls of a function that changed are few.
BY_JUDGEMENT = {
    "import": 0.5,
    "unused": 0.5,
    "export": 0.5,
    "keyword": 0.5,
    "argument_gone": 0.5,
    "passed_on": 0.4,
}
MADE, UNMADE, DOCUMENTS = "made", "unmade", "documents edited"  # of the record
UNKNOWN = {"constant": -9.0}  # of a rule that was not fitted: it is not shown
ELSEWHERE = "_elsewhere"  # behind the name of a rule that goes by changes of other documents
# What the rules and the judge count for together, and the rules alone.
WEIGHED, UNWEIGHED, _NATS = "weighed", "unweighed", 4.0
_FITTED = Path(__file__).with_name("calibration.json")


@cache
def fitted() -> dict[str, dict[str, float]]:
    """By rule what each part of the evidence counts for, and before any ("constant"); and under
    WEIGHED."""
    found: dict[str, dict[str, float]] = json.loads(_FITTED.read_text(encoding="utf-8"))
    return found


def evidence(proposal: Proposal, site: Site, record: Record = NO_RECORD) -> dict[str, float]:
    """The rule's own, and what is to be said of any proposal."""
    made, unmade = (of.get(proposal.rule, 0) for of in (record.made, record.unmade))
    distance = abs(proposal.first - site.change.end)
    return {
        **dict(proposal.evidence),
        "one": float(proposal.places == 1),
        "few": float(proposal.places <= 3),
        "many": float(proposal.places > 10),
        "close": float(distance <= NEAR),
        MADE: math.log1p(made),
        UNMADE: math.log1p(unmade),
        DOCUMENTS: math.log1p(record.documents),
    }


def confidence(
    rule: str, found: Mapping[str, float], by: Mapping[str, Mapping[str, float]] | None = None
) -> float:
    """Of a proposal with such evidence, by the weights of rules that are shipped, or by others."""
    if rule in BY_JUDGEMENT:
        return BY_JUDGEMENT[rule]
    return _likely((fitted() if by is None else by).get(rule, UNKNOWN), found)


def weighed_evidence(confidence: float, agreed: bool, nats: float | None) -> dict[str, float]:
    """Of a proposal that a judge finds so many nats likelier than what is there, or None asked."""
    confidence = min(confidence, CERTAIN)
    odds = math.log(confidence / (1 - confidence))
    judge = {} if nats is None else {"judge": math.tanh(nats / _NATS)}
    return {"odds": odds, "agreed": float(agreed)} | judge


def weighed(confidence: float, agreed: bool, nats: float | None) -> float:
    """How likely it is with what the judge says, where that was asked."""
    by = fitted()[WEIGHED if nats is not None else UNWEIGHED]
    return _likely(by, weighed_evidence(confidence, agreed, nats))


def _likely(weights: Mapping[str, float], found: Mapping[str, float]) -> float:
    odds = weights["constant"] + sum(weights.get(name, 0.0) * x for name, x in found.items())
    return 1 / (1 + math.exp(-odds))
