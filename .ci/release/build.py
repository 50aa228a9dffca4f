"""The files of a release: wheel, sdist, the extension, the plugin, and their checksums."""

import gzip
import hashlib
import json
import re
import subprocess
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

import infill_ls

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "editors" / "vscode"
PLUGIN = ROOT / "editors" / "neovim"
PARTS = ("plugin", "lua", "doc", "README.md")  # of the plugin, without its picture
SUMS = "SHA256SUMS"
OURS = re.compile(r"infill[-_]ls-[^/]*\.(whl|tar\.gz|vsix)|" + SUMS)


class ReleaseError(Exception):
    """A release cannot be made like this: what is wrong, and what to do."""


def version() -> str:
    """Of all parts. Raises ReleaseError where they do not agree."""
    package = json.loads((EXTENSION / "package.json").read_text(encoding="utf-8"))
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    found = {
        "infill_ls/__init__.py": infill_ls.__version__,
        "pyproject.toml": project[1] if project else "none",
        "editors/vscode/package.json": package["version"],
    }
    if len(set(found.values())) > 1:
        said = ", ".join(f"{each} in {name}" for name, each in found.items())
        raise ReleaseError(f"The versions differ: {said}. Make them one.")
    return infill_ls.__version__


def is_in_changelog(number: str, text: str) -> bool:
    return re.search(rf"^## \[{re.escape(number)}\] - \d{{4}}-\d\d-\d\d$", text, re.M) is not None


def build(folder: Path) -> list[Path]:
    """All of them in the folder, which is made; those of an earlier release go once these are
    there, and nothing else does. The extension comes first: the wheel has it inside. Raises
    ReleaseError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as name:
            built = _built(Path(name))
            return moved(built, folder)
    except OSError as error:
        raise ReleaseError(f"{folder} cannot be built into: {error}.") from error


def _built(folder: Path) -> list[Path]:
    number = version()
    extension = folder / build_extension(number).name
    extension.write_bytes((EXTENSION / extension.name).read_bytes())
    plugin = folder / f"infill-ls-neovim-{number}.tar.gz"
    plugin.write_bytes(plugin_archive())
    sdist = Path(next(SdistBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])))
    wheel = Path(next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])))
    return [wheel, sdist, extension, plugin]


def moved(files: list[Path], folder: Path) -> list[Path]:
    """The files, now in the folder in place of an earlier release's."""
    for old in folder.iterdir():
        if OURS.fullmatch(old.name) and not old.is_dir():
            old.unlink()
    for path in files:
        path.replace(folder / path.name)
    return [folder / path.name for path in files]


def build_extension(number: str) -> Path:
    """In its own folder, checked by the compiler and by vsce; that of another version goes then."""
    installed = EXTENSION / "node_modules" / ".package-lock.json"
    lock = EXTENSION / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        run("npm", "ci", "--no-audit", "--no-fund", cwd=EXTENSION)
    run("npm", "run", "package", cwd=EXTENSION)
    built = EXTENSION / f"infill-ls-{number}.vsix"
    for old in EXTENSION.glob("infill-ls-*.vsix"):
        if old != built:
            old.unlink()
    return built


def plugin_archive() -> bytes:
    """For a package folder of Neovim, such as pack/infill/start: the same bytes from the same
    files, whoever makes it and when."""
    files = sorted(path for part in PARTS for path in below(PLUGIN / part))
    packed = BytesIO()
    # The name and time of making that gzip writes at the beginning say nothing of the content.
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in [*files, ROOT / "LICENSE"]:
            name = path.relative_to(PLUGIN) if path.is_relative_to(PLUGIN) else Path(path.name)
            entry = tarfile.TarInfo(f"infill_ls/{name.as_posix()}")
            data = path.read_bytes()
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, BytesIO(data))
    return packed.getvalue()


def below(path: Path) -> list[Path]:
    return [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]


def write_sums(files: list[Path]) -> Path:
    """As `sha256sum --check` reads them."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    sums = files[0].parent / SUMS
    sums.write_text("".join(sorted(lines, key=lambda line: line.split()[1])), encoding="utf-8")
    return sums


def run(*command: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """What it printed. Raises ReleaseError with the end of that where it fails."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise ReleaseError(f"{command[0]} cannot be started: {error.strerror}.") from error
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise ReleaseError(f"{' '.join(command)} ended with {done.returncode}:\n{tail}")
    return done.stdout
