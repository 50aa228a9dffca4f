"""A C source as a library for this CPU: compiled once, and kept where nobody else can write.

    the user's cache folder ── has it, as it was written ──────────────────► loaded
        │ has it not, or not surely
        ├─ compiled in a private folder there, put in place by a rename ──► loaded
        └─ cannot be written, or is not ours ─► a temporary folder ───────► loaded, for this run

What is loaded runs with the rights of this user. So nothing is loaded that somebody else could have
put there: the folder and the files in it must be of this user or of root and writable by nobody
else, and a library must be what its digest says, which is written beside it when it is compiled.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

COMPILING = 60.0  # seconds at most
# A compilation that was killed leaves its folder behind.
LEFT_BEHIND = 3600.0  # seconds
SCRATCH = "compiling-"
OTHERS = stat.S_IWGRP | stat.S_IWOTH
# A directory on Linux in which an opened folder stays the same, whatever is renamed.
OPENED = Path("/proc/self/fd")


class Untrusted(Exception):
    """A folder or a file that somebody else could have written; the sentence says why."""


def find_compiler() -> tuple[list[str], str]:
    """The command to start, with its own arguments, or [] and why there is none."""
    given = os.environ.get("CC", "")
    try:
        words = shlex.split(given)
    except ValueError as error:
        return [], f"CC={given!r} is no command ({error}); set it to a C compiler, or unset it"
    if words:
        if shutil.which(words[0]):
            return words, ""
        return [], f"CC={given!r} names no program; set it to a C compiler, or unset it"
    # Without Xcode's command line tools macOS has a `cc` all the same, which asks to install them.
    if sys.platform != "darwin" or _succeeds("xcode-select", "-p"):
        for name in ("cc", "gcc", "clang"):
            path = shutil.which(name)
            # A relative entry of PATH would be a folder of whatever project is open.
            if path and os.path.isabs(path):
                return [path], ""
    return [], "there is no C compiler: install gcc or clang, or set CC"


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def cache_folder() -> Path:
    """Where this user's programs keep what can be made again. Raises RuntimeError without a home.

    A relative XDG_CACHE_HOME is ignored, as the XDG Base Directory Specification wants it.
    """
    found = platformdirs.user_cache_path("infill-ls")
    return found if found.is_absolute() else Path.home() / ".cache" / "infill-ls"


def usable_library(
    source: Path,
    included: Sequence[Path],
    alternatives: Sequence[Sequence[str]],
    usable: Callable[[ctypes.CDLL], bool],
) -> tuple[ctypes.CDLL | None, str]:
    """The library of the first flags that the compiler takes and the system lets run, or None; and
    the reason in words."""
    compiler, reason = find_compiler()
    if not compiler:
        return None, reason
    for flags in alternatives:
        command = " ".join((*compiler, *flags))
        try:
            found, unusual = load(source, included, compiler, flags)
        except subprocess.TimeoutExpired as error:
            return None, f"{command} took more than {error.timeout:.0f} s"
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            reason = f"{command} failed: {_said(error)}"
            continue
        if usable(found):
            return found, f"compiled by {command}{unusual and f', {unusual}'}"
        reason = f"what {' '.join(flags)} gives does not run here, or multiplies wrongly"
    return None, reason


def load(
    source: Path, included: Sequence[Path], compiler: Sequence[str], flags: Sequence[str]
) -> tuple[ctypes.CDLL, str]:
    """The library that a compiler makes of a source, and "" or what is unusual about it.

    Raises OSError, RuntimeError or subprocess.SubprocessError where it cannot be made or loaded.
    """
    version = hashlib.sha256(b"".join(path.read_bytes() for path in (source, *included)))
    machine = repr((compiler, flags, cpu(), platform.libc_ver()))
    of_version = f"{source.stem}-{version.hexdigest()[:8]}-"
    name = f"{of_version}{hashlib.sha256(machine.encode()).hexdigest()[:16]}"
    try:
        folder = cache_folder()
        _make_private(folder)
        try:
            return _loaded(folder, name), ""
        except FileNotFoundError:
            unusual = ""
        except (Untrusted, OSError) as error:
            unusual = f"anew, for {error}"
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder) as scratch:
            for path in _compiled(Path(scratch), name, source, compiler, flags):
                path.replace(folder / path.name)
        _prune(folder, source.stem, of_version)
        return _loaded(folder, name), unusual
    except subprocess.TimeoutExpired:
        raise
    except (Untrusted, OSError, RuntimeError, subprocess.SubprocessError) as error:
        unusual = f"for this run alone: {_said(error)}"
    with tempfile.TemporaryDirectory(prefix="infill-ls-") as scratch:
        _compiled(Path(scratch), name, source, compiler, flags)
        return _loaded(Path(scratch), name), unusual


def _said(error: Exception) -> str:
    """What went wrong, in words, the compiler's own where it has said something."""
    printed = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else ""
    return next((line for line in printed.splitlines() if "error: " in line), printed) or str(error)


