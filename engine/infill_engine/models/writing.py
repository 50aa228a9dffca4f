"""Files that come whole or not at all, and that others may read as far as the umask lets them."""

import stat
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Has `write` make a file beside `path`, and renames it to that.

    safetensors gives what it writes mode 600, whatever the umask says; a folder that is handed on
    would have weights that only their maker can read.
    """
    partial = path.with_name(f".{path.name}")
    partial.unlink(missing_ok=True)
    partial.touch()
    mode = stat.S_IMODE(partial.stat().st_mode)
    write(partial)
    partial.chmod(mode)
    partial.replace(path)
