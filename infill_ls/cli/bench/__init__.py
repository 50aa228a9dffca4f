"""`infill-ls bench`: how fast and how good, measured here and now.

    cases ─► latency: a server from its start · a warm engine · the server without a model
          └► quality: what is shown at holes whose text is known, beside two baselines

Prints tables for people, and one JSON object as the last line.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from infill_engine import Engine, EngineConfig, EngineInfo
from infill_ls.cli.bench import latency, quality
from infill_ls.cli.bench.cases import Case, python_cases, written_cases
from infill_ls.cli.bench.quality import Outcome
from infill_ls.cli.bench.report import Bar, Report, percentiles
from infill_ls.cli.bench.scores import percentile
from infill_ls.cli.machine import busy_cpus, commit, counted, this_machine

WRITTEN = Path(__file__).parents[3] / "benchmarks" / "cases"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """How much of everything: cases for quality, processes started, places timed, and
    places in a long file."""

    cases: int
    cold: int
    edge: int
    warm: int
    overhead: int


FULL = Workload(cases=360, cold=5, edge=40, warm=60, overhead=50)
QUICK = Workload(cases=36, cold=1, edge=6, warm=8, overhead=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Samples in milliseconds but for the cold starts, and what was said at every case."""

    cold: Sequence[latency.ColdStart]
    edge: Sequence[float]
    overhead: latency.Overhead
    warm: latency.Samples
    outcomes: Sequence[Outcome]
    engine: EngineInfo


def run(
    config: EngineConfig,
    load: Callable[[EngineConfig], Engine],
    workload: Workload,
    report: Report,
) -> dict[str, Any]:
    """Measures everything in `workload`, writes the tables, and returns what goes into the JSON."""
    machine, revision, busy = this_machine(), commit(), busy_cpus()
    report.head(machine, revision, busy)
    cases = python_cases(workload.cases)
    cases += written_cases(WRITTEN) if WRITTEN.is_dir() else []
    measured = _measure(config, load, workload, cases, report)

    info = measured.engine
    report.line(
        f" {info.model}: {info.parameters / 1e6:.1f} M parameters, {info.dtype} on "
        f"{info.device}, {counted(info.threads, 'thread')}; reads {info.prefix_tokens} + "
        f"{info.suffix_tokens} tokens"
    )
    report.line()
    bars = _bars(measured)
    report.bars(bars)
    times = _times(measured)
    report.times(times)
    kinds = quality.by_kind(measured.outcomes)
    groups = {kind: quality.summary(outcomes) for kind, outcomes in kinds.items()}
    baselines = {name: quality.summary(each) for name, each in quality.baselines(cases).items()}
    report.quality(groups | baselines)
    report.faults(measured.outcomes)
    return {
        "machine": asdict(machine),
        "busy_cpus": busy,
        "commit": revision,
        "engine": asdict(info),
        "bars": [asdict(bar) | {"met": bar.met} for bar in bars],
        "cold": [asdict(each) for each in measured.cold],
        "ms": {name: percentiles(samples) for name, samples in times.items()},
        "quality": groups,
        "baselines": baselines,
    }


def _measure(
    config: EngineConfig,
    load: Callable[[EngineConfig], Engine],
    workload: Workload,
    cases: Sequence[Case],
    report: Report,
) -> Measured:
    """The processes first: later the engine in this one would take its share of the machine."""
    timed = latency.long_enough(python_cases(6 * workload.warm))[: workload.warm]
    with report.doing("cold starts", workload.cold) as tick:
        cold = [latency.cold_start(config, timed[:8], tick) for _ in range(workload.cold)]
    with report.doing("answers in an editor", workload.edge) as tick:
        edge = latency.edge(config, timed[: workload.edge], tick)
    with report.doing("changes of a long file", workload.overhead) as tick:
        overhead = latency.server_overhead(workload.overhead, tick)
    engine = load(config)
    with report.doing("infills", len(timed)) as tick:
        warm = latency.warm_engine(engine, timed, tick)
    with report.doing("cases", len(cases)) as tick:
        outcomes = quality.ask(engine, cases, tick)
    return Measured(
        cold=cold,
        edge=edge,
        overhead=overhead,
        warm=warm,
        outcomes=outcomes,
        engine=engine.describe(),
    )


def _times(measured: Measured) -> dict[str, Sequence[float]]:
    warm, overhead = measured.warm, measured.overhead
    return {
        "infill, both sides warm": warm.warm,
        "infill after one more character": warm.typed,
        "of it not denoising": warm.typed_more,
        "answer after one more character, in an editor": measured.edge,
        "one denoising step": warm.step,
        "from a cancel until the engine is free": warm.cancel,
        "server without the model, 10,000 lines": overhead.all,
        "the same, first change at another place": overhead.jumps,
    }


def _bars(measured: Measured) -> list[Bar]:
    """What was promised, beside what was measured."""
    cold, warm = measured.cold, measured.warm
    resident = [each.resident for each in cold if each.resident is not None]
    shown = quality.summary(measured.outcomes)
    rows: list[tuple[str, float, float, str]] = [
        ("initialize is answered, median", median(each.initialize for each in cold), 1.0, "s"),
        ("first infill from a cold start, worst", max(each.first for each in cold), 8.0, "s"),
        (
            "resident memory of the server after it, worst",
            max(resident, default=float("nan")),
            600,
            "MB",
        ),
        ("infill, both sides warm, p50", percentile(warm.warm, 0.5), 150, "ms"),
        ("infill, both sides warm, p95", percentile(warm.warm, 0.95), 300, "ms"),
        (
            "one more character, beside denoising, p95",
            percentile(warm.typed_more, 0.95),
            60,
            "ms",
        ),
        ("denoising steps after a cancel, worst", max(warm.cancel_steps, default=0), 1, ""),
        ("server without the model, p99", percentile(measured.overhead.all, 0.99), 5, "ms"),
        ("new syntax errors shown", shown["new_errors"], 0, ""),
        ("suffix repetitions shown", shown["suffix_repetitions"], 0, ""),
    ]
    return [
        Bar(name=name, value=value, limit=limit, unit=unit) for name, value, limit, unit in rows
    ]
