"""An editor, the relay, and behind it the real server, each time another one."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from infill_engine import EngineConfig
from infill_ls.completion.worker import Worker
from infill_ls.server import endpoint, transport
from infill_ls.server.processes import Clients
from infill_ls.server.relay import Relay
from infill_ls.server.transport import framed
from tests.infill_ls.engines import Knowing, last_name, loads
from tests.infill_ls.server.shared import until
from tests.infill_ls.server.test_relay import INLINE, URI, Editor, opens

CHANGE = "textDocument/didChange"
SHOW = "window/showMessage"


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(loads(Knowing(last_name)))
    worker.load(EngineConfig()).result(60)
    yield worker
    assert worker.close(60)


class Server:
    """The real one, whose connections a test may end."""

    def __init__(self, worker: Worker) -> None:
        self.clients = Clients(worker, EngineConfig())
        self.num_served = 0
        self._streams: list[asyncio.StreamWriter] = []

    async def session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_served += 1
        self._streams.append(writer)
        await self.clients.serve(reader, writer)

    async def die(self) -> None:
        """And another one comes."""
        before = self.num_served
        self._streams[-1].transport.abort()
        await until(lambda: self.num_served > before)


@pytest.fixture
async def server(worker: Worker, path: Path) -> AsyncIterator[Server]:
    server = Server(worker)
    async with await endpoint.listen(path, server.session):
        yield server
        for stream in server._streams:
            stream.transport.abort()
        await until(lambda: not server.clients.connected)


@pytest.fixture
async def editor(server: Server, path: Path) -> AsyncIterator[Editor]:
    found = Editor()
    task = asyncio.create_task(Relay(found, lambda: endpoint.connect(path)).run(found.reader))
    yield found
    found.reader.feed_eof()
    assert await asyncio.wait_for(task, 5) == 0


async def begins(editor: Editor, **params: Any) -> None:
    editor.says("initialize", {"capabilities": {}, **params}, id="begin")
    await editor.answer("begin")
    editor.says("initialized", {})


async def offered(editor: Editor, character: int) -> list[str]:
    asked = {
        "textDocument": {"uri": URI},
        "position": {"line": 0, "character": character},
        "context": {"triggerKind": 1},
    }
    editor.says(INLINE, asked, id=(msg_id := f"q{len(editor.got)}"))
    return [item["insertText"] for item in (await editor.answer(msg_id))["result"]["items"]]


def changes(editor: Editor, text: Any, version: int, range_: Any = None) -> None:
    change = {"text": text} | ({} if range_ is None else {"range": range_})
    item = {"uri": URI, "version": version}
    editor.says(CHANGE, {"textDocument": item, "contentChanges": [change]})


def shown(editor: Editor) -> list[str]:
    return [m["params"]["message"] for m in editor.got if m.get("method") == SHOW]


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("lost_by", ["opening", "changing"])
async def test_a_document_that_was_lost_stays_so_and_is_found_again(
    editor: Editor, server: Server, lost_by: str, dies: bool
) -> None:
    await begins(editor)
    opens(editor, 3 if lost_by == "opening" else "alpha ", language="none")
    if lost_by == "changing":
        assert await offered(editor, 6) == ["use_alpha"]
        changes(editor, 3, 2)
    assert await offered(editor, 6) == []
    if dies:
        await server.die()
    start = {"line": 0, "character": 0}
    changes(editor, "beta ", 3, {"start": start, "end": start})

    assert await offered(editor, 5) == []
    assert [text for text in shown(editor) if "cannot be read" in text] == shown(editor)
    assert len(shown(editor)) == 1
    changes(editor, "gamma ", 4)
    assert await offered(editor, 6) == ["use_gamma"]
    await server.die()
    assert await offered(editor, 6) == ["use_gamma"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"id": [1]}, "not JSON-RPC"),
        ({"id": 1.5}, "not JSON-RPC"),
        ({"id": True}, "not JSON-RPC"),
        ({"id": None}, "initialize needs an id"),
        ({}, "initialize needs an id"),
    ],
)
async def test_an_initialize_that_is_wrong_is_answered_by_the_server(
    editor: Editor, given: dict[str, object], why: str
) -> None:
    editor.says("initialize", {"capabilities": {}}, **given)
    await until(lambda: bool(editor.got))

    assert editor.got[0]["id"] is None
    assert why in editor.got[0]["error"]["message"]
    await begins(editor)
    opens(editor, "alpha ", language="none")
    assert await offered(editor, 6) == ["use_alpha"]


async def test_a_second_initialize_is_refused_also_by_another_server(
    editor: Editor, server: Server
) -> None:
    await begins(editor)
    for number in range(2):
        editor.says("initialize", {}, id=number)

        assert "only once" in (await editor.answer(number))["error"]["message"]
        await server.die()


async def test_what_is_wrong_with_the_options_is_said_once(editor: Editor, server: Server) -> None:
    await begins(editor, initializationOptions={"deadlineMs": "soon"})
    await until(lambda: bool(shown(editor)))
    await server.die()
    opens(editor, "alpha ", language="none")

    assert await offered(editor, 6) == ["use_alpha"]
    assert len(shown(editor)) == 1
    assert "deadlineMs" in shown(editor)[0]


async def test_a_client_that_reads_nothing_ends_as_any_other(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transport, "MOST_UNREAD", 1 << 20)
    _, writer = await endpoint.connect(path)
    await until(lambda: len(server.clients.connected) == 1)
    writer.write(framed(b'{"id": 0, "method": "initialize"}'))
    asks = framed(b'{"id": 1, "method": "%s"}' % (b"x" * 50_000))  # which is in the answer
    for _ in range(200):
        writer.write(asks)
        await asyncio.sleep(0)
    await until(lambda: not server.clients.connected)

    ours = (each for each in caplog.records if each.name == transport.__name__)
    assert len([each for each in ours if each.levelno == logging.WARNING]) == 1
    writer.close()
