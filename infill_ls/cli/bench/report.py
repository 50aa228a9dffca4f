"""What the bench has measured, as tables for people. Knows no engine and measures nothing."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

from infill_ls.cli.bench.quality import Outcome
from infill_ls.cli.bench.scores import percentile
from infill_ls.cli.machine import Machine
from infill_ls.cli.view import BOLD, DIM, INFILL, WARN, Terminal

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


class Page:
    """Writes as the bench goes on; a line of progress is drawn over where that is possible."""

    def __init__(self, stream: TextIO, terminal: Terminal) -> None:
        self._stream = stream
        self._terminal = terminal

    def line(self, text: str = "", style: str = "") -> None:
        print(self._terminal.paint(text, style), file=self._stream, flush=True)

    @contextmanager
    def doing(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """Gives a function to call after each of `total` parts."""
        done = 0

        def show() -> None:
            if self._terminal.live:
                self._stream.write(f"\r\x1b[K  {what} {done} of {total}")
                self._stream.flush()

        def tick() -> None:
            nonlocal done
            done += 1
            show()

        show()
        try:
            yield tick
        finally:
            if self._terminal.live:
                self._stream.write("\r\x1b[K")
                self._stream.flush()

    def head(self, machine: Machine, commit: str, busy: float) -> None:
        self.line()
        self.line(f" infill-ls bench, commit {commit}", BOLD)
        self.line(f" {machine}")
        self.line(f" Python {machine.python}, torch {machine.torch}", DIM)
        if busy > 0.5 * machine.cpus:
            self.line(
                f" Other programs keep {busy:.1f} of {machine.cpus} CPUs busy: "
                "the times below are not this machine's best.",
                WARN,
            )
        self.line()

    def bars(self, bars: Sequence[Bar]) -> None:
        self._title("What it must reach", f"{'measured':>12}{'at most':>12}")
        for bar in bars:
            mark = self._terminal.paint("✓", INFILL) if bar.met else self._terminal.paint("✗", WARN)
            self.line(
                f"  {bar.name:<44}{_quantity(bar.value, bar.unit):>12}"
                f"{_quantity(bar.limit, bar.unit):>12}  {mark}"
            )
        self.line()

    def times(self, times: Mapping[str, Sequence[float]]) -> None:
        self._title("Milliseconds", "".join(f"{name:>8}" for name in ("p50", "p95", "p99", "n")))
        for name, samples in times.items():
            figures = percentiles(samples)
            shown = "".join(f"{_figure(figures[share]):>8}" for share, _ in SHARES)
            self.line(f"  {name:<44}{shown}{len(samples):>8}")
        self.line()

    def quality(self, groups: Mapping[str, Mapping[str, Any]]) -> None:
        heads = ("exact", "edit sim", "shown", "broken", "new err", "repeats")
        columns = "".join(f"{head:>9}" for head in heads)
        self._title("Quality", f"{columns}{'steps':>6}{'tok':>5}", width=13)
        for name, figures in groups.items():
            shares = "".join(
                f"{100 * figures[key]:>7.1f} %" for key in ("exact", "similarity", "shown")
            )
            counts = "".join(
                f"{figures[key]:>9}" for key in ("broken", "new_errors", "suffix_repetitions")
            )
            steps = (
                f"{figures['steps']:>6.1f}{figures['tokens_per_forward']:>5.1f}"
                if figures["steps"]
                else f"{'–':>6}{'–':>5}"
            )
            self.line(f"  {name + ' ' + str(figures['cases']):<13}{shares}{counts}{steps}")
        self.line("  broken: a syntax error that the original has not; new err: one that the file")
        self.line("  with its hole has not; tok: tokens per denoising step")
        self.line()

    def faults(self, outcomes: Sequence[Outcome]) -> None:
        """Where a promise was broken, so that somebody can look."""
        for outcome in outcomes:
            if outcome.adds_error or outcome.repeats_suffix:
                fault = "a new syntax error" if outcome.adds_error else "repeats the suffix"
                self.line(f"  {outcome.case.name}: {fault}: {outcome.answer!r}", WARN)

    def _title(self, name: str, columns: str, width: int = 44) -> None:
        self.line(f" {name:<{width}} {columns}", BOLD)


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
