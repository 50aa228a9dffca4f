"""Neovims that find the server themselves share one, with the embedded model."""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.editors.conftest import SETTINGS, SUITES, program
from tests.editors.editor import Editor
from tests.editors.processes import shared_servers

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A folder for sockets, whose paths may not be long; in the end no server is left in it."""
    with tempfile.TemporaryDirectory(prefix="run", ignore_cleanup_errors=True) as name:
        yield Path(name)
        for pid in shared_servers(Path(name)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_all_share_one_server_but_one_with_another_model(
    programs: dict[str, Path | str], runtime: Path, tmp_path: Path
) -> None:
    own = tmp_path / "bin" / "infill-ls"
    own.parent.mkdir()
    own.write_text(f'#!/bin/sh\nexec {sys.executable} -m infill_ls "$@"\n')
    own.chmod(0o755)
    environment = {"PATH": f"{own.parent}:/usr/bin:/bin", "XDG_RUNTIME_DIR": str(runtime)}
    editors: list[Editor] = []
    try:
        for version in SUITES:
            nvim = program(programs, version)
            folder = tmp_path / version
            folder.mkdir()
            editor = Editor(nvim, folder, None, {"settings": SETTINGS}, **environment)
            editors.append(editor)
            editor.command(f"edit {folder}/a.py")
        for editor in editors:
            assert editor.until(editor.ready, 120), (editor.status(), editor.messages)

        assert len(shared_servers(runtime)) == 1

        folder = tmp_path / "other"
        folder.mkdir()
        settings = {**SETTINGS, "threads": 2}
        other = Editor(nvim, folder, None, {"settings": settings}, **environment)
        editors.append(other)
        other.command(f"edit {folder}/a.py")
        assert other.until(lambda: len(shared_servers(runtime)) == 2, 60), other.messages
        assert other.until(other.ready, 120), (other.status(), other.messages)
        assert "is shared" not in other.messages
    finally:
        for editor in editors:
            editor.quit()
