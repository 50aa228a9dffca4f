"""Compiles kernels for a GPU that is not here, and reports what the compiler made of them.

    python -m bench.compile_for [--capability 90] [--cells 64]     (in the folder kernels/)

Calls each op with CPU tensors of DiffusionGemma's shapes; nothing is launched and no memory is
touched. A kernel that spills registers or wants more shared memory than there is shows up here.
"""

# Triton has no types.
# mypy: disable-error-code="import-untyped"

import argparse
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
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from bench.shapes import cases, empty

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
# Bytes of shared memory that one program may have, by capability.
MAX_SHARED = {80: 163 * 1024, 86: 99 * 1024, 89: 99 * 1024, 90: 227 * 1024, 120: 99 * 1024}
# Of Hopper.
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
        self.utils = self

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": MAX_SHARED[self.target.arch]}

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        """One for each capability, or what was compiled for another would be taken again."""
        return int(self.target.arch)

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

    with (
        mock.patch.object(driver, "_active", _Driver(capability)),
        mock.patch.object(JITFunction, "__getitem__", launch),
    ):
        yield made


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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--capability", type=int, choices=MAX_SHARED, default=90, help="90 is Hopper"
    )
    parser.add_argument("--cells", type=int, default=64)
    options = parser.parse_args()
    print(f"triton {triton.__version__}, capability {options.capability}, {options.cells} cells")
    print(
        f"{'op':26}{'kernel':24}{'programs':>9}{'regs':>6}{'spilt':>6}{'shared':>8}{'per SM':>7}"
        f"{'HGMMA':>7}{'HMMA':>6}"
    )
    for case in cases(options.cells, empty):
        with compiling(options.capability) as made:
            case.run()
        for each in made:
            print(
                f"{case.name:26}{each.name:24}{each.programs:9}{each.registers:6}{each.spills:6}"
                f"{each.shared:8}{each.per_sm:7}{each.count('HGMMA'):7}{each.count('HMMA'):6}"
            )


if __name__ == "__main__":
    main()
