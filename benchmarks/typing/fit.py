"""How probable a beginning of what a model says is: fitted on lines as they are typed.

    python -m benchmarks.typing.fit DIR --rows FILE [--sessions N] [--deadline-ms N] [--write]

At every key of sessions in packages of the folder, which should be other ones than those of the
benchmark and such as no model has read, the texts that an engine says and their probabilities are
kept in FILE, from where it goes on; in every other session with the package's other files around. A
logistic regression then says of every beginning of theirs how likely the file goes on with it
(`infill_ls.completion.heads`). The last line is JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import holdout
from benchmarks.progress import say
from benchmarks.typing.serve import OnCpuTime
from benchmarks.typing.sessions import Session, sessions
from benchmarks.typing.typist import next_key, right
from infill_engine import Engine, EngineConfig, load_engine
from infill_ls.cli.bench.report import as_line
from infill_ls.cli.files import new_file
from infill_ls.completion.context import context_at, warm_request
from infill_ls.completion.gate import place
from infill_ls.completion.heads import FIGURES, WEIGHTS, beginnings, figures
from infill_ls.completion.pipeline import InfillOptions, Trees, infill_at
from infill_ls.completion.surroundings import Place
from infill_ls.completion.trace import Trace
from infill_ls.completion.workspace.reading import WorkspaceReading
from infill_ls.documents import Document
from infill_ls.ignore import IgnorePolicy

SESSIONS, DEADLINE_MS, FOLDS = 60, 150, 5
PENALTY = 3.0  # on the square of each standardised weight
OPTIONS = InfillOptions(max_lines=6, min_confidence=1.0)  # it shows nothing, but says why


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Before it is pressed: what is `left` to type, and all that was said, with probabilities."""

    session: str
    left: str
    said: tuple[tuple[str, float], ...]


def keys(engine: Engine, session: Session, *, workspace: bool) -> Iterator[Key]:
    """In code; comments and strings are another matter."""
    text, at = session.before + session.after, len(session.before)
    document = Document(
        uri=f"file:///{session.name}", version=1, language_id=session.language_id, text=text
    )
    options = OPTIONS
    if workspace:
        options = replace(options, elsewhere=_elsewhere(session, document, at))
    left, trees = session.goal, Trees()
    engine.warm(warm_request(document, at, options))
    while left:
        trace = Trace()
        infill_at(engine, document, at, options, trees=trees, trace=trace)
        said = {look.text: look.score for look in trace.looks if look.how == "said" and look.text}
        if place(context_at(document, at)) == "code":
            yield Key(session=session.name, left=left, said=tuple(said.items()))
        engine.warm(warm_request(document, at, options))
        key = next_key(left)
        document = document.replaced(at, at, key, version=document.version + 1)
        left, at = left[len(key) :], at + len(key)


def _elsewhere(session: Session, document: Document, at: int) -> str:
    """What a server would choose of the package's other files there."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for path, text in session.others.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        reading = WorkspaceReading((str(folder),), IgnorePolicy(folders=(str(folder),)))
        for _ in reading.read():
            pass
        here = replace(document, uri=(folder / session.path).as_uri())
        place = Place(document=here, offset=at, opened=(), edited=(), asked=time.monotonic())
        return reading.choose(place).elsewhere


def collected(engine: Engine, found: Sequence[Session], rows: Path) -> list[Key]:
    """Of all sessions; those that the file has are not typed again."""
    known = _read(rows)
    done = {key.session for key in known}
    with rows.open("a") as file:
        for number, session in enumerate(found, 1):
            if session.name in done:
                continue
            fresh = list(keys(engine, session, workspace=number % 2 == 0))
            lines = (json.dumps([key.session, key.left, key.said]) for key in fresh)
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            known += fresh
            say(f"{number} of {len(found)}: {len(fresh)} keys; {session.name}")
    return known


def _read(rows: Path) -> list[Key]:
    if not rows.exists():
        return []
    found = (json.loads(line) for line in rows.read_text().splitlines())
    return [
        Key(session=session, left=left, said=tuple((text, p) for text, p in said))
        for session, left, said in found
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Of every beginning its figures, (n, FIGURES), whether it is right, and its session."""

    figures: NDArray[np.float64]
    right: NDArray[np.bool_]
    session: NDArray[np.int64]


