"""How sure one may be of a middle that was judged: from evidence to a probability."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from infill_engine.errors import ModelError
from infill_engine.request import EVIDENCE

FIGURES = EVIDENCE
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
        return tuple(max(-FAR, min(FAR, float(getattr(self, name)))) for name in FIGURES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A logistic regression on whether a middle is exactly right, fitted on packages that the judge
    cannot have read (train/judge_calibration.py): what each figure of the evidence counts for, and
    before any.

    `show_threshold` is the probability from which is shown what nobody asked for. As it stands, a
    middle is as likely right as the judge would say it.
    """

    weights: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 0.0)
    constant: float = 0.0
    show_threshold: float = 0.0

    def log_probability(self, evidence: Evidence) -> float:
        odds = self.constant
        odds += sum(w * x for w, x in zip(self.weights, evidence.figures, strict=True))
        return -math.log1p(math.exp(-odds))


def read_calibration(path: Path) -> Calibration:
    """Of a JSON file; the one that stands for itself where there is none. Raises ModelError."""
    if not path.exists():
        return Calibration()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        calibration = Calibration(
            weights=tuple(float(found["weights"][name]) for name in FIGURES),
            constant=float(found["constant"]),
            show_threshold=float(found["show_threshold"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"cannot read the judge's calibration {path}: {error!r}") from error
    return calibration
