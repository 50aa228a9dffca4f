"""How likely what a rule proposes is right: a logistic regression for each rule, on the edits of
packages that are not measured. What there are few of stays near a quarter, which is said of all
rules before anything is known."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from benchmarks.next_edit.pairs import Pair, applied, by_release, pairs
from benchmarks.progress import counted
from infill_engine import EngineConfig, InfillRequest, load_engine
from infill_engine.budget import UNLIMITED
from infill_engine.weighing import weigh
from infill_ls.completion.next_edit import calibration
from infill_ls.completion.next_edit.calibration import (
    BY_JUDGEMENT,
    UNWEIGHED,
    WEIGHED,
    confidence,
    evidence,
    weighed_evidence,
)
from infill_ls.completion.next_edit.earlier import EarlierChanges
from infill_ls.completion.next_edit.elsewhere import Elsewhere
from infill_ls.completion.next_edit.history import Edit, EditHistories
from infill_ls.completion.next_edit.offer import (
    NextEdit,
    after_others,
    first_that_parses,
    merged,
    proposals,
    site_of,
)
from infill_ls.completion.next_edit.proposal import Proposal, Site
from infill_ls.completion.next_edit.source import Source
from infill_ls.completion.steps import at_once
from infill_ls.documents import Change, Document, DocumentStore, Splice

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
THRESHOLDS = (
    0.18, 0.20, 0.22, 0.25, 0.26, 0.27, 0.28, 0.29, 0.30,
    0.31, 0.32, 0.33, 0.34, 0.36, 0.38, 0.40, 0.45, 0.50,
)  # fmt: skip
STEPS = 20
BEFORE, WEIGHT = 0.25, 4.0  # what is said of a rule before anything is known, and of how many pairs

Row = tuple[str, dict[str, float], bool]  # the pair's name, what speaks for it, and whether right


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A proposal after the first change of a pair, and whether it is right."""

    proposal: Proposal
    site: Site
    evidence: dict[str, float]
    right: bool


