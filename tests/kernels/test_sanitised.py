"""The compiled routine touches nothing that is not its own, for every CPU that this one includes.

A small program calls it with buffers of the exact size; the sanitizers end it at the first step
beyond one, and at the first undefined operation.
"""

import os
import subprocess
from pathlib import Path

import pytest

from infill_kernels.compiled import find_compiler
from infill_kernels.native import FLAGS, SOURCE
from tests.kernels.cpus import LESSER, lesser

MAIN = Path(__file__).with_name("blocks_main.c")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")


def build(program: Path, source: Path, *flags: str) -> str:
    """Compiles with sanitizers; what the compiler says where it fails, or ""."""
    compiler, _ = find_compiler()
    given = [*SANITIZERS, *flags, f"-I{SOURCE.parent}", "-o", str(program), str(source), "-lm"]
    done = subprocess.run([*compiler, *given], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def run(program: Path) -> "subprocess.CompletedProcess[str]":
    # What is not freed belongs to the thread, and this one ends.
    environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1"}
    return subprocess.run([program], capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module", autouse=True)
def sanitizers(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("sanitizers")
    (folder / "none.c").write_text("int main(void) { return 0; }\n")
    compiler, reason = find_compiler()
    if not compiler:
        pytest.skip(reason)
    if build(folder / "none", folder / "none.c"):
        pytest.skip(f"{compiler[0]} has no sanitizers")
    if run(folder / "none").returncode:
        pytest.skip("programs with sanitizers do not run here")


def test_a_step_beyond_a_buffer_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "wrong.c").write_text(
        f'#include "{SOURCE}"\n'
        "int main(void) {\n"
        "    float *x = malloc(4 * 32), *y = malloc(4 * 16);\n"
        "    bf16 *w = calloc(16 * 32 - 1, 2);\n"  # one weight too few
        "    for (int i = 0; i < 32; i++) x[i] = 1;\n"
        "    return !EXPORTED(product)(BF16, x, 1, w, y, 16, 32);\n"
        "}\n"
    )
    assert build(tmp_path / "wrong", tmp_path / "wrong.c") == ""
    done = run(tmp_path / "wrong")

    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr


@pytest.mark.parametrize("target", ["this CPU", *LESSER])
def test_ragged_shapes_and_failing_allocations_do_no_harm(target: str, tmp_path: Path) -> None:
    several = FLAGS if target == "this CPU" else (lesser(target),)
    assert "" in (build(tmp_path / "main", MAIN, *flags) for flags in several)
    done = run(tmp_path / "main")
    if done.returncode == 2:
        pytest.skip("the system does not let tiles run")

    assert (done.stdout, done.stderr, done.returncode) == ("every call came back\n", "", 0)
