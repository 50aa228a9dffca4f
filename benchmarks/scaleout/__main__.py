"""How many people a served DiffusionGemma is enough for, by a simulation of people and GPUs.

    python -m benchmarks.scaleout [--gpu H100] [--deadline-ms MS] [--delay-ms MS] [--developers N …]
    python -m benchmarks.scaleout --check [--servers N] [--people N …]

People type as the typing benchmark does (people.py), their language servers ask vLLM with pinned
canvases by the very rules of the engine (`infill_engine.remote.routing`), and GPUs batch what they
are asked (servers.py). No GPU is used: a forward takes the least that it can by the GPU's rates,
times what vLLM's published tokens a second are from that. Give yours by --tokens-per-second.

p50, p95   from a key after which somebody pauses to the whole answer; "–" where it is later than
           the deadline, at which what has come is shown
in time    of these answers, whole by the deadline
wasted     of all requests, taken back because the next key came
busy       of the time, a GPU works

A number of GPUs is enough where 95 % of the answers are whole by the deadline. --check starts
engine processes of the embedded model here, has people type through the router of the engine, and
prints what the simulation predicts of that from the times that single answers took.
Progress goes to stderr, the last line is JSON.
"""

import argparse
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from benchmarks import report
from benchmarks.progress import say
from benchmarks.report import Goal
from benchmarks.scaleout.check import check
from benchmarks.scaleout.clock import Clock
from benchmarks.scaleout.people import (
    KEY_SECONDS,
    KEYS_A_LINE,
    LINE_PAUSE,
    LINES_A_PLACE,
    PLACE_PAUSE,
    PROMPT_TOKENS,
    RUNS_A_KEY,
    Asking,
    Outcome,
    Person,
    keys,
)
from benchmarks.scaleout.servers import GPUS, Gpu, GpuServer
from infill_engine import InfillError
from infill_engine.config import EngineConfig
from infill_engine.remote.canvas import SUFFIX_HEAD_TOKENS, WIDTH_STEP, hole_lengths, hole_room
from infill_engine.remote.routing import Routes
from infill_ls.cli.arguments import count, number_from
from infill_ls.cli.bench.scores import percentile
from infill_ls.cli.machine import busy_cpus, commit, counted, this_machine
from infill_ls.settings import Settings

CANVAS = 64  # that README's command serves
IN_TIME = 0.95
WARM_UP_SECONDS = 10.0
LEAST_SECONDS, PAUSES = 10.0, 800  # simulated at least, and people's pauses
# By a document's hash the load of a GPU is the same however many there are, so that more than these
# are reckoned by proportion.
MOST_GPUS = 32
PAUSES_A_SECOND = LINES_A_PLACE / (
    LINES_A_PLACE * (KEYS_A_LINE * KEY_SECONDS + LINE_PAUSE) + PLACE_PAUSE
)
BOUND = 0.25  # of what was measured, that a prediction may be off


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """What is simulated, but for how many people and GPUs: until so many `pauses` of theirs."""

    gpu: Gpu
    most: int
    steps: tuple[int, int]
    asking: Asking
    seed: int
    pauses: int = PAUSES


