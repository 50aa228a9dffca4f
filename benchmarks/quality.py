"""How good the suggestions are at places where the truth is known, beside what copying would say.

    python -m benchmarks.quality [--data DIR] [--model NAME ...] [--peer FILE.gguf ...] [--plot PNG]

Holes are cut from packages that training never saw, fetched by name; with `--data`, the folder of
HumanEval-Infilling, its tasks are filled too and the result is run in a sandbox. Every system gets
the same holes: an empty answer, the line after the most similar line, n-gram copy, and the models,
these through the pipeline of the server. Progress goes to stderr, the last line is JSON.
"""

import argparse
import gc
import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import grading, holdout, humaneval, report, sandbox
from benchmarks.ar_baseline.engine import NAME as AR_BASELINE
from benchmarks.grading import Graded, Suggestion
from benchmarks.holdout import Task
from benchmarks.peer import Peer
from benchmarks.progress import counted, say
from benchmarks.report import Goal
from benchmarks.systems import WITHOUT_MODEL, System, engine_system, load
from infill_engine import EngineConfig, InfillError, ModelError, RequestError
from infill_engine.models.two_sided.loading import WEIGHTS
from infill_engine.tokenizer import Tokenizer
from infill_ls.cli.bench.cases import KINDS
from infill_ls.cli.bench.report import as_line
from infill_ls.cli.machine import busy_cpus, commit, this_machine

# What an editor is asked most, and as many cases as take about ten minutes on two cores.
USUAL_KINDS = ("tail", "line", "arguments", "block", *humaneval.SETS)
LIMIT = 120
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infill-ls" / "holdout"


def asked(name: str, system: System, tasks: Sequence[Task]) -> list[Suggestion]:
    tick = counted(name, len(tasks))
    answers = []
    for task in tasks:
        answers.append(system(task))
        tick()
    return answers


def model_answers(
    name: str, model: str, judge: str, steps: int | None, tasks: Sequence[Task]
) -> tuple[dict[str, Any], list[Suggestion]]:
    """What the engine says of itself, and its answers. Raises ModelError."""
    engine = load(EngineConfig(model=model, judge=judge, max_denoising_steps=steps))
    system = engine_system(engine)
    system(tasks[0])  # what is done once is no part of the first answer
    return asdict(engine.describe()), asked(name, system, tasks)


def graded(answers: dict[str, list[Suggestion]], tasks: Sequence[Task]) -> dict[str, list[Graded]]:
    """Every answer beside the truth; programs are run once each, as many at a time as there are
    CPUs."""
    programs = dict.fromkeys(
        program
        for of_system in answers.values()
        for task, answer in zip(tasks, of_system, strict=True)
        if (program := grading.program(task, answer))
    )
    if programs:
        tick = counted("programs run", len(programs))

        def passes(program: str) -> bool:
            passed = sandbox.run(program).verdict == "passed"
            tick()
            return passed

        with ThreadPoolExecutor(this_machine().cpus) as pool:
            verdicts = dict(zip(programs, pool.map(passes, programs), strict=True))
    else:
        verdicts = {}
    tokenizer = Tokenizer(WEIGHTS / "tokenizer.json")
    tick = counted("cases graded", len(tasks))
    found: dict[str, list[Graded]] = {name: [] for name in answers}
    for at, task in enumerate(tasks):
        length = len(tokenizer.encode(task.case.reference.strip()))
        for name, of_system in answers.items():
            found[name].append(grading.graded(task, of_system[at], length, verdicts))
        tick()
    return found


def collect(options: argparse.Namespace) -> tuple[list[Task], dict[str, list[str]]]:
    """The tasks, and by group the packages that some come from."""
    tasks = []
    if any(kind in KINDS for kind in options.kinds):
        if options.packages is None:
            packages = holdout.fetched(CACHE, say)
        elif options.packages.is_dir():
            packages = holdout.given(options.packages)
        else:
            raise RequestError(f"--packages {options.packages} is no folder; give one, or leave it")
        say("cutting holes")
        tasks += holdout.tasks(packages, options.kinds, options.limit)
    used = {
        group: sorted({p.unit.partition("/")[0] for p in tasks if p.group == group})
        for group in holdout.GROUPS
    }
    if options.data is not None:
        tasks += humaneval.tasks(options.data, options.kinds, options.limit)
    if not tasks:
        raise RequestError(
            "there is nothing to fill: no package could be fetched (or --packages holds no source "
            "file), and --data DIR with HumanEval-Infilling was not given for its kinds"
        )
    return tasks, used


def held_out(group: Sequence[Graded]) -> list[Graded]:
    """Those of packages."""
    return [each for each in group if each.task.group in holdout.GROUPS]


def compared(
    results: dict[str, list[Graded]], engines: Sequence[str], other: str
) -> dict[str, dict[str, Any]]:
    """Of every engine and set, whether it is better than another system."""
    against = grading.by_kind(results[other])
    return {
        name: {
            " ".join(of_set): asdict(grading.better(group, against[of_set]))
            for of_set, group in grading.by_kind(results[name]).items()
        }
        for name in engines
    }


def ar_baseline_of(result: dict[str, Any]) -> str:
    """The name of the system that is the autoregressive baseline; "" where none is."""
    engines = result["engines"].items()
    return next((name for name, info in engines if info["model"] == AR_BASELINE), "")


