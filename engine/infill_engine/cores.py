"""How many threads to compute with on this machine."""

import os
from pathlib import Path

import torch

MOST = 4  # a step's products are too small for more


def threads() -> int:
    """The physical cores that this process may use, at most `MOST`.

    torch counts physical cores; a container's quota and, on some systems, a process's affinity
    take more of them away. A second thread on the same core, or one that waits for its quota,
    makes every product wait.
    """
    return max(1, min(MOST, torch.get_num_threads(), allowed(), quota()))


def allowed() -> int:
    """The CPUs that the scheduler may put this process on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Whole CPUs of a container's time share, `MOST` where there is no limit."""
    try:
        if (root / "cpu.max").exists():
            most, period = (root / "cpu.max").read_text().split()
        else:
            most = (root / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text()
        return max(1, int(most) // int(period)) if int(most) > 0 else MOST
    except (OSError, ValueError):
        return MOST  # no such file, or "max"
