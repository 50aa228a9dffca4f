"""What was written into which file, kept so that it can be taken back. Holds no line of the user's
that we did not change."""

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infill_ls.cli import files
from infill_ls.cli.errors import FileError
from infill_ls.cli.setup.change import Change, Edit, taken_out, undone

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One change that was made for an editor; `digest` is of the file's text behind it. `folders`
    were made for the file, the innermost first."""

    path: Path
    editor: str
    created: bool
    digest: str
    edits: tuple[Edit, ...]
    folders: tuple[Path, ...] = ()

    @classmethod
    def of(cls, change: Change, editor: str) -> "Written":
        """Before it is made."""
        return cls(
            editor=editor,
            folders=tuple(folder for folder in change.path.parents if not os.path.exists(folder)),
            path=change.path,
            created=change.before is None,
            digest=_digest(change.after),
            edits=change.edits,
        )

    def restored(self, text: str) -> str | None:
        """The file without the change; None where our lines cannot be told from others."""
        if _digest(text) == self.digest:
            return undone(text, self.edits)
        return taken_out(text, self.edits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """In the order in which it was done."""

    written: tuple[Written, ...] = ()
    undo_commands: tuple[tuple[str, ...], ...] = ()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read_record(path: Path) -> Record:
    """Empty where there is none. Raises FileError where the file is not ours."""
    kept = files.read_if_there(path)
    if kept is None:
        return Record()
    try:
        data: Any = json.loads(files.decoded(kept, path))
        if data["version"] != _VERSION:
            raise ValueError(f"its version is {data['version']!r}")
        written = tuple(
            Written(
                path=Path(each["path"]),
                editor=str(each.get("editor", "")),
                folders=tuple(Path(folder) for folder in each.get("folders", [])),
                created=bool(each["created"]),
                digest=str(each["digest"]),
                edits=tuple(Edit(**edit) for edit in each["edits"]),
            )
            for each in data["written"]
        )
        return Record(
            written=written, undo_commands=tuple(tuple(each) for each in data["undo_commands"])
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileError(
            f"{path}, which says what setup wrote, cannot be read: {error}. Remove it; what setup "
            "wrote into editors' files is then yours to take out."
        ) from error


def write_record(path: Path, record: Record) -> None:
    if not (record.written or record.undo_commands):
        remove(path)
        remove_empty([path.parent])
        return
    data = {
        "version": _VERSION,
        "written": [
            {
                "path": str(each.path),
                "editor": each.editor,
                "folders": [str(folder) for folder in each.folders],
                "created": each.created,
                "digest": each.digest,
                "edits": [asdict(edit) for edit in each.edits],
            }
            for each in record.written
        ],
        "undo_commands": [list(command) for command in record.undo_commands],
    }
    save(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def save(path: Path, text: str, *, expected: str | None = None) -> None:
    """Makes the file's text this, whole or not at all; a byte order mark stays. Raises FileError,
    and changes nothing, where the file is not what was `expected`, if that is said."""
    folders = [folder for folder in path.parents if not os.path.lexists(folder)]
    is_new = not os.path.lexists(path)
    try:
        _write(path, text, expected)
    except FileError:
        if is_new:
            with contextlib.suppress(OSError):
                path.unlink()
        remove_empty(folders)
        raise


def _write(path: Path, text: str, expected: str | None) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            path.touch()
    except OSError as error:
        raise FileError(f"{path} cannot be made: {error.strerror} ({error.filename}).") from error
    data = files.read(path)
    mark = files.BOM if data.startswith(files.BOM) else b""
    if expected is not None and files.decoded(data, path) != expected:
        raise FileError(f"{path} has changed meanwhile and was left alone; run the command again.")
    files.replace(path, data, mark + text.encode())


def remove(path: Path) -> None:
    """Raises FileError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"{path} cannot be removed: {error.strerror}.") from error


def remove_empty(folders: Sequence[Path]) -> None:
    """As far as nothing is in them; the innermost first."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def add(record: Record, written: Sequence[Written], undo: Sequence[tuple[str, ...]]) -> Record:
    commands = dict.fromkeys([*record.undo_commands, *undo])
    return Record(written=(*record.written, *written), undo_commands=tuple(commands))
