"""A client that says exactly what a test wants it to: JSON over a process's stdio or a socket.

It writes several messages at once, sends what no typed client can, and keeps all that comes.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

SERVE = Path(__file__).parent / "serve.py"
ROOT = SERVE.parents[2]
SECONDS = 120.0  # far more than anything takes: a test that waits so long has failed
INFILL = "textDocument/inlineCompletion"
URI = "file:///project/a.txt"
# A machine that is busy with other tests answers late, which is no fault of what is tested.
PATIENT = {"deadlineMs": 60_000, "deadlineInvokedMs": 60_000}


class Wire:
    """One connection. Requests of the server are answered, with `configuration` where it asks."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._answers: dict[Any, asyncio.Future[dict[str, Any]]] = {}
        self._came = asyncio.Condition()
        self._task = asyncio.create_task(self._read())
        self.heard: list[dict[str, Any]] = []
        self.configuration: Any = None
        self.ended = asyncio.Event()

    def send(self, *messages: dict[str, Any]) -> None:
        """In one write, so that they arrive together."""
        data = b""
        for message in messages:
            body = json.dumps({"jsonrpc": "2.0", **message}).encode()
            data += b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        self._writer.write(data)

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    async def flushed(self) -> None:
        """What was sent has left in a segment of its own, as far as one can make it."""
        await self._writer.drain()
        await asyncio.sleep(0)

    def notify(self, method: str, params: Any) -> None:
        self.send({"method": method, "params": params})

    def asks(self, msg_id: Any, method: str, params: Any) -> dict[str, Any]:
        """A request to be sent with others; its answer comes by `answer`."""
        self._answers[msg_id] = asyncio.get_running_loop().create_future()
        return {"id": msg_id, "method": method, "params": params}

    async def answer(self, msg_id: Any) -> dict[str, Any]:
        """The whole response, error or result."""
        return await asyncio.wait_for(self._answers[msg_id], SECONDS)

    async def request(self, method: str, params: Any, msg_id: Any = None) -> Any:
        """The result; an error fails the test."""
        msg_id = msg_id or f"r{len(self._answers)}"
        self.send(self.asks(msg_id, method, params))
        response = await self.answer(msg_id)
        assert "error" not in response, response
        return response["result"]

    async def notification(self, method: str, containing: str = "") -> dict[str, Any]:
        """The first such notification or request of the server, past or to come."""
        return await self._heard(lambda m: m.get("method") == method and containing in str(m))

    async def refusal(self, code: int) -> dict[str, Any]:
        """An error in answer to what had no id."""
        return await self._heard(lambda m: m.get("error", {}).get("code") == code)

    async def _heard(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with self._came:
            await asyncio.wait_for(self._came.wait_for(lambda: any(map(fits, self.heard))), SECONDS)
        return next(filter(fits, self.heard))

    def all_heard(self, method: str) -> list[dict[str, Any]]:
        return [message for message in self.heard if message.get("method") == method]

    async def initialize(self, **params: Any) -> Any:
        """With time enough, unless the options say how much."""
        options = PATIENT | params.pop("initializationOptions", {})
        given = {"processId": None, "rootUri": None, "capabilities": {}, **params}
        given["initializationOptions"] = options
        result = await self.request("initialize", given)
        self.notify("initialized", {})
        return result

    async def ready(self) -> None:
        """The engine is loaded."""
        await self.notification("window/logMessage", "engine:")

    def open(self, text: str, uri: str = URI, language: str = "none") -> None:
        item = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    async def shut_down(self) -> None:
        assert await self.request("shutdown", None) is None
        self.notify("exit", None)

    def close(self) -> None:
        self._task.cancel()
        self._writer.close()

    async def _read(self) -> None:
        try:
            while True:
                header = await self._reader.readuntil(b"\r\n\r\n")
                length = int(header.split(b"Content-Length:")[1].split()[0])
                await self._take(json.loads(await self._reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended.set()
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(EOFError("the server has gone"))

    async def _take(self, message: dict[str, Any]) -> None:
        if "method" not in message and message["id"] is not None:
            self._answers[message["id"]].set_result(message)
            return
        if "method" in message and "id" in message:
            answers: dict[str, Any] = {
                "workspace/configuration": [self.configuration],
                "workspace/applyEdit": {"applied": True},
            }
            result = answers.get(message["method"])
            self.send({"id": message["id"], "result": result})
        async with self._came:
            self.heard.append(message)
            self._came.notify_all()


def infill_at(line: int, character: int, uri: str = URI, **more: Any) -> dict[str, Any]:
    return {
        "textDocument": {"uri": uri},
        "position": {"line": line, "character": character},
        "context": {"triggerKind": 2},
        **more,
    }


def types(text: str, line: int, character: int, version: int, uri: str = URI) -> dict[str, Any]:
    """didChange with an insertion."""
    at = {"line": line, "character": character}
    return {
        "method": "textDocument/didChange",
        "params": {
            "textDocument": {"uri": uri, "version": version},
            "contentChanges": [{"range": {"start": at, "end": at}, "text": text}],
        },
    }


def shown(result: Any) -> list[str]:
    """The texts of an answer, whose shape is checked: {items}, each with a range on one line."""
    assert list(result) == ["items"]
    for item in result["items"]:
        assert item["range"]["start"]["line"] == item["range"]["end"]["line"]
    return [item["insertText"] for item in result["items"]]


@asynccontextmanager
async def spawned(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Wire]]:
    """A Python process and a client on its stdio; what is left of it in the end is killed."""
    path = os.pathsep.join(str(ROOT / folder) for folder in (".", "engine", "kernels"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert process.stdout is not None
    assert process.stdin is not None
    wire = Wire(process.stdout, process.stdin)
    try:
        yield process, wire
    finally:
        wire.close()
        if process.returncode is None:
            process.kill()
            await process.wait()


def running(
    spec: dict[str, Any], *options: str
) -> AbstractAsyncContextManager[tuple[asyncio.subprocess.Process, Wire]]:
    """The server round a test engine."""
    return spawned(str(SERVE), json.dumps(spec), *options)


def cpu_seconds(pid: int) -> float:
    """Of a process so far, where the system tells."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return float("inf")
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """Exit code and all of stderr."""
    assert process.stderr is not None
    stderr = await asyncio.wait_for(process.stderr.read(), SECONDS)
    return await asyncio.wait_for(process.wait(), SECONDS), stderr.decode()


@asynccontextmanager
async def stdio(spec: dict[str, Any]) -> AsyncIterator[Wire]:
    """A server on stdio, ended in the proper way."""
    async with running(spec) as (process, wire):
        yield wire
        await wire.shut_down()
        code, stderr = await ended(process)
        assert code == 0, stderr
        assert "Traceback" not in stderr, stderr


class Tcp:
    """A server on TCP; `connect` as often as wanted."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port
        self.wires: list[Wire] = []

    async def connect(self) -> Wire:
        self.wires.append(Wire(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.wires[-1]


@asynccontextmanager
async def tcp(spec: dict[str, Any]) -> AsyncIterator[Tcp]:
    async with running(spec, "--tcp", "127.0.0.1:0") as (process, _):
        assert process.stderr is not None
        line = await asyncio.wait_for(process.stderr.readline(), SECONDS)
        server = Tcp(process, int(line.decode().rpartition(":")[2]))
        try:
            yield server
        finally:
            for wire in server.wires:
                wire.close()
