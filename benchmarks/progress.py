"""Says on stderr how far a benchmark is, so that stdout holds results alone."""

import sys
import time
from collections.abc import Callable

EVERY = 15.0  # seconds


def say(*words: object) -> None:
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


def counted(what: str, total: int) -> Callable[[], None]:
    """Gives a function to call after each of `total` parts, which speaks now and then."""
    started = last = time.monotonic()
    done = 0

    def tick() -> None:
        nonlocal done, last
        done += 1
        now = time.monotonic()
        if now - last > EVERY or done == total:
            last = now
            say(f"{what}: {done} of {total}, {now - started:.0f} s")

    return tick
