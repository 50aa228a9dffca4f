"""What an editor sees of the server that its windows share, whatever becomes of that."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infill_ls.server import endpoint, relay, transport
from infill_ls.server.relay import Relay
from infill_ls.server.transport import framed, read_message
from tests.infill_ls.server.shared import Message, Shared, until

INLINE = "textDocument/inlineCompletion"
CHANGE = "textDocument/didChange"
URI = "file:///project/a.py"


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

    async def answer(self, msg_id: int | str) -> Message:
        def answers() -> list[Message]:
            return [m for m in self.got if m.get("id") == msg_id and "method" not in m]

        await until(lambda: bool(answers()))
        assert len(answers()) == 1, "a request is answered once"
        return answers()[0]


@pytest.fixture
async def editor(shared: Shared) -> AsyncIterator[Editor]:
    found = Editor()
    made = Relay(found, lambda: endpoint.connect(shared.path))
    task = asyncio.create_task(made.run(found.reader))
    found.says("initialize", {"capabilities": {}}, id=1)
    await found.answer(1)
    found.says("initialized", {})
    await until(lambda: bool(shared.heard) and len(shared.heard[0]) == 2)
    yield found
    found.reader.feed_eof()
    assert await asyncio.wait_for(task, 5) == 0


def opens(editor: Editor, text: Any = "x = \n", version: int = 1, language: str = "python") -> None:
    item = {"uri": URI, "languageId": language, "version": version, "text": text}
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
    assert all("method" in m or m["id"] == 1 for m in editor.got)


@pytest.mark.parametrize(("longest", "waits"), [(0.1, False), (30.0, True)])
async def test_after_a_server_that_served_for_some_time_the_next_is_there_at_once(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, longest: float, waits: bool
) -> None:
    """One that comes and goes is waited for instead, lest it is started all the time."""
    monkeypatch.setattr(relay, "BACK_OFF_SECONDS", (1.0, longest))
    found = Editor()
    task = asyncio.create_task(
        Relay(found, lambda: endpoint.connect(shared.path)).run(found.reader)
    )
    await until(lambda: bool(shared.heard))
    await asyncio.sleep(0.2)
    died = time.monotonic()
    shared.die()
    await until(lambda: len(shared.heard) == 2)

    assert (time.monotonic() - died > 0.9) is waits
    found.reader.feed_eof()
    assert await asyncio.wait_for(task, 5) == 0


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
    await until(lambda: "initialized" in shared.methods(1))
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


async def test_an_editor_comes_and_goes_before_there_is_a_server() -> None:
    found = Editor()
    task = asyncio.create_task(Relay(found, asyncio.Event().wait).run(found.reader))  # type: ignore[arg-type]
    found.says("initialize", {"capabilities": {"textDocument": {"inlineCompletion": {}}}}, id=1)

    assert (await found.answer(1))["result"]["serverInfo"]["name"] == "infill-ls"
    found.says("shutdown", id=2)
    assert (await found.answer(2))["result"] is None
    found.says("exit")
    assert await asyncio.wait_for(task, 5) == 0


async def test_a_server_is_not_asked_to_answer_initialize(editor: Editor, shared: Shared) -> None:
    shared.die()
    await until(lambda: len(shared.heard) == 2 and len(shared.heard[1]) == 2)

    for heard in shared.heard:
        params = {"capabilities": {}}
        told = {"jsonrpc": "2.0", "method": "initialize", "params": params, "greeted": True}
        assert [heard[0], heard[1]["method"]] == [told, "initialized"]


async def test_what_only_a_server_can_refuse_waits_for_one(path: Path) -> None:
    found, server = Editor(), Shared(path)

    async def connect() -> endpoint.Streams:
        await until(lambda: path.exists())
        return await endpoint.connect(path)

    task = asyncio.create_task(Relay(found, connect).run(found.reader))
    found.says("initialize", {}, id=[1])
    found.reader.feed_data(framed(b"3"))
    await asyncio.sleep(0.05)
    await server.start()
    await until(lambda: bool(server.heard) and len(server.heard[0]) == 2)

    assert server.heard[0][0]["id"] == [1]
    assert server.heard[0][1] == 3
    found.reader.feed_eof()
    await asyncio.wait_for(task, 5)


async def test_a_server_that_reads_nothing_is_replaced_and_all_is_told_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MOST_UNREAD", 1 << 16)
    ended: list[object] = []
    monkeypatch.setattr(endpoint, "end", ended.append)
    num_connections = 0
    heard: list[Message] = []

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal num_connections
        num_connections += 1
        while num_connections > 1 and (body := await read_message(reader)) is not None:
            heard.append(json.loads(body))
        await asyncio.sleep(60)

    server = await endpoint.listen(path, session)
    found = Editor()
    task = asyncio.create_task(Relay(found, lambda: endpoint.connect(path)).run(found.reader))
    found.says("initialize", {}, id=1)
    await until(lambda: num_connections == 1)
    opens(found, "x = " + "1" * 100_000 + "\n")
    for number in range(200):  # more than any socket holds
        item = {"uri": URI, "version": number}
        changes = [{"text": f"x = {number}" + "1" * 100_000}]
        found.says(CHANGE, {"textDocument": item, "contentChanges": changes})
    await until(lambda: any("x = 199" in str(m)[:400] for m in heard))

    assert ended
    assert [m["method"] for m in heard[:2]] == ["initialize", "textDocument/didOpen"]
    task.cancel()
    server.close()


async def test_what_an_editor_says_before_there_is_a_server_is_heard(shared: Shared) -> None:
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
    command = "workspace/executeCommand"
    found.says(command, {"command": "infill.infillAtCursor"}, id=3)
    await asyncio.sleep(0.05)
    connected.set()
    await found.answer(2)
    assert (await found.answer(3))["result"] is None

    told = ["initialize", "initialized", "textDocument/didOpen", INLINE, command]
    assert shared.methods() == told
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


async def test_what_went_wrong_is_told_once_by_whichever_server(
    editor: Editor, shared: Shared
) -> None:
    wrong = {"method": "window/showMessage", "params": {"type": 2, "message": "no such setting"}}
    answer = {"method": "window/showMessage", "params": {"type": 3, "message": "nothing there"}}
    for number in range(2):
        for message in (wrong, answer):
            shared.say(message)
        shared.die()
        await until(lambda count=number + 2: len(shared.heard) == count)  # type: ignore[misc]

    told = [m["params"]["message"] for m in editor.got if m.get("method") == wrong["method"]]
    assert told == ["no such setting", "nothing there", "nothing there"]


async def test_a_command_is_never_run_a_second_time(editor: Editor, shared: Shared) -> None:
    shared.answer = lambda message: None
    editor.says("workspace/executeCommand", {"command": "infill.infillAtCursor"}, id=2)
    await until(lambda: "workspace/executeCommand" in shared.methods())
    shared.answer = lambda message: {"result": None}
    shared.die()

    assert "try again" in (await editor.answer(2))["error"]["message"]
    await until(lambda: "initialized" in shared.methods(1))
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
    await until(lambda: bool(shared.heard) and len(shared.heard[0]) == 2)
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


async def test_all_that_was_asked_is_answered_before_the_end() -> None:
    """Also where no server has come up so far."""
    found = Editor()

    async def connect() -> endpoint.Streams:
        await asyncio.Event().wait()
        raise AssertionError("it waits for ever")

    task = asyncio.create_task(Relay(found, connect).run(found.reader))
    found.says("initialize", {}, id=1)
    found.says("initialize", {}, id=2)
    opens(found)
    asks(found, 3)
    found.says("shutdown", id=4)
    found.says("exit")

    assert await asyncio.wait_for(task, 5) == 0
    assert sorted(message["id"] for message in found.got) == [1, 2, 3, 4]
    assert "error" in await found.answer(2)
    assert (await found.answer(3))["result"] == {"items": []}


async def test_exit_without_shutdown_is_an_error_code(shared: Shared) -> None:
    found = Editor()
    task = asyncio.create_task(
        Relay(found, lambda: endpoint.connect(shared.path)).run(found.reader)
    )
    found.says("exit")

    assert await asyncio.wait_for(task, 5) == 1
