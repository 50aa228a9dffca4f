"""Work on the engine's thread in steps: between two of them all else that waits comes first."""

from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Generic, TypeVar

from infill_engine import BudgetSpent, Engine

T = TypeVar("T")

Steps = Generator[None, None, T]
"""Yields where others may come first, and returns what comes of it."""


def at_once(steps: Steps[T]) -> T:
    """What comes of it, for where nobody else waits."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


class SteppedRun(Generic[T]):
    """What the steps come to is `done`; None where there is no engine, or another one before their
    end."""

    def __init__(self, work: Callable[[Engine], Steps[T]]) -> None:
        self.done: Future[T | None] = Future()
        self.done.set_running_or_notify_cancel()
        self._work = work
        self._engine: Engine | None = None
        self._steps: Steps[T] | None = None

    def step(self, engine: Engine | None) -> bool:
        """The next one; whether it was not the last."""
        if self._steps is None and engine is not None:
            self._engine, self._steps = engine, self._work(engine)
        if self._steps is None or engine is not self._engine:
            self._steps = self._engine = None
            self.done.set_result(None)
            return False
        try:
            next(self._steps)
        except StopIteration as end:
            self.done.set_result(end.value)
        except BudgetSpent as spent:
            self.done.set_exception(spent)
        else:
            return True
        return False
