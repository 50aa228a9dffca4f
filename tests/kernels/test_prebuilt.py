"""The libraries that are committed are of these sources, and compute on every system what they do
here: those of arm64 under qemu-user, those of Windows under Wine, where these are installed.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from infill_kernels.native import Native, names_of_levels
from infill_kernels.prebuilt import FOLDER, MADE, SOURCES, made_beforehand, sources_digest
from infill_kernels.prebuilt.build import SYSTEMS, System, build, compiler_version

MAIN = Path(__file__).with_name("blocks_main.c")
LINUX, ARM, WINDOWS = SYSTEMS
# Debian keeps the program beside the libraries of Wine; others have it on the path.
WINE = shutil.which("wine64") or shutil.which("wine64", path="/usr/lib/wine")
made = json.loads(MADE.read_text())


def named(system: System) -> str:
    return system.library


def wanted(system: System) -> None:
    """Skips where there is no compiler for a system."""
    if not compiler_version(system):
        pytest.skip(f"{system.compiler} is not installed, which makes {system.library}")


def test_what_is_committed_is_of_these_sources() -> None:
    assert made["sources"] == sources_digest(), "run `make kernels` and commit what it makes"
    for name, digest in made["libraries"].items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS, ids=named)
def test_a_fresh_build_is_what_is_committed(system: System, tmp_path: Path) -> None:
    wanted(system)
    fresh, committed = build(system, tmp_path), FOLDER / system.library

    assert exported(fresh, system) == exported(committed, system) == expected(system)
    if compiler_version(system) == made["compilers"][system.library]:
        assert fresh.read_bytes() == committed.read_bytes()


def exported(library: Path, system: System) -> set[str]:
    """The names that a library gives, of those that are ours."""
    tools = system.compiler.removesuffix("gcc")
    if system is WINDOWS:
        printed = output(f"{tools}objdump", "-p", str(library)).partition("[Ordinal/Name")[2]
    else:
        printed = output(f"{tools}nm", "-D", "--defined-only", str(library))
    return {word for word in printed.split() if word.startswith("infill_")}


def expected(system: System) -> set[str]:
    routines = {"ready", "format", *(each.name for each in fields(Native)[2:])}
    names = {f"infill_{level}_{each}" for level in system.levels for each in routines}
    return {"infill_levels", *names}


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def results(system: System, level: str, folder: Path, *before: str) -> np.ndarray:
    """What a level of a committed library computes over ragged shapes, in a program that is started
    by the words `before`."""
    program, told = folder / f"main-{system.library}.exe", folder / f"{level}-{system.library}"
    if not program.exists():
        given = [f"-I{SOURCES}", "-O1", "-w", "-o", str(program), str(MAIN), "-lm"]
        subprocess.run([system.compiler, *given], check=True, capture_output=True)
    command = [*before, str(program), str(FOLDER / system.library), level, told.name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("every call came back", 0), done
    return np.fromfile(told, np.float32)


def here(level: str, folder: Path) -> np.ndarray:
    """The same by the library for this system, which other tests compare with torch."""
    library, reason = made_beforehand()
    if library is None or library._name != str(FOLDER / LINUX.library):
        pytest.skip(f"the library to compare with is that of Linux on x86-64 ({reason})")
    if level not in names_of_levels(library):
        pytest.skip(f"this CPU has no {level}")
    wanted(LINUX)
    return results(LINUX, level, folder)


def near(found: np.ndarray, wanted: np.ndarray) -> None:
    """As near as sums in another order are, and 8-bit numbers that they round to."""
    assert found.shape == wanted.shape
    assert np.linalg.norm(found - wanted) < 1e-3 * np.linalg.norm(wanted)


@pytest.mark.slow
def test_arm64_computes_what_plain_c_does_here(tmp_path: Path) -> None:
    wanted(ARM)
    if not shutil.which("qemu-aarch64"):
        pytest.skip("qemu-aarch64 is not installed, which runs programs for arm64")
    start = ("qemu-aarch64", "-cpu", "max", "-L", "/usr/aarch64-linux-gnu")
    expected = here("c", tmp_path)
    for level in ARM.levels:
        near(results(ARM, level, tmp_path, *start), expected)


@pytest.mark.slow
def test_windows_computes_what_linux_does(tmp_path: Path) -> None:
    wanted(WINDOWS)
    if WINE is None:
        pytest.skip("wine64 is not installed, which runs programs for Windows")
    library, reason = made_beforehand()
    if library is None:
        pytest.skip(reason)
    levels = [level for level in names_of_levels(library) if level in WINDOWS.levels]
    with wine():
        for level in levels:
            near(results(WINDOWS, level, tmp_path, WINE), here(level, tmp_path))


@contextmanager
def wine() -> Iterator[None]:
    """Wine in a folder of its own, which is as large as a Windows."""
    server = shutil.which("wineserver64", path="/usr/lib/wine") or shutil.which("wineserver")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WINEPREFIX", f"{folder}/wine")
        patch.setenv("WINEDEBUG", "-all")
        try:
            yield
        finally:
            if server:
                subprocess.run([server, "-k"], check=False, env=os.environ)
                subprocess.run([server, "-w"], check=False, env=os.environ)
