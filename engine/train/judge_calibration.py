"""How sure one may be of what the judge ranks first: fitted on packages that it cannot have read.

    PYTHONPATH=.:engine:kernels python -m train.judge_calibration FOLDER [--cases 600] [--write]

FOLDER holds wheels or loose source files, of packages first released after the judge was trained.
Holes (rest of line, line, expression) are drawn from their files with a fixed seed and filled by
the default engine without a deadline. A logistic regression of the best answer's evidence on
whether it is exactly right is fitted on all; the curve that is printed is of folds, in which no
file is both fitted and looked at. --write puts it beside the judge's weights, with the confidence
from which the surest --part are shown, and the curve into its card. The last line is JSON.
"""

import argparse
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infill_engine import Engine, EngineConfig, InfillRequest, load_engine
from infill_engine.judge.calibration import FIGURES, Calibration, Evidence
from infill_engine.judge.loading import WEIGHTS
from infill_ls.syntax.language import language_id_of
from train.corpus.archives import archive_files
from train.corpus.state import replace, say
from train.holes import EXPRESSION, KINDS, LINE, TAIL, HoleDrawer, parse
from train.judge_vocabulary import text_of_bytes
from train.spans import pieces_of

FILE, CARD = "judge_calibration.json", "JUDGE_CARD.md"
SHOWN = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
LEAST, LONGEST, PER_FILE = 1_500, 100, 8  # characters of a file and of a hole; holes of a file
RIDGE, FOLDS = 1.0, 5
TITLE = "## What is shown"
SECTION = re.compile(rf"{TITLE}\n.*?(?=\n## )", re.DOTALL)
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    file: str
    kind: str
    request: InfillRequest
    middle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Of n holes: evidence [n, F] of the best answers, whether they are right [n], their files."""

    evidence: Floats
    right: NDArray[np.bool_]
    files: tuple[str, ...]


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """The names and texts of source files under a folder and in its wheels."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".whl", ".tgz"):
            for name, data in archive_files(path):
                yield f"{path.name}/{name}", text_of_bytes(data)
        elif path.is_file():
            yield str(path.relative_to(folder)), text_of_bytes(path.read_bytes())


def holes(folder: Path, count: int) -> list[Hole]:
    """Drawn with a fixed seed, from all files in turn."""
    found: list[list[Hole]] = []
    for name, text in texts(folder):
        language = language_id_of(name)
        root = parse(text, language.removesuffix("react"), name)
        if root is None or len(text) < LEAST:
            continue
        draw = random.Random(blake2b(name.encode()).hexdigest())
        drawer = HoleDrawer(text, root, pieces_of(text), draw)
        spans = [
            (start, end, kind)
            for start, end, kind in sorted(drawer.drawn(LONGEST))
            if kind in (TAIL, LINE, EXPRESSION)
            and text[start:end].strip()
            and "\n" not in text[start:end]
        ]
        found.append(
            [
                Hole(
                    file=name,
                    kind=KINDS[kind],
                    request=InfillRequest(
                        prefix=text[:start],
                        suffix=text[end:],
                        language_id=language,
                        max_lines=1,
                    ),
                    middle=text[start:end],
                )
                for start, end, kind in draw.sample(spans, min(len(spans), PER_FILE))
            ]
        )
    random.Random(0).shuffle(found)
    in_turn = (of_file[at] for at in range(PER_FILE) for of_file in found if at < len(of_file))
    return [hole for hole, _ in zip(in_turn, range(count), strict=False)]


def answered(engine: Engine, asked: Sequence[Hole]) -> Answers:
    """Raises ValueError where nothing was judged."""
    evidence, right, files = [], [], []
    for number, hole in enumerate(asked, 1):
        *_, draft = engine.infill(hole.request)
        if draft.evidence:
            evidence.append(draft.evidence)
            right.append(draft.text.strip() == hole.middle.strip())
            files.append(hole.file)
        if number % 50 == 0:
            say(f"{number} holes, {100 * np.mean(right):.1f} % right")
    if not evidence:
        raise ValueError(f"of {len(asked)} holes none was judged: {engine.describe().judge}")
    return Answers(evidence=np.array(evidence), right=np.array(right), files=tuple(files))


