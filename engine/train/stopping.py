"""An end that a training run is asked for: it comes behind a step, and what is learned is kept."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or a request to end came; a second one ends the program as it always does."""
    asked, former = Event(), {}

    def note(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(number, former[number])
        print("stops behind this step; once more stops at once", file=sys.stderr, flush=True)

    for number in (signal.SIGINT, signal.SIGTERM):
        former[number] = signal.signal(number, note)
    try:
        yield asked.is_set
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def never() -> bool:
    return False
