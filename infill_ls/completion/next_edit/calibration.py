"""How likely a proposal is right, by what speaks for it: a logistic regression for each rule.

Fitted on edits of packages that the benchmark does not measure, by `python -m
benchmarks.next_edit --fit`.
"""

import json
import math
from functools import cache
from pathlib import Path

from infill_ls.completion.next_edit.proposal import Proposal, Site

# So probable is what nobody asked for, to be shown.
SHOWN_FROM = 0.20
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
UNKNOWN = {"constant": -9.0}  # of a rule that was not fitted: it is not shown
_FITTED = Path(__file__).with_name("calibration.json")


@cache
def fitted() -> dict[str, dict[str, float]]:
    """By rule what each part of the evidence counts for, and before any ("constant")."""
    found: dict[str, dict[str, float]] = json.loads(_FITTED.read_text(encoding="utf-8"))
    return found


def evidence(proposal: Proposal, site: Site) -> dict[str, float]:
    """The rule's own, and what is to be said of any proposal."""
    distance = abs(proposal.first - site.change.end)
    return {
        **dict(proposal.evidence),
        "one": float(proposal.places == 1),
        "few": float(proposal.places <= 3),
        "many": float(proposal.places > 10),
        "close": float(distance <= NEAR),
    }


def confidence(proposal: Proposal, site: Site) -> float:
    if proposal.rule in BY_JUDGEMENT:
        return BY_JUDGEMENT[proposal.rule]
    weights = fitted().get(proposal.rule, UNKNOWN)
    odds = weights["constant"]
    odds += sum(weights.get(name, 0.0) * x for name, x in evidence(proposal, site).items())
    return 1 / (1 + math.exp(-odds))