def reached(result: dict[str, Any], name: str) -> list[Goal]:
    """What was promised of the embedded model, where the sets for it were measured."""
    sets = {of_set: systems[name] for of_set, systems in result["sets"].items()}
    found = [
        Goal(name=text, value=100 * sets[of_set][figure], bound=least, unit="%")
        for text, of_set, figure, least in (
            ("rest of line in Python packages, exact", "python tail", "exact", 40),
            ("whole line in Python packages, exact", "python line", "exact", 25),
            ("HumanEval single lines, pass@1", "humaneval single-line", "passed", 25),
        )
        if of_set in sets
    ]
    gains = result["better_than_copy"][name].values()
    behind = sum(each["difference"] <= 0 for each in gains)
    found.append(
        Goal(name="sets in which n-gram copy is as good", value=behind, bound=0, at_most=True)
    )
    every = result["all"][name]
    found += [
        Goal(
            name="valid syntax of what is shown, beside the truth's",
            value=100 * every["of_shown"]["valid"],
            bound=100,
            unit="%",
        ),
        Goal(name="new syntax errors shown", value=every["new_errors"], bound=0, at_most=True),
        Goal(
            name="suffix repetitions shown",
            value=every["suffix_repetitions"],
            bound=0,
            at_most=True,
        ),
    ]
    shown = [p["exact"] for p in result["curve"][name]["sure"] if p["share"] == 0.3]
    found.append(
        Goal(
            name="exact of what is shown, at a show rate of 30 %",
            value=100 * shown[0] if shown else math.nan,
            bound=60,
            unit="%",
        )
    )
    other = ar_baseline_of(result)
    if other and name != other:
        ours, theirs = (result["by_length"][each] for each in (name, other))
        found += [
            Goal(
                name=f"times as fast as the AR baseline, {span} tokens",
                value=theirs[span]["warm_ms_p50"] / ours[span]["warm_ms_p50"],
                bound=least,
            )
            for span, least in (("10-29", 1.0), ("30+", 1.5))
            if span in ours
        ]
    return found


def answered(
    options: argparse.Namespace, tasks: Sequence[Task]
) -> tuple[dict[str, Any], dict[str, list[Suggestion]]]:
    """What each engine says of itself, and the answers of every system, by name."""
    answers = {name: asked(name, system, tasks) for name, system in WITHOUT_MODEL.items()}
    engines: dict[str, Any] = {}
    variants = [(options.judge[0], steps) for steps in options.steps]
    variants += [(judge, None) for judge in options.judge[1:]]
    for model in options.model or ("default", AR_BASELINE):
        base = model if Path(model).name in engines else Path(model).name
        for judge, steps in [(options.judge[0], None), *variants]:
            if steps and not engines[base]["canvas_lengths"]:
                break  # it writes from left to right
            name = base + (f" k={steps}" if steps else "")
            name += "" if judge == options.judge[0] else f" judge={Path(judge).name}"
            try:
                engines[name], answers[name] = model_answers(name, model, judge, steps, tasks)
            except ModelError as error:
                if options.model or model != AR_BASELINE:
                    raise
                say(f"the autoregressive baseline is left out: {error}")
                break
            gc.collect()
    for path in options.peer:
        with Peer(path) as peer:
            name = path.stem
            engines[name] = asdict(peer.describe())
            answers[name] = asked(name, engine_system(peer), tasks)
    return engines, answers


def measure(options: argparse.Namespace) -> dict[str, Any]:
    machine, revision, busy = this_machine(), commit(), busy_cpus()
    tasks, packages = collect(options)
    guarded = sandbox.guarded() if any(task.check for task in tasks) else ""
    say(f"{len(tasks)} cases; {guarded or 'nothing is run'}")
    engines, answers = answered(options, tasks)
    results = graded(answers, tasks)
    result: dict[str, Any] = {
        "benchmark": "quality",
        "machine": asdict(machine),
        "busy_cpus": busy,
        "commit": revision,
        "limit": options.limit,
        "packages": packages,
        "sandbox": guarded,
        "engines": engines,
        "sets": grading.summaries(results),
        "all": {name: grading.summary(group) for name, group in results.items()},
        "better_than_copy": compared(results, list(engines), "n-gram copy"),
        "curve": {
            name: {
                figure: grading.curve(held_out(results[name]), figure)
                for figure in ("sure", "joined")
            }
            for name in engines
        },
        "faults": {name: grading.faults(results[name]) for name in engines},
        "by_length": {name: grading.by_length(results[name]) for name in engines},
    }
    if other := ar_baseline_of(result):
        result["better_than_ar_baseline"] = compared(results, list(engines), other)
    print(machine)
    report.tables(result, sys.stdout)
    goals = reached(result, next(iter(engines)))
    report.goals(goals, sys.stdout)
    result["goals"] = [asdict(goal) | {"met": goal.met} for goal in goals]
    if options.plot:
        report.plot(result, options.plot)
        say(f"the plot is {options.plot}")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    every = (*KINDS, *humaneval.SETS)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--data", type=Path, help="a folder with HumanEval-Infilling's files")
    parser.add_argument(
        "--packages", type=Path, help="archives or source folders to cut holes from, not to fetch"
    )
    parser.add_argument("--model", nargs="+", help='"default", "ar-baseline", or files of weights')
    parser.add_argument("--peer", nargs="+", type=Path, default=[], help="GGUF models")
    parser.add_argument(
        "--judge", nargs="+", default=["auto"], help="auto, off or folders, of the embedded model"
    )
    parser.add_argument("--steps", nargs="+", type=int, default=[], help="step caps to try as well")
    parser.add_argument("--limit", type=int, default=LIMIT, help=f"cases of each kind ({LIMIT})")
    parser.add_argument("--kinds", nargs="+", choices=every, default=USUAL_KINDS)
    parser.add_argument("--plot", type=report.plot_file, help="a PNG or SVG of exactness over time")
    options = parser.parse_args(arguments)
    try:
        if options.limit < 1:
            raise RequestError(f"--limit {options.limit} must be at least 1")
        if options.plot:
            report.needs_matplotlib()
        print(as_line(measure(options)))
    except InfillError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
