"""What an editor sees of the server that its windows share, whatever becomes of that."""

import asyncio
import json
import os
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from infill_ls.server import endpoint, relay
from infill_ls.server.relay import Relay
from infill_ls.server.transport import framed, read_message

INLINE = "textDocument/inlineCompletion"
URI = "file:///project/a.py"
Message = dict[str, Any]


class Editor:
    """What it says goes through `reader`; what it is told is in `got`."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.got: list[Message] = []
        self._came = asyncio.Condition()

    def write(self, data: bytes) -> None:
        self.got.append(json.loads(data.partition(b"\r\n\r\n")[2]))

    def close(self) -> None: ...

    def says(self, method: str, params: Any = None, **more: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params, **more}
        self.reader.feed_data(framed(json.dumps(message).encode()))

    def methods(self) -> list[str]:
        return [message.get("method", "answer") for message in self.got]

    def replies(self, method: str, result: Any) -> None:
        """To the last such request."""
        asked = next(m for m in reversed(self.got) if m.get("method") == method)
        answer = {"jsonrpc": "2.0", "id": asked["id"], "result": result}
        self.reader.feed_data(framed(json.dumps(answer).encode()))

    async def answer(self, msg_id: int) -> Message:
        def answers() -> list[Message]:
            return [m for m in self.got if m.get("id") == msg_id and "method" not in m]

        await until(lambda: bool(answers()))
        assert len(answers()) == 1, "a request is answered once"
        return answers()[0]


class Shared:
    """A server of the test's: it notes what it hears, and answers with `answer`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[list[Message]] = []  # of each connection
        self.answer: Callable[[Message], Message | None] = lambda message: {"result": None}
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await endpoint.listen(self.path, self._session)

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard: list[Message] = []
        self.heard.append(heard)
        self._writers.append(writer)
        while (body := await read_message(reader)) is not None:
            message = json.loads(body)
            heard.append(message)
            if "id" in message and "method" in message:
                answer = self.answer(message)
                if answer is not None:
                    self.say({"id": message["id"], **answer})

    def say(self, message: Message) -> None:
        self._writers[-1].write(framed(json.dumps({"jsonrpc": "2.0", **message}).encode()))

    def die(self) -> None:
        """The connections end, as when its process is killed; a new one may come."""
        for writer in self._writers:
            writer.close()

    def methods(self, connection: int = -1) -> list[str]:
        return [message.get("method", "answer") for message in self.heard[connection]]


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about in time"
        await asyncio.sleep(0.005)


@pytest.fixture(params=["socket", "token"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param == "token":
        monkeypatch.setattr(endpoint, "HAS_SOCKETS", False)
    return tmp_path / "shared.sock"


@pytest.fixture
async def shared(path: Path) -> Shared:
    server = Shared(path)
    await server.start()
    return server


@pytest.fixture
async def editor(shared: Shared) -> AsyncIterator[Editor]:
    found = Editor()
    made = Relay(found, lambda: endpoint.connect(shared.path))
    task = asyncio.create_task(made.run(found.reader))
    found.says("initialize", {"capabilities": {}}, id=1)
    await found.answer(1)
    found.says("initialized", {})
    yield found
    found.reader.feed_eof()
    assert await asyncio.wait_for(task, 5) == 0


def opens(editor: Editor, text: str = "x = \n", version: int = 1) -> None:
    item = {"uri": URI, "languageId": "python", "version": version, "text": text}
    editor.says("textDocument/didOpen", {"textDocument": item})


def types(editor: Editor, text: str, character: int, version: int) -> None:
    at = {"line": 0, "character": character}
    params = {
        "textDocument": {"uri": URI, "version": version},
        "contentChanges": [{"range": {"start": at, "end": at}, "text": text}],
    }
    editor.says("textDocument/didChange", params)


def asks(editor: Editor, msg_id: int) -> None:
    where = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 4}}
    editor.says(INLINE, where, id=msg_id)


