"""What was freed, given back to the system: Python and the C library keep it for later."""

import ctypes
import gc
from collections.abc import Callable


def give_back() -> None:
    """For when nobody waits: for some ten milliseconds no other thread of Python runs."""
    gc.collect()
    if _trim is not None:
        _trim(0)


def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's; None where the C library has none."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return trim


_trim = _malloc_trim()