def fitted(cache: Path, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """By rule the weights of `calibration.json`."""
    several, single, _ = pairs(cache, 10_000, say, FITTED_ON, SCRIPTS_FITTED_ON)
    say(f"{len(several)} files that differ in several places, {len(single)} in one")
    found = dict(candidates([*several, *single], say))
    rows: dict[str, list[Row]] = defaultdict(list)
    for name, of_pair in found.items():
        for each in of_pair:
            if each.proposal.rule not in BY_JUDGEMENT:
                rows[each.proposal.rule].append((name, each.evidence, each.right))
    for rule, of_rule in sorted(rows.items()):
        say(f"{rule}: {len(of_rule)} proposals, {sum(right for *_, right in of_rule)} right")
    names = {pair.name for pair in several}
    for what, of in (("the file's own", {True}), ("other files'", {False}), ("any", {True, False})):
        some = sum(
            any(each.right and each.site.has_edit in of for each in found[name]) for name in names
        )
        say(f"something right after {what} changes in {some} of {len(names)} files")
    of_name = {pair.name: pair for pair in (*several, *single)}
    weighed = [*with_judge(of_name, found, rows, say)]
    said = (f"{len(weighed)} weighed", f"{sum(right for *_, right in weighed)} right")
    say(", ".join(said))
    alone = [
        (name, {k: x for k, x in of.items() if k != "judge"}, right) for name, of, right in weighed
    ]
    for how, of_best in (("judge", weighed), ("rules", alone)):
        curve(how, of_best, of_best, names, say)
    of_own = {name: [x for x in of_pair if x.site.has_edit] for name, of_pair in found.items()}
    curve("a file alone, judge", weighed, [*with_judge(of_name, of_own, rows, say)], names, say)
    return {rule: regression(of_rule) for rule, of_rule in sorted(rows.items())} | {
        WEIGHED: regression(weighed),
        UNWEIGHED: regression(alone),
    }


def candidates(
    given: Sequence[Pair], say: Callable[[str], None]
) -> Iterator[tuple[str, list[Candidate]]]:
    """By the pair's name; after the other files of the same releases that come before it."""
    tick = counted("files", len(given))
    for of_releases in by_release(given).values():
        files = _Files()
        for pair in of_releases:
            document = files.opened(pair)
            yield pair.name, [*_candidates(pair, document, files.edits(document), files)]
            files.edit(pair, 2, len(pair.hunks))
            tick()


class _Files:
    """Those of a release that are open, as the server follows their edits."""

    def __init__(self) -> None:
        self._store, self._histories = DocumentStore(), EditHistories()
        self._earlier = EarlierChanges()

    def opened(self, pair: Pair) -> Document:
        """A file, with the first edit made."""
        self._store.open(pair.name, pair.language_id, 1, pair.old)
        return self.edit(pair, 1, 1)

    def edit(self, pair: Pair, first: int, last: int) -> Document:
        """Makes these edits of a file, counted from 1."""
        for number in range(first, last + 1):
            change = Change(text=applied(pair.old, pair.hunks[:number]))
            self._store.change(pair.name, number + 1, [change], "utf-16", self._saw)
        document = self._store.get(pair.name)
        assert document is not None, "it is open"
        return document

    def edits(self, document: Document) -> tuple[Edit, ...]:
        return self._histories.of(document.uri)

    def elsewhere(self, document: Document) -> Elsewhere:
        others = [
            (each, next(reversed(self.edits(each)), None))  # of the last edited ones
            for each in self._store.all()
        ]
        return self._earlier.for_document(document, others)

    def _saw(self, before: Document, splice: Splice) -> None:
        if over := self._histories.saw(before, splice):
            self._earlier.add(before, over)


def _candidates(
    pair: Pair, document: Document, edits: Sequence[Edit], files: _Files
) -> Iterator[Candidate]:
    site = site_of(Source(document), edits[-1]) if edits else None
    if site is None:
        return
    local = ((each, site) for each in proposals(site, UNLIMITED))
    for proposal, at in chain(local, after_others(site, files.elsewhere(document))):
        lines = [f"{line}\n" for line in proposal.lines]
        yield Candidate(
            proposal=proposal,
            site=at,
            evidence=evidence(proposal, at),
            right=pair.due(proposal.first, proposal.end, lines),
        )


def with_judge(
    of_name: Mapping[str, Pair],
    of: Mapping[str, Sequence[Candidate]],
    rows: Mapping[str, list[Row]],
    say: Callable[[str], None],
) -> Iterator[Row]:
    """Of each pair what the rules find likeliest by weights of other packages, and what the judge
    says of it."""
    engine = load_engine(EngineConfig())
    engine.warm(InfillRequest(prefix="", suffix=""))  # waits for the judge
    tick, by = counted("pairs", len(of)), dict[str, dict[str, dict[str, float]]]()
    for name, found in of.items():
        package = package_of(name)
        if package not in by:
            others = {
                rule: [row for row in of_rule if package_of(row[0]) != package]
                for rule, of_rule in rows.items()
            }
            by[package] = {rule: regression(of_rule) for rule, of_rule in others.items() if of_rule}
        tick()
        best = likeliest(found, by[package])
        if best is None:
            continue
        asked = best.alternatives
        nats = at_once(weigh(engine, asked.before, (asked.new, asked.old)))
        assert nats is not None, "the judge was waited for, and there is time"
        said = weighed_evidence(best.confidence, best.agreed, nats[0] - nats[1])
        text = of_name[name].edited
        right = of_name[name].right(text[: best.start] + best.text + text[best.end :])
        yield name, said, right


def likeliest(found: Sequence[Candidate], by: Mapping[str, Mapping[str, float]]) -> NextEdit | None:
    """By weights of rules, as it is offered."""
    rated = [
        (replace(each.proposal, confidence=confidence(each.proposal, each.site, by)), each.site)
        for each in found
    ]
    return first_that_parses(sorted(merged(rated), key=lambda each: -each[0].confidence))


def package_of(name: str) -> str:
    return name.partition(" ")[0]


def curve(
    how: str,
    fitted_on: Sequence[Row],
    rows: Sequence[Row],
    several: set[str],
    say: Callable[[str], None],
) -> None:
    """Right and wrong of what is shown from several thresholds on, each package by weights fitted
    on the others. Of all files, and where every package counts the same, as nearly in the
    benchmark."""
    shown: list[tuple[str, float, bool]] = []
    files = Counter(map(package_of, several))
    for package in {package_of(name) for name, *_ in rows}:
        weights = regression([row for row in fitted_on if package_of(row[0]) != package])
        for name, found, right in rows:
            if package_of(name) == package and name in several:
                odds = weights["constant"] + sum(weights.get(k, 0.0) * x for k, x in found.items())
                shown.append((package, 1 / (1 + math.exp(-odds)), right))
    for least in THRESHOLDS:
        shares = []
        for wanted in (True, False):
            of = Counter(p for p, likely, right in shown if likely >= least and right is wanted)
            by_package = [of[package] / files[package] for package in files]
            shares += [100 * sum(of.values()) / len(several), 100 * float(np.mean(by_package))]
        right, right_alike, wrong, wrong_alike = shares
        say(
            f"{how}, from {least:.2f} on: {right:.1f} % right, {wrong:.1f} % wrong; "
            f"of packages {right_alike:.1f} and {wrong_alike:.1f}"
        )


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