def examples(found: Sequence[Key]) -> Examples:
    names = {name: number for number, name in enumerate(sorted({key.session for key in found}))}
    rows, good, of = list[tuple[float, ...]](), list[bool](), list[int]()
    for key in found:
        for text in beginnings(key.said):
            rows.append(figures(text, key.said))
            good.append(right(text, key.left) > 0)
            of.append(names[key.session])
    return Examples(figures=np.array(rows), right=np.array(good), session=np.array(of))


def fitted(examples: Examples) -> dict[str, float]:
    """The weight of each figure, and a constant, by Newton's method."""
    x, y = examples.figures, examples.right
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-9
    x = np.hstack([(x - mean) / scale, np.ones((len(x), 1))])
    weights, penalty = np.zeros(x.shape[1]), np.array([PENALTY] * (x.shape[1] - 1) + [0.0])
    for _ in range(30):
        chance = _sigmoid(x @ weights)
        hessian = (x * (chance * (1 - chance))[:, None]).T @ x + np.diag(penalty)
        hessian += 1e-9 * np.eye(len(weights))
        weights += np.linalg.solve(hessian, x.T @ (y - chance) - penalty * weights)
    plain = weights[:-1] / scale
    constant = float(weights[-1] - plain @ mean)
    return dict(zip(FIGURES, map(float, plain), strict=True)) | {"constant": constant}


def chances(weights: dict[str, float], figures: NDArray[np.float64]) -> NDArray[np.float64]:
    return _sigmoid(figures @ np.array([weights[name] for name in FIGURES]) + weights["constant"])


def _sigmoid(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -30, 30))))


def in_folds(examples: Examples) -> NDArray[np.float64]:
    """What each is said to be by weights that were fitted on other sessions."""
    fold = examples.session % FOLDS
    said = np.zeros(len(fold))
    for number in range(FOLDS):
        rest, here = fold != number, fold == number
        others = Examples(
            figures=examples.figures[rest],
            right=examples.right[rest],
            session=examples.session[rest],
        )
        said[here] = chances(fitted(others), examples.figures[here])
    return said


def log_loss(said: NDArray[np.float64], good: NDArray[np.bool_]) -> float:
    said = np.clip(said, 1e-6, 1 - 1e-6)
    return float(-np.mean(np.where(good, np.log(said), np.log(1 - said))))


def curve(said: NDArray[np.float64], good: NDArray[np.bool_]) -> list[list[float]]:
    """By tenths of what is said: from, how many, and how many of 100 are right."""
    tenth = np.minimum((said * 10).astype(int), 9)
    counts = [(number / 10, tenth == number) for number in range(10)]
    return [[low, int(of.sum()), 100 * float(good[of].mean())] for low, of in counts if of.any()]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.typing.fit", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="packages, as archives or folders")
    parser.add_argument("--rows", type=new_file, required=True, help="what was said, to go on from")
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--deadline-ms", type=int, default=DEADLINE_MS, help="of CPU time")
    parser.add_argument("--judge", default="auto")
    parser.add_argument("--write", action="store_true", help="as the product's own")
    options = parser.parse_args(arguments)
    found = sessions(holdout.given(options.folder), options.sessions, 0)
    with tempfile.TemporaryDirectory() as notes:
        model = load_engine(EngineConfig(judge=options.judge))
        engine = OnCpuTime(model, Path(notes) / "engine.txt", options.deadline_ms / 1e3)
        every = examples(collected(engine, found, options.rows))
    said, weights = in_folds(every), fitted(every)
    result: dict[str, Any] = {
        "sessions": len(found),
        "beginnings": len(every.right),
        "right": float(every.right.mean()),
        "log_loss": log_loss(said, every.right),
        "log_loss_of_sums": log_loss(every.figures[:, FIGURES.index("sum")], every.right),
        "curve": curve(said, every.right),
        "weights": weights,
    }
    for low, count, part in result["curve"]:
        print(f"from {low:.1f}: {count:6d} beginnings, {part:5.1f} % right")
    if options.write:
        shown = {name: round(weight, 4) for name, weight in weights.items()}
        WEIGHTS.write_text(json.dumps(shown, indent=2) + "\n")
    print(as_line(result))


if __name__ == "__main__":
    sys.exit(main())