def widths(canvas: int) -> list[int]:
    """Of the canvases of a suggestion that comes while typing, as `remote.canvas` makes them."""
    lengths = hole_lengths(hole_room(canvas), Settings().max_lines)
    steps = [-(-(length + SUFFIX_HEAD_TOKENS) // WIDTH_STEP) for length in lengths]
    return [min(step * WIDTH_STEP, canvas) for step in steps]


def simulated(team: Team, people: int, gpus: int) -> dict[str, Any]:
    clock, outcome, source = Clock(), Outcome(), random.Random(team.seed)
    servers = [
        GpuServer(clock=clock, gpu=team.gpu, most=team.most, steps=team.steps, random=source)
        for _ in range(gpus)
    ]
    bases = [str(number) for number in range(gpus)]
    for number in range(people):
        name = f"{team.seed}/{number}"
        Person(
            *(clock, servers, Routes(bases, name), name, keys(random.Random(name))),
            *(team.asking, outcome, source),
            since=WARM_UP_SECONDS,
        )
    seconds = max(LEAST_SECONDS, team.pauses / PAUSES_A_SECOND / people)
    clock.run(WARM_UP_SECONDS + seconds)
    latest = team.asking.deadline + team.asking.delay
    whole = [wait for wait in outcome.waits if wait < latest]
    busy = sum(server.busy_seconds for server in servers) / gpus / (WARM_UP_SECONDS + seconds)
    return {
        "people": people,
        "gpus": gpus,
        "p50_ms": 1e3 * percentile(outcome.waits, 0.5),
        "p95_ms": 1e3 * percentile(outcome.waits, 0.95),
        "in_time": len(whole) / max(len(outcome.waits), 1),
        "nothing": sum(map(math.isinf, outcome.waits)) / max(len(outcome.waits), 1),
        "wasted": outcome.superseded / max(outcome.asked, 1),
        "hedged": outcome.hedged / max(outcome.asked, 1),
        "busy": busy,
        "pauses": len(outcome.waits),
    }


def enough(team: Team, people: int, most_each: float) -> int:
    """The smallest number of GPUs, near which `most_each` people a GPU are about right."""
    gpus = max(1, round(people / most_each))
    if gpus > MOST_GPUS:
        return math.ceil(people * MOST_GPUS / _most_people(team, MOST_GPUS, most_each))
    while simulated(team, people, gpus)["in_time"] < IN_TIME:
        gpus += 1
    while gpus > 1 and simulated(team, people, gpus - 1)["in_time"] >= IN_TIME:
        gpus -= 1
    return gpus


@cache
def _most_people(team: Team, gpus: int, most_each: float) -> int:
    """That so many GPUs are enough for, to one in each."""
    people = round(most_each * gpus)
    while simulated(team, people, gpus)["in_time"] < IN_TIME:
        people -= gpus
    while simulated(team, people + gpus, gpus)["in_time"] >= IN_TIME:
        people += gpus
    return people


def measure(options: argparse.Namespace) -> dict[str, Any]:
    gpu = GPUS[options.gpu]
    if options.tokens_per_second is not None:
        gpu = replace(gpu, published=options.tokens_per_second)
    team = Team(
        gpu=gpu,
        most=options.max_num_seqs,
        steps=tuple(options.steps),
        asking=Asking(
            deadline=options.deadline_ms / 1e3,
            widths=tuple(widths(CANVAS)),
            network=options.network_ms / 1e3,
            delay=options.delay_ms / 1e3,
        ),
        seed=options.seed,
        pauses=options.pauses,
    )
    loads = []
    for share in options.people_per_gpu:
        loads.append(simulated(team, share * options.gpus, options.gpus))
        say(f"{share} people a GPU: {100 * loads[-1]['in_time']:.0f} % in time")
    fit = [each["people"] / each["gpus"] for each in loads if each["in_time"] >= IN_TIME]
    per_gpu = max(fit, default=1.0)
    at = max(1, round(per_gpu * options.gpus))
    variants = {"as it is": simulated(team, at, options.gpus)}
    for name in ("affinity", "hedging"):
        asking = replace(team.asking, without=(name,))
        variants[f"without {name}"] = simulated(replace(team, asking=asking), at, options.gpus)
    teams = []
    for developers in options.developers:
        row: dict[str, Any] = {"developers": developers}
        for name, share in (("all", 1.0), ("share", options.typing_share)):
            people = math.ceil(developers * share)
            row[name] = enough(team, people, per_gpu)
            say(f"{counted(developers, 'developer')}, {people} typing: {counted(row[name], 'GPU')}")
        teams.append(row)
    return {
        "gpu": asdict(gpu) | {"overhead": gpu.overhead, "forward_ms": _forward_ms(team)},
        "max_num_seqs": team.most,
        "steps": team.steps,
        "asking": asdict(team.asking),
        "typing_share": options.typing_share,
        "typing": {
            "key_ms": 1e3 * KEY_SECONDS,
            "runs_a_key": RUNS_A_KEY,
            "keys_a_line": KEYS_A_LINE,
            "lines_a_place": LINES_A_PLACE,
            "line_pause_s": LINE_PAUSE,
            "place_pause_s": PLACE_PAUSE,
            "prompt_tokens": PROMPT_TOKENS,
        },
        "loads": loads,
        "variants": variants,
        "teams": teams,
    }


def _forward_ms(team: Team) -> float:
    """Of one suggestion alone."""
    canvases = team.asking.widths
    return 1e3 * team.gpu.seconds(sum(canvases), len(canvases), PROMPT_TOKENS, 0)


def show(result: dict[str, Any]) -> None:
    if "check" in result:
        _show_check(result)
        return
    gpu, deadline = result["gpu"], 1e3 * result["asking"]["deadline"]
    print(
        f"{gpu['name']}: {gpu['forward_ms']:.1f} ms a forward for one suggestion, "
        f"{gpu['overhead']:.2f} of the least; {' to '.join(map(str, result['steps']))} steps a "
        f"canvas, canvases of {', '.join(map(str, result['asking']['widths']))}; answers within "
        f"{deadline:.0f} ms, {1e3 * result['asking']['delay']:.0f} ms after a key"
    )
    names = ("p50 ms", "p95 ms", "in time %", "wasted %", "hedged %", "busy %")
    print(f"{'people typing a GPU':<28}" + "".join(f"{name:>11}" for name in names))
    for each in result["loads"]:
        print(f"  {each['people'] / each['gpus']:<26g}" + _row(each, result))
    first = result["variants"]["as it is"]
    print(f"at {first['people'] / first['gpus']:g} a GPU")
    for name, each in result["variants"].items():
        print(f"  {name:<26}" + _row(each, result))
    share = result["typing_share"]
    print(f"{'developers':>12}{'GPUs, all typing':>20}{f'GPUs, {100 * share:.0f} % typing':>20}")
    for each in result["teams"]:
        print(f"{each['developers']:>12,}{each['all']:>20,}{each['share']:>20,}")
    print()


def _row(each: dict[str, Any], result: dict[str, Any]) -> str:
    latest = 1e3 * (result["asking"]["deadline"] + result["asking"]["delay"])
    waits = (each[name] for name in ("p50_ms", "p95_ms"))
    values = [report.number(wait, 0) if wait < latest else "–" for wait in waits]
    values += [report.percent(each[name]) for name in ("in_time", "wasted", "hedged", "busy")]
    return "".join(f"{value:>11}" for value in values)


def _show_check(result: dict[str, Any]) -> None:
    print(f"engine processes: {result['servers']}; other programs: {result['busy_cpus']:.1f} CPUs")
    columns = (
        "answer alone",
        "p50 ms",
        "predicted",
        "p95 ms",
        "predicted",
        "wasted %",
        "predicted",
    )
    print(f"{'people':<8}" + "".join(f"{name:>13}" for name in columns))
    for each in result["check"]:
        real, expected = each["measured"], each["predicted"]
        values = [report.number(each["service_ms"]["known"], 0)]
        for name in ("p50_ms", "p95_ms"):
            values += [report.number(found[name], 0) for found in (real, expected)]
        values += [report.percent(found["superseded"]) for found in (real, expected)]
        print(f"{each['people']:<8}" + "".join(f"{value:>13}" for value in values))
    print()


def reached(result: dict[str, Any]) -> list[Goal]:
    """Of --check, how far the worst prediction is off."""
    return [
        Goal(
            name=f"prediction of {name} off, worst",
            value=100
            * max(
                abs(each["predicted"][f"{name}_ms"] / each["measured"][f"{name}_ms"] - 1)
                for each in result["check"]
            ),
            bound=100 * BOUND,
            at_most=True,
            unit="%",
        )
        for name in ("p50", "p95")
        if "check" in result
    ]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaleout", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--gpu", choices=GPUS, default="H100")
    parser.add_argument(
        "--tokens-per-second",
        type=number_from(1),
        help="of your GPU, for one request of 256 at a time",
    )
    parser.add_argument(
        "--steps",
        type=count,
        nargs=2,
        default=(12, 20),
        metavar=("LOW", "HIGH"),
        help="of a canvas",
    )
    parser.add_argument("--max-num-seqs", type=count, default=32, help="of vLLM (32)")
    parser.add_argument("--deadline-ms", type=count, default=500, help="infill.deadlineMs (500)")
    parser.add_argument("--delay-ms", type=number_from(0), default=0, help="infill.delayMs (0)")
    parser.add_argument("--network-ms", type=number_from(0), default=5.0, help="there and back (5)")
    parser.add_argument("--gpus", type=count, default=8, help="of the table by people a GPU (8)")
    parser.add_argument(
        "--people-per-gpu", type=count, nargs="+", default=(1, 2, 4, 8, 12, 16, 24, 32)
    )
    parser.add_argument("--developers", type=count, nargs="*", default=(10, 100, 1000, 10_000))
    parser.add_argument(
        "--typing-share",
        type=number_from(0.001, 1),
        default=0.25,
        help="of developers, who type at a time (0.25)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--pauses", type=count, default=PAUSES, help=f"of people, simulated ({PAUSES})"
    )
    parser.add_argument("--check", action="store_true", help="beside real processes, on this CPU")
    parser.add_argument("--servers", type=count, default=2, help="of --check (2)")
    parser.add_argument("--people", type=count, nargs="+", default=(2, 4, 8), help="of --check")
    parser.add_argument(
        "--seconds", type=number_from(1), default=40.0, help="of --check, each (40)"
    )
    parser.add_argument("--judge", default="off", help="of --check (off)")
    options = parser.parse_args(arguments)
    if options.steps[0] > options.steps[1]:
        parser.error(f"--steps {options.steps[0]} {options.steps[1]}: the fewest come first")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    result: dict[str, Any] = {
        "benchmark": "scaleout",
        "machine": asdict(this_machine()),
        "commit": commit(),
        "seed": options.seed,
    }
    try:
        if options.check:
            result |= {"busy_cpus": busy_cpus(), "servers": options.servers}
            config = EngineConfig(judge=options.judge)
            result["check"] = check(config, options.servers, options.people, options.seconds)
        else:
            result |= measure(options)
    except (InfillError, ValueError) as error:
        raise SystemExit(str(error)) from None
    report.conclude(result, show, reached(result))


if __name__ == "__main__":
    main()
