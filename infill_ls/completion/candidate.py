"""What may be shown, and how sure the engine is of it."""

import math
from dataclasses import dataclass

from infill_engine.request import Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What may be shown. `score` is the engine's confidence, from 0 to 1, and `least` the one from
    which it is shown to somebody who did not ask.

    `parses`: the file with the text in it has no syntax error that it had not without; None where
    the language has no grammar.
    """

    text: str
    score: float
    parses: bool | None
    draft: Draft
    least: float = 0.0


def confidence(draft: Draft) -> float:
    """How probable the text is; what an engine tells instead, the mean probability of a token;
    1 where it tells nothing.

    On held-out holes it sorts right from wrong better than means of tokens do, and is about how
    often the text is right (engine/train/LOG.md).
    """
    if not math.isnan(draft.log_probability):
        return min(1.0, math.exp(draft.log_probability))
    if not math.isnan(draft.likelihood):
        return min(1.0, math.exp(draft.likelihood))
    if not math.isnan(draft.mean_entropy):
        return math.exp(-max(draft.mean_entropy, 0.0))
    return 1.0
