"""What was freed is the system's again."""

import gc
import weakref

import pytest

from infill_ls.cli.machine import resident_mb
from infill_ls.heap import _trim, give_back


class Circle:
    def __init__(self) -> None:
        self.itself = self


def test_what_holds_itself_is_freed() -> None:
    gc.disable()
    try:
        circle = weakref.ref(Circle())
        assert circle() is not None
        give_back()
    finally:
        gc.enable()

    assert circle() is None


@pytest.mark.skipif(_trim is None, reason="this C library has nothing of the kind")
def test_memory_below_what_is_still_used_goes_back() -> None:
    freed = [bytearray(b"x" * 50_000) for _ in range(800)]  # 40 MB, in pieces that are not mapped
    last = bytearray(b"x" * 50_000)  # lies above them
    freed.clear()
    before = resident_mb()
    give_back()
    after = resident_mb()

    assert before is not None
    assert after is not None
    assert after < before - 30
    assert len(last) == 50_000
