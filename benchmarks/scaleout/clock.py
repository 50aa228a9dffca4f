"""The time of a discrete-event simulation: what is to happen, in its order."""

import heapq
import itertools
from collections.abc import Callable


class Clock:
    """`now` in seconds. What is due at the same time happens in the order it was planned in."""

    def __init__(self) -> None:
        self.now = 0.0
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._planned, (self.now + seconds, next(self._count), action))

    def run(self, until: float) -> None:
        while self._planned and self._planned[0][0] <= until:
            self.now, _, action = heapq.heappop(self._planned)
            action()
        self.now = until
