"""How likely what a rule proposes is right: a logistic regression for each rule, on the edits of
packages that are not measured. What there are few of stays near a quarter, which is said of all
rules before anything is known."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.next_edit.pairs import Pair, pairs
from infill_ls.completion.next_edit import calibration
from infill_ls.completion.next_edit.calibration import BY_JUDGEMENT, evidence
from infill_ls.completion.next_edit.history import EditHistories
from infill_ls.completion.next_edit.offer import RULES, site_of
from infill_ls.completion.next_edit.proposal import Site
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
    return {rule: regression(of_rule) for rule, of_rule in sorted(rows.items())}


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
