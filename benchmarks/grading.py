"""What an answer is worth, and what many are: the figures of every table, and when one system is
better than another.

Grades by its own means and by those of `infill_ls.cli.bench`, never by the server's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.holdout import Task
from infill_ls.cli.bench import scores
from infill_ls.cli.bench.quality import Outcome
from infill_ls.cli.bench.scores import mean, percentile

DOUBLES = "`'\";,"  # closers are for `repeats_suffix`, which knows what was opened
SHOWN = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7)
RESAMPLES = 2_000
TOKENS = ((1, 9), (10, 29), (30, 10**6))  # of the reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """What a system shows, "" where nothing. `sure`, from 0 to 1, is what the server's threshold
    asks, the likelihood of the answer; `joined` counts that of the suffix's head behind it too.

    Milliseconds: `ms` from the request to the answer, nothing known before; `encode_ms` of it to
    read what stands around the hole, which an editor's user does not wait for.
    """

    text: str
    ms: float
    encode_ms: float = 0.0
    steps: int = 0
    tokens: int = 0
    sure: float = math.nan
    joined: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Graded:
    """An answer beside what stood there. `passed` is None where nothing can be run."""

    task: Task
    answer: Suggestion
    reference_tokens: int
    passed: bool | None = None

    @cached_property
    def outcome(self) -> Outcome:
        return Outcome(case=self.task.case, answer=self.answer.text)

    @property
    def shown(self) -> bool:
        return bool(self.answer.text.strip())

    @cached_property
    def exact(self) -> bool:
        return self.outcome.exact

    @property
    def folded(self) -> bool:
        """Exact but for white space."""
        return self.answer.text.split() == self.task.case.reference.split()

    @cached_property
    def similarity(self) -> float:
        return self.outcome.similarity

    @cached_property
    def valid(self) -> bool:
        """Whether the file has no more syntax errors than with what stood there."""
        return self.exact or not self.outcome.breaks

    @cached_property
    def joins(self) -> bool:
        """Whether it says neither what follows nor what stands before."""
        case, text = self.task.case, self.answer.text
        same = text == case.reference
        return same or not (self.outcome.repeats_suffix or repeats(case.prefix, text, case.suffix))

    @property
    def length(self) -> float:
        """In lengths of the reference."""
        return len(self.answer.text.strip()) / max(len(self.task.case.reference.strip()), 1)


def repeats(prefix: str, text: str, suffix: str) -> bool:
    """Whether a text begins with the prefix's end, says its last whole line again, or ends with
    the quote or separator that follows at once."""
    head, last = text.lstrip(), text.rstrip()[-1:]
    for length in range(min(len(head), len(prefix)), scores.OVERLAP - 1, -1):
        if prefix.endswith(head[:length]):
            return True
    above = next((line.strip() for line in reversed(prefix.split("\n")[:-1]) if line.strip()), "")
    alone = not prefix.rpartition("\n")[2].strip()
    first = head.partition("\n")[0].strip()
    if alone and first == above and any(c.isalnum() for c in first):
        return True
    return bool(last) and last in DOUBLES and suffix.startswith(last)


def program(task: Task, answer: Suggestion) -> str:
    """What to run for an answer; "" where there is nothing to run, or where it cannot parse."""
    whole = task.with_answer(answer.text)
    if not task.check:
        return ""
    try:
        compile(whole, "answer.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return ""
    return whole + task.check


def graded(
    task: Task, answer: Suggestion, reference_tokens: int, verdicts: Mapping[str, bool]
) -> Graded:
    """`verdicts` says of programs whether they passed."""
    passed = verdicts.get(program(task, answer), False) if task.check else None
    result = Graded(task=task, answer=answer, reference_tokens=reference_tokens, passed=passed)
    if result.shown:
        _ = result.valid  # now, while the syntax of the whole file is known from the last answer
    return result


def summary(group: Sequence[Graded]) -> dict[str, Any]:
    """Shares from 0 to 1 of all cases; `of_shown` of those shown."""
    shown = [each for each in group if each.shown]
    ran = [each.passed for each in group if each.passed is not None]
    times = [each.answer.ms for each in group]
    warm = [each.answer.ms - each.answer.encode_ms for each in group]
    steps = sum(each.answer.steps for each in group)
    return {
        "cases": len(group),
        "units": len({each.task.unit for each in group}),
        "exact": mean([each.exact for each in group]),
        "folded": mean([each.folded for each in group]),
        "similarity": mean([each.similarity for each in group]),
        "passed": mean([float(each) for each in ran]) if ran else math.nan,
        "shown": len(shown) / max(len(group), 1),
        "of_shown": {
            "exact": _share([each.exact for each in shown]),
            "valid": _share([each.valid for each in shown]),
            "joins": _share([each.joins for each in shown]),
            "length": percentile([each.length for each in shown], 0.5),
            "over_2x": _share([each.length > 2 for each in shown]),
        },
        "new_errors": sum(each.outcome.adds_error for each in shown if not each.valid),
        "suffix_repetitions": sum(each.outcome.repeats_suffix for each in shown),
        "ms": {"p50": percentile(times, 0.5), "p95": percentile(times, 0.95)},
        "warm_ms": {"p50": percentile(warm, 0.5), "p95": percentile(warm, 0.95)},
        "steps": mean([float(each.answer.steps) for each in group]),
        "tokens_per_forward": sum(e.answer.tokens for e in group) / steps if steps else math.nan,
    }


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else math.nan


def by_kind(group: Sequence[Graded]) -> dict[tuple[str, str], list[Graded]]:
    """By group and kind, in the order of the tasks."""
    kinds: dict[tuple[str, str], list[Graded]] = {}
    for each in group:
        kinds.setdefault((each.task.group, each.task.kind), []).append(each)
    return kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Better:
    """By how much more often the first of two systems is right, from -1 to 1, with the 95 %
    interval, and the share of resamples in which it is not ahead."""

    difference: float
    low: float
    high: float
    p: float


def better(first: Sequence[Graded], second: Sequence[Graded]) -> Better:
    """Paired bootstrap over units of the difference in exact match; both of the same tasks."""
    units: dict[str, list[int]] = {}
    for a, b in zip(first, second, strict=True):
        assert a.task is b.task, "the systems were asked the same"
        units.setdefault(a.task.unit, []).append(a.exact - b.exact)
    gains = np.array([sum(each) for each in units.values()], np.float64)
    sizes = np.array([len(each) for each in units.values()], np.float64)
    return resampled(gains, sizes)


def resampled(gains: NDArray[np.float64], sizes: NDArray[np.float64]) -> Better:
    """Bootstrap of a ratio over units: of each what was gained, and out of how much."""
    draws = np.random.default_rng(0).integers(len(gains), size=(RESAMPLES, len(gains)))
    means: NDArray[np.float64] = gains[draws].sum(1) / sizes[draws].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Better(
        difference=float(gains.sum() / sizes.sum()),
        low=float(low),
        high=float(high),
        p=float((means <= 0).mean()),
    )


def curve(group: Sequence[Graded], figure: str) -> list[dict[str, float]]:
    """How exact the surest answers are, by the share of all cases that is shown, with the
    threshold that shows so many. `figure` is "sure" or "joined". The last point is all that the
    system has to show."""
    values = [float(getattr(each.answer, figure)) for each in group]
    told = [at for at, each in enumerate(group) if each.shown and not math.isnan(values[at])]
    ranked = sorted(told, key=lambda at: -values[at])
    points = []
    for share in (*SHOWN, len(ranked) / max(len(group), 1)):
        shown = ranked[: round(share * len(group))]
        if shown and share * len(group) <= len(ranked):
            exact = _share([group[at].exact for at in shown])
            points.append({"share": share, "exact": exact, "threshold": values[shown[-1]]})
    return points


def faults(group: Sequence[Graded]) -> list[dict[str, str]]:
    """What should never have been shown, so that somebody can look."""
    return [
        {"case": each.task.case.name, "answer": each.answer.text, "fault": fault}
        for each in group
        for fault, at_fault in (
            ("a new syntax error", not each.valid and each.outcome.adds_error),
            ("repeats the suffix", each.outcome.repeats_suffix),
        )
        if each.shown and at_fault
    ]


def by_length(group: Sequence[Graded]) -> dict[str, dict[str, float]]:
    """By how many tokens the reference has: exactness, and what the answers took."""
    table = {}
    for low, high in TOKENS:
        part = [each for each in group if low <= each.reference_tokens <= high]
        if part:
            warm = [each.answer.ms - each.answer.encode_ms for each in part]
            table[f"{low}-{high}" if high < 10**6 else f"{low}+"] = {
                "cases": len(part),
                "exact": mean([each.exact for each in part]),
                "warm_ms_p50": percentile(warm, 0.5),
            }
    return table


def summaries(systems: Mapping[str, Sequence[Graded]]) -> dict[str, dict[str, Any]]:
    """By "group kind" and system."""
    table: dict[str, dict[str, Any]] = {}
    for name, group in systems.items():
        for (of, kind), part in by_kind(group).items():
            table.setdefault(f"{of} {kind}", {})[name] = summary(part)
    return table
