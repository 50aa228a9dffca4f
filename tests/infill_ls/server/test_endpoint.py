"""Where the shared server is found, who may connect there, and who starts it."""

import asyncio
import json
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import pytest

from infill_ls.server import endpoint
from infill_ls.server.transport import framed, read_message
from tests.infill_ls.server.shared import Shared, until


async def test_a_socket_that_is_served_is_not_taken(shared: Shared) -> None:
    with pytest.raises(endpoint.EndpointError, match="Another server listens"):
        await endpoint.listen(shared.path, shared._session)


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


@pytest.fixture
def by_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where there are no Unix sockets, as on Windows."""
    monkeypatch.setattr(endpoint, "HAS_SOCKETS", False)
    return tmp_path / "shared.sock"


def names(path: Path, port: int, token: str) -> None:
    path.write_text(json.dumps({"port": port, "token": token}))


async def test_two_clients_who_know_the_token_are_heard(by_token: Path) -> None:
    server = Shared(by_token)
    await server.start()
    for number in range(2):
        reader, writer = await endpoint.connect(by_token)
        writer.write(framed(b'{"id": 1, "method": "here"}'))

        assert await asyncio.wait_for(read_message(reader), 5)
        assert len(server.heard) == number + 1


async def test_who_only_guesses_the_token_is_not_heard(by_token: Path) -> None:
    server = Shared(by_token)
    await server.start()
    names(by_token, json.loads(by_token.read_text())["port"], "0" * 64)

    with pytest.raises(OSError, match="another server"):
        await endpoint.connect(by_token)
    assert server.heard == []


async def test_who_got_the_port_of_a_dead_server_hears_no_token_and_no_text(by_token: Path) -> None:
    heard: list[bytes] = []

    async def somebody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readline())
        writer.write(heard[-1])
        heard.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(somebody, "127.0.0.1", 0) as server:
        token = "ab" * 32
        names(by_token, server.sockets[0].getsockname()[1], token)
        with pytest.raises(OSError, match="another server"):
            await endpoint.connect(by_token)
        await until(lambda: len(heard) == 2)

    assert token.encode() not in heard[0]
    assert heard[1] == b""


@pytest.mark.parametrize("what", ["closed port", "no JSON", "{}", "[]"])
async def test_the_file_of_a_dead_server_makes_way(
    by_token: Path, unused_port: int, what: str
) -> None:
    if what == "closed port":
        names(by_token, unused_port, "ab" * 32)
    else:
        by_token.write_text(what)
    server = Shared(by_token)
    await server.start()
    await endpoint.connect(by_token)


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


SERVE = """
import asyncio, pathlib, sys
from infill_ls.server import endpoint

async def session(reader, writer):
    writer.write(b"here\\n")

async def main():
    server = await endpoint.listen(pathlib.Path(sys.argv[1]), session)
    await asyncio.sleep(10)

asyncio.run(main())
"""


async def test_several_who_come_at_once_start_one(path: Path, unused_port: int) -> None:
    path_of_tests = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-c", SERVE, str(path)]
    if not endpoint.HAS_SOCKETS:
        command[2] = SERVE.replace("async def main", "endpoint.HAS_SOCKETS = False\nasync def main")
        names(path, unused_port, "ab" * 32)  # of a server that has died
    else:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
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