async def test_messages_pass_both_ways(editor: Editor, shared: Shared) -> None:
    shared.answer = lambda message: {"result": {"items": [{"insertText": "1"}]}}
    opens(editor)
    asks(editor, 2)

    assert (await editor.answer(2))["result"]["items"] == [{"insertText": "1"}]
    assert shared.methods() == ["initialize", "initialized", "textDocument/didOpen", INLINE]


async def test_another_server_hears_what_the_first_one_knew(editor: Editor, shared: Shared) -> None:
    opens(editor)
    types(editor, "1", 4, 2)
    await until(lambda: len(shared.heard[0]) == 4)
    shared.die()
    types(editor, "2", 5, 3)
    await until(lambda: len(shared.heard) == 2 and len(shared.heard[1]) >= 3)
    types(editor, "3", 6, 4)
    await until(lambda: "textDocument/didChange" in shared.methods())

    assert shared.methods()[:3] == ["initialize", "initialized", "textDocument/didOpen"]
    item = shared.heard[1][2]["params"]["textDocument"]
    later = [m["params"]["contentChanges"][0]["text"] for m in shared.heard[1][3:]]
    assert (item["text"].strip() + "".join(later), item["languageId"]) == ("x = 123", "python")
    assert [m for m in editor.got if m.get("id") == relay.AGAIN] == []


async def test_what_was_asked_of_a_server_that_died_is_asked_again(
    editor: Editor, shared: Shared
) -> None:
    shared.answer = lambda message: None
    opens(editor)
    asks(editor, 2)
    await until(lambda: INLINE in shared.methods())
    shared.answer = lambda message: {"result": {"items": []}}
    shared.die()

    assert (await editor.answer(2))["result"] == {"items": []}
    assert shared.methods(1)[-1] == INLINE


async def test_what_was_asked_about_a_text_that_is_no_more_is_answered_empty(
    editor: Editor, shared: Shared
) -> None:
    shared.answer = lambda message: None
    opens(editor)
    asks(editor, 2)
    types(editor, "1", 4, 2)
    await until(lambda: "textDocument/didChange" in shared.methods())
    shared.answer = lambda message: {"result": {"items": [{"insertText": "wrong"}]}}
    shared.die()

    assert (await editor.answer(2))["result"] == {"items": []}
    assert INLINE not in shared.methods(1)


async def test_an_answer_for_a_server_that_died_does_not_reach_the_next(
    editor: Editor, shared: Shared
) -> None:
    configuration = "workspace/configuration"
    shared.say({"id": "s1", "method": configuration, "params": {"items": []}})
    await until(lambda: configuration in editor.methods())
    editor.replies(configuration, ["first"])
    await until(lambda: "answer" in shared.methods())
    assert shared.heard[0][-1] == {"jsonrpc": "2.0", "id": "s1", "result": ["first"]}

    shared.say({"id": "s2", "method": configuration, "params": {"items": []}})
    await until(lambda: editor.methods().count(configuration) == 2)
    shared.die()
    await until(lambda: len(shared.heard) == 2)
    shared.say({"id": "s2", "method": configuration, "params": {"items": []}})
    editor.replies(configuration, ["late"])
    asks(editor, 2)
    await editor.answer(2)

    assert "answer" not in shared.methods(1)


async def test_the_editor_is_asked_once_to_register(editor: Editor, shared: Shared) -> None:
    params = {"registrations": [{"id": "infill-ls/configuration", "method": "x"}]}
    register = "client/registerCapability"
    shared.say({"id": "s1", "method": register, "params": params})
    await until(lambda: register in editor.methods())
    shared.die()
    await until(lambda: len(shared.heard) == 2 and len(shared.heard[1]) >= 2)
    shared.say({"id": "s2", "method": register, "params": params})
    await until(lambda: "answer" in shared.methods(1))

    assert editor.methods().count(register) == 1


async def test_a_silent_server_is_given_up_and_requests_are_answered(
    editor: Editor, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "SILENT_SECONDS", 0.2)
    shared.answer = lambda message: None
    asks(editor, 2)

    assert (await editor.answer(2))["result"] == {"items": []}


