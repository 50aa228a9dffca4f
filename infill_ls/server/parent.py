"""Whether another process lives: an editor that was killed leaves its server behind otherwise."""

import asyncio
import os
import sys

POLL_SECONDS = 2.0


def alive(pid: int) -> bool:
    """Also of processes that are not ours; a pid of another machine or container is dead here."""
    if sys.platform == "win32":
        return _alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


async def gone(pid: int) -> None:
    """Returns when the process has ended; at once where the system tells, else within 2 s."""
    if sys.platform == "linux":
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        except OSError:  # a kernel that does not know it, or forbids it
            pass
        else:
            await _readable(fd)
            return
    while alive(pid):
        await asyncio.sleep(POLL_SECONDS)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _alive_on_windows(pid: int) -> bool:
    """os.kill would end the process there."""
    import ctypes

    synchronize, still_running = 0x00100000, 0x102
    kernel32 = ctypes.windll.kernel32  # type: ignore[attr-defined]
    handle = kernel32.OpenProcess(synchronize, False, pid)
    if not handle:
        return False
    try:
        return bool(kernel32.WaitForSingleObject(handle, 0) == still_running)
    finally:
        kernel32.CloseHandle(handle)
