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

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from infill_kernels import attention, experts, matmul, naive, norms, routing, statistics

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
# Of Hopper: what one program may have, and what a multiprocessor has.
MAX_SHARED = 227 * 1024
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


def ops(cells: int) -> dict[str, Callable[[], object]]:
    """Every op of a step over so many cells, with the shapes of the 26B-A4B checkpoint."""
    wide, narrow, heads, vocab, count = 2816, 704, 16, 262144, 128

    def of(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        return torch.empty(*shape, dtype=dtype)

    def fp8(number: int, rows: int, inputs: int) -> naive.Fp8:
        codes = of(number, rows, inputs, dtype=torch.float8_e4m3fn)
        return naive.Fp8(codes=codes, scale=torch.empty(number, rows, 1))

    def fp8_blocks(number: int, rows: int, inputs: int) -> naive.Fp8:
        squares = (triton.cdiv(rows, naive.BLOCK), triton.cdiv(inputs, naive.BLOCK))
        return fp8(number, rows, inputs)._replace(scale=torch.empty(number, *squares))

    def int4(number: int, rows: int, inputs: int) -> naive.Int4:
        codes = of(number, rows, inputs // 2, dtype=torch.uint8)
        return naive.Int4(codes=codes, scale=of(number, inputs // naive.GROUP, rows))

    def attend(size: int, groups: int, capacity: int) -> Tensor:
        return attention.canvas_attention(
            of(1, cells, heads, size),
            *(of(1, cells, groups, size) for _ in range(2)),
            *(of(1, groups, capacity, size) for _ in range(2)),
            length=torch.empty(1, dtype=torch.int32),
        )

    def rope(size: int, heads_made: int, groups: int) -> object:
        return norms.split_norm_rope(
            of(1, cells, heads_made * size),
            of(size),
            of(size),
            of(1, cells, size),
            of(1, cells, size),
            heads=heads,
            groups=groups,
            eps=1e-6,
        )

    def mixture(make: Callable[[int, int, int], naive.ExpertWeights]) -> Tensor:
        chosen = of(cells, 8, dtype=torch.int64)
        weights = torch.empty(cells, 8)
        gate_up, down = make(count, 2 * narrow, wide), make(count, wide, narrow)
        return experts.moe_parts(of(cells, wide), chosen, weights, gate_up, down)

    heat, known = torch.empty(1), torch.empty(cells)
    seed = torch.empty(1, dtype=torch.int64)
    allowed = of(vocab, dtype=torch.bool)
    return {
        "rms_norm": lambda: norms.rms_norm(of(cells, wide), of(wide), eps=1e-6),
        "sum_norms": lambda: norms.sum_norms(of(cells, wide), of(cells, wide), of(wide), eps=1e-6),
        "add_norms": lambda: norms.add_norms(
            of(cells, wide),
            of(cells, wide),
            of(wide),
            (of(wide), of(wide), of(wide, dtype=torch.float32)),
            eps=1e-6,
        ),
        "join_norms": lambda: norms.join_norms(
            of(cells, wide),
            of(cells, wide),
            of(cells, 8, wide),
            *(of(wide) for _ in range(4)),
            eps=1e-6,
            scale=of(1),
        ),
        "split_norm_rope, sliding": lambda: rope(256, 32, 8),
        "split_norm_rope, full": lambda: rope(512, 18, 2),
        "gated": lambda: norms.gated(of(cells, 2 * 2112)),
        "canvas_attention, sliding": lambda: attend(256, 8, 1023),
        "canvas_attention, full": lambda: attend(512, 2, 4096),
        "top_experts": lambda: routing.top_experts(
            of(cells, wide), of(count, wide), of(count), k=8
        ),
        "moe_parts, bf16": lambda: mixture(of),
        "moe_parts, fp8": lambda: mixture(fp8),
        "moe_parts, fp8 in blocks": lambda: mixture(fp8_blocks),
        "moe_parts, int4": lambda: mixture(int4),
        "linear, fp8": lambda: matmul.linear(of(cells, wide), fp8(1, 8192, wide)),
        "linear, int4": lambda: matmul.linear(of(cells, 4096), int4(1, wide, 4096)),
        "head_statistics": lambda: statistics.head_statistics(
            of(cells, vocab), heat, seed, cap=30.0, allowed=allowed
        ),
        "probabilities": lambda: statistics.probabilities(
            of(cells, vocab), heat, known, dtype=torch.bfloat16, cap=30.0, allowed=allowed
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--capability", type=int, default=90, help="90 is Hopper")
    parser.add_argument("--cells", type=int, default=64)
    options = parser.parse_args()
    print(f"triton {triton.__version__}, capability {options.capability}, {options.cells} cells")
    print(
        f"{'op':26}{'kernel':24}{'programs':>9}{'regs':>6}{'spilt':>6}{'shared':>8}{'per SM':>7}"
        f"{'HGMMA':>7}{'HMMA':>6}"
    )
    for name, op in ops(options.cells).items():
        with compiling(options.capability) as made:
            op()
        for each in made:
            print(
                f"{name:26}{each.name:24}{each.programs:9}{each.registers:6}{each.spills:6}"
                f"{each.shared:8}{each.per_sm:7}{each.count('HGMMA'):7}{each.count('HMMA'):6}"
            )


if __name__ == "__main__":
    main()
