"""The endpoint on a socket of this process, round an engine of a stated property."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from infill_engine import Engine, EngineConfig
from infill_ls.completion.worker import Worker
from infill_ls.fim.address import FimAddress
from infill_ls.fim.routes import listen
from tests.infill_ls.engines import loads

LOCAL = FimAddress(host="127.0.0.1", port=0)


@dataclass(frozen=True, slots=True)
class Endpoint:
    port: int
    worker: Worker
    http: httpx.AsyncClient

    async def ask(self, path: str, body: object, **headers: str) -> Any:
        """The JSON of the answer, which has to be one."""
        answer = await self.http.post(path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refusal(self, path: str, body: object, **headers: str) -> tuple[int, str]:
        """Status and sentence."""
        answer = await self.http.post(path, json=body, headers=headers)
        error = answer.json()["error"]
        assert error["code"] == answer.status_code
        return answer.status_code, error["message"]

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def endpoint(engine: Engine, address: FimAddress = LOCAL) -> AsyncIterator[Endpoint]:
    """Its engine is loaded."""
    worker = Worker(loads(engine))
    await asyncio.wrap_future(worker.load(EngineConfig()))
    async with endpoint_of(worker, address) as server:
        yield server


@asynccontextmanager
async def endpoint_of(worker: Worker, address: FimAddress = LOCAL) -> AsyncIterator[Endpoint]:
    server = await listen(address, worker, EngineConfig())
    port = server.listener.sockets[0].getsockname()[1]
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield Endpoint(port, worker, client)
    finally:
        server.listener.close()
        assert await asyncio.to_thread(worker.close, 60)
