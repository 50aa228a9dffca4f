"""Programs of editors that change something themselves."""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from infill_ls.cli.errors import FileError

_SECONDS = 180.0  # for an editor to install an extension


def line(command: Sequence[str]) -> str:
    """As somebody would type it."""
    windows = sys.platform == "win32"
    return subprocess.list2cmdline(command) if windows else shlex.join(command)


def run(command: Sequence[str]) -> str:
    """What it printed. Raises FileError with the last that it said where it fails."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            cwd=Path.home(),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise FileError(f"{line(command)} could not be run: {error}.") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise FileError(f"{line(command)} failed: {said}")
    return done.stdout
