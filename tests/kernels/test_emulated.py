"""Levels that this CPU has not, with their instructions emulated in C: see emulated.h.

They compute what plain torch does; how fast, nobody learns here.
"""

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest

from infill_kernels import native as levels
from infill_kernels.compiled import find_compiler
from infill_kernels.native import (
    INT8,
    INT16,
    Q4,
    Native,
    address,
    aligned,
    computes_rightly,
    laid_out_as,
    level_of,
    names_of_levels,
)
from infill_kernels.prebuilt import SOURCES, made_beforehand
from infill_kernels.prebuilt.build import X86_64
from tests.kernels import test_blocks, test_int8

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory):
    """A function from a level's name to the level."""
    compiler, reason = find_compiler()
    folder = tmp_path_factory.mktemp("emulated")
    made: dict[str, Native] = {}

    def of(name: str) -> Native:
        if not compiler:
            pytest.skip(reason)
        if name not in made:
            library = folder / f"{name}.so"
            macros = [flag for flag in X86_64[name] if flag.startswith("-D")]
            options = ["-O1", "-w", "-shared", "-fPIC", "-DEMULATED", *macros, f"-DLEVEL={name}"]
            given = [*options, f"-I{HERE}", "-o", str(library), str(SOURCES / "blocks.c"), "-lm"]
            for tuned in (["-march=native"], []):
                done = subprocess.run([*compiler, *tuned, *given], capture_output=True, text=True)
                if not done.returncode:
                    break
            assert not done.returncode, done.stderr
            found = level_of(ctypes.CDLL(str(library)), name)
            assert found is not None
            made[name] = found
        return made[name]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("name", ["amx", "avx512vnni", "avx512", "avxvnni"])
def test_a_level_computes_what_torch_does(
    name: str, emulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    level = emulated(name)
    for module in (levels, test_blocks):
        monkeypatch.setattr(module, "native", lambda: (level, "emulated"))

    assert computes_rightly(level)
    test_blocks.what_every_level_computes()
    test_int8.what_a_level_computes(level)


def test_what_is_emulated_is_what_a_cpu_does(emulated) -> None:
    """At the one level that a CPU and its emulation both have, up to the order of float sums."""
    library, reason = made_beforehand()
    if library is None or "avx2" not in names_of_levels(library):
        pytest.skip(reason if library is None else "this CPU has no avx2")
    both = level_of(library, "avx2"), emulated("avx2")
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((80, 96)).astype(np.float32)
    for form in (INT16, INT8, Q4):
        kept = aligned(laid_out_as(form, weight))
        for rows in (1, 2, 7, 33):
            x = aligned(generator.standard_normal((rows, 96)).astype(np.float32))
            found = np.zeros((2, rows, 80), np.float32)
            for level, y in zip(both, found, strict=True):
                assert level.product(form, address(x), rows, address(kept), address(y), 80, 96)
            np.testing.assert_allclose(*found, rtol=0, atol=1e-5, err_msg=f"{form} {rows}")
