"""What this machine has, for models that have to be fitted to it."""

import os
from pathlib import Path


def free_memory() -> int | None:
    """Bytes of main memory that are free for weights; where the system tells only how much there
    is, all of it; None where it tells nothing."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def physical_cores() -> int:
    """That this process may use; what the system schedules on where it tells no more."""
    try:
        cpus = os.sched_getaffinity(0)
    except AttributeError:
        return os.cpu_count() or 1
    folder = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    try:
        return len({Path(folder.format(cpu)).read_text() for cpu in cpus})
    except OSError:
        return len(cpus)
