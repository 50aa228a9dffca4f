"""How many Sudokus a small canvas model solves through the engine's loop, and in how many steps.

    python -m benchmarks.sudoku [--limit N]
    python -m benchmarks.sudoku --watch [--puzzle 81-DIGITS-OR-DOTS] [--picture FILE]

300 puzzles with one solution each, 100 of each of three levels (`puzzles.py`), no grid of which was
trained on under any symmetry. The same network is run untrained, with accepted cells locked, with
self-correction, and with several canvases of a puzzle as one batch, of which the first that breaks
no rule is taken; beside it an autoregressive network of its size. A run stops when what it would
give out breaks no rule of Sudoku. The last line is JSON.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import report
from benchmarks.progress import say
from benchmarks.report import Goal
from benchmarks.settling import settlings, together
from benchmarks.sudoku import drawing, puzzles
from benchmarks.sudoku.network import AutoregressiveNetwork, CanvasNetwork, load
from benchmarks.sudoku.puzzles import LEVELS, Grid
from benchmarks.sudoku.solving import (
    BOUNDS,
    LOCKED,
    SELF_CORRECTING,
    Solved,
    by_denoising,
    by_writing,
    is_solved,
    side_by_side,
    untrained,
)
from infill_engine import InfillError, RequestError
from infill_ls.cli.files import new_file
from infill_ls.cli.machine import commit, counted
from infill_ls.cli.view import Player, console_of, is_live

WEIGHTS = Path(__file__).parent
CANVAS, AUTOREGRESSIVE = WEIGHTS / "canvas.safetensors", WEIGHTS / "autoregressive.safetensors"
FEW = 12  # steps
UNTRAINED = 12  # puzzles
WATCHED = 53  # a puzzle in which a wrong cell is taken back
PACE = 0.6  # seconds a step is to be seen


def measure(limit: int) -> dict[str, Any]:
    found, solutions, levels = puzzles.held_out_puzzles()
    found, solutions, levels = found[:limit], solutions[:limit], levels[:limit]
    network, facts = load(CanvasNetwork, CANVAS)
    # What is untrained takes all steps, and some puzzles show that.
    systems = {"untrained": lambda: by_denoising(untrained(network), found[:UNTRAINED])}
    training = {"canvas": facts}
    if AUTOREGRESSIVE.exists():
        written, training["autoregressive"] = load(AutoregressiveNetwork, AUTOREGRESSIVE)
        systems["autoregressive"] = lambda: by_writing(written, found)
    systems["canvas, accepted cells locked"] = lambda: by_denoising(network, found, LOCKED)
    systems["canvas, self-correcting"] = lambda: by_denoising(network, found, SELF_CORRECTING)
    systems[f"{len(BOUNDS)} canvases side by side"] = lambda: side_by_side(network, found)
    results = {}
    for name, run in systems.items():
        say(name)
        results[name] = figures_of(run(), found, solutions, np.array(levels))
    ours = results["canvas, self-correcting"]["all"]
    return {
        "benchmark": "sudoku",
        "commit": commit(),
        "cases": len(found),
        "solved": ours["solved"],
        "steps": ours["steps"],
        "givens": float((found > 0).sum(1).mean()),
        "parameters": sum(each.numel() for each in network.parameters()),
        "training": training,
        "systems": results,
    }


def figures_of(run: Solved, found: Grid, solutions: Grid, levels: Any) -> dict[str, Any]:
    """By level, and of all: shares solved, steps, and what became of accepted cells."""
    digits, steps = run.digits.numpy(), run.steps.numpy()
    right = (digits == solutions[: len(digits)]).all(1)
    found, solutions, levels = (each[: len(right)] for each in (found, solutions, levels))
    rows = settlings(run.frames, found == 0, solutions) if run.frames else []
    by_level = {level: levels == level for level in LEVELS} | {"all": levels != ""}
    return {
        level: {
            "cases": int(among.sum()),
            "solved": float(right[among].mean()),
            "solved_in_few": float((right & (steps <= FEW))[among].mean()),
            "steps": float(np.median(steps[among])),
            "steps_p95": float(np.percentile(steps[among], 95)),
            "settling": together(
                row for row, counts in zip(rows, among, strict=False) if counts
            ).figures(),
        }
        for level, among in by_level.items()
        if among.any()
    }


def show(result: Mapping[str, Any]) -> None:
    training = result["training"]
    print(
        f"commit {result['commit']}, {counted(result['cases'], 'puzzle')}, "
        f"{result['givens']:.1f} givens each"
    )
    for name, facts in training.items():
        print(f"{name}: {result['parameters']} parameters, {facts['examples']} examples")
    shown = [name for name in (*LEVELS, "all") if name in result["systems"]["untrained"]]
    heading = f"solved in {FEW} steps, in all, %, and steps, median"
    print(f"\n{heading:<52}" + "".join(f"{name:>16}" for name in shown))
    for name, by_level in result["systems"].items():
        cells = (
            f"{100 * e['solved_in_few']:.0f}, {100 * e['solved']:.0f} in {e['steps']:g}"
            for e in map(by_level.get, shown)
        )
        print(f"{name:<52}" + "".join(f"{cell:>16}" for cell in cells))
    for name, by_level in result["systems"].items():
        if name.startswith("canvas,"):
            each = by_level["all"]["settling"]
            print(
                f"\n{name}: of {each['accepted']} cells accepted {each['wrong']} were wrong at "
                f"some step, {each['mended']} of these right in the end; {each['taken_back']} were "
                f"taken back, {each['back_right']} of these right in the end, {each['spoiled']} "
                "right before and wrong in the end"
            )
    print()


def goals(result: Mapping[str, Any]) -> list[Goal]:
    ours, fresh = (result["systems"][n]["all"] for n in ("canvas, self-correcting", "untrained"))
    return [
        Goal(
            name=f"puzzles solved in {FEW} steps",
            value=100 * ours["solved_in_few"],
            bound=80,
            unit="%",
        ),
        Goal(name="steps, median", value=ours["steps"], bound=FEW, at_most=True),
        Goal(name="solved untrained", value=100 * fresh["solved"], bound=0, at_most=True, unit="%"),
    ]


def watch(puzzle: Grid, path: Path | None) -> None:
    """Shows one puzzle [81] settling, step by step; as a picture too where a path is given."""
    network, _ = load(CanvasNetwork, CANVAS)
    run = by_denoising(network, puzzle[None])
    frames = drawing.frames_of(puzzle, run.frames)
    console = console_of(sys.stdout)
    if is_live(console):
        with Player(console, pace=PACE) as player:
            for frame in frames:
                player.show(lambda frame=frame: drawing.page(frame))
    else:
        for frame in frames:
            console.print(drawing.page(frame), end="\n\n")
    solved = "solved" if bool(is_solved(run.digits)[0]) else "not solved, a rule is broken"
    console.print(f"{solved}, {counted(frames[-1].step, 'step')}")
    if path:
        path.write_text(drawing.picture(drawing.chosen(frames)), encoding="utf-8")
        console.print(f"drawn in {path}", soft_wrap=True)


def parsed(text: str) -> Grid:
    """A puzzle as it is given on the command line; raises RequestError where it is none."""
    if len(text) != 81 or set(text) - set(".0123456789"):
        raise RequestError(
            f"a puzzle is 81 digits in reading order with . or 0 for a blank cell, not {text!r}"
        )
    puzzle = puzzles.from_text(text)[0]
    found = puzzles.solutions(puzzle)
    if next(found, None) is None:
        raise RequestError(f"the puzzle {text} has no solution; correct its givens")
    if next(found, None) is not None:
        raise RequestError(f"the puzzle {text} has more than one solution; give more digits")
    return puzzle


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sudoku", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--limit", type=int, default=300, help="puzzles, of each level in turn")
    parser.add_argument("--watch", action="store_true", help="show one puzzle settling instead")
    parser.add_argument("--puzzle", help="the one to watch: 81 digits or dots")
    parser.add_argument(
        "--picture", type=new_file, help="also draw what was watched into a file, as SVG"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.limit < 1:
        parser.error(f"--limit {options.limit} is no number of puzzles; give 1 or more")
    if not options.watch and (options.puzzle or options.picture):
        parser.error("--puzzle and --picture go with --watch")
    try:
        if options.watch:
            shown = (
                parsed(options.puzzle) if options.puzzle else puzzles.held_out_puzzles()[0][WATCHED]
            )
            watch(shown, options.picture)
        else:
            result = measure(options.limit)
            report.conclude(result, show, goals(result))
    except InfillError as error:
        raise SystemExit(f"benchmarks.sudoku: {error}") from None


if __name__ == "__main__":
    main()
