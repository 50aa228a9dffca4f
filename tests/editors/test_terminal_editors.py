"""Emacs with lsp-mode, and Helix, set up by `infill-ls setup` and really typed into, with the model
that ships. INFILL_TERMINAL_EDITORS names the folder that `fetch_terminal_editors.sh` made."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from infill_ls.cli.setup.places import Places
from infill_ls.cli.setup.run import run_setup
from tests.editors.editor import PYTHONPATH
from tests.editors.places import LINE, over_and_over
from tests.editors.processes import shared_servers
from tests.editors.terminal import Terminal

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

# A server whose menu waits as long as a busy machine takes; users have 0.15 seconds.
PATIENT = """\
from infill_ls.cli.main import main
from infill_ls.server.features import menu
menu.SECONDS = 20.0
main([])
"""
# What a user of lsp-mode has in their init file anyway, without packages from a network.
EMACS = """\
(setq inhibit-startup-screen t make-backup-files nil auto-save-default nil create-lockfiles nil
      native-comp-jit-compilation nil native-comp-enable-subr-trampolines nil
      ring-bell-function 'ignore)
(dolist (folder (directory-files (getenv "ELPA_SRC") t "^[a-z]")) (add-to-list 'load-path folder))
(setq lsp-auto-guess-root t lsp-enable-suggest-server-download nil lsp-enable-snippet nil
      lsp-headerline-breadcrumb-enable nil lsp-enable-file-watchers nil
      lsp-warn-no-matched-clients nil lsp-completion-provider :none lsp-restart 'ignore
      lsp-keep-workspace-alive nil)
(load "lsp-mode-autoloads")
(with-eval-after-load 'lsp-mode  ; in tests the machine may be busy, and late is not wrong
  (lsp-register-custom-settings '(("infill.deadlineMs" 20000) ("infill.minConfidence" 0))))
(with-eval-after-load 'lsp-inline-completion
  (define-key lsp-inline-completion-active-map (kbd "TAB") #'lsp-inline-completion-accept)
  (put 'lsp-inline-completion-accept 'lsp-inline-completion-keep t))
"""


@pytest.fixture(scope="module")
def programs() -> Path:
    named = os.environ.get("INFILL_TERMINAL_EDITORS", "")
    if not named or not Path(named).is_dir():
        pytest.skip("INFILL_TERMINAL_EDITORS names no folder of fetch_terminal_editors.sh")
    if not shutil.which("tmux"):
        pytest.skip("tmux is not there, in which Emacs and Helix are typed into")
    return Path(named)


@pytest.fixture
def places(programs: Path, tmp_path: Path) -> Iterator[Places]:
    """A home with nothing in it but the server on PATH; in the end none is left running."""
    server = tmp_path / "bin" / "infill-ls"
    server.parent.mkdir()
    server.write_text(
        f"#!/bin/sh\nPYTHONPATH='{PYTHONPATH}' exec '{sys.executable}' -m infill_ls \"$@\"\n"
    )
    server.chmod(0o755)
    path = [server.parent, programs / "helix", programs / "emacs", "/usr/bin", "/bin"]
    with tempfile.TemporaryDirectory(prefix="run", ignore_cleanup_errors=True) as runtime:
        variables = {
            "PATH": os.pathsep.join(map(str, path)),
            "HOME": str(tmp_path),
            "XDG_CONFIG_HOME": str(tmp_path / ".config"),
            "XDG_RUNTIME_DIR": runtime,
        }
        yield Places(
            system="linux",
            home=tmp_path,
            config=tmp_path / ".config",
            record=tmp_path / "setup.json",
            variables=variables,
            command="infill-ls",
            passing=False,
        )
        for pid in shared_servers(Path(runtime)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def set_up(places: Places, editor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, places.variables[name])
    options = argparse.Namespace(editors=[editor], yes=True, show=False, undo=False)
    assert run_setup(options, places) == 0


def more_time(places: Places) -> None:
    """For Helix, as a user would write it: below the server that setup wrote."""
    path = places.config / "helix" / "languages.toml"
    server, rest = path.read_text().split('args = ["--connect"]\n')
    limits = "deadlineMs = 20000, deadlineInvokedMs = 20000, minConfidence = 0"
    settings = f"config.infill = {{ {limits} }}\n"
    path.write_text(f'{server}args = ["--connect"]\n{settings}{rest}')


def started(places: Places, program: str, name: str, content: bytes = LINE.file()) -> Terminal:
    (places.home / name).write_bytes(content)
    return Terminal([program, name], places.home, **places.variables)


def typed_until(terminal: Terminal, begin: list[str], shown: str, wait: float) -> str:
    """Types the place's line, another number every time: on a busy machine the first answers may
    come too late. What was typed when `shown` stands behind it, or nothing."""
    for number in range(31, 40):
        terminal.keys(*begin)
        terminal.text(f"value_{number} = sto")
        if terminal.shows(f"value_{number} = {shown}", wait):
            return f"value_{number} = "
    return ""


def test_emacs_shows_ghost_text_and_accepts_it(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = places.home / ".emacs.d" / "init.el"
    init.parent.mkdir()
    init.write_text(EMACS)
    set_up(places, "emacs", monkeypatch)
    assert init.read_text().startswith(EMACS)

    # -nw alone: its own configuration is what is tested.
    (places.home / ".git").mkdir()
    with started(places, "emacs", "typed.py") as emacs:
        assert emacs.shows("value_1 = store", 180), emacs.screen()
        emacs.keys("M-g", "g")
        emacs.text(f"{LINE.row}\n")
        typed = typed_until(emacs, ["C-e", "Enter"], "store.read(", 60)
        assert typed, emacs.screen()
        path = places.home / "typed.py"
        emacs.keys("C-x", "C-s")
        assert emacs.until(lambda: f"{typed}sto\n" in path.read_text()), "ghost text is not saved"
        emacs.keys("Space", "BSpace")  # asks again
        assert emacs.shows(f"{typed}store.read(", 20), emacs.screen()
        emacs.keys("Tab", "C-x", "C-s")
        assert emacs.until(lambda: f"{typed}store.read(" in path.read_text()), path.read_text()


def test_helix_has_it_in_its_menu(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(places, "helix", monkeypatch)
    more_time(places)
    patient = f"PYTHONPATH='{PYTHONPATH}' exec '{sys.executable}' -c '{PATIENT}'"
    (places.home / "bin" / "infill-ls").write_text(f"#!/bin/sh\n{patient}\n")
    assert 'language-servers = ["' in (places.config / "helix/languages.toml").read_text()

    with started(places, "hx", "typed.py") as helix:
        assert helix.shows("value_1 = store", 180), helix.screen()
        helix.keys(*str(LINE.row - 1), "G")
        accepted = ""
        for number in range(31, 36):
            helix.keys("o")
            helix.text(f"value_{number} = st")
            helix.text("o")
            if helix.until(lambda n=number: "store.read(" in menu_of(helix, n), 25):
                accepted = f"value_{number} = store.read("
            if accepted:
                break
            helix.keys("Escape")
        assert accepted, helix.screen()
        choose(helix, "store.read(")
        helix.keys("Escape")
        helix.text(":w")
        helix.keys("Enter")
        path = places.home / "typed.py"
        assert helix.until(lambda: accepted in text_of(path)), helix.screen()


def text_of(path: Path, otherwise: str = "") -> str:
    """Helix puts the old file aside while it writes the new one."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return otherwise


def menu_of(helix: Terminal, number: int) -> str:
    """What stands on the screen below the line that is typed."""
    return helix.screen().rpartition(f"value_{number} = st")[2].partition("\n")[2]


def choose(helix: Terminal, label: str) -> None:
    """The first item of the menu with that label; Helix writes each one as it comes to it."""
    for _ in range(10):
        helix.keys("C-n")
        line = helix.until(lambda: cursor_line(helix), 1)
        if label in line:
            helix.keys("Enter")
            return
    raise AssertionError(f"no item {label} in\n{helix.screen()}")


def cursor_line(helix: Terminal) -> str:
    """The line of the last `value_`, without the menu beside it."""
    lines = [line for line in helix.screen().splitlines() if "  value_" in line]
    return lines[-1][:40] if lines else ""


def test_helix_replaces_a_selection(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(places, "helix", monkeypatch)
    more_time(places)
    content = over_and_over("value_{} = store.read(0)\n", 30) + "value_31 = wrong\nprint(1)\n"
    with started(places, "hx", "selected.py", content.encode()) as helix:
        assert helix.shows("value_1 = store", 180), helix.screen()
        helix.keys("3", "1", "G", "x")
        path = places.home / "selected.py"
        for _ in range(30):  # until the server is there
            helix.keys("Space", "a")
            if helix.shows("Infill selection", 2):
                helix.keys("Enter")
                break
        assert helix.until(lambda: "value_31 = wrong" not in helix.screen(), 90), helix.screen()
        helix.keys("Escape", "Escape")  # a menu that came late
        helix.text(":w")
        helix.keys("Enter")
        assert helix.until(lambda: "wrong" not in text_of(path, "wrong")), helix.screen()
