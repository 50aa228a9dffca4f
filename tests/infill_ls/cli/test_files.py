"""A file is written as a whole or not at all, and stays in everything else what it was."""

import os
import stat
import subprocess
import sys
import tempfile
from argparse import ArgumentTypeError
from collections.abc import Iterator
from pathlib import Path

import pytest

from infill_ls.cli import files
from infill_ls.cli.errors import FileError

OLD, NEW = b"old text\n", b"new text\n" * 1000
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file.py"
    path.write_bytes(OLD)
    return path


def names_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_the_file_is_replaced_and_nothing_else_is_left(path: Path) -> None:
    note = files.replace(path, OLD, NEW)

    assert (note, path.read_bytes()) == ("", NEW)
    assert names_in(path.parent) == {"file.py"}


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o664, 0o4755])
def test_its_mode_stays(path: Path, mode: int) -> None:
    path.chmod(mode)
    files.replace(path, OLD, NEW)

    assert stat.S_IMODE(path.stat().st_mode) == mode


@root_only
def test_its_owner_stays(path: Path) -> None:
    os.chown(path, 1234, 5678)
    files.replace(path, OLD, NEW)

    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 5678)


@root_only
def test_an_owner_that_cannot_be_kept_is_told_of(path: Path) -> None:
    """Somebody else's file in a folder that is ours: we may replace it, but not give it away."""
    os.chown(path, 1234, 5678)
    path.chmod(0o666)
    path.parent.chmod(0o777)
    above = path.parent.parent.relative_to(tempfile.gettempdir())
    for folder in (above, *above.parents):
        if folder.parts:
            (tempfile.gettempdir() / folder).chmod(0o755)
    program = (
        "import os; from pathlib import Path; from infill_ls.cli import files\n"
        "os.setgroups([]); os.setgid(4321); os.setuid(4321)\n"
        f"print(files.replace(Path({str(path)!r}), {OLD!r}, b'new'))"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)

    assert done.stdout == "it belongs to you now, for its owner could not be kept\n", done.stderr
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux names them so")
def test_its_extended_attributes_stay(path: Path) -> None:
    try:
        os.setxattr(path, "user.note", b"keep me")
    except OSError:
        pytest.skip("this file system has none")
    files.replace(path, OLD, NEW)

    assert os.getxattr(path, "user.note") == b"keep me"


def test_a_symbolic_link_stays_one_and_its_target_is_written(path: Path) -> None:
    link = path.parent / "folder" / "link.py"
    link.parent.mkdir()
    link.symlink_to("../file.py")
    files.replace(link, OLD, NEW)

    assert link.is_symlink()
    assert path.read_bytes() == NEW
    assert names_in(link.parent) == {"link.py"}


def test_other_hard_links_keep_the_old_text_and_that_is_said(path: Path) -> None:
    other = path.parent / "other.py"
    os.link(path, other)
    note = files.replace(path, OLD, NEW)

    assert note == "the text under its 1 other hard link is the old one"
    assert (path.read_bytes(), other.read_bytes()) == (NEW, OLD)


def left_as_it_was(path: Path, says: str, new: bytes = NEW) -> None:
    before = names_in(path.parent)
    with pytest.raises(FileError) as error:
        files.replace(path, OLD, new)

    assert says in str(error.value)
    assert path.read_bytes() == OLD
    assert names_in(path.parent) == before


def test_a_file_that_changed_meanwhile_is_left_alone(path: Path) -> None:
    path.write_bytes(b"somebody else's\n")
    with pytest.raises(FileError, match="has changed meanwhile and was left alone"):
        files.replace(path, OLD, NEW)

    assert path.read_bytes() == b"somebody else's\n"
    assert names_in(path.parent) == {"file.py"}


def test_a_file_that_is_gone_meanwhile_is_not_made_anew(path: Path) -> None:
    path.unlink()
    with pytest.raises(FileError):
        files.replace(path, OLD, NEW)

    assert names_in(path.parent) == set()


def test_a_limit_of_the_file_size_loses_nothing(path: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        left_as_it_was(path, "File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", folder]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_full_disk_loses_nothing(tiny_disk: Path) -> None:
    path = tiny_disk / "file.py"
    path.write_bytes(OLD)

    left_as_it_was(path, "No space left on device", b"x" * 20_000)


@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
def test_a_step_that_fails_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fails(*arguments: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, step, fails)
    left_as_it_was(path, f"{path} was left as it is: Input/output error")


def test_ctrl_c_in_the_middle_leaves_no_second_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.replace(path, OLD, NEW)

    assert (path.read_bytes(), names_in(path.parent)) == (OLD, {"file.py"})


@pytest.fixture
def nobody() -> Iterator[None]:
    """Root may write anything, so the rest of the test is run as somebody else."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        yield


def test_a_folder_that_cannot_be_written_loses_nothing(path: Path, nobody: None) -> None:
    if os.geteuid() == 65534:
        os.seteuid(0)
        path.chmod(0o666)
        for folder in path.parents:
            if str(folder).startswith("/tmp/"):
                folder.chmod(0o755)
        os.seteuid(65534)
    else:
        path.parent.chmod(0o555)

    left_as_it_was(path, "no second file can be made in its folder")


def test_a_read_only_file_is_not_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.chmod(0o444)
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "access", lambda *arguments: False)

    left_as_it_was(path, "cannot be written: it is read-only")


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(FileError, match="is no regular file"):
        files.replace(pipe, b"", NEW)

    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_where_something_can_be_written_is_known_before(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")

    assert files.new_file(str(file)) == file
    assert files.new_file(str(tmp_path / "new.svg")) == tmp_path / "new.svg"
    assert files.new_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    for made, name, said in (
        (files.new_file, tmp_path, "is a folder; name a file in it"),
        (files.new_file, tmp_path / "a" / "b", f"there is no folder {tmp_path / 'a'} to write b"),
        (files.new_folder, file, f"{file} is a file; name a folder"),
        (files.new_folder, file / "b" / "c", f"{file} is a file; name a folder"),
    ):
        with pytest.raises(ArgumentTypeError, match=said):
            made(str(name))
