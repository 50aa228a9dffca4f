"""CPUs that can do less than this one, as a compiler names them."""

import platform

import pytest

from infill_kernels.compiled import cpu
from infill_kernels.native import FLAGS

# What they are compiled with, and what this CPU has to have for it to run.
LESSER: dict[str, tuple[tuple[str, ...], str]] = {
    "AVX-512 without tiles": (FLAGS[1], "avx512f"),
    "AVX2": (("-march=haswell",), "avx2"),
    "SSE2": (("-march=x86-64",), "sse2"),
}


def lesser(target: str) -> tuple[str, ...]:
    """The flags, where they make sense here; skips the test otherwise."""
    flags, needed = LESSER[target]
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("these are of x86")
    if needed not in cpu():
        pytest.skip(f"this CPU has no {needed}")
    return flags