async def test_a_server_that_only_takes_long_is_left_alone(
    editor: Editor, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "SILENT_SECONDS", 0.2)
    unknown = {"error": {"code": -32601, "message": "not handled"}}
    shared.answer = lambda message: unknown if message["method"] == relay.PING else None
    editor.says("workspace/executeCommand", {"command": "slow"}, id=2)
    await until(lambda: shared.methods().count(relay.PING) >= 4)

    assert len(shared.heard) == 1
    assert [m for m in editor.got if m.get("id") in (2, relay.PING)] == []


async def test_an_editor_that_does_not_wait_for_initialize_is_heard(shared: Shared) -> None:
    found = Editor()
    connected = asyncio.Event()

    async def connect() -> endpoint.Streams:
        await connected.wait()
        return await endpoint.connect(shared.path)

    task = asyncio.create_task(Relay(found, connect).run(found.reader))
    found.says("initialize", {}, id=1)
    found.says("initialized", {})
    opens(found)
    asks(found, 2)
    await asyncio.sleep(0.05)
    connected.set()
    await found.answer(2)

    assert shared.methods() == ["initialize", "initialized", "textDocument/didOpen", INLINE]
    found.reader.feed_eof()
    await asyncio.wait_for(task, 5)


async def test_settings_and_folders_are_told_again_before_any_document(
    editor: Editor, shared: Shared
) -> None:
    opens(editor)
    folders = {"event": {"added": [{"uri": "file:///more", "name": "more"}], "removed": []}}
    editor.says("workspace/didChangeWorkspaceFolders", folders)
    settings = {"settings": {"infill": {"disabledFiles": ["*.x"]}}}
    editor.says("workspace/didChangeConfiguration", settings)
    editor.says("workspace/didChangeConfiguration", {"settings": None})
    await until(lambda: len(shared.heard[0]) == 6)
    shared.die()
    await until(lambda: len(shared.heard) == 2 and len(shared.heard[1]) == 5)

    assert shared.methods() == [
        "initialize",
        "initialized",
        "workspace/didChangeWorkspaceFolders",
        "workspace/didChangeConfiguration",
        "textDocument/didOpen",
    ]
    assert shared.heard[1][3]["params"] == settings


async def test_a_command_is_never_run_a_second_time(editor: Editor, shared: Shared) -> None:
    shared.answer = lambda message: None
    editor.says("workspace/executeCommand", {"command": "infill.infillAtCursor"}, id=2)
    await until(lambda: "workspace/executeCommand" in shared.methods())
    shared.answer = lambda message: {"result": None}
    shared.die()

    assert "try again" in (await editor.answer(2))["error"]["message"]
    assert "workspace/executeCommand" not in shared.methods(1)


@pytest.mark.parametrize("msg_id", [77.0, True, 1.5, {}, [1]])
async def test_odd_request_ids_end_nothing(editor: Editor, shared: Shared, msg_id: object) -> None:
    shared.answer = lambda message: {"result": None} if message["id"] != msg_id else None
    editor.says(INLINE, {}, id=msg_id)
    editor.says("workspace/odd", [], id="next")
    await until(lambda: any(m.get("id") == "next" for m in editor.got))
    asks(editor, 2)

    assert (await editor.answer(2))["result"] is None


async def test_what_a_dead_server_was_at_is_ended(editor: Editor, shared: Shared) -> None:
    begun = {"token": "load", "value": {"kind": "begin", "title": "infill"}}
    shared.say({"method": "$/progress", "params": begun})
    await until(lambda: "$/progress" in editor.methods())
    shared.die()
    await until(lambda: editor.methods().count("$/progress") == 2)

    last = next(m for m in reversed(editor.got) if m.get("method") == "$/progress")
    assert last["params"] == {"token": "load", "value": {"kind": "end"}}


