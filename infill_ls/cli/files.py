"""The user's file: read as text, and written as a whole or not at all. Knows no model."""

import contextlib
import os
import re
import stat
import sys
import tempfile
from argparse import ArgumentTypeError
from difflib import get_close_matches
from pathlib import Path

from infill_ls.cli.errors import FileError
from infill_ls.cli.machine import counted

_LINE_END = re.compile(r"\r\n|\r|\n")
BOM = b"\xef\xbb\xbf"


def read(path: Path) -> bytes:
    """Raises FileError, with the file that was meant where there is one of nearly that name."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FileError(f"There is no file {path}.{_meant(path)}") from None
    except IsADirectoryError:
        raise FileError(f"{path} is a folder; name a file in it.") from None
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError:  # a zero byte
        raise FileError(f"{str(path)!r} cannot be the name of a file.") from None


def read_if_there(path: Path) -> bytes | None:
    """None where there is no file. Raises FileError, also of a link to what is not there: whoever
    wrote through it would make a file where its owner may not want one."""
    if os.path.lexists(path) and not os.path.exists(path) and path.is_symlink():
        raise FileError(
            f"{path} is a link to {os.readlink(path)}, which is not there; make that file or "
            "remove the link."
        )
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}.") from error
    return read(path)


def _meant(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    except OSError:
        return f" The folder {path.parent} cannot be read either."
    close = get_close_matches(path.name, names, n=1)
    return f" Did you mean {path.parent / close[0]}?" if close else ""


def new_file(name: str) -> Path:
    """Where a file can be written, for argparse, before what is to be written has taken its time.

    Raises ArgumentTypeError where it cannot.
    """
    path = Path(name)
    if path.is_dir():
        raise ArgumentTypeError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise ArgumentTypeError(f"there is no folder {path.parent} to write {path.name} into")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ArgumentTypeError(f"{path} cannot be written: permission denied")
    return path


def new_folder(name: str) -> Path:
    """Where a folder is or can be made, for argparse. Raises ArgumentTypeError where not."""
    path = Path(name)
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not there.is_dir():
        raise ArgumentTypeError(f"{there} is a file; name a folder")
    if not os.access(there, os.W_OK):
        raise ArgumentTypeError(f"{there} cannot be written: permission denied")
    return path


def decoded(data: bytes, path: Path) -> str:
    """Line ends as they are; without the byte order mark, which no editor counts as a column."""
    try:
        return data.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        lines = _LINE_END.split(error.object[: error.start].decode("utf-8"))
        raise FileError(
            f"{path} is not UTF-8 text: byte 0x{error.object[error.start]:02x} at line "
            f"{len(lines)}, column {len(lines[-1]) + 1} is not. Convert it to UTF-8 first."
        ) from None


def with_inserted(data: bytes, before: str, inserted: str) -> bytes:
    """The file with the text behind `before`, which is its beginning; every other byte stays."""
    at = len(data) - len(data.removeprefix(BOM)) + len(before.encode())
    return data[:at] + inserted.encode() + data[at:]


def with_replaced(data: bytes, old: str, new: str) -> bytes:
    """The file, all of which is the text `old`, with a new one: a byte order mark stays."""
    assert data.endswith(old.encode()), "the file's text"
    return data[: len(data) - len(old.encode())] + new.encode()


def replace(path: Path, old: bytes, new: bytes) -> str:
    """Makes the file `new`, and gives what the user should know of how, empty where it is nothing.

    A second file is written beside it, flushed to the disk and given its name, so that there is
    always one of the two as a whole. It gets the first one's mode, owner and extended attributes
    (access lists among them) as far as the system lets us. Of a symbolic link it is the target
    that changes; other hard links keep the old text. Raises FileError, and changes nothing, when
    the file is no longer `old` or cannot be written.
    """
    try:
        target = path.resolve(strict=True)
        was = target.stat()
        if not stat.S_ISREG(was.st_mode):
            raise FileError(f"{path} is no regular file, and cannot be replaced by one.")
        if not os.access(target, os.W_OK):
            raise FileError(f"{path} cannot be written: it is read-only.")
        descriptor, name = tempfile.mkstemp(prefix=".infill-", dir=target.parent)
    except OSError as error:
        raise FileError(
            f"{path} was left as it is: no second file can be made in its folder, which writing "
            f"it safely takes ({error.strerror})."
        ) from error
    try:
        with open(descriptor, "wb") as file:
            file.write(new)
            file.flush()
            kept = _like(target, was, name)
            os.fsync(descriptor)
        if read(path) != old:
            raise FileError(
                f"{path} has changed meanwhile and was left alone; run the command again."
            )
        os.replace(name, target)
    except OSError as error:
        raise FileError(f"{path} was left as it is: {error.strerror}.") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    _flush_folder(target.parent)
    notes = [] if kept else ["it belongs to you now, for its owner could not be kept"]
    if was.st_nlink > 1:
        links = counted(was.st_nlink - 1, "other hard link")
        notes.append(f"the text under its {links} is the old one")
    return "; ".join(notes)


def _like(target: Path, was: os.stat_result, name: str) -> bool:
    """Gives the new file what the old one has; False where that is not the owner."""
    kept = True
    if hasattr(os, "chown"):
        made = os.stat(name)
        if (made.st_uid, made.st_gid) != (was.st_uid, was.st_gid):
            try:
                os.chown(name, was.st_uid, was.st_gid)
            except OSError:
                kept = False
    os.chmod(name, stat.S_IMODE(was.st_mode))
    if sys.platform == "linux":
        for attribute in os.listxattr(target):
            with contextlib.suppress(OSError):  # some are the system's own
                os.setxattr(name, attribute, os.getxattr(target, attribute))
    return kept


def _flush_folder(folder: Path) -> None:
    """The new name has to outlive a power failure as well; not every system flushes folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
