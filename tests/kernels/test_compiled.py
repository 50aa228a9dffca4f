"""What is compiled is kept for this user alone; nothing that another could have put there runs."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infill_kernels import compiled
from infill_kernels.native import FLAGS, PARTS, SOURCE, best_level, native

# Without torch, and read before the process becomes another user, who may not read it.
PROGRAM = """
import importlib.util, json, os, sys
from pathlib import Path
module, source, included, flags, user, homeless = json.loads(sys.argv[1])
spec = importlib.util.spec_from_file_location("compiled", module)
compiled = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compiled)
compiled.platformdirs.user_cache_path("infill-ls")
if user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
if homeless:
    del os.environ["HOME"]
found, reason = compiled.usable_library(
    Path(source),
    [Path(path) for path in included],
    flags,
    lambda library: bool(library.infill_levels()),
)
print(found is not None, reason)
"""
STRANGER = 65534
# What an attacker would have run: it leaves a mark, and then does as the routine would.
PLANTED = """
#include <fcntl.h>
#include <stdlib.h>
__attribute__((constructor)) static void leave_a_mark(void) { open(getenv("MARK"), O_CREAT, 0666); }
const char *infill_levels(void) { return "c"; }
"""
# What is compiled here: what the routines are is tested elsewhere, and takes seconds to compile.
SMALL = '#include "part.h"\nconst char *infill_levels(void) { return "c"; }\n'
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may stand for two users")


@pytest.fixture(autouse=True)
def compiler() -> None:
    found, reason = native()
    if found is None:
        pytest.skip(reason)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def told(
    user: int | None = None, cwd: Path | None = None, homeless: bool = False, **environment: str
) -> str:
    """Whether there is a library, and what the doctor says of it. `user` is somebody else."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        source, included = Path(folder) / SOURCE.name, Path(folder) / "part.h"
        source.write_text(SMALL)
        included.write_text("")
        for path in (source, included):
            path.chmod(0o644)
        given = [compiled.__file__, str(source), [str(included)], FLAGS, user, homeless]
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps(given)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def made(cache: Path) -> tuple[Path, Path]:
    """The library that is in a cache, and its digest."""
    digest, kept = sorted((cache / "infill-ls").iterdir())
    assert (digest.suffix, kept.suffix) == (".sha256", ".so")
    return kept, digest


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_it_is_compiled_once_and_kept_for_this_user_alone(tmp_path: Path) -> None:
    cache = tmp_path / "not" / "there"
    assert told(XDG_CACHE_HOME=str(cache)).startswith("True compiled by ")
    kept, digest = made(cache)
    written = kept.stat().st_mtime_ns
    assert [mode(path) for path in (cache.parent, cache, kept.parent)] == [0o700] * 3
    assert [mode(path) for path in (kept, digest)] == [0o600] * 2

    assert told(XDG_CACHE_HOME=str(cache)).endswith("=native")
    assert made(cache) == (kept, digest)
    assert kept.stat().st_mtime_ns == written


def test_a_folder_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "infill-ls").mkdir()
    (tmp_path / "infill-ls").chmod(0o777)

    told(XDG_CACHE_HOME=str(tmp_path))

    assert mode(tmp_path / "infill-ls") == 0o700


def test_a_relative_cache_folder_is_ignored_as_the_standard_wants(tmp_path: Path) -> None:
    project, home = tmp_path / "project", tmp_path / "home"
    project.mkdir()
    home.mkdir()

    said = told(cwd=project, XDG_CACHE_HOME="cache", HOME=str(home))

    assert said.startswith("True compiled by ")
    assert list(project.iterdir()) == []
    assert list(home.rglob(f"{SOURCE.stem}-*.so"))


# What another user could have put there


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    (folder / "planted.c").write_text(PLANTED)
    built = folder / "planted.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", str(built), str(folder / "planted.c")], check=True
    )
    return built


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def replaced(path: Path, other: Path) -> None:
    path.unlink()
    shutil.copy(other, path)


def given_away(*paths: Path) -> None:
    for path in paths:
        os.chown(path, STRANGER, STRANGER)


def foreign_folder(kept: Path, digest: Path, planted: Path) -> None:
    replaced(kept, planted)
    digest.write_text(digest_of(planted))
    kept.parent.chmod(0o777)
    given_away(kept, digest, kept.parent)


def foreign_files(kept: Path, digest: Path, planted: Path) -> None:
    """In a folder of ours that was open to all."""
    replaced(kept, planted)
    digest.write_text(digest_of(planted))
    kept.parent.chmod(0o777)
    given_away(kept, digest)


def foreign_library(kept: Path, digest: Path, planted: Path) -> None:
    replaced(kept, planted)
    digest.write_text(digest_of(planted))
    given_away(kept)


def foreign_digest(kept: Path, digest: Path, planted: Path) -> None:
    replaced(kept, planted)
    digest.write_text(digest_of(planted))
    kept.chmod(0o600)
    given_away(digest)


