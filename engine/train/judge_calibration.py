"""How sure one may be of what the judge ranks first: fitted on packages that it cannot have read.

    PYTHONPATH=.:engine:kernels python -m train.judge_calibration FOLDER [--cases 600] [--write]

FOLDER holds wheels or loose source files, of packages first released after the judge was trained.
Holes are drawn from their files with a fixed seed and filled by the default engine without a
deadline. Half of them are made in finished files (rest of line, line, expression), and an answer is
right that is what was there. The other half are as somebody leaves them who writes: the line ends
at any character of it, and up to eight lines after it are missing too; right is an answer with
which what was there goes on. A logistic regression of the best answer's evidence on whether it is
right is fitted on all; the curves that are printed are of folds, in which no file is both fitted
and looked at. --write puts it beside the judge's weights, with the confidence from which the surest
--part are shown, and the curves into its card. The last line is JSON.
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
# Of written lines: which part begins at the line's indentation, which has no other line missing
# after it, and how many lines are.
AT_START, NONE_MISSING, MOST_MISSING = 0.2, 0.4, 8
RIDGE, FOLDS = 1.0, 5
TITLE = "## Confidence"
SECTION = re.compile(rf"{TITLE}\n.*?(?=\n## )", re.DOTALL)
Floats = NDArray[np.float64]
Curve = list[tuple[float, float, float]]
Curves = tuple[Curve, Curve]  # of holes in finished files, and of written lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """`middle` was there, or began what was, where it is `written` and not in a finished file."""

    file: str
    kind: str
    request: InfillRequest
    middle: str
    written: bool = False

    def right(self, text: str) -> bool:
        text = text.strip()
        whole = self.middle.strip()
        return bool(text) and (whole.startswith(text) if self.written else whole == text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Of n holes: evidence [n, F] of the best answers, whether they are right [n], whether they are
    of written lines [n], their files."""

    evidence: Floats
    right: NDArray[np.bool_]
    written: NDArray[np.bool_]
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
        finished = [
            Hole(
                file=name,
                kind=KINDS[kind],
                request=_request(text[:start], text[end:], language),
                middle=text[start:end],
            )
            for start, end, kind in draw.sample(spans, min(len(spans), PER_FILE))
        ]
        pairs = zip(finished, _written(name, text, language, draw), strict=False)
        found.append([hole for pair in pairs for hole in pair])
    random.Random(0).shuffle(found)
    in_turn = (of_file[at] for at in range(2 * PER_FILE) for of_file in found if at < len(of_file))
    return [hole for hole, _ in zip(in_turn, range(count), strict=False)]


def _written(name: str, text: str, language: str, draw: random.Random) -> Iterator[Hole]:
    """What somebody still has to write of a line, some of the lines after it missing as well."""
    lines = text.splitlines(keepends=True)
    numbers = [at for at, line in enumerate(lines) if line.strip() and len(line) <= LONGEST]
    for number in draw.sample(numbers, min(len(numbers), PER_FILE)):
        line = lines[number].rstrip("\r\n")
        indentation = len(line) - len(line.lstrip())
        column = indentation if draw.random() < AT_START else draw.randrange(indentation, len(line))
        missing = 0 if draw.random() < NONE_MISSING else draw.randrange(1, MOST_MISSING + 1)
        start = sum(map(len, lines[:number])) + column
        after = "".join(lines[number + 1 + missing :])
        yield Hole(
            file=name,
            kind="written",
            request=_request(text[:start], "\n" + after, language),
            middle=line[column:],
            written=True,
        )


def _request(prefix: str, suffix: str, language: str) -> InfillRequest:
    return InfillRequest(prefix=prefix, suffix=suffix, language_id=language, max_lines=1)


