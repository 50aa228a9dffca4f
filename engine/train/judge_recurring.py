"""What the judge gains from what followed the same tokens elsewhere in a file, and how to weigh it.

    PYTHONPATH=.:engine:kernels python -m train.judge_recurring FOLDER [--files 40]

FOLDER holds wheels or loose source files, of packages first released after the judge was trained.
In each file SCORED tokens are said, HOLE after HOLE of them behind a prefix as the engine reads it;
what stands before a hole and behind it is looked through (`infill_engine.judge.recurring`). Nats
per token are of folds, in which no package is both fitted and looked at. The last line is JSON.
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infill_engine.budget import UNLIMITED
from infill_engine.judge.llama import FAR
from infill_engine.judge.loading import load_llama
from infill_engine.judge.network import Llama
from infill_engine.judge.recurring import WEIGHTS, Places, Recurring, following
from infill_engine.judge.tree import Tree
from infill_engine.judge.vocabulary import END_OF_TEXT, JudgeVocabulary
from infill_ls.syntax.language import language_id_of
from train.corpus.state import say
from train.judge_calibration import texts

HOLE, SCORED = 32, 256  # tokens
AROUND = (6_000, 3_000)  # tokens of the file that are looked through
ELSEWHERE = 60_000  # and of other files
LEAST, PER_PACKAGE = 600, 4  # tokens of a file; files of a package
FOLDS, RIDGE, STEPS = 5, 1e-4, 50
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """Of n tokens that were said: the judge's log-probabilities [n], the share that each had of
    what followed elsewhere [n], what that looks like [n, F], all 0 where nothing did, and their
    package's number [n]."""

    nats: Floats
    share: Floats
    figures: Floats
    package: NDArray[np.int64]


def holes_of(ids: Sequence[int], start: int) -> Iterator[tuple[list[int], list[int], Recurring]]:
    """What stands before each hole, in it, and what is looked through."""
    before, after = AROUND
    for at in range(start, min(start + SCORED, len(ids)), HOLE):
        end = min(at + HOLE, start + SCORED)
        around = Recurring((ids[max(0, at - before) : at], ids[end : end + after]))
        yield list(ids[:at]), list(ids[at:end]), around


def looked(
    network: Llama,
    vocabulary: JudgeVocabulary,
    ids: Sequence[int],
    start: int,
    package: int,
    elsewhere: Sequence[Sequence[int]],
) -> Looked:
    """What is said from `start` on."""
    said = list(ids[start : start + SCORED])
    prefix = network.prefix(FAR)
    network.push(prefix, [END_OF_TEXT, *ids[max(0, start - FAR + 1) : start]])
    tree = Tree(network, vocabulary, prefix, SCORED, b"")
    (path,) = tree.grow([said], UNLIMITED)
    nats = tree.log_probabilities(path[:-1], said)
    share, figures = np.zeros(len(said)), np.zeros((len(said), len(WEIGHTS)))
    others = Recurring(elsewhere)
    at = 0
    for before, hole, around in holes_of(ids, start):
        places: list[tuple[Recurring, Places]] = [
            (text, text.places(before)) for text in (around, others)
        ]
        for token in hole:
            found = following(places)
            if found is not None:
                share[at], figures[at] = found.shares.get(token, 0.0), found.figures
            places = [(text, text.after(each, token)) for text, each in places]
            at += 1
    return Looked(
        nats=np.array(nats), share=share, figures=figures, package=np.full(len(said), package)
    )


def mixed(found: Looked, weights: Sequence[float]) -> Floats:
    """Log-probabilities [n] with what followed elsewhere."""
    weight = _weight(found, np.array(weights))
    return np.asarray(np.log((1 - weight) * np.exp(found.nats) + weight * found.share))


def _weight(found: Looked, weights: Floats) -> Floats:
    return np.where(found.figures.any(1), _chance(found.figures @ weights), 0.0)


def _chance(odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-odds.clip(-30, 30))))


def fitted(found: Looked) -> tuple[float, ...]:
    """The weights that make what was said likeliest: expectation, then Newton's steps on it."""
    at = np.array([-3.0, *[0.0] * (len(WEIGHTS) - 1)])
    there = found.figures.any(1)
    x, nats, share = found.figures[there], found.nats[there], found.share[there]
    for _ in range(STEPS):
        weight = _chance(x @ at)
        # How likely each token came from elsewhere.
        theirs = weight * share
        came = theirs / (theirs + (1 - weight) * np.exp(nats))
        curve = (x * (weight * (1 - weight))[:, None]).T @ x + RIDGE * len(x) * np.eye(len(at))
        at = at + np.linalg.solve(curve, x.T @ (came - weight) - RIDGE * len(x) * at)
    return tuple(at.tolist())


def of(found: Looked, wanted: NDArray[np.bool_]) -> Looked:
    return Looked(
        nats=found.nats[wanted],
        share=found.share[wanted],
        figures=found.figures[wanted],
        package=found.package[wanted],
    )


def in_folds(found: Looked) -> Floats:
    """Log-probabilities, by what was fitted on other packages."""
    said = found.nats.copy()
    for fold in range(FOLDS):
        out = found.package % FOLDS == fold
        if out.any() and not out.all():
            said[out] = mixed(of(found, out), fitted(of(found, ~out)))
    return said


def error(difference: Floats, package: NDArray[np.int64]) -> float:
    """The standard error of a mean over packages."""
    means = [difference[package == each].mean() for each in np.unique(package)]
    return float(np.std(means) / max(1, len(means) - 1) ** 0.5)


def others_of(rows: Sequence[Sequence[int]], of: Sequence[int]) -> Iterator[Sequence[int]]:
    """The other files of a package, up to ELSEWHERE tokens."""
    left = ELSEWHERE
    for ids in rows:
        if ids is not of and left > 0:
            yield ids[:left]
            left -= len(ids)


def measured(folder: Path, files: int, *, alone: bool) -> Looked:
    judge = load_llama()
    network, vocabulary = judge.network, judge.vocabulary
    by_package: dict[str, list[list[int]]] = {}
    for name, text in sorted(texts(folder), key=lambda each: blake2b(each[0].encode()).digest()):
        package = by_package.setdefault(name.partition("/")[0], [])
        if language_id_of(name) in ("python", "javascript"):
            package.append(vocabulary.encode(text))
    parts: list[Looked] = []
    numbered = enumerate(by_package.items())
    for number, (name, rows) in numbered:
        for ids in [ids for ids in rows if len(ids) >= LEAST][:PER_PACKAGE]:
            if len(parts) < files:
                start = random.Random(f"{name}{len(ids)}").randrange(LEAST // 3, len(ids) - SCORED)
                others = [] if alone else [*others_of(rows, ids)]
                parts.append(looked(network, vocabulary, ids, start, number, others))
        say(f"{name}: {len(rows)} files")
    if not parts:
        raise SystemExit(f"{folder} holds no source file of {LEAST} tokens")
    fields = ("nats", "share", "figures", "package")
    return Looked(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in fields})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.judge_recurring", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--alone", action="store_true", help="without the package's other files")
    options = parser.parse_args(arguments)
    found = measured(options.folder, options.files, alone=options.alone)
    said, shipped = in_folds(found), mixed(found, WEIGHTS)
    result = {
        "tokens": len(found.nats),
        "packages": len(np.unique(found.package)),
        "nats": -float(found.nats.mean()),
        "mixed": -float(said.mean()),
        "error of the difference": error(said - found.nats, found.package),
        "with the shipped weights": -float(shipped.mean()),
        "weights": fitted(found),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