def link_to_a_folder(kept: Path, digest: Path, planted: Path) -> None:
    replaced(kept, planted)
    digest.write_text(digest_of(planted))
    elsewhere = kept.parent.with_name("elsewhere")
    kept.parent.rename(elsewhere)
    kept.parent.symlink_to(elsewhere)


def open_to_others(kept: Path, digest: Path, planted: Path) -> None:
    replaced(kept, planted)
    digest.write_text(digest_of(planted))
    kept.chmod(0o666)


def without_its_digest(kept: Path, digest: Path, planted: Path) -> None:
    replaced(kept, planted)
    digest.unlink()


def with_the_old_digest(kept: Path, digest: Path, planted: Path) -> None:
    replaced(kept, planted)
    kept.chmod(0o600)


def link_to_a_file(kept: Path, digest: Path, planted: Path) -> None:
    kept.unlink()
    kept.symlink_to(planted)
    digest.write_text(digest_of(planted))


def pipe(kept: Path, digest: Path, planted: Path) -> None:
    kept.unlink()
    os.mkfifo(kept, 0o600)


Change = Callable[[Path, Path, Path], None]
# What was done to the cache, and what the doctor then says; "" where nothing is unusual.
HARM: list[tuple[Change, str]] = [
    (open_to_others, "anew, for {kept} can be written by others"),
    (with_the_old_digest, "anew, for {kept} is not what was compiled"),
    (link_to_a_file, "anew, for [Errno 40] Too many levels of symbolic links: '{kept.name}'"),
    (pipe, "anew, for {kept} is no file"),
    (without_its_digest, ""),
    (link_to_a_folder, "for this run alone: {kept.parent} is no folder, or a link to one"),
]
HARM_BY_ANOTHER: list[tuple[Change, str]] = [
    (foreign_folder, "for this run alone: {kept.parent} belongs to user 65534"),
    (foreign_files, "anew, for {kept} belongs to user 65534"),
    (foreign_library, "anew, for {kept} belongs to user 65534"),
    (foreign_digest, "anew, for {digest} belongs to user 65534"),
]


def test_what_is_planted_would_run_if_it_were_loaded(tmp_path: Path, planted: Path) -> None:
    program = f"import ctypes; ctypes.CDLL({str(planted)!r})"
    mark = tmp_path / "mark"
    subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"MARK": str(mark)}, check=True
    )

    assert mark.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [*HARM, *[pytest.param(*each, marks=as_root) for each in HARM_BY_ANOTHER]],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_another_could_have_written_is_never_run(
    change: Change, said: str, tmp_path: Path, planted: Path
) -> None:
    given = {"XDG_CACHE_HOME": str(tmp_path), "MARK": str(tmp_path / "mark")}
    usual = told(**given)
    kept, digest = made(tmp_path)
    change(kept, digest, planted)
    before = kept.parent.lstat()

    found = told(**given)

    assert not (tmp_path / "mark").exists()
    expected = said.format(kept=kept, digest=digest)
    assert found == (f"{usual}, {expected}" if expected else usual)
    if "alone" in said:  # what is another's is left as it is
        assert kept.parent.lstat().st_mtime_ns == before.st_mtime_ns
    else:
        assert told(**given) == usual
        assert mode(kept.parent) == 0o700


@as_root
def test_what_root_has_put_there_is_used_by_all(place: Path) -> None:
    usual = told(XDG_CACHE_HOME=str(place))
    kept, digest = made(place)
    kept.parent.chmod(0o755)
    for path in (kept, digest):
        path.chmod(0o644)

    assert told(user=STRANGER, XDG_CACHE_HOME=str(place), HOME=str(place)) == usual
    assert {path.name for path in kept.parent.iterdir()} == {kept.name, digest.name}


# What cannot be written


@as_root
def test_what_may_not_be_written_is_compiled_for_one_run(place: Path) -> None:
    said = told(user=STRANGER, XDG_CACHE_HOME=str(place), HOME=str(place))

    assert said.startswith("True compiled by ")
    assert said.endswith(
        f"for this run alone: [Errno 13] Permission denied: '{place / 'infill-ls'}'"
    )
    assert list(place.iterdir()) == []


def test_what_is_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    said = told(XDG_CACHE_HOME=str(tmp_path / "file"))

    assert said.startswith("True compiled by ")
    assert said.endswith(f"for this run alone: [Errno 17] File exists: '{tmp_path / 'file'}'")