def answered(engine: Engine, asked: Sequence[Hole]) -> Answers:
    """Raises ValueError where nothing was judged."""
    evidence, right, written, files = [], [], [], []
    for number, hole in enumerate(asked, 1):
        *_, draft = engine.infill(hole.request)
        if draft.evidence:
            evidence.append(draft.evidence)
            right.append(hole.right(draft.text))
            written.append(hole.written)
            files.append(hole.file)
        if number % 50 == 0:
            say(f"{number} holes, {100 * np.mean(right):.1f} % right")
    if not evidence:
        raise ValueError(f"of {len(asked)} holes none was judged: {engine.describe().judge}")
    return Answers(
        evidence=np.array(evidence),
        right=np.array(right),
        written=np.array(written),
        files=tuple(files),
    )


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


def curve(chance: Floats, right: NDArray[np.bool_]) -> Curve:
    """Of the surest parts: the part, the confidence from which it is shown, percent right."""
    order = np.argsort(-chance, kind="stable")
    found = []
    for part in SHOWN:
        shown = order[: max(1, round(part * len(order)))]
        found.append((part, float(chance[shown[-1]]), 100 * float(right[shown].mean())))
    return found


def written(folder: Path, calibration: Calibration, curves: Curves, cases: int) -> None:
    """The calibration beside the weights and the curves in their card, by rename."""
    figures = dict(zip(FIGURES, calibration.weights, strict=True))
    described = {
        "weights": {name: round(weight, 4) for name, weight in figures.items()},
        "constant": round(calibration.constant, 4),
        "show_threshold": round(calibration.show_threshold, 4),
    }
    replace(folder / FILE, (json.dumps(described, indent=2) + "\n").encode())
    card = folder / CARD
    if card.is_file():
        finished, of_written = curves
        table = "\n".join(
            f"| {part:.0%} | {least:.3f} | {right:.1f} % | {lowest:.3f} | {begun:.1f} % |"
            for (part, least, right), (_, lowest, begun) in zip(finished, of_written, strict=True)
        )
        text = (
            f"{TITLE}\nConfidence is the probability of being right that a logistic regression "
            f"gives the evidence; of {cases} holes in packages "
            "that the judge cannot have read, each by what was fitted on other files. Half of them "
            "are made in finished files, half are lines that are being written, others missing "
            "after them:\n\n"
            "| surest | from confidence | of it exactly right | written: from confidence | "
            f"what was there begins with it |\n|---|---|---|---|---|\n{table}\n"
        )
        replace(card, SECTION.sub(lambda _: text, card.read_text(encoding="utf-8")).encode())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.judge_calibration", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--judge", default="auto", help="a folder that holds one")
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--part", type=float, default=0.4, help="to be shown as whole texts")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    engine = load_engine(EngineConfig(judge=options.judge))
    answers = answered(engine, holes(options.folder, options.cases))
    kinds = {"finished": ~answers.written, "written": answers.written}
    if not all(of.sum() >= FOLDS for of in kinds.values()):
        found = " and ".join(f"{of.sum()} {name}" for name, of in kinds.items())
        raise SystemExit(f"{options.folder} gave {found} holes; give more --cases or more files")
    chance = in_folds(answers)
    curves = {name: curve(chance[of], answers.right[of]) for name, of in kinds.items()}
    calibration = fitted(answers.evidence, answers.right)
    said = chances(calibration, answers.evidence[answers.written])
    least = float(np.quantile(said, 1 - options.part))
    calibration = Calibration(
        weights=calibration.weights, constant=calibration.constant, show_threshold=least
    )
    for name, rows in curves.items():
        for part, confidence, right in rows:
            say(f"{name}, surest {part:.0%}: from {confidence:.3f}, {right:.1f} % right")
    if options.write:
        folder = WEIGHTS if options.judge == "auto" else Path(options.judge)
        both = curves["finished"], curves["written"]
        written(folder, calibration, both, len(answers.right))
    result = {
        "cases": len(answers.right),
        "right": {
            name: round(100 * float(answers.right[of].mean()), 1) for name, of in kinds.items()
        },
        "weights": dict(zip(FIGURES, calibration.weights, strict=True)),
        "constant": calibration.constant,
        "show_threshold": least,
        "curves": curves,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
