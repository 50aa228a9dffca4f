"""Every kernel compiles at the model's shapes, whether or not there is a GPU.

The interpreter forgives what the compiler does not: a variable that changes its type in a loop, a
tile that exceeds shared memory.
"""

import os

import pytest

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("kernels are interpreted, not compiled", allow_module_level=True)

from bench.compile_for import MAX_SHARED, compiling
from bench.shapes import OpCase, cases, empty

# A sixteenth of a row of registers or so; anything like this much is outside the loop.
MAX_SPILT = 256
# Products whose tiles must reach Hopper's own matrix instructions.
MATRICES = ("moe", "canvas_attention")
# Those whose tiles, or the splits of whose rows, depend on how many cells there are.
SHAPED = (*MATRICES, "head_statistics")
# A short canvas, the longest, and four of those in a batch.
CELLS = (32, 256, 1024)
# GeForce and workstation chips, which hold the experts in 4 bits, and an A100.
SMALLER = (80, 89, 120)


def named(case: OpCase) -> str:
    return case.name


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(64, empty), ids=named)
def test_compiles_for_hopper(case: OpCase) -> None:
    fits_hopper(case)


@pytest.mark.slow
@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize(
    "name", [case.name for case in cases(1, empty) if case.name.startswith(SHAPED)]
)
def test_tiles_of_other_canvases_compile_for_hopper(name: str, cells: int) -> None:
    fits_hopper(next(case for case in cases(cells, empty) if case.name == name))


def fits_hopper(case: OpCase) -> None:
    with compiling(90) as made:
        case.run()

    assert made
    for kernel in made:
        assert kernel.shared <= MAX_SHARED[90], kernel.name
        assert kernel.spills <= MAX_SPILT, kernel.name
    if case.name.startswith(MATRICES):
        assert any(kernel.count("HGMMA") for kernel in made)
        assert not any(kernel.count("HMMA") for kernel in made)


@pytest.mark.slow
@pytest.mark.parametrize("capability", SMALLER)
@pytest.mark.parametrize(
    "name",
    ["canvas_attention, sliding", "canvas_attention, full", "moe_parts, bf16", "moe_parts, int4"],
)
def test_tiles_fit_smaller_chips(name: str, capability: int) -> None:
    case = next(case for case in cases(1024, empty) if case.name == name)

    with compiling(capability) as made:
        case.run()

    assert made
    for kernel in made:
        assert kernel.shared <= MAX_SHARED[capability], kernel.name
        assert kernel.spills <= MAX_SPILT, kernel.name
    assert not any(kernel.count("HGMMA") for kernel in made)
