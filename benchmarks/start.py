"""How long it takes from nothing to ghost text, by README's commands alone.

    python -m benchmarks.start [--wheel FILE] [--editors neovim vscode] [--deadline-ms MS]

In a home with nothing in it: `uv tool install`, `infill-ls setup --yes`, then the editor is
started, a file opened and a line typed until ghost text stands behind it. Packages come from uv's
cache, which a first installation that is not counted has filled; VS Code and Neovim are those of
`make editors`, and the wheel is that of `make release`. Ours is what setup takes, and what there is
to wait for between the open file and its first ghost text; also as time of the processor, which
counts on a machine that is busy with other things. There `--deadline-ms` gives the model more time
than a user gives it. The last line is JSON.
"""

import argparse
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.progress import say
from benchmarks.report import Goal
from infill_engine import InfillError
from infill_ls.cli.bench.wire import ROOT
from infill_ls.cli.machine import busy_cpus, commit, this_machine
from tests.editors.conftest import CACHE, TOOLS
from tests.editors.editor import GHOST
from tests.editors.nvim import Nvim
from tests.editors.places import LINE
from tests.editors.processes import shared_servers
from tests.editors.vscode.code_server import VSCode, command_line

MOST_SECONDS, MOST_OURS = 180.0, 20.0
GHOST_SECONDS = 150.0
EVERY = 4.0  # seconds after which another letter is typed: the first answer may come too late


class StartError(InfillError):
    """What the benchmark needs is not there, or what it starts does not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Seconds of each part, in their order; `cpu` is the processor's time in setup and server."""

    install: float
    setup: float
    editor: float
    ghost: float
    cpu: float

    @property
    def total(self) -> float:
        return self.install + self.setup + self.editor + self.ghost

    @property
    def ours(self) -> float:
        return self.setup + self.ghost


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--wheel", type=Path, help="by default the one in dist/")
    parser.add_argument(
        "--editors", nargs="+", choices=("neovim", "vscode"), default=["neovim", "vscode"]
    )
    parser.add_argument("--deadline-ms", type=int, help="for the model; by default what users have")
    arguments = parser.parse_args()
    settings = {"deadlineMs": arguments.deadline_ms} if arguments.deadline_ms else {}
    try:
        return _run(arguments.wheel or _built(), arguments.editors, settings)
    except InfillError as error:
        print(f"benchmarks.start: {error}", file=sys.stderr)
        return 1


def _built() -> Path:
    found = sorted((ROOT / "dist").glob("infill_ls-*.whl"))
    if not found:
        raise StartError("There is no wheel in dist/; run make release, or name one with --wheel.")
    return found[-1]


def _run(wheel: Path, editors: list[str], settings: dict[str, int]) -> int:
    uv = shutil.which("uv")
    if uv is None:
        raise StartError("uv is not on PATH; pip install uv adds it.")
    starts: dict[str, Start] = {}
    with tempfile.TemporaryDirectory(prefix="start-") as folder:
        cache = Path(folder, "cache")
        say("filling the cache of packages")
        _install(uv, wheel, Path(folder, "first"), cache)
        for name in editors:
            say(name)
            home = Path(folder, name)
            run = _neovim if name == "neovim" else _vscode
            starts[name] = run(uv, wheel, home, cache, settings)
            say(starts[name])
    machine = this_machine()
    result: dict[str, Any] = {
        "wheel": wheel.name,
        "machine": str(machine),
        "busy_cpus": busy_cpus(),
        "commit": commit(),
        "seconds": {
            name: asdict(s) | {"total": s.total, "ours": s.ours} for name, s in starts.items()
        },
    }
    goals = [
        goal
        for name, start in starts.items()
        for goal in (
            Goal(
                name=f"{name}: from nothing to ghost text",
                value=start.total,
                bound=MOST_SECONDS,
                unit="s",
                at_most=True,
            ),
            Goal(
                name=f"{name}: of which ours",
                value=start.ours,
                bound=MOST_OURS,
                unit="s",
                at_most=True,
            ),
        )
    ]
    report.conclude(result, lambda _: _show(starts), goals)
    return 0


def _show(starts: Mapping[str, Start]) -> None:
    print(f"  {'':10}{'uv install':>12}{'setup':>8}{'editor':>8}{'ghost':>8}{'ours, CPU':>12}")
    for name, start in starts.items():
        parts = (start.setup, start.editor, start.ghost)
        shown = "".join(f"{part:>6.1f} s" for part in parts)
        print(f"  {name:10}{start.install:>10.1f} s{shown}{start.cpu:>10.1f} s")


