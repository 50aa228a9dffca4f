"""Which server the Neovim plugin starts, whom it asks, and that it leaves none behind.

With programs that are no real server but note that they run.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infill_ls.settings import OPTIONS
from tests.editors.conftest import SUITES, program
from tests.editors.editor import Editor
from tests.editors.vscode.manifest import is_of_the_machine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SERVER = Path(__file__).parent / "slow_server.py"
SYSTEM = "/usr/bin:/bin"
# What the plugin asks, and a way to answer it.
ASKED = """
  vim.g.asked = 0
  vim.ui.select = function(choices, options, done)
    vim.g.asked = vim.g.asked + 1
    vim.g.prompt = options.prompt
    _G.answer = function(choice)
      assert(vim.tbl_contains(choices, choice))
      done(choice)
    end
  end"""

Start = Callable[..., Editor]


@pytest.fixture(params=SUITES)
def start(
    request: pytest.FixtureRequest, programs: dict[str, Path | str], tmp_path: Path
) -> Iterator[Start]:
    """Starts Neovims that share their data, with `cmd` or without."""
    nvim = program(programs, str(request.param))
    running: list[Editor] = []

    def started(
        server: list[str] | None = None, settings: Any = None, **environment: str
    ) -> Editor:
        given = {"root_markers": ["root"], **({"settings": settings} if settings else {})}
        editor = Editor(nvim, tmp_path, server, given, **{"PATH": SYSTEM, **environment})
        running.append(editor)
        editor.lua(ASKED)
        return editor

    yield started
    for editor in running:
        editor.quit()


def installed(path: Path, pids: Path) -> Path:
    """A program that starts the server, and notes that it runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {SERVER} slow {pids} "$@"\n')
    path.chmod(0o755)
    return path