def fitted(evidence: Floats, right: NDArray[np.bool_]) -> Calibration:
    """By Newton's method, with a ridge on all but the constant."""
    x = np.concatenate((evidence, np.ones((len(evidence), 1))), 1)
    ridge = np.diag([RIDGE] * evidence.shape[1] + [0.0])
    at = np.zeros(x.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-x @ at))
        slope = x.T @ (right - chance) - ridge @ at
        at += np.linalg.solve((x * (chance * (1 - chance))[:, None]).T @ x + ridge, slope)
    return Calibration(weights=tuple(at[:-1].tolist()), constant=float(at[-1]))


def chances(calibration: Calibration, evidence: Floats) -> Floats:
    rows = (Evidence(**dict(zip(FIGURES, row, strict=True))) for row in evidence.tolist())
    return np.exp([calibration.log_probability(row) for row in rows])


def in_folds(answers: Answers) -> Floats:
    """How likely each answer is right, by what was fitted on other files."""
    fold = np.array([int(blake2b(f.encode()).hexdigest(), 16) % FOLDS for f in answers.files])
    found = np.zeros(len(fold))
    for each in range(FOLDS):
        if (out := fold == each).any():
            calibration = fitted(answers.evidence[~out], answers.right[~out])
            found[out] = chances(calibration, answers.evidence[out])
    return found


def curve(chance: Floats, right: NDArray[np.bool_]) -> list[tuple[float, float, float]]:
    """Of the surest parts: the part, the confidence from which it is shown, percent right."""
    order = np.argsort(-chance, kind="stable")
    found = []
    for part in SHOWN:
        shown = order[: max(1, round(part * len(order)))]
        found.append((part, float(chance[shown[-1]]), 100 * float(right[shown].mean())))
    return found


def written(folder: Path, calibration: Calibration, rows: Sequence[tuple[float, float, float]],
            cases: int) -> None:  # fmt: skip
    """The calibration beside the weights and the curve in their card, by rename."""
    figures = dict(zip(FIGURES, calibration.weights, strict=True))
    described = {
        "weights": {name: round(weight, 4) for name, weight in figures.items()},
        "constant": round(calibration.constant, 4),
        "show_threshold": round(calibration.show_threshold, 4),
    }
    replace(folder / FILE, (json.dumps(described, indent=2) + "\n").encode())
    card = folder / CARD
    if card.is_file():
        table = "\n".join(f"| {p:.0%} | {least:.3f} | {right:.1f} % |" for p, least, right in rows)
        text = (
            f"{TITLE}\nWhile typing, what has at least a confidence of "
            f"{calibration.show_threshold:.3f} is shown. Confidence is the probability of being "
            f"right that a logistic regression gives the evidence; of {cases} holes in packages "
            "that the judge cannot have read, each by what was fitted on other files:\n\n"
            f"| shown | from confidence | of it exactly right |\n|---|---|---|\n{table}\n"
        )
        replace(card, SECTION.sub(lambda _: text, card.read_text(encoding="utf-8")).encode())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--judge", default="auto", help="a folder that holds one")
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--part", type=float, default=0.4, help="to be shown while typing")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    engine = load_engine(EngineConfig(judge=options.judge))
    answers = answered(engine, holes(options.folder, options.cases))
    chance = in_folds(answers)
    rows = curve(chance, answers.right)
    calibration = fitted(answers.evidence, answers.right)
    least = float(np.quantile(chances(calibration, answers.evidence), 1 - options.part))
    calibration = Calibration(
        weights=calibration.weights, constant=calibration.constant, show_threshold=least
    )
    for part, confidence, right in rows:
        say(f"surest {part:.0%}: from {confidence:.3f}, {right:.1f} % right")
    if options.write:
        folder = WEIGHTS if options.judge == "auto" else Path(options.judge)
        written(folder, calibration, rows, len(answers.right))
    result = {
        "cases": len(answers.right),
        "exact": round(100 * float(answers.right.mean()), 1),
        "weights": dict(zip(FIGURES, calibration.weights, strict=True)),
        "constant": calibration.constant,
        "show_threshold": least,
        "curve": rows,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
