"""An editor in the test's own process: it speaks to the real protocol and session, by no pipe."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from infill_engine import EngineConfig
from infill_ls.completion.worker import Worker
from infill_ls.server.app import connection

SECONDS = 60.0  # far more than anything takes
URI = "file:///project/a.txt"
INFILL = "textDocument/inlineCompletion"
MISSING = object()  # parameters that a message has not
Reply = Callable[[dict[str, Any]], dict[str, Any] | None]


def accepts_all(message: dict[str, Any]) -> dict[str, Any] | None:
    """The answer of an obliging client to what it is asked."""
    results: dict[str, Any] = {
        "workspace/configuration": [None],
        "workspace/applyEdit": {"applied": True},
    }
    return {"result": results.get(message["method"])}


class Editor:
    """`reply` answers what the server asks: {"result"} or {"error"}, None for never."""

    def __init__(self, worker: Worker, *, shared: bool = False, reply: Reply = accepts_all) -> None:
        self.received: list[dict[str, Any]] = []
        self.left = False
        self._reply = reply
        self._answers: dict[Any, asyncio.Future[dict[str, Any]]] = {}
        self._ids = 0
        client = connection(worker, EngineConfig(), self, leave=self._leave, shared=shared)
        self.session, self.protocol = client.session, client.protocol

    def _leave(self) -> None:
        self.left = True

    # -- what the server writes -------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        message = json.loads(data.partition(b"\r\n\r\n")[2])
        self.received.append(message)
        if "method" not in message:
            if message["id"] in self._answers:
                self._answers[message["id"]].set_result(message)
        elif "id" in message and (answer := self._reply(message)) is not None:
            self.receive({"id": message["id"], **answer})

    def close(self) -> None:
        """Nothing: whoever writes may close."""

    # -- what the editor says ---------------------------------------------------------------------

    def receive(self, message: dict[str, Any]) -> None:
        self.receive_bytes(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def receive_bytes(self, body: bytes) -> None:
        self.protocol.receive(body)

    def notify(self, method: str, params: Any = MISSING) -> None:
        self.receive({"method": method, **({} if params is MISSING else {"params": params})})

    @property
    def last_id(self) -> int:
        return self._ids

    async def ask(self, method: str, params: Any = MISSING) -> dict[str, Any]:
        """The whole response, error or result."""
        return await self.asks(method, params)

    def asks(self, method: str, params: Any = MISSING) -> "asyncio.Task[dict[str, Any]]":
        """Sent now, answered later."""
        self._ids += 1
        number = self._ids
        self._answers[number] = asyncio.get_running_loop().create_future()
        given = {} if params is MISSING else {"params": params}
        self.receive({"id": number, "method": method, **given})
        return asyncio.create_task(asyncio.wait_for(self._answers[number], SECONDS))

    async def initialize(self, **params: Any) -> dict[str, Any]:
        given = {"processId": None, "rootUri": None, "capabilities": {}, **params}
        answer = await self.ask("initialize", given)
        self.notify("initialized", {})
        return answer

    def open(self, text: str, uri: str = URI, language: str = "none", version: int = 1) -> None:
        item = {"uri": uri, "languageId": language, "version": version, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    async def infills(self, uri: str = URI, line: int = 0, character: int = 1000) -> list[str]:
        """What is offered there."""
        params = {
            "textDocument": {"uri": uri},
            "position": {"line": line, "character": character},
            "context": {"triggerKind": 1},
        }
        result = (await self.ask(INFILL, params))["result"]
        return [item["insertText"] for item in result["items"]]

    def all_received(self, method: str) -> list[Any]:
        return [each["params"] for each in self.received if each.get("method") == method]


@asynccontextmanager
async def editing(worker: Worker, **how: Any) -> AsyncIterator[Editor]:
    """An editor that has said initialize, and leaves in the end."""
    editor = Editor(worker, **how)
    await editor.initialize()
    try:
        yield editor
    finally:
        editor.session.close()
        await editor.session.ended()