def pids(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def living(file: Path) -> list[int]:
    return [pid for pid in pids(file) if Path(f"/proc/{pid}").exists()]


def workspace(folder: Path) -> Path:
    (folder / "work").mkdir()
    (folder / "work" / "root").touch()
    (folder / "work" / "a.py").touch()
    (folder / "work" / "b.py").touch()
    return folder / "work"


def test_a_workspaces_server_is_started_only_when_the_user_said_yes(
    start: Start, tmp_path: Path
) -> None:
    noted = tmp_path / "pids"
    work = workspace(tmp_path)
    theirs = installed(work / ".venv" / "bin" / "infill-ls", noted)

    editor = start()
    editor.command(f"edit {work}/a.py")
    assert editor.until(lambda: editor.lua("return vim.g.asked") == 1, 10)
    editor.command(f"edit {work}/b.py")
    assert str(theirs) in editor.lua("return vim.g.prompt")
    assert "came with the workspace" in editor.lua(MESSAGE)
    editor.lua("answer('Not now')")
    assert not editor.until(lambda: pids(noted), 0.5)
    assert editor.lua("return vim.g.asked") == 1

    editor.command("Infill trust")
    editor.lua("answer('Start it')")
    assert editor.until(editor.attached, 10), editor.messages
    assert len(living(noted)) == 1
    editor.quit()

    again = start()
    again.command(f"edit {work}/a.py")
    assert again.until(again.attached, 10), again.messages
    assert again.lua("return vim.g.asked") == 0
    again.quit()

    with theirs.open("a") as script:
        script.write("# changed\n")
    changed = start()
    changed.command(f"edit {work}/a.py")
    assert changed.until(lambda: changed.lua("return vim.g.asked") == 1, 10)
    changed.lua("answer('Never')")
    assert changed.until(lambda: "refused" in changed.lua(MESSAGE), 10)
    changed.quit()

    refused = start()
    refused.command(f"edit {work}/a.py")
    assert refused.until(lambda: "refused" in refused.lua(MESSAGE), 10)
    assert refused.lua("return vim.g.asked") == 0
    assert len(pids(noted)) == 2


MESSAGE = "return require('infill_ls.status').get().message"


def test_the_question_is_seen_and_answered_by_key(start: Start, tmp_path: Path) -> None:
    noted = tmp_path / "pids"
    work = workspace(tmp_path)
    installed(work / ".venv" / "bin" / "infill-ls", noted)

    editor = start()
    editor.lua("package.loaded['vim.ui'] = nil; vim.ui.select = require('vim.ui').select")
    editor.call("nvim_input", f":edit {work}/a.py<CR>")
    assert editor.until(lambda: "2: Start it" in "\n".join(editor.screen.lines), 10)
    assert not pids(noted)
    editor.call("nvim_input", "2<CR>")

    assert editor.until(lambda: living(noted), 10)


def test_the_users_own_server_comes_first_and_asks_nothing(start: Start, tmp_path: Path) -> None:
    theirs, own = tmp_path / "theirs", tmp_path / "own"
    work = workspace(tmp_path)
    installed(work / ".venv" / "bin" / "infill-ls", theirs)
    installed(tmp_path / "bin" / "infill-ls", own)

    editor = start(PATH=f"{tmp_path / 'bin'}:{SYSTEM}")
    editor.command(f"edit {work}/a.py")

    assert editor.until(editor.attached, 10), editor.messages
    assert len(living(own)) == 1
    assert not pids(theirs)
    assert editor.lua("return vim.g.asked") == 0
    cwd = os.readlink(f"/proc/{living(own)[0]}/cwd")
    assert cwd == str(Path.home())  # nothing is imported from the workspace


def test_what_lies_in_the_workspace_is_the_workspaces(start: Start, tmp_path: Path) -> None:
    """However it is found: by the environment, by PATH, by a link."""
    work = workspace(tmp_path)
    theirs = installed(work / "bin" / "infill-ls", tmp_path / "pids")
    installed(work / "env" / "bin" / "infill-ls", tmp_path / "pids")
    own = installed(tmp_path / "own" / "infill-ls", tmp_path / "pids")
    (tmp_path / "link").symlink_to(work)
    editor = start()

    def found(root: Path, **environment: str) -> list[Any]:
        return list(editor.lua(FIND, str(root), {"PATH": SYSTEM, "VIRTUAL_ENV": "", **environment}))

    assert found(work, PATH=f"{work / 'bin'}:{SYSTEM}")[2] == str(theirs)
    assert found(tmp_path / "link", PATH=f"{work / 'bin'}:{SYSTEM}")[2] == str(theirs)
    through = tmp_path / "link" / "bin"
    assert found(work, PATH=f"{through}:{SYSTEM}")[2] == str(through / "infill-ls")
    assert found(work, VIRTUAL_ENV=str(work / "env"))[2] == str(work / "env/bin/infill-ls")
    assert found(work, PATH=f"{work / 'bin'}:{own.parent}")[0] == [str(own)]

    editor.command(f"cd {work}")
    for relative in ("", ".", "bin"):
        assert "not found" in found(work, PATH=f"{relative}:{SYSTEM}")[1]

    # Whoever opens the home folder, or one above it, opens what is theirs.
    for root in (tmp_path, tmp_path.parent):
        assert found(root, PATH=str(own.parent), HOME=str(tmp_path))[0] == [str(own)]


FIND = """
  local root, environment = ...
  for name, value in pairs(environment) do vim.env[name] = value end
  local command, why, program = require('infill_ls.find').server(root)
  return { command or false, why, program or false }"""


@pytest.mark.parametrize(
    ("cmd", "says"),
    [
        ("bin/infill-ls", "make the path absolute"),
        ("./infill-ls", "make the path absolute"),
        ("/no/such/program", "cannot be run"),
        ("no-such-program", "not on PATH"),
    ],
)
def test_a_command_that_cannot_be_is_said(
    start: Start, tmp_path: Path, cmd: str, says: str
) -> None:
    work = workspace(tmp_path)
    installed(work / "bin" / "infill-ls", tmp_path / "pids")
    editor = start()
    editor.command(f"cd {work}")
    editor.lua("require('infill_ls.config').set({ cmd = { ... } })", cmd)

    command, why, _ = editor.lua(FIND, str(work), {"PATH": SYSTEM})
    assert command is False
    assert cmd in why
    assert says in why


@pytest.mark.parametrize("how", ["slow", "stubborn", "mute"])
def test_restarts_that_overlap_leave_one_and_stopping_none(
    start: Start, tmp_path: Path, how: str
) -> None:
    noted = tmp_path / "pids"
    editor = start([str(SERVER), how, str(noted)])
    editor.command(f"edit {tmp_path}/a.py")
    assert editor.until(lambda: pids(noted), 10), editor.messages
    if how != "mute":
        assert editor.until(editor.attached, 10)

    for _ in range(3):
        editor.command("Infill restart")
    assert editor.until(lambda: len(pids(noted)) == 2, 20)
    assert editor.until(lambda: living(noted) == pids(noted)[-1:], 10), living(noted)
    if how != "mute":
        assert editor.until(editor.attached, 10)
    assert "died" not in editor.messages

    editor.command("Infill restart")
    editor.command("Infill stop")
    assert editor.until(lambda: not living(noted), 10), living(noted)
    number = len(pids(noted))
    assert not editor.until(lambda: len(pids(noted)) > number, 1)
    assert not Path(f"{noted}.two").exists()
    assert "died" not in editor.messages


def test_one_that_waits_to_be_started_again_can_be_stopped(start: Start, tmp_path: Path) -> None:
    noted = tmp_path / "pids"
    editor = start([str(SERVER), "slow", str(noted)])
    editor.command(f"edit {tmp_path}/a.py")
    assert editor.until(editor.attached, 10), editor.messages
    os.kill(pids(noted)[-1], signal.SIGKILL)
    assert editor.until(lambda: "died" in editor.messages, 10)

    editor.command("Infill stop")

    assert not editor.until(lambda: len(pids(noted)) > 1, 1.5)
    editor.command("Infill start")
    assert editor.until(editor.attached, 10), editor.messages
    assert len(living(noted)) == 1


def test_closing_neovim_leaves_no_server(start: Start, tmp_path: Path) -> None:
    noted = tmp_path / "pids"
    editor = start([str(SERVER), "slow", str(noted)])
    editor.command(f"edit {tmp_path}/a.py")
    assert editor.until(editor.attached, 10), editor.messages
    editor.quit()

    assert editor.until(lambda: not living(noted), 10)


def test_the_doctor_is_told_every_setting_of_the_model(start: Start, tmp_path: Path) -> None:
    names = [option.name for option in OPTIONS if is_of_the_machine(option)]
    settings = {
        **{option.name: "x" for option in OPTIONS if option.kind == "string"},
        "threads": 2,
        "maxLines": 3,
        "remoteTimeout": 0.5,
        "remoteTrustEnv": True,
    }
    editor = start([str(SERVER), "slow", str(tmp_path / "pids")], settings)

    editor.command("Infill doctor")
    assert editor.until(lambda: editor.lines[0].startswith("["), 10), editor.messages
    given = json.loads(editor.lines[0])

    assert given[0] == "doctor"
    options = dict.fromkeys(each for each in given if each.startswith("--"))
    expected = {name for name in names if name in settings}
    assert {kebab(name) for name in expected} == set(options)
    assert given[given.index("--threads") + 1] == "2"
    assert given[given.index("--remote-timeout") + 1] == "0.5"


def kebab(name: str) -> str:
    return "--" + "".join(f"-{c.lower()}" if c.isupper() else c for c in name)


def test_checkhealth_says_what_is_missing_and_what_is_set(start: Start, tmp_path: Path) -> None:
    work = workspace(tmp_path)
    installed(work / ".venv" / "bin" / "infill-ls", tmp_path / "pids")
    editor = start(None, {"maxLines": 9})
    editor.command(f"edit {work}/a.py")
    editor.command("checkhealth infill_ls")
    report = "\n".join(editor.lines)
    assert ":Infill trust" in report

    editor.lua("require('infill_ls.config').set({ cmd = { 'sh' }, settings = { maxLines = 9 } })")
    editor.command("checkhealth infill_ls")
    assert "setting maxLines: 9" in "\n".join(editor.lines)
