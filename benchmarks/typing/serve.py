"""The server as it is on a quiet machine, whatever else runs on this one.

    python -m benchmarks.typing.serve FOLDER MODEL MILLISECONDS

The product, round an engine whose deadlines are so much of its own CPU time. In FOLDER it writes to
`engine.txt` a line for every run, with a digest of the text round its place and the milliseconds of
CPU time that it took, and one for every place that was read when nobody waited, so that a client
can wait for what is done between two keys.
"""

import dataclasses
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.soak.serve import digest
from infill_engine import (
    UNLIMITED,
    Budget,
    Draft,
    Engine,
    EngineConfig,
    EngineInfo,
    InfillRequest,
    load_engine,
)
from infill_engine.load import silent
from infill_ls.server.stdio import run_stdio

NOTES = "engine.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuBudget(Budget):
    """`deadline` in seconds of `time.thread_time()` of the thread that asks."""

    def left(self) -> float:
        return 0.0 if self.cancelled() else max(0.0, self.deadline - time.thread_time())

    @property
    def late(self) -> bool:
        return time.thread_time() >= self.deadline

    def within(self, seconds: float) -> "CpuBudget":
        return dataclasses.replace(self, deadline=min(self.deadline, time.thread_time() + seconds))


class OnCpuTime:
    """Implements `Engine` over another one."""

    def __init__(self, engine: Engine, notes: Path, seconds: float) -> None:
        self._engine, self._notes, self._seconds = engine, notes, seconds
        self._asked: Budget = UNLIMITED  # what renoises shares it with what it renoises
        self._budget = CpuBudget()

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        started = time.thread_time()
        if budget is not self._asked:
            self._asked = budget
            deadline = started + self._seconds
            self._budget = CpuBudget(deadline=deadline, cancelled=budget.cancelled)
        try:
            yield from self._engine.infill(request, budget=self._budget)
        finally:
            ms = (time.thread_time() - started) * 1e3
            self._note(f"ran {digest(request.prefix, request.suffix)} {ms:.1f}")

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        self._engine.warm(request, budget=budget)
        if not budget.over:
            self._note(f"read {digest(request.prefix, request.suffix)}")

    def forget(self) -> None:
        self._engine.forget()

    def describe(self) -> EngineInfo:
        return self._engine.describe()

    def _note(self, line: str) -> None:
        with self._notes.open("a") as file:
            file.write(line + "\n")


def main() -> int:
    folder, model, milliseconds = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")

    def load(config: EngineConfig, progress: Callable[[str, float], None] = silent) -> Engine:
        engine = load_engine(config, progress)
        return OnCpuTime(engine, Path(folder) / NOTES, int(milliseconds) / 1e3)

    return run_stdio(EngineConfig(model=model), load=load)


if __name__ == "__main__":
    sys.exit(main())
