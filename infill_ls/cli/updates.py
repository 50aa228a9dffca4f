"""`infill-ls update-check`: asks the package index for the newest release, when the user says so,
never else. It is asked as pip or uv is set up to ask it: mirrors, proxies and certificates are
theirs."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from infill_engine import InfillError
from infill_ls import __version__
from infill_ls.cli.errors import NOTHING, complain

_SECONDS = 60.0
_RELEASE = re.compile(r"\d{1,9}(?:\.\d{1,9})*")
_NEWEST = re.compile(rf"^infill-ls(?: \(|==)({_RELEASE.pattern})\)?\s*$", re.MULTILINE)

# What pip and uv say where nobody answered, and where somebody did who has no such package.
_UNREACHED = re.compile(r"retrying|failed to fetch|error sending request", re.IGNORECASE)
_ANSWERED = re.compile(r"no matching distribution|not found in the package reg", re.IGNORECASE)


class UpdateError(InfillError):
    """Nobody said which release is the newest."""


def check_for_update() -> int:
    try:
        command = asking()
        print(f"asking the package index by {command[0]}: {' '.join(command[1:])} ...", flush=True)
        newest = newest_release(command)
    except UpdateError as error:
        complain(error)
        return NOTHING
    if _numbers(newest) > _numbers(__version__):
        print(f"infill-ls {newest} is out; this is {__version__}. Update: {how_to_update()}")
    else:
        print(f"infill-ls {__version__} is the newest release.")
    return 0


def asking() -> list[str]:
    """The command that names the newest release. Raises UpdateError."""
    if find_spec("pip") is not None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
        # Of a second try it says that nobody answered, of the first one nothing.
        return [*pip, "--retries", "1", "--timeout", "10", "index", "versions", "infill-ls"]
    if uv := which("uv"):
        compiled = [uv, "pip", "compile", "--quiet", "--no-deps", "--no-annotate", "--no-header"]
        return [*compiled, "--python", sys.executable, "-"]
    raise UpdateError(
        "Neither pip nor uv is there to ask the package index; install one of them, or look where "
        "infill-ls came from."
    )


def newest_release(command: list[str]) -> str:
    """What the command says. Raises UpdateError."""
    try:
        done = subprocess.run(
            command, input="infill-ls\n", capture_output=True, text=True, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UpdateError(f"The package index was not asked: {error}.") from error
    if done.returncode == 0 and (newest := _NEWEST.search(done.stdout)):
        return newest[1]
    said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
    said = said.strip()[:300].rstrip(".")
    everything = done.stderr + done.stdout
    remedy = (
        "The index that is asked has no infill-ls; look where this one came from"
        if _ANSWERED.search(everything) and not _UNREACHED.search(everything)
        else "Nothing else needs the network; try again when this machine is online"
    )
    raise UpdateError(
        f"The package index did not say which release is the newest: {said}. {remedy}."
    )


def _numbers(version: str) -> list[int]:
    """Without zeros at the end: 1.0 is 1."""
    match = _RELEASE.match(version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


def how_to_update() -> str:
    """By the tool that made this environment."""
    parts = Path(sys.prefix).parts
    if "uv" in parts and "tools" in parts:
        return "uv tool upgrade infill-ls"
    if "pipx" in parts:
        return "pipx upgrade infill-ls"
    return f"{sys.executable} -m pip install --upgrade infill-ls"