async def test_a_socket_that_is_served_is_not_taken(shared: Shared) -> None:
    with pytest.raises(endpoint.EndpointError, match="Another server listens"):
        await endpoint.listen(shared.path, shared._session)


async def test_shutdown_is_answered_though_the_server_is_gone(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BACK_OFF_SECONDS", (0.01, 0.02))
    found, alive = Editor(), True

    async def connect() -> endpoint.Streams:
        if not alive:
            raise endpoint.EndpointError("it does not come up")
        return await endpoint.connect(shared.path)

    task = asyncio.create_task(Relay(found, connect).run(found.reader))
    found.says("initialize", {}, id=1)
    await found.answer(1)
    found.says("initialized", {})
    await until(lambda: len(shared.heard[0]) == 2)
    alive = False
    shared.die()
    opens(found)
    asks(found, 2)

    assert (await found.answer(2))["result"] == {"items": []}
    found.says("shutdown", id=3)
    assert (await found.answer(3))["result"] is None
    found.says("exit")
    assert await asyncio.wait_for(task, 5) == 0
    told = [m["params"]["message"] for m in found.got if m.get("method") == "window/showMessage"]
    assert told == ["infill: it does not come up"]


async def test_exit_without_shutdown_is_an_error_code(shared: Shared) -> None:
    found = Editor()
    task = asyncio.create_task(
        Relay(found, lambda: endpoint.connect(shared.path)).run(found.reader)
    )
    found.says("exit")

    assert await asyncio.wait_for(task, 5) == 1


# -- where it listens ----------------------------------------------------------------------------


async def test_nobody_else_may_open_the_socket(shared: Shared) -> None:
    assert stat.S_IMODE(shared.path.stat().st_mode) == 0o600


async def test_without_the_token_nothing_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "HAS_SOCKETS", False)
    server = Shared(tmp_path / "shared.sock")
    await server.start()
    port = json.loads(server.path.read_text())["port"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nOrigin: https://evil.example\r\n\r\n{}")

    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert server.heard == []


def test_a_folder_of_somebody_else_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(folder, 65534, 65534)
    monkeypatch.setattr(endpoint.platformdirs, "user_runtime_path", lambda name: folder)

    with pytest.raises(endpoint.EndpointError, match="belongs to user 65534"):
        endpoint.endpoint(["default"])


def test_another_model_is_another_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint.platformdirs, "user_runtime_path", lambda name: tmp_path / "run")

    assert endpoint.endpoint(["default"]) == endpoint.endpoint(["default"])
    assert endpoint.endpoint(["default"]) != endpoint.endpoint(["other"])
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


SERVE = """
import asyncio, pathlib, sys
from infill_ls.server import endpoint

async def session(reader, writer):
    writer.write(b"here\\n")

async def main():
    server = await endpoint.listen(pathlib.Path(sys.argv[1]), session)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_several_who_come_at_once_start_one(path: Path, tmp_path: Path) -> None:
    path_of_tests = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-c", SERVE, str(path)]
    if not endpoint.HAS_SOCKETS:
        command[2] = SERVE.replace("async def main", "endpoint.HAS_SOCKETS = False\nasync def main")
    os.environ["PYTHONPATH"], before = path_of_tests, os.environ.get("PYTHONPATH", "")
    try:
        found = await asyncio.gather(*(endpoint.connect_or_start(path, command) for _ in range(4)))
    finally:
        os.environ["PYTHONPATH"] = before
    said = [await asyncio.wait_for(reader.readline(), 5) for reader, _ in found]
    servers = {endpoint.peer(writer) for _, writer in found}

    assert said == [b"here\n"] * 4
    assert len(servers) == 1
    for process in servers:
        if process is not None:
            os.kill(process[0], signal.SIGKILL)


async def test_a_server_that_does_not_come_up_is_said_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no model here')"]

    with pytest.raises(endpoint.EndpointError, match=r"exit code 1.*no model here"):
        await endpoint.connect_or_start(tmp_path / "shared.sock", command)
