"""Engines of a stated property, for tests: each says what it knows and keeps a journal.

A journal entry is an event and the time of it. The clock is the machine's, so that a test can set
the steps of a server process against its own messages.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from infill_engine import Draft, Engine, EngineConfig, EngineInfo, Hole, InfillRequest, ModelError
from infill_engine.budget import UNLIMITED, Budget

Loader = Callable[[EngineConfig], Engine]
INFO = EngineInfo(
    model="test",
    parameters=0,
    device="cpu",
    dtype="float32",
    threads=1,
    canvas_lengths=(8,),
    prefix_tokens=1000,
    suffix_tokens=1000,
    noise="absorbing",
    source="tests",
    max_tokens=64,
)


class Journal:
    """(event, time.monotonic()) in order; also in a file, where another process can read it."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._entries: list[tuple[str, float]] = []
        self._noted = threading.Condition()

    def note(self, event: str) -> None:
        now = time.monotonic()
        with self._noted:
            self._entries.append((event, now))
            self._noted.notify_all()
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{event} {now}\n")

    def count(self, event: str) -> int:
        return len(self.times(event))

    def times(self, event: str) -> list[float]:
        return [at for entry, at in self._entries if entry == event]

    def wait(self, event: str, count: int = 1) -> None:
        with self._noted:
            came = self._noted.wait_for(lambda: self.count(event) >= count, timeout=60)
        assert came, f"{event} came {self.count(event)} times, not {count}"


def read_journal(path: Path) -> list[tuple[str, float]]:
    """What an engine in another process has noted so far."""
    rows = (line.split() for line in path.read_text("utf-8").splitlines()) if path.exists() else ()
    return [(event, float(at)) for event, at in rows]


def draft(text: str, step: int, last: bool, others: Sequence[str] = (), *, holes: int = 1) -> Draft:
    """The same in every hole."""
    return Draft(
        text=text,
        fills=(text,) * holes,
        steps=step,
        tokens=len(text.split()),
        mean_entropy=0.01,
        likelihood=-0.01 if last else float("nan"),
        join=-0.01 if last else float("nan"),
        log_probability=-0.02 if last else float("nan"),
        converged=last,
        others=tuple(draft(other, step, last) for other in others),
    )


class Knowing:
    """Says what `knows` makes of the request, after `steps` steps of `seconds` each.

    Its drafts are complete from the first step on. Honours `cancelled` and the deadline before
    every step, as the protocol has it. `knows` gives the texts, best first. With `wavers` every
    draft but the last says that instead.
    """

    def __init__(
        self,
        knows: Callable[[InfillRequest], Sequence[str]],
        *,
        steps: int = 1,
        seconds: float = 0.0,
        journal: Journal | None = None,
        wavers: str = "",
    ) -> None:
        self._knows = knows
        self._wavers = wavers
        self._steps = steps
        self._seconds = seconds
        self.journal = journal or Journal()

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        self.journal.note("infill")
        texts = list(self._knows(request))
        for step in range(1, self._steps + 1):
            if budget.cancelled():
                self.journal.note("cancelled")
                return
            late = budget.late
            self.journal.note("step")
            time.sleep(self._seconds)
            last = step == self._steps or late
            if texts:
                text = texts[0] if last else self._wavers or texts[0]
                holes = sum(isinstance(part, Hole) for part in request.middle)
                yield draft(text, step, last, texts[1:] if last else (), holes=holes)
            if last:
                break
        self.journal.note("done")

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        self.journal.note("warm")

    def forget(self) -> None:
        self.journal.note("forget")

    def describe(self) -> EngineInfo:
        return INFO


class Stepping(Knowing):
    """Steps only when the test allows it; with `keeps_warming` warms up until told to stop."""

    def __init__(
        self,
        knows: Callable[[InfillRequest], Sequence[str]],
        *,
        steps: int,
        keeps_warming: bool = False,
        wavers: str = "",
    ) -> None:
        super().__init__(knows, steps=steps, wavers=wavers)
        self._allowed = threading.Semaphore(0)
        self._keeps_warming = keeps_warming
        self.warmed: list[str] = []  # the prefixes

    def allow(self, steps: int) -> None:
        self._allowed.release(steps)

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        for draft in super().infill(request, budget=budget):
            assert self._allowed.acquire(timeout=60), "the test allows every step it waits for"
            yield draft

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        self.warmed.append(request.prefix)
        self.journal.note("warm")
        while self._keeps_warming and not budget.cancelled():
            time.sleep(0.001)
        self.journal.note("warmed")


class Failing(Knowing):
    """Raises in its first infill, and knows in the following ones."""

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        if not self.journal.count("failed"):
            self.journal.note("failed")
            raise RuntimeError("the model is broken")
        yield from super().infill(request, budget=budget)


def always(*texts: str) -> Callable[[InfillRequest], Sequence[str]]:
    """Knows the text by heart, wherever it is asked."""
    return lambda _: texts


def last_name(request: InfillRequest) -> Sequence[str]:
    """Knows its place: the name before the cursor comes back as `use_<name>`."""
    names = re.findall(r"[^\W\d]\w*", request.prefix)
    return [f"use_{names[-1]}"] if names else ["nothing_before"]


def loads(engine: Engine) -> Loader:
    return lambda _: engine


def unloadable(config: EngineConfig) -> NoReturn:
    """Has no model."""
    raise ModelError(f"There is no model in {config.model}; set infill.model to a folder with one.")
