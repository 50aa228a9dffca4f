"""A judge that comes some time after the model it judges for."""

import logging
import math
from concurrent.futures import Future, wait

from infill_engine.budget import Budget
from infill_engine.judge.judge import Judge

log = logging.getLogger(__name__)


class AwaitedJudge:
    """`judge` is None until it is `here`, and where there is none; `without` says why."""

    def __init__(self, coming: "Future[tuple[Judge | None, str]] | None") -> None:
        self._coming = coming
        self.judge: Judge | None = None
        self.without = "" if coming is None else "being loaded"

    def wait(self, budget: Budget) -> None:
        """At most as long as the budget lasts."""
        if self._coming is not None and not budget.over:
            wait((self._coming,), None if budget.deadline == math.inf else budget.left())

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
