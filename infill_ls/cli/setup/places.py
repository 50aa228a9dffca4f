"""Where a user's editors keep their configuration on this system, and how the server is called."""

import contextlib
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from infill_ls.cli.errors import UsageError

PROGRAM = "infill-ls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """`config` is where most programs have a folder each; `record` is our own file about what was
    written. `command` starts the server; `passing` is true where that program will be gone soon,
    as with `uvx`."""

    system: str  # as sys.platform has it
    home: Path
    config: Path
    record: Path
    variables: Mapping[str, str]
    command: str
    passing: bool

    def program(self, *names: str) -> str | None:
        """The first of these that is on PATH."""
        path = self.variables.get("PATH", "")
        return next((found for name in names if (found := shutil.which(name, path=path))), None)

    def support(self, name: str) -> Path:
        """The folder of a program that follows the system's customs rather than XDG's."""
        if self.system == "win32":
            return self.roaming / name
        if self.system == "darwin":
            return self.home / "Library" / "Application Support" / name
        return self.config / name.lower().replace(" ", "-")

    @property
    def roaming(self) -> Path:
        return Path(self.variables.get("APPDATA") or self.home / "AppData" / "Roaming")

    @property
    def local(self) -> Path:
        return Path(self.variables.get("LOCALAPPDATA") or self.home / "AppData" / "Local")


def here() -> Places:
    """Raises UsageError where the home folder, or one that is named instead, cannot be one."""
    home = _home()
    found = shutil.which(PROGRAM)
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        if (said := os.environ.get(name)) and not os.path.isabs(said):
            raise UsageError(f"{name} is {said!r}; it has to be a path from the root on.")
    return Places(
        system=sys.platform,
        home=home,
        config=Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config"),
        record=platformdirs.user_data_path(PROGRAM) / "setup.json",
        variables=dict(os.environ),
        # By name it stays right when the program moves; an editor may have no other PATH than ours.
        command=PROGRAM if found else str(Path(sys.executable).with_name(_file_name())),
        passing=is_passing(Path(sys.prefix)),
    )


def _home() -> Path:
    name = "USERPROFILE" if sys.platform == "win32" else "HOME"
    said = os.environ.get(name)
    if said is None:  # then it is the one of the system's list of users
        with contextlib.suppress(RuntimeError):
            said = str(Path.home())
    if said and os.path.isabs(said) and os.path.isdir(said):
        return Path(said)
    what = "not set" if said is None else f"{said!r}"
    raise UsageError(
        f"{name} is {what}, which is no folder that is there; set it to your home folder, for the "
        "editors' files are looked for in it."
    )


def _file_name() -> str:
    return f"{PROGRAM}.exe" if sys.platform == "win32" else PROGRAM


def is_passing(prefix: Path) -> bool:
    """Whether an environment is one that `uvx` or `pipx run` made for this one time."""
    parts = prefix.parts
    return any(part.startswith(("archive-v", "environments-v")) for part in parts) or (
        "pipx" in parts and ".cache" in parts
    )
