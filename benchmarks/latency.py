"""How long one keystroke takes until there is an answer, at the engine, and what the server weighs.

    python -m benchmarks.latency [--model NAME] [--dtype DTYPE] [--threads N] [--places N]

A keystroke goes to a place whose surroundings, 512 tokens, are read: a character within a line, a
line end after a colon or an opening bracket. These are where an engine takes a short and a longer
canvas; what it really took is what the rows are sorted by, and for an engine without a canvas the
place. The last line is JSON.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from benchmarks import report
from benchmarks.progress import say
from benchmarks.report import Goal
from benchmarks.systems import load
from infill_engine import Engine, EngineConfig, InfillError, InfillRequest
from infill_engine.models.two_sided.config import Precision
from infill_engine.models.two_sided.loading import WEIGHTS
from infill_engine.tokenizer import Tokenizer
from infill_ls.cli.arguments import count
from infill_ls.cli.bench.cases import Case, python_cases
from infill_ls.cli.bench.latency import arguments
from infill_ls.cli.bench.scores import mean, percentile
from infill_ls.cli.bench.wire import ServerProcess
from infill_ls.cli.machine import busy_cpus, commit, resident_mb, this_machine

PREFIX_TOKENS, SUFFIX_TOKENS = 352, 160
# More than any window of the embedded model holds.
COLD_PREFIX, COLD_SUFFIX = 6_000, 3_000
COLD_PLACES, SERVER_PLACES = 30, 8
SERVER_SECONDS = 120.0
CANVASES = (16, 32)
PLACES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Keystroke:
    """The text before it is typed, and what is typed; `canvas` is what it is expected to take."""

    canvas: int
    prefix: str
    typed: str
    suffix: str

    def request(self, typed: bool) -> InfillRequest:
        return InfillRequest(
            prefix=self.prefix + self.typed if typed else self.prefix,
            suffix=self.suffix,
            language_id="python",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """From the call to the last draft, in milliseconds."""

    canvas: int
    ms: float
    steps: int
    tokens: int


def keystrokes(cases: Sequence[Case], tokenizer: Tokenizer, count: int) -> list[Keystroke]:
    """At most `count` for each canvas, with 512 tokens around each."""
    found: dict[int, list[Keystroke]] = {canvas: [] for canvas in CANVASES}
    for case in cases:
        if len(case.prefix) < COLD_PREFIX or len(case.suffix) < COLD_SUFFIX:
            continue
        before, typed = _split(case)
        above = before.rstrip().endswith((":", "(", "[", "{"))
        canvas = 16 if case.kind == "tail" else 32
        if canvas == 32 and not above:
            continue
        if len(found[canvas]) == count:
            continue
        prefix = tokenizer.encode(before[-COLD_PREFIX:])[-PREFIX_TOKENS:]
        suffix = tokenizer.encode(case.suffix[:COLD_SUFFIX])[:SUFFIX_TOKENS]
        found[canvas].append(
            Keystroke(
                canvas=canvas,
                prefix=tokenizer.decode(prefix).decode("utf-8", "ignore"),
                typed=typed,
                suffix=tokenizer.decode(suffix).decode("utf-8", "ignore"),
            )
        )
    return [each for of_canvas in found.values() for each in of_canvas]


def _split(case: Case) -> tuple[str, str]:
    """A character of the line, or the line end with the indentation that the editor adds."""
    if case.kind == "tail":
        return case.prefix, case.reference[0]
    before = case.prefix.rstrip(" \t").removesuffix("\n")
    return before, case.prefix[len(before) :]


def typed(engine: Engine, each: Keystroke) -> Sample:
    """Reads the surroundings, then times one keystroke."""
    engine.warm(each.request(typed=False))
    started = time.perf_counter()
    canvas, draft = each.canvas, None
    for at, draft in enumerate(engine.infill(each.request(typed=True))):
        if at == 0 and engine.describe().canvas_lengths:
            canvas = len(draft.cells)
    return Sample(
        canvas=canvas,
        ms=(time.perf_counter() - started) * 1e3,
        steps=draft.steps if draft else 0,
        tokens=draft.tokens if draft else 0,
    )


def cold(engine: Engine, case: Case) -> float:
    """Milliseconds to read full windows of a file that was never seen."""
    request = InfillRequest(
        prefix=case.prefix[-COLD_PREFIX:], suffix=case.suffix[:COLD_SUFFIX], language_id="python"
    )
    started = time.perf_counter()
    engine.warm(request)
    return (time.perf_counter() - started) * 1e3


def server_mb(config: EngineConfig, cases: Sequence[Case]) -> float:
    """What a real server holds after it has answered in several files; NaN where it says nothing.

    Raises InfillError when it ends or cannot load the model.
    """
    with ServerProcess(arguments(config)) as server:
        server.initialize({"deadlineInvokedMs": 60_000})
        for at, case in enumerate(cases):
            server.open(f"file:///bench/{at}.py", "python", case.prefix + case.suffix)
        rounds, given_up = 0, time.monotonic() + SERVER_SECONDS
        while rounds < 2 and time.monotonic() < given_up:
            # The first lists are empty: the model is being loaded.
            answered = [_completed(server, at, case) for at, case in enumerate(cases)]
            rounds += any(answered)
        return resident_mb(server.pid) or float("nan")


def _completed(server: ServerProcess, at: int, case: Case) -> bool:
    line = case.prefix.count("\n")
    character = len(case.prefix.rpartition("\n")[2].encode("utf-16-le")) // 2
    return bool(server.complete(f"file:///bench/{at}.py", line, character, invoked=True))


def one_per_file(cases: Sequence[Case]) -> Iterator[Case]:
    seen = set()
    for case in cases:
        name = case.name.partition(":")[0]
        if name not in seen and len(case.prefix) >= COLD_PREFIX and len(case.suffix) >= COLD_SUFFIX:
            seen.add(name)
            yield case


def measure(config: EngineConfig, places: int) -> dict[str, Any]:
    machine, revision, busy = this_machine(), commit(), busy_cpus()
    cases = [case for case in python_cases(60 * places) if case.kind in ("tail", "line")]
    files = list(one_per_file(cases))
    say("starting a server")
    # Before this process holds a model itself.
    memory = server_mb(config, files[:SERVER_PLACES])
    engine = load(config)
    info = engine.describe()
    strokes = keystrokes(cases, Tokenizer(WEIGHTS / "tokenizer.json"), places)
    for each in strokes[:: max(1, len(strokes) // 3)]:
        typed(engine, each)  # what is done once is no part of the first sample
    say(f"{len(strokes)} keystrokes")
    samples = [typed(engine, each) for each in strokes]
    say(f"{len(files[:COLD_PLACES])} cold encodes")
    encodes = [cold(engine, case) for case in files[:COLD_PLACES]]
    rows = {canvas: row([s for s in samples if s.canvas == canvas]) for canvas in CANVASES}
    source = Path(info.source)
    weights = source.stat().st_size / 1e6 if source.is_file() else float("nan")
    return {
        "benchmark": "latency",
        "machine": asdict(machine),
        "busy_cpus": busy,
        "commit": revision,
        "engine": asdict(info),
        "context_tokens": PREFIX_TOKENS + SUFFIX_TOKENS,
        "keystroke": rows,
        "other_canvases": sum(sample.canvas not in CANVASES for sample in samples),
        "cold_encode": {
            "cases": len(encodes),
            "tokens_at_most": info.prefix_tokens + info.suffix_tokens,
            "p50": percentile(encodes, 0.5),
            "p95": percentile(encodes, 0.95),
        },
        "server_mb": memory,
        "weights_mb": weights,
    }


def row(samples: Sequence[Sample]) -> dict[str, Any]:
    times = [sample.ms for sample in samples]
    steps = sum(sample.steps for sample in samples)
    return {
        "cases": len(samples),
        "p50": percentile(times, 0.5),
        "p95": percentile(times, 0.95),
        "steps": mean([float(sample.steps) for sample in samples]),
        "tokens": mean([float(sample.tokens) for sample in samples]),
        "ms_a_step": sum(times) / steps if steps else float("nan"),
    }


def reached(result: dict[str, Any]) -> list[Goal]:
    """What was promised of the embedded model."""
    rows, encode = result["keystroke"], result["cold_encode"]
    return [
        Goal(name=name, value=value, bound=most, at_most=True, unit=unit)
        for name, value, most, unit in (
            ("keystroke to answer, canvas 16, p50", rows[16]["p50"], 40, "ms"),
            ("keystroke to answer, canvas 32, p50", rows[32]["p50"], 80, "ms"),
            ("cold encode of full windows, p50", encode["p50"], 250, "ms"),
            ("memory of the server with the model", result["server_mb"], 400, "MB"),
            ("weights", result["weights_mb"], 40, "MB"),
        )
    ]


def show(result: dict[str, Any]) -> None:
    info, encode = result["engine"], result["cold_encode"]
    print(
        f"{info['model']}, {info['parameters'] / 1e6:.1f} M parameters, {info['dtype']}, "
        f"{info['threads']} threads, {result['context_tokens']} tokens of context, read before"
    )
    if info["kernels"]:
        print(f"kernels: {info['kernels']}")
    if result["busy_cpus"] > 0.5:
        print(f"Other programs kept {result['busy_cpus']:.1f} CPUs busy: times are not the best.")
    heads = ("n", "p50 ms", "p95 ms", "steps", "tokens", "ms/step")
    print(f"{'keystroke to answer':<24}" + "".join(f"{head:>9}" for head in heads))
    for canvas, figures in result["keystroke"].items():
        values = (
            *(figures["p50"], figures["p95"], figures["steps"]),
            *(figures["tokens"], figures["ms_a_step"]),
        )
        print(
            f"  canvas {canvas:<15}{figures['cases']:>9}"
            + "".join(f"{report.number(value, 1):>9}" for value in values)
        )
    print(
        f"  {'cold encode':<22}{encode['cases']:>9}{report.number(encode['p50'], 1):>9}"
        f"{report.number(encode['p95'], 1):>9}"
    )
    print(
        f"server {report.number(result['server_mb'], 0)} MB, weights "
        f"{report.number(result['weights_mb'], 1)} MB\n"
    )


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.latency", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--model", default="default", help='"default", "ar-baseline", or a file')
    parser.add_argument("--dtype", choices=("auto", *get_args(Precision)), default="auto")
    parser.add_argument("--threads", type=count, help="of the model")
    parser.add_argument("--places", type=int, default=PLACES, help=f"for each canvas ({PLACES})")
    options = parser.parse_args(given)
    if options.places < 1:
        raise SystemExit(f"--places {options.places} must be at least 1")
    try:
        config = EngineConfig(model=options.model, dtype=options.dtype, threads=options.threads)
        result = measure(config, options.places)
    except (InfillError, ValueError) as error:
        raise SystemExit(str(error)) from None
    report.conclude(result, show, reached(result))


if __name__ == "__main__":
    main()
