"""What a person gets who types for an hour: how much is written for them, and how often in vain.

    python -m benchmarks.typing [--sessions N] [--seed N] [--data DIR] [--deadline-ms N]

Lines of packages that training never saw are typed key by key through the real server, over stdio:
at each key the edit, then an automatic request, whose answer is waited for. A suggestion is taken,
with one key, where its first line is what the file says, three characters or more of it, and its
further lines as far as they are right; else the next character is typed. The same lines are typed
without suggestions and with n-gram copy, and with the server once without and once with the
package's other files as its workspace.

taken      share of the characters that suggestions inserted; an editor indents by itself
wrong      suggestions shown that were not right, per 100 keys, each until it changes
precision  of what was shown, the share that was right
noise      what was shown where the line was at its end, per 100 keys
keys       pressed per 100 characters
runs       of the model, per key; `free` are answers without one
ready      of the keys that take a suggestion, after how many the next answer is there within 15 ms

As a person types, a key comes every 0.15 s, or once the answer is there, the one that takes a
suggestion 0.35 s after it is shown, and the server has its own deadline: then load counts. With
`--deadline-ms N` an answer may take N milliseconds of the engine's own CPU time, what it does
between two keys is waited for, and `p50` and `p95` are CPU time of the engine: what a quiet machine
would say.
Progress goes to stderr, the last line is JSON.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import grading, holdout, report
from benchmarks.progress import say
from benchmarks.quality import CACHE
from benchmarks.report import Goal
from benchmarks.typing.sessions import Session, sessions
from benchmarks.typing.systems import Copy, Nothing, Server, server
from benchmarks.typing.typist import System, Tally, keys_of, type_session
from infill_engine import InfillError, RequestError
from infill_ls.cli.bench.report import as_line
from infill_ls.cli.bench.scores import percentile
from infill_ls.cli.machine import busy_cpus, commit, this_machine

NOTHING, COPY = "nothing", "n-gram copy"
WITHOUT, OURS = "ours, no workspace", "ours"
COLUMNS = (NOTHING, COPY, WITHOUT, OURS)
SESSIONS = 60
KEY_SECONDS = 0.15
RUNS = ("model", "late", "failed")  # how a request ended that the model was run for
FREE = ("reused", "nothing to show")  # and that it was not
MISPLACED = ("for another place", "does not go on from what is typed")


def figures(tally: Tally) -> dict[str, Any]:
    keys, asked = max(tally.keys, 1), max(tally.hows.total(), 1)
    runs = sum(tally.hows[how] for how in RUNS)
    return {
        "taken": tally.taken / max(tally.characters, 1),
        "wrong_per_100_keys": 100 * tally.wrong / keys,
        "precision": tally.right / tally.shown if tally.shown else math.nan,
        "noise_per_100_keys": 100 * tally.noise / keys,
        "keys_per_100_characters": 100 * tally.keys / max(tally.characters, 1),
        "ms": {"p50": percentile(tally.ms, 0.5), "p95": percentile(tally.ms, 0.95)},
        "runs_per_key": runs / asked,
        "free": sum(tally.hows[how] for how in FREE) / asked,
        "ready_after_accepting": tally.ready / max(tally.accepted, 1),
        "judged_of_runs": tally.judged / max(runs, 1),
        "shown": tally.shown,
        "right": tally.right,
        "keys": tally.keys,
        "unanswered": tally.faults["unanswered"],
        "misplaced": sum(tally.faults[fault] for fault in MISPLACED),
        "hows": dict(tally.hows),
    }


def total(tallies: Sequence[Tally]) -> Tally:
    every = Tally()
    for each in tallies:
        every.add(each)
    return every


def gained(found: Sequence[Session], first: list[Tally], second: list[Tally]) -> dict[str, float]:
    """How much more is taken, as a share of the characters; packages are what is drawn anew."""
    packages = sorted({session.package for session in found})
    gains, sizes = np.zeros(len(packages)), np.zeros(len(packages))
    for session, one, other in zip(found, first, second, strict=True):
        at = packages.index(session.package)
        gains[at] += one.taken - other.taken
        sizes[at] += one.characters
    return asdict(grading.resampled(gains, sizes))


def typed(options: argparse.Namespace, found: Sequence[Session]) -> dict[str, Any]:
    """By column its figures, and what the workspace is worth where both were measured."""
    key_seconds = KEY_SECONDS if options.deadline_ms is None else 0.0
    tallies: dict[str, list[Tally]] = {name: [] for name in options.columns}
    with ExitStack() as ends:
        systems: dict[str, System] = {}
        for name in options.columns:
            if name in (NOTHING, COPY):
                systems[name] = Nothing() if name == NOTHING else Copy()
            else:
                ours = server(options.model, options.deadline_ms, workspace=name == OURS)
                systems[name] = ends.enter_context(ours)
        for number, session in enumerate(found, 1):
            for name, system in systems.items():
                pace = key_seconds if isinstance(system, Server) else 0.0
                tallies[name].append(type_session(system, session, pace))
            soon = [total(of_column) for of_column in tallies.values()]
            taken = ", ".join(f"{100 * each.taken / each.characters:.1f}" for each in soon)
            say(f"{number} of {len(found)}: taken so far {taken} %; {session.name}")
        memory = {name: s.resident_mb for name, s in systems.items() if isinstance(s, Server)}
    columns = {name: figures(total(of_column)) for name, of_column in tallies.items()}
    for name, resident in memory.items():
        columns[name]["resident_mb"] = resident
    result: dict[str, Any] = {"columns": columns}
    if {OURS, WITHOUT} <= set(tallies):
        result["workspace_gain"] = gained(found, tallies[OURS], tallies[WITHOUT])
    result["by_session"] = {
        name: [[each.characters, each.keys, each.taken, each.wrong] for each in of_column]
        for name, of_column in tallies.items()
    }
    return result


def reached(result: dict[str, Any]) -> list[Goal]:
    ours = result["columns"].get(OURS)
    if ours is None:
        return []
    gain = result.get("workspace_gain", {"difference": math.nan})
    goals = [
        Goal(name="taken", value=100 * ours["taken"], bound=36, unit="%"),
        Goal(name="wrong per 100 keys", value=ours["wrong_per_100_keys"], bound=4, at_most=True),
        Goal(name="taken thanks to the workspace", value=100 * gain["difference"], bound=4),
        Goal(name="noise per 100 keys", value=ours["noise_per_100_keys"], bound=1, at_most=True),
        Goal(name="answered without a model run", value=100 * ours["free"], bound=70, unit="%"),
    ]
    if result["deadline_ms"] is None:
        p95, ready = ours["ms"]["p95"], 100 * ours["ready_after_accepting"]
        goals += [
            Goal(name="p95 of an answered key", value=p95, bound=150, at_most=True, unit="ms"),
            Goal(name="next text there after Tab", value=ready, bound=60, unit="%"),
        ]
    return goals


def show(result: dict[str, Any]) -> None:
    names = ("taken %", "wrong", "precis. %", "noise", "keys", "p50", "p95", "runs", "free %")
    names += ("ready %",)
    print(f"{'typing':<20}" + "".join(f"{name:>10}" for name in names))
    for name, each in result["columns"].items():
        values = (
            *(report.percent(each["taken"]), report.number(each["wrong_per_100_keys"], 1)),
            *(report.percent(each["precision"]), report.number(each["noise_per_100_keys"], 2)),
            *(report.number(each["keys_per_100_characters"], 1),),
            *(report.number(each["ms"][share], 0) for share in ("p50", "p95")),
            *(report.number(each["runs_per_key"], 2), report.percent(each["free"])),
            report.percent(each["ready_after_accepting"]),
        )
        print(f"  {name:<18}" + "".join(f"{value:>10}" for value in values))
    if gain := result.get("workspace_gain"):
        low, high, points = (100 * gain[name] for name in ("low", "high", "difference"))
        print(f"  the workspace is worth {points:+.1f} points of taken [{low:+.1f}, {high:+.1f}]")
    print()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    if options.data is None:
        packages = holdout.fetched(CACHE, say)
    elif options.data.is_dir():
        packages = holdout.given(options.data)
    else:
        raise RequestError(f"--data {options.data} is no folder; give one, or leave it")
    found = sessions(packages, options.sessions, options.seed)
    if not found:
        raise RequestError(
            "there is nothing to type: no package could be fetched, or --data holds no source file"
        )
    used = {session.package for session in found}
    result: dict[str, Any] = {
        "benchmark": "typing",
        "machine": asdict(this_machine()),
        "busy_cpus": busy_cpus(),
        "commit": commit(),
        "seed": options.seed,
        "deadline_ms": options.deadline_ms,
        "key_ms": KEY_SECONDS * 1e3 if options.deadline_ms is None else 0.0,
        "sessions": [session.name for session in found],
        "characters": sum(keys_of(session.goal) for session in found),
        "model": options.model,
    }
    say(f"{len(found)} sessions in {len(used)} packages")
    return result | typed(options, found)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.typing", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--sessions", type=int, default=SESSIONS, help=f"how many ({SESSIONS})")
    parser.add_argument("--seed", type=int, default=0, help="another one, other lines")
    parser.add_argument(
        "--data", type=Path, help="archives or source folders to type from, not to fetch"
    )
    parser.add_argument(
        "--deadline-ms", type=int, help="of CPU time for an answer, so that load does not count"
    )
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=COLUMNS)
    parser.add_argument("--model", default="default", help="as infill-ls takes it")
    options = parser.parse_args(arguments)
    try:
        if options.sessions < 1:
            raise RequestError(f"--sessions {options.sessions} must be at least 1")
        if options.deadline_ms is not None and not 20 <= options.deadline_ms <= 60_000:
            raise RequestError(f"--deadline-ms {options.deadline_ms} must be from 20 to 60000")
        result = measure(options)
    except InfillError as error:
        raise SystemExit(str(error)) from None
    print(this_machine())
    show(result)
    report.goals(reached(result), sys.stdout)
    print(as_line(result))


if __name__ == "__main__":
    main()
