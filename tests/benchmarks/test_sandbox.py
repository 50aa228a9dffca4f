"""The sandbox is attacked, with the system's guards and without its namespaces."""

import os
import socket
import time
from pathlib import Path

import pytest

from benchmarks import sandbox
from benchmarks.sandbox import SandboxLimits

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
# Generous with wall time, so that on a busy machine it is the limit in question that stops.
PATIENT = SandboxLimits(wall_seconds=60)
LOOP = "while True:\n    pass\n"
both = pytest.mark.parametrize("namespaces", [True, False], ids=["namespaces", "none"])


@pytest.mark.parametrize(
    ("program", "verdict"),
    [
        ("import math, re, hashlib, typing\nassert math.gcd(4, 6) == 2\n", "passed"),
        ("print('x' * 10_000_000)\n", "passed"),
        ("assert False\n", "failed"),
        ("x = (\n", "failed"),
        ("import sys\nsys.exit(0)\n", "failed"),
        ("import os\nos._exit(0)\n", "failed"),
        ("import numpy\n", "failed"),
        ("x = 'ä€𝄞'\nassert len(x) == 3\n", "passed"),
    ],
)
def test_only_a_program_that_reaches_its_end_passes(program: str, verdict: str) -> None:
    assert sandbox.run(program, PATIENT).verdict == verdict


@both
def test_the_environment_is_empty_and_the_folder_is_new(namespaces: bool) -> None:
    os.environ["SECRET_OF_THE_TEST"] = "x"
    program = "import os\nassert 'SECRET_OF_THE_TEST' not in os.environ\nassert not os.listdir()\n"

    assert sandbox.run(program, PATIENT, namespaces=namespaces).verdict == "passed"


@both
def test_no_connection_is_made(namespaces: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        connect = f"import socket\nsocket.create_connection({server.getsockname()!r}, 5)\n"
        ran = sandbox.run(connect, PATIENT, namespaces=namespaces)

        assert ran.verdict == "failed"
        with pytest.raises(TimeoutError):
            server.accept()
    assert namespaces or "network" not in ran.kept


@both
def test_memory_is_limited(namespaces: bool) -> None:
    def takes(size: int) -> str:
        program = f"x = bytearray({size})\n"
        return sandbox.run(program, PATIENT, namespaces=namespaces).verdict

    assert takes(2**28) == "passed"
    assert takes(2**30) == "failed"


@both
def test_a_program_that_computes_for_ever_is_killed_by_its_cpu_time(namespaces: bool) -> None:
    began = time.monotonic()
    ran = sandbox.run(LOOP, SandboxLimits(cpu_seconds=1, wall_seconds=90), namespaces=namespaces)

    assert ran.verdict == "timeout"
    assert time.monotonic() - began < 80


@both
def test_a_program_that_waits_for_ever_is_killed(namespaces: bool) -> None:
    program = "import time\ntime.sleep(100)\n"
    began = time.monotonic()

    limits = SandboxLimits(wall_seconds=1)
    assert sandbox.run(program, limits, namespaces=namespaces).verdict == "timeout"
    assert time.monotonic() - began < 20


@both
def test_files_are_limited(namespaces: bool) -> None:
    def writes(size: int) -> str:
        write = f"open('f', 'wb', buffering=0).write(bytes({size}))"
        return sandbox.run(f"assert {write} == {size}\n", PATIENT, namespaces=namespaces).verdict

    assert writes(2**20) == "passed"
    assert writes(2**20 + 1) == "failed"


@both
@pytest.mark.parametrize(
    "start",
    [
        "if os.fork() == 0:\n    os.setsid()\n    time.sleep(99)\n",
        "os.posix_spawn('/bin/sleep', ['sleep', '98.7'], {})\n",
    ],
    ids=["fork", "spawn"],
)
def test_no_child_is_started(start: str, namespaces: bool) -> None:
    before = children()
    ran = sandbox.run("import os, time\n" + start, PATIENT, namespaces=namespaces)

    assert ran.verdict == "failed"
    assert children() <= before


def test_a_child_is_killed_with_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system's guard fails: the launcher is made to set no limit of processes."""
    allowed = sandbox.LAUNCHER.replace('"RLIMIT_NPROC": 0', "")
    monkeypatch.setattr(sandbox, "LAUNCHER", allowed)
    before = children()
    forks = "import os, time\nif os.fork() == 0:\n    time.sleep(99)\n"
    ran = sandbox.run(forks, SandboxLimits(wall_seconds=2))

    # The parent has come to its end; the child holds the other end of the report.
    assert ran.verdict == "timeout"
    deadline = time.monotonic() + 10  # what was killed is there until somebody has time for it
    while not children() <= before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children() <= before


def children() -> set[int]:
    """The processes that run the launcher or sleep for its programs, where there is a /proc."""
    found = set()
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        try:
            line = Path(f"/proc/{entry}/cmdline").read_bytes()
        except OSError:
            continue
        if entry.isdigit() and (b"answer.py" in line or b"98.7" in line):
            found.add(int(entry))
    return found


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can drop")
def test_what_root_runs_is_nobody() -> None:
    program = "import os\nassert os.getuid() == os.getgid() == 65534\nassert os.getgroups() == []\n"
    ran = sandbox.run(program, PATIENT)

    assert (ran.verdict, "rights" in ran.kept) == ("passed", True)


def test_says_what_it_guards() -> None:
    assert "process" in sandbox.guarded()
