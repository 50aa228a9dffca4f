"""A real VS Code in a workspace that brings a server of its own: it is somebody else's program."""

import json
from collections.abc import Iterator
from pathlib import Path
from shlex import join

import pytest

from tests.editors.vscode.code_server import ROOT, VSCode

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]

SETTINGS = {
    "security.workspace.trust.enabled": True,
    "security.workspace.trust.startupPrompt": "never",
    "security.workspace.trust.banner": "never",
}
# What a repository could set to have something run, loaded or sent elsewhere.
WORKSPACE_SETTINGS = {"infill-ls.path": "/bin/sh", "infill.model": "http://127.0.0.1:1"}
# Seconds: VS Code waits for a page to come back, and gives extensions five more to end.
GONE = 30


@pytest.fixture(scope="module")
def code(tools: Path, vsix: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VSCode]:
    out = tmp_path_factory.mktemp("vscode-trust")
    serve = str(ROOT / "tests" / "e2e" / "serve.py")
    server = join([serve, json.dumps({"texts": ["pass"], "journal": str(out / "journal")})])
    files = {"a.py": b"\n"}
    with VSCode(tools, vsix, out / "vs", files, SETTINGS, "", workspace_server=server) as code:
        settings = code.workspace / ".vscode" / "settings.json"
        settings.parent.mkdir()
        settings.write_text(json.dumps(WORKSPACE_SETTINGS))
        try:
            yield code
        finally:
            code.shot("last-trust")


def program(code: VSCode) -> Path:
    return code.workspace / ".venv" / "bin" / "infill-ls"


# In this order: what was said in one is remembered in the next.


def test_nothing_of_a_workspace_that_is_not_trusted_is_started(code: VSCode) -> None:
    assert code.wait_status("not started until you trust the workspace", 30), code.status()
    assert code.pids() == []


def test_in_a_trusted_one_the_user_is_asked_first(code: VSCode) -> None:
    code.choose("Start the server of this workspace")
    code.button("Trust")

    assert code.wait_status("waits for your answer", 30), code.status()
    assert code.until(lambda: any(str(program(code)) in m for m in code.messages()), 10)
    assert code.pids() == []
    code.shot("workspace-server")
    code.button("Start It")
    assert code.wait_status("ready", 60), (code.status(), code.messages())
    assert len(code.running()) == 1


def test_nor_do_its_settings_say_what_is_run_or_loaded(code: VSCode) -> None:
    journal = (code.folder.parent / "journal").read_text()

    assert "loaded:" in journal
    assert "127.0.0.1" not in journal


def test_a_yes_is_remembered_and_closing_leaves_no_server(code: VSCode) -> None:
    before = code.running()
    code.load()

    assert code.until(lambda: len(code.pids()) == 2, 60), (code.status(), code.messages())
    assert code.wait_status("ready", 60), (code.status(), code.messages())
    assert code.messages() == []
    assert code.until(lambda: code.running() == code.pids()[-1:], GONE), (before, code.running())


def test_nor_does_a_page_that_goes_without_a_word(code: VSCode) -> None:
    num_started = len(code.pids())
    code.crash()

    assert code.until(lambda: len(code.pids()) > num_started, 60), code.status()
    assert code.until(lambda: code.running() == code.pids()[-1:], GONE), code.running()
    assert code.wait_status("ready", 60), (code.status(), code.messages())


def test_restarts_that_overlap_leave_one_server(code: VSCode) -> None:
    num_started = len(code.pids())
    for _ in range(3):
        code.command("Restart the Server")

    assert code.until(lambda: len(code.pids()) > num_started, 30)
    assert code.wait_status("ready", 60), (code.status(), code.messages())
    assert code.until(lambda: code.running() == code.pids()[-1:], GONE), code.running()


def test_another_program_in_its_place_is_asked_about_anew(code: VSCode) -> None:
    num_started = len(code.pids())
    with program(code).open("a") as script:
        script.write("# changed\n")
    code.load()

    assert code.wait_status("waits for your answer", 60), code.status()
    assert len(code.pids()) == num_started
    assert code.until(lambda: not code.running(), GONE), code.running()
    code.button("Never")
    assert code.wait_status("is refused", 10), code.status()
    assert len(code.pids()) == num_started
