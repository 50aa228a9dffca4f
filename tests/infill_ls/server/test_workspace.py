"""What the editor says of its workspace reaches the engine."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from infill_engine import EngineConfig, InfillRequest
from infill_ls.completion.worker import Query, Worker
from tests.infill_ls.engines import Knowing, loads
from tests.infill_ls.server.editor import INFILL, Editor

WATCHING = {"workspace": {"didChangeWatchedFiles": {"dynamicRegistration": True}}}


class Reading:
    """An engine's knowledge: of every request it notes what it may copy from."""

    def __init__(self) -> None:
        self.elsewhere = ""

    def __call__(self, request: InfillRequest) -> Sequence[str]:
        self.elsewhere = request.elsewhere
        return []


@pytest.fixture
def engine() -> Reading:
    return Reading()


@pytest.fixture
def worker(engine: Reading) -> Iterator[Worker]:
    worker = Worker(loads(Knowing(engine)))
    worker.load(EngineConfig()).result(60)
    yield worker
    assert worker.close(60)


@asynccontextmanager
async def editing(worker: Worker, folder: Path, **params: Any) -> AsyncIterator[Editor]:
    (folder / "models.py").write_text("class Order: ...\n")
    editor = Editor(worker)
    folders = [{"uri": folder.as_uri(), "name": "it"}]
    await editor.initialize(workspaceFolders=folders, **params)
    try:
        yield editor
    finally:
        editor.session.close()
        await editor.session.ended()


async def until(editor: Editor, folder: Path, what: Callable[[], bool]) -> None:
    """Asks at other places, so that nothing is reused and another choice is made."""
    for number in range(200):
        uri = (folder / f"{number}.py").as_uri()
        editor.open(f"a{number}\n", uri=uri, language="python")
        for line in (0, 1):
            await editor.infills(uri, line=line)
            await asyncio.sleep(0.03)
        if what():
            return
    raise AssertionError("it never came to that")


async def test_other_files_of_the_workspace_are_there_to_copy_from(
    worker: Worker, engine: Reading, tmp_path: Path
) -> None:
    async with editing(worker, tmp_path) as editor:
        await until(editor, tmp_path, lambda: "class Order" in engine.elsewhere)
        logged = [each["message"] for each in editor.all_received("window/logMessage")]

        assert any(each.startswith("workspace: 1 files") for each in logged)


@pytest.mark.parametrize("how", ["didSave", "didChangeWatchedFiles", "didClose"])
async def test_a_file_that_was_written_is_read_again(
    worker: Worker, engine: Reading, tmp_path: Path, how: str
) -> None:
    async with editing(worker, tmp_path) as editor:
        await until(editor, tmp_path, lambda: "class Order" in engine.elsewhere)
        written = tmp_path / "models.py"
        written.write_text("class Invoice: ...\n")
        named = {"textDocument": {"uri": written.as_uri()}}
        if how == "didChangeWatchedFiles":
            changes = {"changes": [{"uri": written.as_uri(), "type": 2}]}
            editor.notify("workspace/didChangeWatchedFiles", changes)
        else:
            editor.notify(f"textDocument/{how}", named)

        await until(editor, tmp_path, lambda: "class Invoice" in engine.elsewhere)
        assert "class Order" not in engine.elsewhere


async def test_what_is_answered_ahead_knows_them_as_well(
    worker: Worker, engine: Reading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with editing(worker, tmp_path) as editor:
        ahead: list[Query] = []
        monkeypatch.setattr(editor.session.requests, "ahead", lambda *each: ahead.extend(each))
        uri = (tmp_path / "main.py").as_uri()
        editor.open("f(1)\n", uri=uri, language="python")
        for _ in range(200):
            params = {
                "textDocument": {"uri": uri},
                "position": {"line": 0, "character": 4},
                "context": {"triggerKind": 2},
            }
            await editor.ask(INFILL, params)
            if ahead and "class Order" in ahead[-1].surroundings.elsewhere:
                break
            await asyncio.sleep(0.03)

        assert "class Order" in ahead[-1].surroundings.elsewhere


async def test_open_documents_count_as_they_are(
    worker: Worker, engine: Reading, tmp_path: Path
) -> None:
    async with editing(worker, tmp_path) as editor:
        uri = (tmp_path / "models.py").as_uri()
        editor.open("class Unsaved: ...\n", uri=uri, language="python")

        await until(editor, tmp_path, lambda: "class Unsaved" in engine.elsewhere)
        assert "class Order" not in engine.elsewhere


async def test_folders_come_and_go(
    worker: Worker, engine: Reading, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "more.py").write_text("class More: ...\n")
    async with editing(worker, tmp_path) as editor:
        added, removed = ({"uri": path.as_uri(), "name": "x"} for path in (other, tmp_path))
        event = {"event": {"added": [added], "removed": [removed]}}
        editor.notify("workspace/didChangeWorkspaceFolders", event)

        await until(editor, tmp_path, lambda: "class More" in engine.elsewhere)
        assert "class Order" not in engine.elsewhere


async def test_nothing_is_read_where_the_settings_say_so(
    worker: Worker, engine: Reading, tmp_path: Path
) -> None:
    off = {"infill": {"workspace": False}}
    async with editing(worker, tmp_path, initializationOptions=off) as editor:
        uri = (tmp_path / "a.py").as_uri()
        editor.open("a\n", uri=uri, language="python")
        await editor.infills(uri)
        assert editor.session.workspace._thread is None

        editor.notify("workspace/didChangeConfiguration", {"settings": {"workspace": True}})
        await until(editor, tmp_path, lambda: "class Order" in engine.elsewhere)
        editor.notify("workspace/didChangeConfiguration", {"settings": {"workspace": False}})
        await until(editor, tmp_path, lambda: engine.elsewhere == "")


async def test_nothing_is_read_for_a_model_on_a_server(worker: Worker, tmp_path: Path) -> None:
    remote = {"infill": {"model": "http://127.0.0.1:1#model"}}
    async with editing(worker, tmp_path, initializationOptions=remote) as editor:
        await until(editor, tmp_path, lambda: True)
        assert worker.config is not None
        assert worker.config.is_remote
        assert editor.session.workspace._thread is None


@pytest.mark.parametrize("client", [{}, WATCHING])
async def test_files_are_watched_where_the_client_can(
    worker: Worker, tmp_path: Path, client: dict[str, Any]
) -> None:
    async with editing(worker, tmp_path, capabilities=client) as editor:
        await asyncio.sleep(0.2)
        asked = [
            registration["method"]
            for each in editor.all_received("client/registerCapability")
            for registration in each["registrations"]
        ]

    assert ("workspace/didChangeWatchedFiles" in asked) == bool(client)