def _environment(home: Path, cache: Path, *programs: Path) -> dict[str, str]:
    """Of somebody who has nothing yet but their language and their way into the network."""
    names = ("LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "NO_PROXY")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    indexes = {
        name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_"))
    }
    path = [home / ".local" / "bin", *programs, "/usr/local/bin", "/usr/bin", "/bin"]
    return {
        **kept,
        **indexes,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "UV_CACHE_DIR": str(cache),
        "UV_PYTHON_DOWNLOADS": "never",
        "PATH": os.pathsep.join(map(str, path)),
    }


def _install(uv: str, wheel: Path, home: Path, cache: Path) -> float:
    home.mkdir(parents=True)
    command = [uv, "tool", "install", "--python", sys.executable, str(wheel)]
    return _timed(command, _environment(home, cache))


def _setup(name: str, environment: Mapping[str, str]) -> float:
    return _timed(
        [f"{environment['HOME']}/.local/bin/infill-ls", "setup", name, "--yes"], environment
    )


def _timed(command: list[str], environment: Mapping[str, str]) -> float:
    started = time.monotonic()
    done = subprocess.run(
        command, env=environment, cwd=environment["HOME"], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise StartError(f"{shlex.join(command)} failed: {(done.stdout + done.stderr)[-2000:]}")
    return time.monotonic() - started


def _neovim(uv: str, wheel: Path, home: Path, cache: Path, settings: dict[str, int]) -> Start:
    program = CACHE / "neovim-forky" / "nvim"
    if not program.is_file():
        raise StartError(f"There is no Neovim at {program}; make editors fetches it.")
    install = _install(uv, wheel, home, cache)
    environment = _environment(home, cache, program.parent)
    if settings:
        init = home / ".config" / "nvim" / "init.lua"
        init.parent.mkdir(parents=True)
        init.write_text(
            f"vim.g.infill_ls = {{ settings = vim.json.decode('{json.dumps(settings)}') }}"
        )
    before = _children()
    setup = _setup("neovim", environment)
    cpu = _children() - before
    file = home / "typed.py"
    file.write_bytes(LINE.file())
    with tempfile.TemporaryDirectory(prefix="run") as runtime:
        own = {**environment, "XDG_RUNTIME_DIR": runtime}
        started = time.monotonic()
        editor = Nvim(program, home, str(file), **own)
        opened = time.monotonic()
        try:
            editor.type(f"{LINE.row}Gi")
            _type_until_ghost(editor.type_text, lambda: editor.lua(GHOST))
            shown = time.monotonic()
            cpu += sum(map(_processor, shared_servers(Path(runtime))))
        finally:
            editor.quit()
            _end_servers(Path(runtime))
    return Start(
        install=install, setup=setup, editor=opened - started, ghost=shown - opened, cpu=cpu
    )


def _vscode(uv: str, wheel: Path, folder: Path, cache: Path, settings: dict[str, int]) -> Start:
    if not (TOOLS / "ready").exists():
        raise StartError("There is no VS Code; make editors fetches it.")
    home, programs = folder / "home", folder / "programs"
    install = _install(uv, wheel, home, cache)
    programs.mkdir()
    code = programs / "code-server"
    code.write_text(f'#!/bin/sh\nexec {shlex.join(command_line(TOOLS, folder))} "$@"\n')
    code.chmod(0o755)
    before = _children()
    setup = _setup("vscode", _environment(home, cache, programs))
    cpu = _children() - before
    own = {f"infill.{name}": value for name, value in settings.items()}
    started = time.monotonic()
    with VSCode(TOOLS, None, folder, {"typed.py": LINE.file()}, own, "") as editor:
        editor.open("typed.py")
        opened = time.monotonic()
        editor.go_to(LINE.row)
        _type_until_ghost(editor.type, editor.ghost)
        shown = time.monotonic()
        cpu += sum(map(_processor, editor.shared()))
    return Start(
        install=install, setup=setup, editor=opened - started, ghost=shown - opened, cpu=cpu
    )


def _type_until_ghost(type_: Callable[[str], None], ghost: Callable[[], object]) -> None:
    """The first answer may come too late, or the model not be there yet: then another letter."""
    end = time.monotonic() + GHOST_SECONDS
    type_(LINE.line[: LINE.least])
    typed, asked = LINE.least, time.monotonic()
    while not ghost():
        if time.monotonic() > end:
            raise StartError(f"There is no ghost text after {GHOST_SECONDS:.0f} seconds.")
        if time.monotonic() - asked > EVERY and typed < len(LINE.line) - 1:
            type_(LINE.line[typed])
            typed, asked = typed + 1, time.monotonic()
        time.sleep(0.02)


def _children() -> float:
    """Seconds of the processor in programs that were started here and have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _processor(pid: int) -> float:
    """Seconds of the processor in a process that runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _end_servers(runtime: Path) -> None:
    for pid in shared_servers(runtime):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
