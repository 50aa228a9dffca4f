"""What the bench has measured, as tables for people. Knows no engine and measures nothing."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from infill_ls.cli.bench.quality import Outcome
from infill_ls.cli.bench.scores import percentile
from infill_ls.cli.characters import visible
from infill_ls.cli.machine import Machine, others_at_work
from infill_ls.cli.view import BOLD, DIM, INFILL, MARK, WARN, is_live

SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A promise and what was measured; NaN could not be measured here."""

    name: str
    value: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        return self.value <= self.limit


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    values = list(samples)
    return {name: percentile(values, share) for name, share in SHARES} | {"n": len(values)}


class Report:
    """Writes as the bench goes on; a line of progress is drawn over where that is possible."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def line(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(visible(text), style))

    @contextmanager
    def doing(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """Gives a function to call after each of `total` parts."""
        columns = (
            TextColumn(f"  {what}"),
            BarColumn(20, complete_style=MARK),
            MofNCompleteColumn(),
        )
        shown = is_live(self._console)
        # Without a thread of its own, which would take its share of what is measured.
        with Progress(
            *columns, console=self._console, auto_refresh=False, transient=True, disable=not shown
        ) as progress:
            task = progress.add_task(what, total=total)

            def tick() -> None:
                progress.advance(task)
                progress.refresh()

            progress.refresh()
            yield tick

    def head(self, machine: Machine, commit: str, busy: float) -> None:
        self.line()
        self.line(f" infill-ls bench, commit {commit}", BOLD)
        self.line(f" {machine}")
        self.line(f" Python {machine.python}, torch {machine.torch}", DIM)
        self.line()
        if others := others_at_work(busy):
            self._print(f"{others}: the times below are not this machine's best.", WARN)

    def bars(self, bars: Sequence[Bar]) -> None:
        table = _table("What it must reach", "measured", "at most", "")
        for bar in bars:
            mark = Text("✓", INFILL) if bar.met else Text("✗", WARN)
            measured, limit = _quantity(bar.value, bar.unit), _quantity(bar.limit, bar.unit)
            table.add_row(bar.name, measured, limit, mark)
        self._print(table)

    def times(self, times: Mapping[str, Sequence[float]]) -> None:
        table = _table("Milliseconds", *(name for name, _ in SHARES), "n")
        for name, samples in times.items():
            figures = percentiles(samples)
            shown = (_figure(figures[share]) for share, _ in SHARES)
            table.add_row(name, *shown, str(len(samples)))
        self._print(table)

    def quality(self, groups: Mapping[str, Mapping[str, Any]]) -> None:
        heads = ("exact", "similar", "shown", "broken", "errors", "repeats", "steps", "tokens")
        table = _table("Quality", *heads)
        for name, figures in groups.items():
            shares = (f"{100 * figures[key]:.1f} %" for key in ("exact", "similarity", "shown"))
            counts = (str(figures[key]) for key in ("broken", "new_errors", "suffix_repetitions"))
            steps = (figures[key] for key in ("steps", "tokens_per_forward"))
            shown = (f"{each:.1f}" if figures["steps"] else "–" for each in steps)
            table.add_row(f"{name} {figures['cases']}", *shares, *counts, *shown)
        self._print(table)
        self._print(
            "similar: edit similarity; broken: a syntax error that the original has not; errors: "
            "one that the file with its hole has not; tokens: per denoising step",
            DIM,
        )

    def _print(self, what: Table | str, style: str = "") -> None:
        shown = Text(what) if isinstance(what, str) else what
        self._console.print(Padding(shown, (0, 0, 1, 1), style=style, expand=False))

    def faults(self, outcomes: Sequence[Outcome]) -> None:
        """Where a promise was broken, so that somebody can look."""
        for outcome in outcomes:
            if outcome.adds_error or outcome.repeats_suffix:
                fault = "a new syntax error" if outcome.adds_error else "repeats the suffix"
                self.line(f"  {outcome.case.name}: {fault}: {outcome.answer!r}", WARN)


def _table(title: str, *columns: str) -> Table:
    """Names at the left, figures in columns that end alike."""
    table = Table(box=SIMPLE_HEAD, header_style=BOLD, show_edge=False, padding=(0, 0, 0, 1))
    table.border_style = DIM
    table.add_column(title, min_width=12)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _quantity(value: float, unit: str) -> str:
    figure = _figure(value) if unit in ("ms", "MB") else f"{value:.2f}" if unit == "s" else value
    return f"{figure} {unit}".strip()


def _figure(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def as_line(result: Any) -> str:
    """One line of JSON, in which what is not a number is null."""
    return json.dumps(_plain(result), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    match value:
        case float():
            return round(value, 4) if math.isfinite(value) else None
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case _:
            return value
