"""Each file of a release as somebody gets it: installed where nothing of ours is, and used."""

import hashlib
import json
import os
import shutil
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from release.build import ReleaseError, run

# Bytes of a file, unless PyPI was asked for more: MAX_FILESIZE in its warehouse/constants.py.
MOST_ON_PYPI = 100 << 20
GHOST = Path(__file__).with_name("ghost.lua")
FILE = "".join(f"value_{number} = store.read(0)\n" for number in range(1, 31))
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infill-ls"


def check_metadata(files: list[Path]) -> str:
    run(sys.executable, "-m", "twine", "check", "--strict", *map(str, files))
    large = [path.name for path in files if path.stat().st_size > MOST_ON_PYPI]
    note = f"; above PyPI's 100 MiB, so ask for a higher limit: {', '.join(large)}" if large else ""
    return f"twine has nothing to say{note}"


def check_sdist(sdist: Path, wheel: Path) -> str:
    """Whoever builds from it gets what is in our wheel."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (unpacked,) = Path(folder).iterdir()
        built = next(WheelBuilder(str(unpacked)).build(directory=folder, versions=["standard"]))
        ours, theirs = names_in(wheel), names_in(Path(built))
    if ours != theirs:
        raise ReleaseError(f"A wheel from the sdist differs: {sorted(ours ^ theirs)[:9]}.")
    return f"a wheel built from it has the same {len(ours)} files"


def names_in(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        return set(opened.namelist())


def check_extension(extension: Path, number: str) -> str:
    with zipfile.ZipFile(extension) as archive:
        names = [name for name in archive.namelist() if name.startswith("extension/")]
        manifest = json.loads(archive.read("extension/package.json"))
        main = "extension/" + manifest["main"].removeprefix("./")
        strangers = [n for n in names if n.endswith((".ts", ".map")) or "node_modules" in n]
        if manifest["version"] != number or main not in names or strangers:
            raise ReleaseError(
                f"{extension.name} is version {manifest['version']}, "
                f"{'has' if main in names else 'lacks'} {main}, and holds {strangers[:5]}."
            )
    return f"{len(names)} files, {extension.stat().st_size / 1000:.0f} kB"


@contextmanager
def installed(wheel: Path) -> Iterator[Path]:
    """A fresh environment with the wheel in it, and what it depends on from the index: the folder
    of its programs. A home of its own keeps the caches of this user out of it."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "venv"
        programs = environment / ("Scripts" if sys.platform == "win32" else "bin")
        uv = shutil.which("uv")
        if uv:
            run(uv, "venv", "--python", sys.executable, str(environment))
            run(uv, "pip", "install", "--python", str(programs / "python"), str(wheel))
        else:
            venv.create(environment, with_pip=True)
            run(str(programs / "python"), "-m", "pip", "install", "-q", str(wheel))
        yield programs


def check_server(programs: Path, number: str) -> str:
    """Of an environment: it says its version, fills a hole, and has the plugins with it."""
    program = str(programs / "infill-ls")
    with tempfile.TemporaryDirectory() as home:
        env = bare_environment(programs, Path(home))
        said = run(program, "--version", cwd=Path(home), env=env).strip()
        if said != f"infill-ls {number}":
            raise ReleaseError(f"The installed server says {said!r}.")
        tried = run(program, "try", cwd=Path(home), env=env)
        if "no new syntax error" not in tried:
            raise ReleaseError(f"infill-ls try does not fill its hole:\n{tried}")
        shown = run(program, "setup", "neovim", "vscode", "--show", cwd=Path(home), env=env)
        if "plugins" not in shown or "without the extension" in shown:
            raise ReleaseError(f"The plugins are not in the wheel:\n{shown}")
    return "says its version, fills a hole, has the plugins"


def check_neovim(plugin: Path, programs: Path) -> str:
    """A Neovim without any configuration, with the plugin as a package, typed into."""
    neovim = shutil.which("nvim") or shutil.which(CACHE / "neovim-forky" / "nvim")
    if neovim is None:
        return "not run: there is no nvim on PATH, and `make editors` fetched none"
    # A server that is told to end still writes what it has counted.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        package = Path(home, ".local/share/nvim/site/pack/infill/start")
        package.mkdir(parents=True)
        with tarfile.open(plugin) as archive:
            archive.extractall(package, filter="data")
        file = Path(home, "typed.py")
        file.write_text(FILE)
        env = bare_environment(programs, Path(home))
        said = run(neovim, "--headless", "-n", str(file), "-S", str(GHOST), cwd=Path(home), env=env)
    ghost = said.strip().rpartition("ghost: ")[2]
    if "read(" not in said:
        raise ReleaseError(f"Neovim shows no ghost text:\n{said}")
    return f"typed into, it shows {ghost!r}"


def bare_environment(programs: Path, home: Path) -> dict[str, str]:
    """Of a user who has nothing yet; what the system itself needs stays."""
    kept = ("SYSTEMROOT", "TEMP", "TMP", "LANG", "PATHEXT", "COMSPEC")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    return env | {"HOME": str(home), "USERPROFILE": str(home), "PATH": path}


def check_sums(sums: Path) -> str:

    for line in sums.read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ")
        if hashlib.sha256((sums.parent / name).read_bytes()).hexdigest() != digest:
            raise ReleaseError(f"{name} is not what {sums.name} says.")
    return f"{len(sums.read_text().splitlines())} files"
