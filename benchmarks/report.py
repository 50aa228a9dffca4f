"""What benchmarks measured, as tables, as a plot and beside their goals. Measures nothing."""

import math
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from infill_engine import RequestError
from infill_ls.cli.bench.report import as_line
from infill_ls.cli.files import new_file
from infill_ls.cli.machine import this_machine

# Where the plot's panels come from, first things first.
PANELS = (
    "python tail", "python line", "python arguments", "humaneval single-line", "python block",
    "scripts tail", "scripts line", "humaneval multi-line",
)  # fmt: skip
NUM_PANELS = 4
NUM_FAULTS = 20
NAME = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What was promised, beside what was measured; NaN could not be measured here."""

    name: str
    value: float
    bound: float
    at_most: bool = False
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def tables(result: Mapping[str, Any], out: TextIO) -> None:
    """At most 100 columns."""
    lines = [
        f"quality, commit {result['commit']}; percent; ms at a place not read before",
        "Of what is shown: exact; valid: no more syntax errors than with the truth; joins: repeats",
        "neither side; len: median, in lengths of the truth; >2x: more than twice as long",
        "",
        *_of_sets(result["sets"] | {"all": result["all"]}),
    ]
    for name in result["engines"]:
        lines += ["", *_of_engine(name, result)]
    print("\n".join(lines), end="\n\n", file=out)


def _of_sets(sets: Mapping[str, Any]) -> Iterator[str]:
    heads = ("exact", "folded", "edit", "pass@1", "shown", "exact", "valid", "joins")
    titles = "".join(f"{head:>7}" for head in heads)
    yield " " * NAME + titles + f"{'len':>6}{'>2x':>6}{'p50':>7}{'p95':>7}"
    for of_set, systems in sets.items():
        first = next(iter(systems.values()))
        yield f"{of_set}, {first['cases']} cases in {first['units']} files or tasks"
        for name, figures in systems.items():
            shown = figures["of_shown"]
            shares = (
                *(figures["exact"], figures["folded"], figures["similarity"], figures["passed"]),
                *(figures["shown"], shown["exact"], shown["valid"], shown["joins"]),
            )
            yield (
                f"  {name[: NAME - 2]:<{NAME - 2}}"
                + "".join(f"{percent(share):>7}" for share in shares)
                + f"{number(shown['length'], 2):>6}{percent(shown['over_2x']):>6}"
                + f"{number(figures['ms']['p50'], 1):>7}{number(figures['ms']['p95'], 1):>7}"
            )


def _of_engine(name: str, result: Mapping[str, Any]) -> Iterator[str]:
    yield f"{name}: exact match beyond n-gram copy, points, 95 % (paired; files, tasks)"
    for of_set, each in result["better_than_copy"][name].items():
        low, high = (100 * each[edge] for edge in ("low", "high"))
        sure = "better" if low > 0 else "worse" if high < 0 else "not told apart"
        yield f"  {of_set:<28}{100 * each['difference']:>+7.1f}  [{low:+.1f}, {high:+.1f}]  {sure}"
    yield f"{name}: the surest answers in packages, by likelihood, and with the suffix's head"
    by_figure = result["curve"][name]
    for alone, joined in zip(by_figure["sure"], by_figure["joined"], strict=False):
        yield f"  {100 * alone['share']:5.1f} % shown: {_point(alone)}; {_point(joined)}"
    yield f"{name}: by tokens of the truth, context read before"
    for span, figures in result["by_length"][name].items():
        yield (
            f"  {span:>6} tokens: {figures['cases']:5} cases, {100 * figures['exact']:5.1f} %"
            f" exact, p50 {figures['warm_ms_p50']:.0f} ms"
        )
    for fault in result["faults"][name][:NUM_FAULTS]:
        yield f"  {fault['case'][-50:]}: {fault['fault']}: {fault['answer']!r}"[:100]


def _point(point: Mapping[str, float]) -> str:
    return f"{100 * point['exact']:5.1f} % exact at {point['threshold']:.3f}"


def goals(reached: Sequence[Goal], out: TextIO) -> None:
    print(f"{'What it must reach':<62}{'measured':>10}{'bound':>16}", file=out)
    for goal in reached:
        mark = "✓" if goal.met else "✗"
        value, bound = f"{number(goal.value, 1)} {goal.unit}", f"{goal.bound:g} {goal.unit}"
        bound = ("at most " if goal.at_most else "at least ") + bound
        print(f"  {goal.name:<60}{value:>10}{bound:>16}  {mark}", file=out)


def conclude(
    result: dict[str, Any], show: Callable[[dict[str, Any]], None], reached: Sequence[Goal]
) -> None:
    """What a benchmark measured, as `show` prints it, beside its goals; the last line is JSON."""
    print(this_machine())
    show(result)
    if reached:
        goals(reached, sys.stdout)
    result["goals"] = [asdict(goal) | {"met": goal.met} for goal in reached]
    print(as_line(result))


def percent(share: float) -> str:
    return number(100 * share, 1)


def number(value: float, digits: int) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.{digits if abs(value) < 1000 else 0}f}"


def plot_file(name: str) -> Path:
    """Where a plot can be written, for argparse; its ending says as what."""
    path = new_file(name)
    if path.suffix not in (".png", ".svg"):
        raise ArgumentTypeError(f"{path} ends in neither .png nor .svg")
    return path


def needs_matplotlib() -> Any:
    """The library; raises RequestError where it is missing."""
    try:
        import matplotlib
    except ImportError:
        raise RequestError(
            "--plot needs matplotlib, which is not installed; pip install 'infill-ls[bench]'"
        ) from None
    return matplotlib


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Exactness over time, one panel for a set."""
    needs_matplotlib().use("Agg")
    from matplotlib import pyplot

    sets = [name for name in PANELS if name in result["sets"]][:NUM_PANELS]
    figure, panels = pyplot.subplots(
        *(1, len(sets)),
        figsize=(2.6 * len(sets) + 0.6, 3.2),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    names = [name for name in next(iter(result["sets"].values())) if name != "empty"]
    for panel, of_set in zip(panels[0], sets, strict=True):
        systems = result["sets"][of_set]
        ran = not math.isnan(systems[names[0]]["passed"])
        key = "passed" if ran else "exact"
        lines: dict[str, list[tuple[float, float]]] = {}
        for name in names:
            point = (systems[name]["ms"]["p50"], 100 * systems[name][key])
            lines.setdefault(name.partition(" k=")[0], []).append(point)
        for at, (name, points) in enumerate(lines.items()):
            points.sort()
            panel.plot(*zip(*points, strict=True), marker="o", color=f"C{at}", label=name)
        panel.set_xscale("log")
        panel.grid(alpha=0.3)
        panel.set_title(f"{of_set} ({systems[names[0]]['cases']})", fontsize=10)
        panel.set_xlabel("ms a suggestion, median")
        panel.set_ylabel("pass@1, %" if ran else "exact match, %")
    panels[0][0].set_ylim(bottom=0)
    panels[0][0].legend(fontsize=8)
    figure.suptitle(f"{result['machine']['cpu']}, commit {result['commit']}", fontsize=8)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
