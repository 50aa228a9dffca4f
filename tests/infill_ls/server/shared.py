"""A shared server of the test's own, in its process, and a way to wait for what comes about."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infill_ls.server import endpoint
from infill_ls.server.transport import framed, read_message

Message = dict[str, Any]


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
        """What was heard on a connection; nothing as long as there is none."""
        heard = self.heard[connection] if -len(self.heard) <= connection < len(self.heard) else []
        return [message.get("method", "answer") for message in heard]


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about in time"
        await asyncio.sleep(0.005)
