"""How likely what a rule proposes is right: a logistic regression for each rule, on the edits of
packages that are not measured. What there are few of stays near a quarter, which is said of all
rules before anything is known."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from benchmarks.next_edit.pairs import Pair, applied, by_release, pairs
from benchmarks.progress import counted
from infill_engine import EngineConfig, InfillRequest, load_engine
from infill_engine.budget import UNLIMITED
from infill_engine.weighing import weigh
from infill_ls.cli.bench.cases import hashed
from infill_ls.completion.next_edit import calibration
from infill_ls.completion.next_edit.calibration import (
    BY_JUDGEMENT,
    DOCUMENTS,
    MADE,
    UNMADE,
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
    as_expected,
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
FITTED_ON = Path(__file__).with_name("packages.txt")
FOLDS = 10  # of packages: what is said of one's files is fitted on the others'
LEAST_FILES = 5  # of a package for the mean of packages
# Files of a package whose proposals the judge weighs, which takes 0.1 s a file: of larger ones the
# rules alone are fitted.
MOST_JUDGED = 60
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


def fitted_on() -> tuple[dict[str, str], dict[str, str]]:
    """Packages of Python and of scripts, and their releases."""
    found: dict[str, dict[str, str]] = {"pypi": {}, "npm": {}}
    for line in FITTED_ON.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            index, name, releases = line.split(maxsplit=2)
            found[index][name] = releases
    return found["pypi"], found["npm"]


def fitted(cache: Path, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """By rule the weights of `calibration.json`."""
    several, single, _ = pairs(cache, 100_000, say, *fitted_on())
    say(f"{len(several)} files that differ in several places, {len(single)} in one")
    of_name = {pair.name: pair for pair in (*several, *single)}
    sizes = Counter(map(package_of, of_name))
    found, rows = dict[str, list[Candidate]](), defaultdict[str, list[Row]](list)
    right_after = Counter[tuple[bool, ...]]()  # whether others' changes and the file's own
    for name, of_pair in candidates([*of_name.values()], say):
        for each in of_pair:
            if each.proposal.rule not in BY_JUDGEMENT:
                rows[each.proposal.rule].append((name, each.evidence, each.right))
        after = {each.site.has_edit for each in of_pair if each.right}
        right_after[False in after, True in after] += len(of_name[name].hunks) > 1
        if sizes[package_of(name)] <= MOST_JUDGED:
            found[name] = of_pair
    for rule, of_rule in sorted(rows.items()):
        say(f"{rule}: {len(of_rule)} proposals, {sum(right for *_, right in of_rule)} right")
    for (others, own), count in right_after.items():
        say(f"{count} files, something right after others' changes {others}, after its own {own}")
    names = {pair.name for pair in several} & found.keys()
    weighed = [*with_judge(of_name, found, rows, say)]
    said = (f"{len(weighed)} weighed", f"{sum(right for *_, right in weighed)} right")
    say(", ".join(said))
    alone = [
        (name, {k: x for k, x in of.items() if k != "judge"}, right) for name, of, right in weighed
    ]
    for how, of_best in (("judge", weighed), ("rules", alone)):
        curve(how, of_best, of_best, names, say)
    of_own = {
        name: [without_record(x) for x in of_pair if x.site.has_edit]
        for name, of_pair in found.items()
    }
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
            found = [*_candidates(pair, document, files.edits(document), files)]
            files.expect(document, found)
            yield pair.name, found
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

    def expect(self, document: Document, found: Iterable[Candidate]) -> None:
        """What rules proposed for it."""
        expected = (as_expected(each.proposal, each.site) for each in found)
        self._earlier.expect(document.uri, expected)

    def _saw(self, before: Document, splice: Splice) -> None:
        if over := self._histories.saw(before, splice):
            self._earlier.add(before, over)


def _candidates(
    pair: Pair, document: Document, edits: Sequence[Edit], files: _Files
) -> Iterator[Candidate]:
    site = site_of(Source(document), edits[-1]) if edits else None
    if site is None:
        return
    elsewhere = files.elsewhere(document)
    local = ((each, site) for each in proposals(site, UNLIMITED))
    for proposal, at in chain(local, after_others(site, elsewhere)):
        lines = [f"{line}\n" for line in proposal.lines]
        yield Candidate(
            proposal=proposal,
            site=at,
            evidence=evidence(proposal, at, elsewhere.record),
            right=pair.due(proposal.first, proposal.end, lines),
        )


def without_record(of: Candidate) -> Candidate:
    """As where no other file was changed."""
    none = dict.fromkeys((MADE, UNMADE, DOCUMENTS), 0.0)
    return replace(of, evidence=of.evidence | none)


def with_judge(
    of_name: Mapping[str, Pair],
    of: Mapping[str, Sequence[Candidate]],
    rows: Mapping[str, list[Row]],
    say: Callable[[str], None],
) -> Iterator[Row]:
    """Of each pair what the rules find likeliest by weights of other folds, and what the judge says
    of it."""
    engine = load_engine(EngineConfig())
    engine.warm(InfillRequest(prefix="", suffix=""))  # waits for the judge
    tick, by = counted("pairs", len(of)), dict[int, dict[str, dict[str, float]]]()
    for name, found in of.items():
        fold = fold_of(name)
        if fold not in by:
            others = {
                rule: [row for row in of_rule if fold_of(row[0]) != fold]
                for rule, of_rule in rows.items()
            }
            by[fold] = {rule: regression(of_rule) for rule, of_rule in others.items() if of_rule}
        tick()
        best = likeliest(found, by[fold])
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
        (
            replace(each.proposal, confidence=confidence(each.proposal.rule, each.evidence, by)),
            each.site,
        )
        for each in found
    ]
    return first_that_parses(sorted(merged(rated), key=lambda each: -each[0].confidence))


def package_of(name: str) -> str:
    return name.partition(" ")[0]


def fold_of(name: str) -> int:
    """All files of a package are in one."""
    return hashed("fold", package_of(name)) % FOLDS


def curve(
    how: str,
    fitted_rows: Sequence[Row],
    rows: Sequence[Row],
    several: set[str],
    say: Callable[[str], None],
) -> None:
    """Right and wrong of what is shown from several thresholds on, each package by weights fitted
    on other folds. Of all files, and where every package of some counts the same, as nearly in the
    benchmark."""
    shown: list[tuple[str, float, bool]] = []
    files = Counter(map(package_of, several))
    some = [package for package, count in files.items() if count >= LEAST_FILES]
    for fold in range(FOLDS):
        weights = regression([row for row in fitted_rows if fold_of(row[0]) != fold])
        for name, found, right in rows:
            if fold_of(name) == fold and name in several:
                odds = weights["constant"] + sum(weights.get(k, 0.0) * x for k, x in found.items())
                shown.append((package_of(name), 1 / (1 + math.exp(-odds)), right))
    for least in THRESHOLDS:
        shares = []
        for wanted in (True, False):
            of = Counter(p for p, likely, right in shown if likely >= least and right is wanted)
            by_package = [of[package] / files[package] for package in some]
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
