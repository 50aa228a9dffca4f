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

from infill_engine import Engine, EngineConfig
from infill_ls.cli.bench import latency, quality
from infill_ls.cli.bench.cases import python_cases, written_cases
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


def run(
    config: EngineConfig, load: Callable[[EngineConfig], Engine], workload: Workload, report: Report
) -> dict[str, Any]:
    """Measures everything in `workload`, writes the tables, and returns what goes into the JSON."""
    machine, revision, busy = this_machine(), commit(), busy_cpus()
    report.head(machine, revision, busy)
    cases = python_cases(workload.cases)
    cases += written_cases(WRITTEN) if WRITTEN.is_dir() else []
    timed = latency.long_enough(python_cases(6 * workload.warm))[: workload.warm]

    # The processes first: later the engine in this one would take its share of the machine.
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

    info = engine.describe()
    report.line(
        f" {info.model}: {info.parameters / 1e6:.1f} M parameters, {info.dtype} on "
        f"{info.device}, {counted(info.threads, 'thread')}; reads {info.prefix_tokens} + "
        f"{info.suffix_tokens} tokens"
    )
    report.line()
    bars = _bars(cold, warm, overhead, outcomes)
    report.bars(bars)
    times = {
        "infill, both sides warm": warm.warm,
        "infill after one more character": warm.typed,
        "of it not denoising": warm.typed_more,
        "answer after one more character, in an editor": edge,
        "one denoising step": warm.step,
        "from a cancel until the engine is free": warm.cancel,
        "server without the model, 10,000 lines": overhead.all,
        "the same, first change at another place": overhead.jumps,
    }
    report.times(times)
    groups = {kind: quality.summary(group) for kind, group in quality.by_kind(outcomes).items()}
    baselines = {name: quality.summary(each) for name, each in quality.baselines(cases).items()}
    report.quality(groups | baselines)
    report.faults(outcomes)
    return {
        "machine": asdict(machine),
        "busy_cpus": busy,
        "commit": revision,
        "engine": asdict(info),
        "bars": [asdict(bar) | {"met": bar.met} for bar in bars],
        "cold": [asdict(each) for each in cold],
        "ms": {name: percentiles(samples) for name, samples in times.items()},
        "quality": groups,
        "baselines": baselines,
    }


def _bars(
    cold: Sequence[latency.ColdStart],
    warm: latency.Samples,
    overhead: latency.Overhead,
    outcomes: Sequence[Outcome],
) -> list[Bar]:
    """What was promised, beside what was measured."""
    resident = [each.resident for each in cold if each.resident is not None]
    shown = quality.summary(outcomes)
    p50, p95, p99 = 0.5, 0.95, 0.99
    return [
        Bar(
            name="initialize is answered, median",
            value=median(each.initialize for each in cold),
            limit=1.0,
            unit="s",
        ),
        Bar(
            name="first infill from a cold start, worst",
            value=max(each.first for each in cold),
            limit=8.0,
            unit="s",
        ),
        Bar(
            name="resident memory of the server after it, worst",
            value=max(resident, default=float("nan")),
            limit=600,
            unit="MB",
        ),
        Bar(
            name="infill, both sides warm, p50",
            value=percentile(warm.warm, p50),
            limit=150,
            unit="ms",
        ),
        Bar(
            name="infill, both sides warm, p95",
            value=percentile(warm.warm, p95),
            limit=300,
            unit="ms",
        ),
        Bar(
            name="one more character, beside denoising, p95",
            value=percentile(warm.typed_more, p95),
            limit=60,
            unit="ms",
        ),
        Bar(
            name="denoising steps after a cancel, worst",
            value=max(warm.cancel_steps, default=0),
            limit=1,
            unit="",
        ),
        Bar(
            name="server without the model, p99",
            value=percentile(overhead.all, p99),
            limit=5,
            unit="ms",
        ),
        Bar(name="new syntax errors shown", value=shown["new_errors"], limit=0, unit=""),
        Bar(name="suffix repetitions shown", value=shown["suffix_repetitions"], limit=0, unit=""),
    ]
