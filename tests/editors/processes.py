"""Server processes that outlive the editor that started them."""

import time
from collections.abc import Callable
from pathlib import Path

QUIET_SECONDS = 0.4


def shared_servers(runtime: Path) -> list[int]:
    """Those of `infill-ls --connect` whose socket is in the folder `runtime`."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it has just ended
            if b"--socket" in words:
                socket = Path(words[words.index(b"--socket") + 1].decode())
                if socket.is_relative_to(runtime):
                    found.append(int(process.name))
    return found


def computes(pid: int) -> bool:
    """Whether one of its threads runs, or waits for a core."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return any(stat.read_text().rpartition(") ")[2].startswith("R") for stat in threads)


def idle(pids: Callable[[], list[int]], seconds: float = 60.0) -> bool:
    """Waits until none of them computes: what may be asked next has been answered ahead."""
    end, since = time.monotonic() + seconds, time.monotonic()
    while (now := time.monotonic()) < since + QUIET_SECONDS and now < end:
        if any(map(computes, pids())):
            since = now
        time.sleep(0.02)
    return now < end
