"""The libraries that are made beforehand, one for a system, and what they were made of.

`python -m infill_kernels.prebuilt.build` (or `make kernels`) makes them; made.json has the digest
of the sources, of each library, and the compilers. A library of other sources is not loaded, which
in a checkout means: the routines were changed, and are compiled for this CPU instead.
"""

import ctypes
import functools
import hashlib
import json
import platform
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCES = FOLDER.parent / "cpu"
MADE = FOLDER / "made.json"


@functools.cache
def made_beforehand() -> tuple[ctypes.CDLL | None, str]:
    """The library for this system, or None; and the reason in words."""
    path = FOLDER / file_name()
    try:
        made = json.loads(MADE.read_text(encoding="utf-8"))
        content = path.read_bytes()
    except (OSError, ValueError):
        return None, f"there is no library made for {platform.system()} on {platform.machine()}"
    if made["sources"] != sources_digest():
        return None, "the routines' sources were changed after the libraries were made"
    if made["libraries"].get(path.name) != hashlib.sha256(content).hexdigest():
        return None, f"{path} is not what was made; install infill-ls again"
    try:
        return ctypes.CDLL(str(path)), "made beforehand"
    except OSError as error:
        return None, f"{path} cannot be loaded ({error})"


def file_name() -> str:
    """The name of the library for this system, whether there is one or not."""
    system = {"win32": "windows", "darwin": "macos"}.get(sys.platform, sys.platform)
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    return f"{system}-{machine}.{'dll' if sys.platform == 'win32' else 'so'}"


def sources_digest() -> str:
    names = sorted(path for path in SOURCES.iterdir() if path.suffix in (".c", ".h"))
    together = hashlib.sha256()
    for path in names:
        text = path.read_bytes().replace(b"\r\n", b"\n")  # as git may write them on Windows
        together.update(path.name.encode() + b"\0" + text + b"\0")
    return together.hexdigest()
