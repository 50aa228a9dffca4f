"""Makes the libraries for all systems that this machine has compilers for: see `make kernels`.

    python -m infill_kernels.prebuilt.build [FOLDER]

Each source is compiled once for each level of a system's instructions, and all of them linked. The
compilers are Debian's gcc, gcc-aarch64-linux-gnu and gcc-mingw-w64-x86-64.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from infill_kernels.prebuilt import FOLDER, SOURCES, sources_digest

COMMON = ("-O3", "-Wno-psabi", "-ffp-contract=fast", "-fno-math-errno", "-fvisibility=default")
_AVX2 = ("-DAVX2", "-mavx2", "-mfma", "-mf16c")
_AVX512 = (*_AVX2, "-DAVX512", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq")
_VNNI = (*_AVX512, "-DVNNI", "-mavx512vnni")
X86_64 = {
    "c": ("-O2",),
    "avx2": _AVX2,
    "avxvnni": (*_AVX2, "-DAVXVNNI", "-mavxvnni"),
    "avx512": _AVX512,
    "avx512vnni": _VNNI,
    "amx": (*_VNNI, "-DAMX", "-mamx-tile", "-mamx-bf16", "-mamx-int8"),
}
# GCC's tiles take strides as `long`, which has 32 bits on Windows, and fail to assemble.
WINDOWS = {name: flags for name, flags in X86_64.items() if name != "amx"}
AARCH64 = {
    "c": ("-O2",),
    "dotprod": ("-DNEON", "-DDOTPROD", "-march=armv8.2-a+dotprod"),
}


@dataclass(frozen=True, slots=True)
class System:
    """`library` is the file's name, `levels` each level's flags."""

    library: str
    compiler: str
    levels: dict[str, tuple[str, ...]]
    compiling: tuple[str, ...]
    linking: tuple[str, ...]


SYSTEMS = (
    System("linux-x86_64.so", "gcc", X86_64, ("-fPIC",), ("-lm",)),
    System("linux-aarch64.so", "aarch64-linux-gnu-gcc", AARCH64, ("-fPIC",), ("-lm",)),
    System(
        "windows-x86_64.dll",
        "x86_64-w64-mingw32-gcc",
        WINDOWS,
        # Windows aligns stacks to 16 bytes, which GCC forgets where it spills longer vectors.
        ("-Wa,-muse-unaligned-vector-move",),
        # Made twice, it is the same to the byte.
        ("-static", "-static-libgcc", "-Wl,--no-insert-timestamp", "-Wl,--disable-auto-image-base"),
    ),
)


def build(system: System, folder: Path) -> Path:
    """Compiles and links a system's library. Raises OSError or subprocess.CalledProcessError."""
    library = folder / system.library
    with tempfile.TemporaryDirectory() as scratch:
        objects = [Path(scratch) / f"{name}.o" for name in (*system.levels, "levels")]
        commands = [
            [*COMMON, *flags, f"-DLEVEL={name}", str(SOURCES / "blocks.c")]
            for name, flags in system.levels.items()
        ]
        commands.append([*COMMON, str(SOURCES / "levels.c")])
        # The path of a checkout has no place in what is made of it.
        compiling = (system.compiler, *system.compiling, f"-ffile-prefix-map={SOURCES}=cpu", "-c")
        with ThreadPoolExecutor() as pool:
            pairs = zip(commands, objects, strict=True)
            list(pool.map(lambda pair: _run(*compiling, *pair[0], "-o", str(pair[1])), pairs))
        linked = ("-shared", "-s", "-Wl,--build-id=none", *map(str, objects), *system.linking)
        _run(system.compiler, *linked, "-o", str(library))
    return library


def compiler_version(system: System) -> str:
    """Its first line of --version, or "" where it is not installed."""
    try:
        return _run(system.compiler, "--version").splitlines()[0]
    except OSError:
        return ""


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main(folder: Path) -> None:
    libraries, compilers = {}, {}
    for system in SYSTEMS:
        version = compiler_version(system)
        if not version:
            sys.exit(f"{system.compiler} is not installed, which makes {system.library}")
        library = build(system, folder)
        libraries[library.name] = hashlib.sha256(library.read_bytes()).hexdigest()
        compilers[library.name] = version
        print(f"{library} {library.stat().st_size / 1e3:.0f} kB, {version}")
    made = {"sources": sources_digest(), "libraries": libraries, "compilers": compilers}
    (folder / "made.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
