"""How likely what a rule proposes is right: a logistic regression for each rule, on the edits of
packages that are not measured. What there are few of stays near a quarter, which is said of all
rules before anything is known."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.next_edit.pairs import Pair, pairs
from benchmarks.progress import counted
from infill_engine import EngineConfig, InfillRequest, load_engine
from infill_engine.weighing import weigh
from infill_ls.completion.next_edit import calibration
from infill_ls.completion.next_edit.calibration import (
    BY_JUDGEMENT,
    UNSURE,
    WEIGHED,
    confidence,
    evidence,
    weighed_evidence,
)
from infill_ls.completion.next_edit.history import EditHistories
from infill_ls.completion.next_edit.offer import RULES, site_of
from infill_ls.completion.next_edit.proposal import Proposal, Site
from infill_ls.completion.next_edit.weighed import alternatives
from infill_ls.completion.steps import at_once
from infill_ls.documents import Change, DocumentStore

CALIBRATION = Path(calibration.__file__).with_name("calibration.json")
FITTED_ON = {
    "rich": "13.7.1 13.8.1 13.9.0 13.9.4 14.0.0 14.1.0 14.2.0 14.3.0 14.3.4 15.0.0",
    "click": "8.1.3 8.1.7 8.1.8 8.2.0 8.2.1 8.3.0 8.4.0 8.5.1",
    "starlette": "0.37.0 0.41.0 0.46.0 0.50.0 0.52.1 1.0.0 1.2.0 1.4.0 1.6.0 1.8.0 1.10.0",
    "sphinx": "8.0.2 8.1.0 8.1.3 8.2.0 8.2.3 9.0.0 9.0.4",
    "scrapy": "2.11.0 2.12.0 2.13.0 2.14.0 2.15.0 2.16.0 2.17.0 2.18.0 2.19.0",
    "textual": "6.0.0 6.5.0 7.0.0 7.5.0 8.0.0 8.1.0 8.2.0 8.2.8",
    "pytest": "8.0.0 8.1.0 8.2.0 8.3.0 8.4.0 9.0.0 9.1.0 9.2.0",
    "dask": "2025.9.0 2025.10.0 2025.11.0 2026.1.0 2026.3.0 2026.6.0 2026.8.0",
}
SCRIPTS_FITTED_ON = {
    "eslint": "10.0.0 10.4.0 10.6.0 10.8.0 10.10.0 10.12.0 10.15.0",
    "webpack": "5.100.0 5.104.0 5.108.0 5.110.0 5.113.0",
    "fastify": "5.0.0 5.4.0 5.8.0 5.12.8",
}
THRESHOLDS = 0.15, 0.20, 0.22, 0.23, 0.24, 0.25, 0.28, 0.30, 0.35, 0.40
STEPS = 20
BEFORE, WEIGHT = 0.25, 4.0  # what is said of a rule before anything is known, and of how many pairs

Row = tuple[str, dict[str, float], bool]  # the pair's name, what speaks for it, and whether right


def fitted(cache: Path, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """By rule the weights of `calibration.json`."""
    several, single = pairs(cache, 10_000, say, FITTED_ON, SCRIPTS_FITTED_ON)
    say(f"{len(several)} files that differ in several places, {len(single)} in one")
    rows: dict[str, list[Row]] = defaultdict(list)
    for pair in (*several, *single):
        for rule, row in proposed(pair):
            if rule not in BY_JUDGEMENT:
                rows[rule].append(row)
    for rule, of_rule in sorted(rows.items()):
        say(f"{rule}: {len(of_rule)} proposals, {sum(right for *_, right in of_rule)} right")
    weighed = [*with_judge([*several, *single], rows, say)]
    said = (f"{len(weighed)} weighed", f"{sum(right for *_, right in weighed)} right")
    say(", ".join(said))
    curve(weighed, {pair.name for pair in several}, say)
    return {rule: regression(of_rule) for rule, of_rule in sorted(rows.items())} | {
        WEIGHED: regression(weighed)
    }


def with_judge(
    of: Sequence[Pair], rows: Mapping[str, list[Row]], say: Callable[[str], None]
) -> Iterator[Row]:
    """Of each pair what the rules find likeliest by weights of other packages, and what the judge
    says of it."""
    engine = load_engine(EngineConfig())
    engine.warm(InfillRequest(prefix="", suffix=""))  # waits for the judge
    tick, by = counted("pairs", len(of)), dict[str, dict[str, dict[str, float]]]()
    for pair in of:
        package = package_of(pair.name)
        if package not in by:
            others = {
                rule: [row for row in of_rule if package_of(row[0]) != package]
                for rule, of_rule in rows.items()
            }
            by[package] = {rule: regression(of_rule) for rule, of_rule in others.items() if of_rule}
        best = likeliest(pair, by[package])
        tick()
        if best is None or best[2] < UNSURE:
            continue
        at, proposal, likely = best
        asked = alternatives(at, proposal)
        found = at_once(weigh(engine, asked.before, (asked.new, asked.old)))
        assert found is not None, "the judge was waited for, and there is time"
        right = pair.due(proposal.first, proposal.end, [f"{line}\n" for line in proposal.lines])
        yield pair.name, weighed_evidence(likely, found[0] - found[1]), right


def likeliest(
    pair: Pair, by: Mapping[str, Mapping[str, float]]
) -> tuple[Site, Proposal, float] | None:
    """By weights of rules."""
    at = site(pair)
    found = (
        [
            (confidence(each, at, by), -index, each)
            for index, each in enumerate(each for rule in RULES for each in rule(at))
        ]
        if at
        else []
    )
    if not at or not found:
        return None
    likely, _, best = max(found, key=lambda each: each[:2])
    return at, best, likely


def package_of(name: str) -> str:
    return name.partition(" ")[0]


def curve(rows: Sequence[Row], several: set[str], say: Callable[[str], None]) -> None:
    """Right and wrong of what is shown from several thresholds on, each package by weights fitted
    on the others: with the judge, and by the rules alone."""
    shown: dict[str, list[tuple[float, bool]]] = {"judge": [], "rules": []}
    for package in {package_of(name) for name, *_ in rows}:
        weights = regression([row for row in rows if package_of(row[0]) != package])
        for name, found, right in rows:
            if package_of(name) == package and name in several:
                odds = weights["constant"] + sum(weights.get(k, 0.0) * x for k, x in found.items())
                shown["judge"].append((1 / (1 + math.exp(-odds)), right))
                shown["rules"].append((1 / (1 + math.exp(-found["odds"])), right))
    for how, each in shown.items():
        for least in THRESHOLDS:
            rights = [right for likely, right in each if likely >= least]
            right, wrong = (100 * n / len(several) for n in (sum(rights), rights.count(False)))
            say(f"{how}, from {least:.2f} on: {right:.1f} % right, {wrong:.1f} % wrong")


def site(pair: Pair) -> Site | None:
    """After the user's edit."""
    store, histories = DocumentStore(), EditHistories()
    store.open(pair.name, pair.language_id, 1, pair.old)
    document = store.change(pair.name, 2, [Change(text=pair.edited)], "utf-16", histories.saw)
    edits = histories.of(document.uri) if document else ()
    return site_of(document, edits[-1]) if document and edits else None


