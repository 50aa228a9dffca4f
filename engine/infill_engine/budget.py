"""How long an answer is worth waiting for, and whether anybody still wants it.

One object travels from the request through every stage that can take more than a millisecond, so
that whoever has a deadline or takes a request back reaches all of them.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace


class BudgetSpent(Exception):
    """The deadline has come or the request was taken back. No fault: whoever gave the budget
    catches it and makes do with what there is."""


def never() -> bool:
    """The `cancelled` of a request that nobody takes back."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """`deadline` in seconds of `time.monotonic()`; `cancelled` may be asked from any thread."""

    deadline: float = math.inf
    cancelled: Callable[[], bool] = never

    def left(self) -> float:
        """Seconds until the deadline, at least 0; 0 as well once the request was taken back."""
        return 0.0 if self.cancelled() else max(0.0, self.deadline - time.monotonic())

    @property
    def late(self) -> bool:
        """Whether the deadline has come."""
        return time.monotonic() >= self.deadline

    @property
    def over(self) -> bool:
        """Whether the deadline has come or the request was taken back."""
        return self.cancelled() or self.late

    def check(self) -> None:
        """Raises BudgetSpent when it is over."""
        if self.over:
            raise BudgetSpent

    def within(self, seconds: float) -> "Budget":
        """The same, but no longer than `seconds` from now."""
        return replace(self, deadline=min(self.deadline, time.monotonic() + seconds))


UNLIMITED = Budget()
