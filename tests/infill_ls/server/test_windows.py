"""What a window of the shared server may want before it speaks LSP."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from infill_engine import EngineConfig
from infill_ls.completion.worker import Worker
from infill_ls.fim.address import OPEN_FIM
from infill_ls.server import endpoint
from infill_ls.server.processes import Clients
from infill_ls.server.transport import framed, read_message
from infill_ls.server.windows import Opening
from tests.infill_ls.engines import Knowing, last_name, loads
from tests.infill_ls.server.shared import until

INITIALIZE = {"id": 1, "method": "initialize", "params": {"capabilities": {}}}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wants(port: int, **more: Any) -> dict[str, Any]:
    return {"method": OPEN_FIM, "params": {"host": "127.0.0.1", "port": port, **more}}


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[Clients]:
    worker = Worker(loads(Knowing(last_name)))
    clients, opening = Clients(worker, EngineConfig()), Opening(worker, EngineConfig())

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await clients.serve(reader, writer, opened=opening.opened)

    async with await endpoint.listen(path, session):
        yield clients
        await until(lambda: not clients.connected)
        for server in opening._fim.values():
            server.listener.close()
    assert await asyncio.to_thread(worker.close, 60)


@asynccontextmanager
async def window(path: Path, *says: dict[str, Any]) -> AsyncIterator[asyncio.StreamReader]:
    """One that says this and then begins; what the server says."""
    reader, writer = await endpoint.connect(path)
    for message in (*says, INITIALIZE):
        writer.write(framed(json.dumps({"jsonrpc": "2.0", **message}).encode()))
    yield reader
    writer.close()


async def heard(reader: asyncio.StreamReader) -> Any:
    return json.loads(await asyncio.wait_for(read_message(reader), 10) or b"null")


async def filled(port: int, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        body = {"input_prefix": "alpha ", "input_suffix": ""}
        return await http.post(f"http://127.0.0.1:{port}/infill", json=body, headers=headers)


async def test_windows_have_the_middle_filled_in_whichever_came_first(path: Path) -> None:
    port = free_port()
    async with serving(path), window(path) as first:
        assert (await heard(first))["id"] == 1
        async with window(path, wants(port)) as second, window(path, wants(port)) as third:
            for each in (second, third):
                assert (await heard(each))["id"] == 1
        # It goes on when who wanted it has left.
        assert (await filled(port)).json()["content"] == "use_alpha"


async def test_with_a_token_it_is_wanted(path: Path) -> None:
    port = free_port()
    async with serving(path), window(path, wants(port, token="a secret")) as reader:
        await heard(reader)
        assert (await filled(port)).status_code == 401
        assert (await filled(port, Authorization="Bearer a secret")).status_code == 200


async def test_who_wants_a_token_gets_it_whichever_came_first(path: Path) -> None:
    port = free_port()
    async with serving(path), window(path, wants(port)) as first:
        await heard(first)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as kept:
            assert (await kept.get("/v1/models")).status_code == 200
            for says in (wants(port, token="a secret"), wants(port)):  # nor is it taken away
                async with window(path, says) as next_one:
                    assert (await heard(next_one))["id"] == 1
                assert (await kept.get("/v1/models")).status_code == 401
        assert (await filled(port, Authorization="Bearer a secret")).status_code == 200


async def test_another_token_for_the_same_port_is_refused(path: Path) -> None:
    port = free_port()
    wish = wants(port, token="another one")
    async with serving(path), window(path, wants(port, token="a secret")) as first:
        await heard(first)
        async with window(path, wish) as second:
            told = await heard(second)
            assert (told["method"], told["params"]["type"]) == ("window/showMessage", 1)
            assert "another token" in told["params"]["message"]
            assert "secret" not in told["params"]["message"]
            assert (await heard(second))["id"] == 1
        assert (await filled(port, Authorization="Bearer a secret")).status_code == 200
        assert (await filled(port, Authorization="Bearer another one")).status_code == 401


async def test_a_port_in_use_is_told_to_the_window(path: Path) -> None:
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = used.getsockname()[1]
        async with serving(path), window(path, wants(port)) as reader:
            told = await heard(reader)
            assert told["method"] == "window/showMessage"
            assert f"127.0.0.1:{port} cannot be served" in told["params"]["message"]
            assert (await heard(reader))["id"] == 1


@pytest.mark.parametrize("params", [None, {}, {"host": 3, "port": 1}, {"host": "127.0.0.1"}, []])
async def test_a_wish_that_cannot_be_read_is_no_end(path: Path, params: Any) -> None:
    async with serving(path), window(path, {"method": OPEN_FIM, "params": params}) as reader:
        assert (await heard(reader))["id"] == 1


async def test_a_window_that_says_nothing_leaves_as_any_other(path: Path) -> None:
    async with serving(path) as clients:
        _, writer = await endpoint.connect(path)
        await until(lambda: len(clients.connected) == 1)
        writer.close()
