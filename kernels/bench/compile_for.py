"""Compiles kernels for a GPU that is not here, and reports what the compiler made of them.

Calls an op with CPU tensors of the real shapes; nothing is launched and no memory is touched. A
kernel that spills registers or wants more shared memory than there is shows up on any laptop.
"""

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
MAX_SHARED = 227 * 1024  # of one block, on Hopper
SHARED_PER_SM = 228 * 1024
REGISTERS_PER_SM = 65536
WARPS_PER_SM = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """One kernel: what it takes of a multiprocessor, and its machine code."""

    name: str
    registers: int
    spills: int  # bytes of stack
    shared: int
    num_warps: int
    programs: int
    sass: str

    @property
    def per_sm(self) -> int:
        """How many programs a multiprocessor holds at once."""
        by_registers = REGISTERS_PER_SM // max(1, -(-self.registers // 8) * 8 * 32 * self.num_warps)
        by_shared = SHARED_PER_SM // (self.shared + 1024)
        return min(by_registers, by_shared, WARPS_PER_SM // self.num_warps)

    def count(self, opcode: str) -> int:
        return len(re.findall(rf"\b{opcode}", self.sass))


class _Driver:
    """As much of a driver as compiling asks for."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_active_torch_device(self) -> str:
        return "cpu"


@contextmanager
def compiling(capability: int) -> Iterator[list[Compiled]]:
    """Within it launches only compile; the list fills with what they would have launched."""
    made: list[Compiled] = []

    def launch(self: Any, grid: Any) -> Callable[..., None]:
        def compile_only(*args: Any, **kwargs: Any) -> None:
            kernel = self.run(*args, grid=grid, warmup=True, **kwargs)
            made.append(_report(kernel, grid))

        return compile_only

    from triton.runtime import driver

    before = driver._active if hasattr(driver, "_active") else None
    driver.set_active(_Driver(capability))  # type: ignore[no-untyped-call]
    try:
        with mock.patch.object(JITFunction, "__getitem__", launch):
            yield made
    finally:
        if before is not None:
            driver.set_active(before)  # type: ignore[no-untyped-call]


def _report(kernel: Any, grid: Any) -> Compiled:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = _run("cuobjdump", "--dump-resource-usage", file.name)
        sass = _run("cuobjdump", "--dump-sass", file.name)
    programs = 1
    for size in grid:
        programs *= size
    return Compiled(
        name=kernel.metadata.name,
        registers=int(re.findall(r"REG:(\d+)", usage)[-1]),
        spills=int(re.findall(r"STACK:(\d+)", usage)[-1]),
        shared=kernel.metadata.shared,
        num_warps=kernel.metadata.num_warps,
        programs=programs,
        sass=sass,
    )


def _run(tool: str, *args: str) -> str:
    return subprocess.run(
        [str(TOOLS / tool), *args], check=True, capture_output=True, text=True
    ).stdout