def proposed(pair: Pair) -> Iterator[tuple[str, Row]]:
    """By rule."""
    at = site(pair)
    for rule in RULES if at else ():
        assert at is not None, "it was looked at"
        for each in rule(at):
            right = pair.due(each.first, each.end, [f"{line}\n" for line in each.lines])
            yield each.rule, (pair.name, evidence(each, at), right)


def regression(rows: list[Row]) -> dict[str, float]:
    """Proposals of one edit say much the same, and count less the more there are."""
    names = sorted({name for _, found, _ in rows for name in found})
    x = np.array([[found.get(name, 0.0) for name in names] for _, found, _ in rows])
    y = np.array([float(right) for *_, right in rows])
    of_pair = Counter(pair for pair, *_ in rows)
    counts = np.array([1 / math.sqrt(of_pair[pair]) for pair, *_ in rows])
    # With one row more, of no evidence, that stands for what is said beforehand.
    x = np.vstack([np.column_stack([x, np.ones(len(x))]), np.eye(len(names) + 1)[-1]])
    y, counts = np.append(y, BEFORE), np.append(counts, WEIGHT)
    least = np.diag(np.append(np.ones(len(names)), 0.0))  # keeps weights small, not the constant
    weights = np.zeros(len(names) + 1)
    for _ in range(STEPS):  # Newton's
        likely = 1 / (1 + np.exp(-(x @ weights)))
        slope = x.T @ (counts * (likely - y)) + least @ weights
        bend = (x.T * (counts * likely * (1 - likely))) @ x + least
        weights -= np.linalg.solve(bend + 1e-9 * np.eye(len(bend)), slope)
    *weights, constant = weights.tolist()
    found = {name: round(w, 2) for name, w in zip(names, weights, strict=True)}
    return {name: w for name, w in found.items() if w} | {"constant": round(constant, 2)}