def test_a_full_disk_is_said_and_the_temporary_folder_used(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(
        "#!/bin/sh\n"
        f'case "$TMPDIR" in {cache}/*) echo "No space left on device" >&2; exit 1;; esac\n'
        'exec "$@"\n'
    )
    wrapper.chmod(0o755)

    said = told(CC=f"{wrapper} cc", XDG_CACHE_HOME=str(cache))

    assert said.startswith(f"True compiled by {wrapper} cc")
    assert said.endswith("for this run alone: No space left on device")
    assert list((cache / "infill-ls").iterdir()) == []


@as_root
def test_a_user_without_a_home_compiles_for_one_run() -> None:
    said = told(user=12345, homeless=True, XDG_CACHE_HOME="")

    assert said.startswith("True compiled by ")
    assert "for this run alone: " in said
    assert "home directory" in said


# The compiler


def test_the_routines_can_be_compiled_where_no_library_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    included = [SOURCE.with_name(name) for name in PARTS]

    found, reason = compiled.usable_library(
        SOURCE, included, FLAGS, lambda library: best_level(library)[0] is not None
    )

    assert found is not None, reason
    assert reason.startswith("compiled by ")


def test_plain_torch_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFILL_KERNELS", "torch")
    native.cache_clear()
    try:
        assert native() == (None, "INFILL_KERNELS=torch")
    finally:
        native.cache_clear()


def test_without_a_compiler_there_is_a_reason(tmp_path: Path) -> None:
    said = told(PATH=str(tmp_path), CC="", XDG_CACHE_HOME=str(tmp_path))

    assert said == "False there is no C compiler: install gcc or clang, or set CC"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('cc "-m64', "is no command (No closing quotation); set it to a C compiler, or unset it"),
        ("nobody-has-this gcc -m64", "names no program; set it to a C compiler, or unset it"),
        ("/no/such/cc", "names no program; set it to a C compiler, or unset it"),
    ],
)
def test_an_odd_cc_is_a_reason(given: str, said: str, tmp_path: Path) -> None:
    assert told(CC=given, XDG_CACHE_HOME=str(tmp_path)) == f"False CC={given!r} {said}"


def test_a_blank_cc_is_none(tmp_path: Path) -> None:
    assert told(CC="  ", XDG_CACHE_HOME=str(tmp_path)).startswith("True compiled by /")


def test_a_compiler_of_the_open_project_is_not_run(tmp_path: Path) -> None:
    """Where PATH has a relative entry, which is a folder of whatever is open."""
    (tmp_path / "cc").write_text('#!/bin/sh\ntouch "$MARK"\n')
    (tmp_path / "cc").chmod(0o755)
    mark = tmp_path / "mark"

    told(cwd=tmp_path, CC="", PATH=f".:{os.environ['PATH']}", MARK=str(mark), HOME=str(tmp_path))

    assert not mark.exists()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo no space left >&2; exit 1", "failed: no space left"),
        ("exit 0", "failed: it has written nothing"),
    ],
)
def test_a_compiler_that_fails_is_a_reason(script: str, said: str, tmp_path: Path) -> None:
    broken = tmp_path / "cc"
    broken.write_text(f"#!/bin/sh\n{script}\n")
    broken.chmod(0o755)

    found = told(CC=str(broken), XDG_CACHE_HOME=str(tmp_path))

    assert found.startswith("False ")
    assert found.endswith(said)


def test_a_compiler_may_be_a_command_and_say_what_is_no_unicode(tmp_path: Path) -> None:
    wrapper = tmp_path / "wrapper"
    wrapper.write_bytes(b'#!/bin/sh\nprintf "\\344\\n" >&2\nexec "$@"\n')
    wrapper.chmod(0o755)

    said = told(CC=f"{wrapper} cc", XDG_CACHE_HOME=str(tmp_path))
    broken = told(CC=f"{wrapper} false", XDG_CACHE_HOME=str(tmp_path))

    assert said.startswith(f"True compiled by {wrapper} cc")
    assert broken.startswith("False ")


# What is left over


def test_what_was_compiled_of_older_versions_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "infill-ls"
    folder.mkdir()
    old = [
        folder / name
        for name in (f"{SOURCE.stem}-0123456789abcdef.so", f"{SOURCE.stem}-00000000-11.sha256")
    ]
    others = [folder / "notes.txt", folder / "compiling-now"]
    left_behind = folder / "compiling-then"
    for path in (*old, others[0]):
        path.touch()
    for path in (others[1], left_behind):
        path.mkdir()
    os.utime(left_behind, (time.time() - 7200,) * 2)

    told(XDG_CACHE_HOME=str(tmp_path))

    assert not any(path.exists() for path in (*old, left_behind))
    assert all(path.exists() for path in others)


def test_another_cpus_and_another_compilers_library_stay(tmp_path: Path) -> None:
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\nexec "$@"\n')
    wrapper.chmod(0o755)
    told(XDG_CACHE_HOME=str(tmp_path))
    first = {path.name for path in (tmp_path / "infill-ls").iterdir()}

    told(CC=f"{wrapper} cc", XDG_CACHE_HOME=str(tmp_path))

    assert first < {path.name for path in (tmp_path / "infill-ls").iterdir()}
