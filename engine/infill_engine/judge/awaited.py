"""A judge that comes some time after the model it judges for."""

import logging
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

from infill_engine.budget import Budget
from infill_engine.judge.judge import Judge

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.02  # between two looks at whether somebody wants something else


def coming(load: "Callable[[], tuple[Judge | None, str]]") -> "Future[tuple[Judge | None, str]]":
    """What `load` gives, from a thread that holds up no end of the process."""
    found: Future[tuple[Judge | None, str]] = Future()

    def run() -> None:
        try:
            found.set_result(load())
        except BaseException as error:  # for whoever waits
            found.set_exception(error)

    threading.Thread(target=run, name="infill-judge", daemon=True).start()
    return found


def at_hand(judge: Judge | None, why: str = "") -> "Future[tuple[Judge | None, str]]":
    """One that is there already, or none for a reason."""
    found: Future[tuple[Judge | None, str]] = Future()
    found.set_result((judge, why))
    return found


class AwaitedJudge:
    """`judge` is None until it is `here`, and where there is none; `without` says why."""

    def __init__(self, coming: "Future[tuple[Judge | None, str]] | None") -> None:
        self._coming = coming
        self.judge: Judge | None = None
        self.without = "" if coming is None else "being loaded"

    def wait(self, budget: Budget) -> None:
        """At most as long as the budget lasts."""
        while self._coming is not None and not (self._coming.done() or budget.over):
            wait((self._coming,), min(budget.left(), LOOK_SECONDS))

    def here(self, budget: Budget) -> Judge | None:
        """Waited for where the budget has no end."""
        if budget.deadline == math.inf:
            self.wait(budget)
        if self._coming is not None and self._coming.done():
            coming, self._coming = self._coming, None
            if (error := coming.exception()) is not None:
                log.warning("the judge could not be loaded and is left out: %r", error)
                self.leave(f"off: it could not be loaded ({error!r})")
            else:
                self.judge, self.without = coming.result()
        return self.judge

    def leave(self, why: str) -> None:
        """What failed once would fail with every key."""
        self.judge, self.without = None, why

    def forget(self) -> None:
        if self.judge is not None:
            self.judge.forget()
