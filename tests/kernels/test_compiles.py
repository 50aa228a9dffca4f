"""Every kernel compiles for Hopper at the model's shapes, whether or not there is a GPU.

The interpreter forgives what the compiler does not: a variable that changes its type in a loop, a
tile that exceeds shared memory.
"""

import os

import pytest

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("kernels are interpreted, not compiled", allow_module_level=True)

from bench.compile_for import MAX_SHARED, compiling
from bench.shapes import Case, cases, empty

# A sixteenth of a row of registers or so; anything like this much is outside the loop.
MAX_SPILT = 256
# Products whose tiles must reach Hopper's own matrix instructions.
MATRICES = ("moe", "linear", "canvas_attention")


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(64, empty), ids=lambda case: case.name)
def test_compiles_for_hopper(case: Case) -> None:
    with compiling(90) as made:
        case.run()

    assert made or case.name == "linear, bf16"
    for kernel in made:
        assert kernel.shared <= MAX_SHARED, kernel.name
        assert kernel.spills <= MAX_SPILT, kernel.name
    if made and case.name.startswith(MATRICES):
        assert any(kernel.count("HGMMA") for kernel in made)
        assert not any(kernel.count("HMMA") for kernel in made)
