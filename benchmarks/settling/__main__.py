"""Self-correction and early stop, measured on the embedded model and on the Sudoku model.

    python -m benchmarks.settling [--limit N] [--plot FILE]

How often a cell that was accepted is taken back, and whether it is right in the end; steps by
difficulty, tokens a forward pass by entropy bound; what stopping early saves and changes. The
embedded model fills holes of one line cut from Python's own modules, without judge and candidates;
difficulty is the truth's length. Outside of what is shipped a run may take a step for every cell.
The last line is JSON.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.progress import say
from benchmarks.settling import Settling, settlings, together
from benchmarks.sudoku import puzzles
from benchmarks.sudoku.__main__ import CANVAS
from benchmarks.sudoku.network import CanvasNetwork, load
from benchmarks.sudoku.solving import SELF_CORRECTING, by_denoising
from infill_engine import EngineConfig, InfillError, InfillRequest
from infill_engine.arrays import seeded
from infill_engine.canvas import fill_ids
from infill_engine.denoise import DenoiseConfig, denoise
from infill_engine.early_stop import Entropy
from infill_engine.models.two_sided.loading import load_default
from infill_engine.noise import Absorbing
from infill_engine.sampler import EntropyBound
from infill_engine.tokenizer import END
from infill_ls.cli.bench.cases import ONE_LINE, python_cases
from infill_ls.cli.machine import commit

BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
# What becomes of an accepted cell whose token the model no longer holds for the likeliest.
CORRECTIONS: Mapping[str, dict[str, float | None]] = {
    "locked": {"correction": 2.0, "doubt": None},
    "replaced": {"correction": 0.9, "doubt": None},
    "renoised": {"correction": 0.9, "doubt": 0.3},
}
SPANS = ((1, 3), (4, 7), (8, 31))  # tokens of the truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What runs of one configuration gave, one entry a case: `tokens` were written in `steps`."""

    right: NDArray[np.bool_]
    steps: NDArray[np.int64]
    tokens: NDArray[np.int64]
    settling: list[Settling]
    answers: list[tuple[int, ...]]

    def figures(self, among: NDArray[np.bool_] | None = None) -> dict[str, Any]:
        among = self.right | True if among is None else among
        chosen = together(row for row, counts in zip(self.settling, among, strict=True) if counts)
        return {
            "cases": int(among.sum()),
            "right": float(self.right[among].mean()),
            "steps": float(np.median(self.steps[among])),
            "tokens_per_forward": float(self.tokens[among].sum() / self.steps[among].sum()),
            "settling": chosen.figures(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model with cases: `difficulty` names each one's, `shipped` is what it is run with."""

    run: Callable[[DenoiseConfig | None], Ran]
    difficulty: NDArray[np.str_]
    shipped: DenoiseConfig


def sudoku(limit: int) -> Subject:
    network, _ = load(CanvasNetwork, CANVAS)
    found, solutions, levels = (each[:limit] for each in puzzles.held_out_puzzles())

    def run(config: DenoiseConfig | None) -> Ran:
        solved = by_denoising(network, found, config or SELF_CORRECTING)
        digits = solved.digits.numpy()
        return Ran(
            right=(digits == solutions).all(1),
            steps=solved.steps.numpy(),
            tokens=(found == 0).sum(1),
            settling=settlings(solved.frames, found == 0, solutions),
            answers=list(map(tuple, digits.tolist())),
        )

    return Subject(run=run, difficulty=np.array(levels), shipped=SELF_CORRECTING)


def embedded(limit: int) -> Subject:
    model = load_default(EngineConfig())
    places, difficulty = [], []
    for case in python_cases(9 * limit):
        if case.kind not in ONE_LINE or len(places) == limit:
            continue
        request = InfillRequest(
            prefix=case.prefix, suffix=case.suffix, language_id="python", max_lines=1
        )
        sides = model.sides(request)
        truth = model.middle(case.reference, sides)
        lengths = model.hole_lengths(request)
        spans = [f"{low}-{high}" for low, high in SPANS if low <= len(truth) <= high]
        if not spans or len(truth) >= lengths[0]:
            continue
        canvas = model.canvas([0], lengths[:1], sides, request)
        config = model.config(canvas, request, sides)
        places.append((canvas, model.encode(sides, None), config, truth))
        difficulty += spans

    def run(config: DenoiseConfig | None) -> Ran:
        right, steps, tokens, settling, answers = [], [], [], [], []
        for canvas, memory, own, truth in places:
            length = canvas.token_ids.shape[1]
            used = own if config is None else replace(config, max_denoising_steps=length)
            frames = list(
                denoise(canvas, model, memory, used, generator=seeded(canvas.token_ids, 0))
            )
            (answer,) = fill_ids(frames[-1].token_ids, canvas, 0)
            whole = np.array([truth + [END] * (length - len(truth))])
            among = canvas.free & (np.arange(length) <= len(truth))
            right.append(answer == truth)
            steps.append(len(frames))
            tokens.append(min(len(answer) + 1, length))
            settling += settlings(frames, among, whole)
            answers.append(tuple(answer))
        return Ran(
            right=np.array(right),
            steps=np.array(steps),
            tokens=np.array(tokens),
            settling=settling,
            answers=answers,
        )

    return Subject(run=run, difficulty=np.array(difficulty), shipped=places[0][2])


def measure(subject: Subject) -> dict[str, Any]:
    shipped, base = subject.run(None), subject.shipped
    assert isinstance(base.noise, Absorbing), "what is accepted is replaced or becomes the mask"
    bounds, corrections = {}, {}
    for bound in BOUNDS:
        ran = subject.run(replace(base, sampler=EntropyBound(bound=bound)))
        bounds[f"{bound:g}"] = ran.figures()
    for name, options in CORRECTIONS.items():
        ran = subject.run(replace(base, noise=replace(base.noise, **options)))
        corrections[name] = ran.figures()
    stopped = subject.run(base)
    whole = subject.run(replace(base, early_stop=Entropy(-1.0)))
    other = np.array([one != two for one, two in zip(stopped.answers, whole.answers, strict=True)])
    return {
        "shipped": shipped.figures(),
        "by_difficulty": {
            str(name): stopped.figures(subject.difficulty == name)
            for name in dict.fromkeys(subject.difficulty.tolist())
        },
        "by_bound": bounds,
        "by_correction": corrections,
        "early_stop": {
            "steps": float(stopped.steps.mean()),
            "steps_without": float(whole.steps.mean()),
            "other_answers": int(other.sum()),
            "right": int(stopped.right.sum()),
            "right_without": int(whole.right.sum()),
        },
    }


def show(result: Mapping[str, Any]) -> None:
    for model, found in result["models"].items():
        print(f"\n{model}, commit {result['commit']}, {found['shipped']['cases']} cases")
        print(f"{'':<22}{'right, %':>10}{'steps':>8}{'tokens/forward':>16}", end="")
        print(f"{'accepted':>10}{'wrong':>7}{'mended':>8}{'back':>6}{'right':>7}{'spoiled':>9}")
        rows = {
            "as shipped": found["shipped"],
            **{f"of {name}": each for name, each in found["by_difficulty"].items()},
            **{f"bound {name}": each for name, each in found["by_bound"].items()},
            **found["by_correction"],
        }
        for name, each in rows.items():
            cells = each["settling"]
            print(
                f"{name:<22}{100 * each['right']:>10.1f}{each['steps']:>8g}"
                f"{each['tokens_per_forward']:>16.2f}{cells['accepted']:>10}{cells['wrong']:>7}"
                f"{cells['mended']:>8}{cells['taken_back']:>6}{cells['back_right']:>7}"
                f"{cells['spoiled']:>9}"
            )
        stop = found["early_stop"]
        print(
            f"stopped early after {stop['steps']:.1f} steps instead of {stop['steps_without']:.1f} "
            f"on average; {stop['other_answers']} answers differ; {stop['right']} instead of "
            f"{stop['right_without']} right"
        )
    print()


def plot(result: Mapping[str, Any], path: Path) -> None:
    """For each model: tokens a forward pass and what is right by entropy bound; steps."""
    report.needs_matplotlib().use("Agg")
    from matplotlib import pyplot

    figure, (speed, right, steps) = pyplot.subplots(1, 3, figsize=(10, 3), layout="constrained")
    at, names = 0, []
    for colour, (model, found) in enumerate(result["models"].items()):
        bounds = [float(bound) for bound in found["by_bound"]]
        for panel, key, scale in ((speed, "tokens_per_forward", 1), (right, "right", 100)):
            values = [scale * each[key] for each in found["by_bound"].values()]
            panel.plot(bounds, values, marker="o", color=f"C{colour}", label=model)
            panel.set_xscale("log")
            panel.set_xlabel("entropy bound, nats")
        for name, each in found["by_difficulty"].items():
            steps.bar(at, each["steps"], color=f"C{colour}")
            names.append(f"{name} tokens" if name[0].isdigit() else name)
            at += 1
    speed.set_ylabel("tokens a forward pass")
    right.set_ylabel("right, %")
    right.set_ylim(0, 100)
    steps.set_ylabel("steps, median")
    steps.set_xticks(range(at), names, rotation=25, ha="right", fontsize=8)
    speed.legend(fontsize=8)
    for panel in (speed, right, steps):
        panel.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.settling", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--limit", type=int, default=60, help="cases for each model")
    parser.add_argument(
        "--plot", type=report.plot_file, help="also draw it, as PNG or SVG by its ending"
    )
    options = parser.parse_args()
    if options.limit < len(SPANS):
        parser.error(f"--limit {options.limit} is too few to compare; give {len(SPANS)} or more")
    try:
        if options.plot:
            report.needs_matplotlib()
        models = {}
        for name, subject in (("embedded model", embedded), ("Sudoku model", sudoku)):
            say(name)
            models[name] = measure(subject(options.limit))
        result = {"benchmark": "settling", "commit": commit(), "models": models}
        if options.plot:
            plot(result, options.plot)
        report.conclude(result, show, [])
    except InfillError as error:
        raise SystemExit(f"benchmarks.settling: {error}") from None


if __name__ == "__main__":
    main()
