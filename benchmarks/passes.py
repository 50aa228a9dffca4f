"""How much of an answer the routines for CPUs compute, and what is spent around them; and what
several threads do for a long read.

    python -m benchmarks.passes [--places N] [--tokens N] [--threads N]

At places as in `benchmarks.latency`, read before, of each part of a keystroke's answer: how often
it ran, ms of this thread's own time, and the share of that outside of the routines: Python, numpy,
and what carries numbers over. A read of so many tokens by each model alone, in one thread and in
more: time of the processor and on the wall, which other programs lengthen. The last line is JSON.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any
from unittest.mock import patch

from benchmarks import report
from benchmarks.latency import keystrokes
from benchmarks.progress import say
from benchmarks.report import Goal
from infill_engine import Engine, EngineConfig, InfillError, load_engine, local
from infill_engine.judge.loading import load_llama
from infill_engine.judge.network import Llama
from infill_engine.judge.tree import Tree
from infill_engine.models.two_sided.config import PREFIX
from infill_engine.models.two_sided.denoiser import TwoSidedDenoiser
from infill_engine.models.two_sided.inference import InferenceNetwork
from infill_engine.models.two_sided.loading import WEIGHTS, load_inference
from infill_engine.tokenizer import Tokenizer
from infill_kernels import native as levels
from infill_kernels.native import Native, native
from infill_ls.cli.bench.cases import python_cases
from infill_ls.cli.machine import busy_cpus, commit, this_machine

PLACES, TOKENS, THREADS, RUNS = 20, 1024, 2, 3
ANSWER, STEP, JUDGED = "answer", "canvas step", "judge's pass"
# Of a canvas step and of a judge's pass, outside of the routines.
MOST = 10.0  # percent
# Methods that are a part by themselves. A step is a turn of the loop, sampling included.
PARTS: tuple[tuple[str, type, tuple[str, ...]], ...] = (
    ("canvas read", InferenceNetwork, ("push",)),
    ("canvas score", TwoSidedDenoiser, ("score",)),
    (JUDGED, Llama, ("push", "read_tree")),
    ("judge's head", Tree, ("_ask", "_look_at")),
)


@dataclass(slots=True)
class Spent:
    runs: int = 0
    seconds: float = 0.0
    inside: float = 0.0  # of them in the routines

    def figures(self) -> dict[str, float]:
        outside = 100 * (1 - self.inside / self.seconds) if self.seconds else float("nan")
        return {"runs": self.runs, "ms": 1e3 * self.seconds, "outside": outside}


@dataclass(slots=True)
class Meter:
    """This thread's time, part by part; a part that holds another one has its time as well."""

    parts: dict[str, Spent] = field(default_factory=dict)
    inside: float = 0.0

    def routine(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            started = time.thread_time()
            found = call(*given)
            self.inside += time.thread_time() - started
            return found

        return timed

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        started, before = time.thread_time(), self.inside
        try:
            yield
        finally:
            spent = self.parts.setdefault(name, Spent())
            spent.runs += 1
            spent.seconds += time.thread_time() - started
            spent.inside += self.inside - before

    def method(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            with self.part(name):
                return method(*given, **named)

        return timed

    def turns(self, name: str, loop: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def timed(*given: Any, **named: Any) -> Iterator[Any]:
            going, end = loop(*given, **named), object()
            while True:
                with self.part(name):
                    found = next(going, end)
                if found is end:
                    # The last turn finds that there is none: no step.
                    self.parts[name].runs -= 1
                    return
                yield found

        return timed

    def level(self, level: Native) -> Native:
        calls = {each.name: getattr(level, each.name) for each in fields(level)}
        return replace(
            level, **{name: self.routine(call) for name, call in calls.items() if callable(call)}
        )

    @contextmanager
    def watching(self) -> Iterator[None]:
        level, reason = native()
        assert level is not None, reason
        with ExitStack() as stack:
            watched = self.level(level)
            stack.enter_context(patch.object(levels, "native", lambda: (watched, reason)))
            stack.enter_context(patch.object(local, "denoise", self.turns(STEP, local.denoise)))
            for name, owner, methods in PARTS:
                for method in methods:
                    timed = self.method(name, getattr(owner, method))
                    stack.enter_context(patch.object(owner, method, timed))
            yield


def answers(engine: Engine, places: int) -> dict[str, Spent]:
    """Of one keystroke at each place, and of what is read and said ahead of it."""
    cases = [case for case in python_cases(60 * places) if case.kind in ("tail", "line")]
    strokes = keystrokes(cases, Tokenizer(WEIGHTS / "tokenizer.json"), places)
    engine.warm(strokes[0].request(typed=False))  # loads the judge
    before, after = Meter(), Meter()
    for each in strokes:
        with before.watching():
            engine.warm(each.request(typed=False))
        with after.watching(), after.part(ANSWER):
            for _ in engine.infill(each.request(typed=True)):
                pass
    return after.parts | {f"{name}, ahead": spent for name, spent in before.parts.items()}


@dataclass(frozen=True, slots=True)
class Read:
    """Seconds of the processor and on the wall, the least of some."""

    model: str
    threads: int
    tokens: int
    processor: float
    wall: float


def reads(tokens: int, threads: int) -> list[Read]:
    ids = [5 + 7 * at % 1000 for at in range(tokens)]
    found = []
    for count in dict.fromkeys((1, threads)):
        network = load_inference(WEIGHTS / "default.safetensors", "bfloat16", threads=count)
        judge = load_llama(threads=count).network

        def canvas(network: InferenceNetwork = network) -> None:
            network.push(network.cache(PREFIX, capacity=tokens), ids)

        def judged(judge: Llama = judge) -> None:
            judge.push(judge.prefix(tokens), ids)

        for model, run in (("canvas", canvas), ("judge", judged)):
            times = [_timed(run) for _ in range(RUNS)]
            found.append(Read(model, count, tokens, *map(min, zip(*times, strict=True))))
    return found


def _timed(run: Callable[[], None]) -> tuple[float, float]:
    used, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - used, time.perf_counter() - wall


def measure(places: int, tokens: int, threads: int) -> dict[str, Any]:
    machine, revision, busy = this_machine(), commit(), busy_cpus()
    level, reason = native()
    if level is None:
        raise SystemExit(f"there are no routines for this CPU: {reason}")
    say("keystrokes")
    parts = answers(load_engine(EngineConfig(threads=1)), places)
    say(f"reads of {tokens} tokens")
    return {
        "benchmark": "passes",
        "machine": asdict(machine),
        "busy_cpus": busy,
        "commit": revision,
        "kernels": reason,
        "parts": {name: spent.figures() for name, spent in parts.items()},
        "reads": [asdict(each) for each in reads(tokens, threads)],
    }


def show(result: dict[str, Any]) -> None:
    print(f"kernels: {result['kernels']}, commit {result['commit']}")
    if result["busy_cpus"] > 0.5:
        print(f"Other programs kept {result['busy_cpus']:.1f} CPUs busy.")
    print(f"{'one keystroke':<22}{'runs':>7}{'ms each':>10}{'outside':>10}")
    for name, part in result["parts"].items():
        each = part["ms"] / part["runs"] if part["runs"] else float("nan")
        print(f"{name:<22}{part['runs']:>7}{each:>10.2f}{part['outside']:>9.1f}%")
    print(f"{'a read':<22}{'threads':>8}{'processor ms':>14}{'wall ms':>10}")
    for read in result["reads"]:
        name = f"{read['model']}, {read['tokens']} tokens"
        print(
            f"{name:<22}{read['threads']:>8}{1e3 * read['processor']:>14.0f}"
            f"{1e3 * read['wall']:>10.0f}"
        )
    print()


def reached(result: dict[str, Any]) -> list[Goal]:
    goal = partial(Goal, bound=MOST, at_most=True, unit="%")
    return [
        goal(name=f"{name}, outside of the routines", value=result["parts"][name]["outside"])
        for name in (STEP, JUDGED)
        if name in result["parts"]
    ]


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.passes", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("--places", type=int, default=PLACES, help=f"of each kind ({PLACES})")
    parser.add_argument("--tokens", type=int, default=TOKENS, help=f"of a read ({TOKENS})")
    parser.add_argument("--threads", type=int, default=THREADS, help=f"beside one ({THREADS})")
    options = parser.parse_args(given)
    for name in ("places", "tokens", "threads"):
        if getattr(options, name) < 1:
            raise SystemExit(f"--{name} {getattr(options, name)} must be at least 1")
    try:
        result = measure(options.places, options.tokens, options.threads)
    except InfillError as error:
        raise SystemExit(str(error)) from None
    report.conclude(result, show, reached(result))


if __name__ == "__main__":
    main()
