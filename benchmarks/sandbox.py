"""Runs a Python text that nobody has read, and says whether it came to its end.

Every run is an interpreter of its own, in a session of its own that is killed as one, with an
empty environment and a temporary folder, without site packages. It may use 4 s of CPU, 1 GiB of
memory and files of 1 MiB, start no process, and take 6 s.

On Linux it has no network (a network namespace, for root or where users have namespaces), and
started by root it is nobody. Where the system cannot do one of these, the interpreter refuses
sockets and processes instead, which a program that is out to can get round; `kept` tells.

The modules that a benchmark needs are imported before the rights are gone: an interpreter may lie
where nobody can read.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from io import FileIO
from typing import Literal

from infill_engine import RequestError

Verdict = Literal["passed", "failed", "timeout"]

# The new interpreter's program. It reads the text from stdin and reports to a descriptor.
LAUNCHER = """
import bisect, cmath, collections, copy, ctypes, datetime, decimal, fractions, functools, hashlib
import heapq, itertools, json, math, operator, os, random, re, resource, statistics, string, sys
import textwrap, time, typing

report, cpu, memory, file_size, namespaces = map(int, sys.argv[1:])
text = sys.stdin.read()
kept = []
if sys.platform == "linux":
    libc = ctypes.CDLL(None)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    new_network, new_user = 0x40000000, 0x10000000
    if namespaces and 0 in map(libc.unshare, (new_network, new_network | new_user)):
        kept.append("network")
if os.getuid() == 0:
    try:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        kept.append("rights")
    except OSError:
        pass
if os.getuid() != 0:
    kept.append("processes")  # root's are not limited


def limit(name, most):
    try:
        hard = resource.getrlimit(getattr(resource, name))[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(getattr(resource, name), (most, most))
        return True
    except (AttributeError, OSError, ValueError):
        return False  # macOS limits no address space


limits = {"RLIMIT_CPU": cpu, "RLIMIT_FSIZE": file_size, "RLIMIT_CORE": 0, "RLIMIT_NPROC": 0}
for name, most in limits.items():
    limit(name, most)
if limit("RLIMIT_AS", memory):
    kept.append("memory")
refused = ()
if "network" not in kept:
    refused += ("socket.", "ctypes.")
if "processes" not in kept:
    refused += ("subprocess.", "os.fork", "os.posix_spawn", "os.exec", "os.system", "os.kill")


def refuse(event, arguments):
    if event.startswith(refused):
        raise PermissionError(event + " is refused here")


if refused:
    sys.addaudithook(refuse)
os.write(report, " ".join(kept).encode() + b"\\n")
exec(compile(text, "answer.py", "exec"), {"__name__": "__main__"})
os.write(report, b"end")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLimits:
    cpu_seconds: int = 4
    wall_seconds: float = 6.0
    memory_bytes: int = 2**30
    file_bytes: int = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """`kept` holds which of network, rights, processes and memory the system itself guarded."""

    verdict: Verdict
    kept: frozenset[str]


LIMITS = SandboxLimits()


def run(program: str, limits: SandboxLimits = LIMITS, *, namespaces: bool = True) -> Ran:
    """Whether the program's last line was reached, which no early exit does. What it writes is
    thrown away. Without `namespaces` it is run as on a system that has none."""
    reads, writes = os.pipe()
    numbers = (
        *(writes, limits.cpu_seconds, limits.memory_bytes, limits.file_bytes),
        int(namespaces),
    )
    with (
        os.fdopen(reads, "rb", buffering=0) as report,
        tempfile.TemporaryFile() as text,
        tempfile.TemporaryDirectory(prefix="infill-run-", ignore_cleanup_errors=True) as home,
    ):
        os.chmod(home, 0o777)  # for nobody
        text.write(program.encode("utf-8", "replace"))
        text.seek(0)
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", "-c", LAUNCHER, *map(str, numbers)],
                stdin=text,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=home,
                env={},
                pass_fds=(writes,),
                start_new_session=True,
            )
        finally:
            os.close(writes)
        said, in_time = _until_closed(report, time.monotonic() + limits.wall_seconds)
        # Before it is waited for: until then its id is no other session's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        killed = process.wait() in (-signal.SIGKILL, -signal.SIGXCPU) or not in_time
    kept, _, end = said.decode(errors="replace").partition("\n")
    verdict: Verdict = "timeout" if killed else "passed" if end == "end" else "failed"
    return Ran(verdict=verdict, kept=frozenset(kept.split()))


def _until_closed(report: FileIO, deadline: float) -> tuple[bytes, bool]:
    """What was written, and whether the other end was closed in time."""
    said = b""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([report], [], [], left)[0]:
            more = report.read(4096)
            if not more:
                return said, True
            said = (said + more)[:4096]
    return said, False


@cache
def guarded() -> str:
    """What the sandbox guards on this system, in words; raises RequestError where it cannot run."""
    if not hasattr(os, "killpg"):
        raise RequestError("answers cannot be run on this system; leave --data out")
    ran = run("import math\nassert math.pi > 3\n")
    if ran.verdict != "passed":
        raise RequestError(
            f"{sys.executable} cannot run in the sandbox here ({ran.verdict}); leave --data out"
        )
    words = {
        "network": ("no network", "Python's sockets refused"),
        "rights": ("as nobody", "with the rights of who runs this"),
        "processes": ("no further process", "Python's ways to start one refused"),
        "memory": ("1 GiB of memory", "memory not limited"),
    }
    return ", ".join(yes if name in ran.kept else no for name, (yes, no) in words.items())
