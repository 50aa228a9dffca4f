"""`infill-ls update-check`: asks PyPI for the newest release, when the user says so, never else."""

import json
import re
import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

from infill_engine import InfillError
from infill_ls import __version__

PYPI = "https://pypi.org/pypi/infill-ls/json"
_SECONDS = 10.0
_MOST = 1 << 24  # bytes
_RELEASE = re.compile(r"\d{1,9}(?:\.\d{1,9})*")


class UpdateError(InfillError):
    """PyPI did not say which release is the newest."""


def check_for_update(url: str = PYPI) -> int:
    print(f"asking {url}, which is told nothing but that ...", flush=True)
    newest = newest_release(url)
    if _numbers(newest) > _numbers(__version__):
        print(f"infill-ls {newest} is out; this is {__version__}. Update: {how_to_update()}")
    else:
        print(f"infill-ls {__version__} is the newest release.")
    return 0


def newest_release(url: str) -> str:
    """Through the environment's proxies, as pip goes. Raises UpdateError."""
    asked = urllib.request.Request(url, headers={"Accept": "application/json"})
    asked.add_header("User-Agent", "infill-ls")
    try:
        with urllib.request.urlopen(asked, timeout=_SECONDS) as answer:
            said: Any = json.loads(answer.read(_MOST))
        version = said["info"]["version"]
    except urllib.error.HTTPError as error:
        raise UpdateError(
            f"{url} answers {error.code} {error.reason}, and does not say which release is the "
            "newest; look at https://pypi.org/project/infill-ls."
        ) from error
    except (OSError, HTTPException) as error:
        why = getattr(error, "reason", None) or error
        raise UpdateError(
            f"{url} cannot be reached: {why}. Nothing else needs the network; try again when this "
            "machine is online, or behind a proxy with HTTPS_PROXY set."
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _no_answer(url) from error
    if not isinstance(version, str) or not _RELEASE.fullmatch(version):
        raise _no_answer(url)
    return version


def _no_answer(url: str) -> UpdateError:
    return UpdateError(
        f"What {url} answers does not say which release is the newest; is something between this "
        "machine and PyPI answering for it?"
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