def cpu() -> str:
    """What a compiled library is good for; a home folder may be shared by different machines."""
    features = [platform.system(), platform.machine(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return " ".join(features)
    kinds = ("flags", "Features", "model name", "CPU part")
    return " ".join([*features, *sorted({line for line in lines if line.startswith(kinds)})])


def _make_private(folder: Path) -> None:
    """Makes the folder, and those above it that are missing, for this user alone.

    Raises Untrusted where it is there and of somebody else.
    """
    for each in (*reversed(folder.parents), folder):
        each.mkdir(mode=0o700, exist_ok=True)
    with _opened(folder) as descriptor:
        with suppress(OSError):  # of root, or on a file system that cannot be written
            os.fchmod(descriptor, 0o700)
        _check(folder, os.fstat(descriptor))


def _loaded(folder: Path, name: str) -> ctypes.CDLL:
    """The library of that name. Raises Untrusted, FileNotFoundError, or OSError as ctypes does."""
    with _opened(folder) as descriptor:
        _check(folder, os.fstat(descriptor))
        library, digest = f"{name}.so", f"{name}.sha256"
        found = hashlib.sha256(_read(descriptor, folder / library)).hexdigest().encode()
        if found != _read(descriptor, folder / digest):
            raise Untrusted(f"{folder / library} is not what was compiled")
        # By way of the opened folder, so that none of another name can take its place meanwhile.
        here = OPENED / str(descriptor)
        return ctypes.CDLL(str((here if here.is_dir() else folder) / library))


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except NotADirectoryError as error:
        raise Untrusted(f"{folder} is no folder, or a link to one") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(folder: int, path: Path) -> bytes:
    """A file in an opened folder. `path` is for its name, and for what is said."""
    # What is no file, such as a pipe, is not waited for.
    opened = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with os.fdopen(opened, "rb") as file:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise Untrusted(f"{path} is no file")
        _check(path, found)
        return file.read()


def _check(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in (0, os.geteuid()):
        raise Untrusted(f"{path} belongs to user {found.st_uid}")
    if found.st_mode & OTHERS:
        raise Untrusted(f"{path} can be written by others")


def _compiled(
    folder: Path, name: str, source: Path, compiler: Sequence[str], flags: Sequence[str]
) -> tuple[Path, Path]:
    """Compiles into a private folder: the library, and the file with its digest."""
    library, digest = folder / f"{name}.so", folder / f"{name}.sha256"
    options = ("-O2", "-w", *flags, "-shared", "-fPIC")
    subprocess.run(
        [*compiler, *options, "-o", str(library), str(source), "-lm"],
        check=True,
        stdin=subprocess.DEVNULL,  # a language server's own is for its editor
        capture_output=True,
        text=True,
        errors="replace",
        timeout=COMPILING,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    if not library.is_file():
        raise RuntimeError("it has written nothing")
    library.chmod(0o600)
    digest.write_bytes(hashlib.sha256(library.read_bytes()).hexdigest().encode())
    digest.chmod(0o600)
    return library, digest


def _prune(folder: Path, stem: str, of_version: str) -> None:
    """Removes what was compiled of other versions of the source, and what was left half done."""
    with suppress(OSError):
        for path in folder.glob(f"{stem}-*"):
            if not path.name.startswith(of_version):
                path.unlink(missing_ok=True)
        for path in folder.glob(f"{SCRATCH}*"):
            if time.time() - path.lstat().st_mtime > LEFT_BEHIND:
                shutil.rmtree(path, ignore_errors=True)
