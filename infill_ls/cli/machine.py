"""What this machine is, for `doctor` and `bench`: facts read from the system, nothing measured.

Never imports a tensor library, and never raises: what cannot be found out is "unknown" or None.
"""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

# Instructions that decide how fast a matrix product runs, as /proc/cpuinfo spells them.
_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """`cores` are physical ones that this process may use, `cpus` what the system schedules on."""

    system: str
    cpu: str
    features: tuple[str, ...]
    cores: int
    cpus: int
    memory_mb: int | None
    gpu: str | None
    python: str
    torch: str | None

    def __str__(self) -> str:
        gpu = f", {self.gpu}" if self.gpu else ""
        return f"{self.cpu}, {counted(self.cores, 'core')}{gpu}, {self.system}"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def this_machine() -> Machine:
    cpuinfo = _cpuinfo()
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cpu=_cpu_name(cpuinfo),
        features=_features(cpuinfo),
        cores=_cores(cpuinfo),
        cpus=_usable_cpus(),
        memory_mb=_memory_mb(),
        gpu=_gpu(),
        python=platform.python_version(),
        torch=version_of("torch"),
    )


def accelerator_gb(machine: Machine) -> float:
    """The memory in GiB of a GPU that models can use; 0 where there is none that is known."""
    if machine.gpu:
        found = re.search(r"(\d+) MiB", machine.gpu)
        return int(found[1]) / 1024 if found else 0.0
    if machine.system == "Darwin arm64" and machine.memory_mb:
        return machine.memory_mb / 1024 / 2  # which the system leaves to it
    return 0.0


def version_of(distribution: str) -> str | None:
    """The installed version, without importing what it installs."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def resident_mb(pid: int | None = None) -> float | None:
    """The memory that a process holds now; None where the system does not say."""
    pid = os.getpid() if pid is None else pid
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    kilobytes = _output(["ps", "-o", "rss=", "-p", str(pid)])
    return int(kilobytes) / 1024 if kilobytes.isdigit() else None


def busy_cpus() -> float:
    """How many CPUs of the whole machine were wanted during the last minute, which may be more
    than it has; 0 where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0


def others_at_work(busy: float) -> str:
    """What to say where that is more than half of the machine's CPUs, "" where it is not. Those
    that this process may use need not be all of them."""
    every = os.cpu_count() or 1
    if busy <= 0.5 * every:
        return ""
    return f"Other programs keep about {min(busy, every):.1f} of {counted(every, 'CPU')} busy"


def commit() -> str:
    """The commit of the checkout this runs from, marked when it was changed; else the release."""
    here = str(Path(__file__).parent)
    head = _output(["git", "-C", here, "rev-parse", "--short", "HEAD"])
    tracked = _output(["git", "-C", here, "ls-files", "--", Path(__file__).name])
    if not (head and tracked):
        return f"release {version_of('infill-ls') or 'unknown'}"
    changed = _output(["git", "-C", here, "status", "--porcelain", "--untracked-files=no"])
    return f"{head} with changes" if changed else head


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpuinfo() -> list[dict[str, str]]:
    """One table per logical CPU; empty where there is no /proc."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []
    return [
        {key.strip(): value.strip() for key, _, value in (s.partition(":") for s in b.split("\n"))}
        for b in text.strip().split("\n\n")
    ]


def _cpu_name(cpuinfo: list[dict[str, str]]) -> str:
    named = cpuinfo[0].get("model name") if cpuinfo else None
    if not named and sys.platform == "darwin":
        named = _output(["sysctl", "-n", "machdep.cpu.brand_string"])
    return named or platform.processor() or platform.machine() or "unknown"


def _features(cpuinfo: list[dict[str, str]]) -> tuple[str, ...]:
    first = cpuinfo[0] if cpuinfo else {}
    flags = set((first.get("flags") or first.get("Features") or "").split())
    return tuple(name for name in _FEATURES if name in flags)


def _usable_cpus() -> int:
    """Affinity and a container's quota both take CPUs away that `os.cpu_count` still counts."""
    if sys.platform == "linux":
        cpus = len(os.sched_getaffinity(0))
    else:
        cpus = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cpus = min(cpus, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no such file, or "max"
    return cpus


def _cores(cpuinfo: list[dict[str, str]]) -> int:
    if sys.platform == "darwin":
        physical = _output(["sysctl", "-n", "hw.physicalcpu"])
        return int(physical) if physical.isdigit() else _usable_cpus()
    cores = {(t.get("physical id"), t["core id"]) for t in cpuinfo if "core id" in t}
    return min(len(cores) or _usable_cpus(), _usable_cpus())


def _memory_mb() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (AttributeError, ValueError, OSError):
        return None


def _gpu() -> str | None:
    listed = _output(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    return "; ".join(line.strip() for line in listed.splitlines()) or None
