"""`infill-ls --connect`: real processes of a user who has several windows, with the real model."""

import asyncio
import os
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from infill_ls.cli.machine import resident_mb
from infill_ls.server import endpoint
from tests.e2e.wire import INFILL, Wire, cpu_seconds, infill_at, spawned, types

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not endpoint.HAS_SOCKETS, reason="Unix sockets")]
CONNECT = ("-m", "infill_ls", "--connect")
SOURCE = "def add(left, right):\n    return \n"
AT = infill_at(1, 11, context={"triggerKind": 1})


@pytest.fixture(autouse=True)
async def runtime(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """A folder for the socket, whose path has to be short, and in the end no server in it."""
    with tempfile.TemporaryDirectory(prefix="run", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        yield folder
        for pid in await server_pids(folder):
            os.kill(pid, signal.SIGKILL)


async def server_pids(folder: Path) -> set[int]:
    """Of those that listen in the folder."""
    found = set()
    for path in (folder / "infill-ls").glob("*.sock"):
        try:
            _, writer = await endpoint.connect(path)
        except OSError:
            continue
        who = endpoint.peer(writer)
        writer.close()
        if who is not None:
            found.add(who[0])
    return found


async def ready(wire: Wire) -> None:
    """The model answers with a text."""
    await wire.initialize()
    wire.open(SOURCE, language="python")
    end = time.monotonic() + 60
    while not (await wire.request(INFILL, AT))["items"]:
        assert time.monotonic() < end, "the model never answered"
        await asyncio.sleep(0.1)


async def test_the_first_window_is_answered_before_there_is_a_server(runtime: Path) -> None:
    started = time.monotonic()
    async with spawned(*CONNECT) as (process, wire):
        await wire.request("initialize", {"processId": None, "capabilities": {}})
        took = min(time.monotonic() - started, cpu_seconds(process.pid))
        before = await server_pids(runtime)
        wire.notify("initialized", {})
        await wire.ready()

        assert took < 1
        assert before == set()


async def test_windows_share_one_model_and_each_keeps_its_text(runtime: Path) -> None:
    command = [*CONNECT, "--judge", "off"]  # which comes later, once nothing is to do
    async with spawned(*command) as (_, first):
        await ready(first)
        before = await server_pids(runtime)
        memory = resident_mb(next(iter(before)))
        async with spawned(*command) as (process, second):
            await ready(second)
            second.send(types("right + ", 1, 11, 2))
            answer = await second.request(INFILL, infill_at(1, 19, context={"triggerKind": 1}))

            assert await server_pids(runtime) == before
            after, relay = resident_mb(next(iter(before))), resident_mb(process.pid)
            assert memory is not None
            assert after is not None
            assert relay is not None
            assert after - memory < 60, "a window brings its texts, not a model"
            assert relay < 60
            assert all(i["range"]["end"]["character"] == 19 for i in answer["items"])
            await second.shut_down()
            assert await asyncio.wait_for(process.wait(), 10) == 0
        assert (await first.request(INFILL, AT))["items"]


async def test_a_killed_server_is_replaced_and_no_key_is_lost(runtime: Path) -> None:
    async with spawned(*CONNECT) as (_, wire):
        await ready(wire)
        (before,) = await server_pids(runtime)
        os.kill(before, signal.SIGKILL)
        killed = time.monotonic()
        for number, key in enumerate("left", 2):
            wire.send(types(key, 1, 9 + number, number))
        at = infill_at(1, 15, context={"triggerKind": 1})
        at["textDocument"]["version"] = 5
        await wire.request(INFILL, at)
        back = time.monotonic() - killed
        action = await wire.request(
            "textDocument/codeAction",
            {
                "textDocument": at["textDocument"],
                "range": {"start": at["position"], "end": at["position"]},
                "context": {"diagnostics": [], "triggerKind": 1},
            },
        )

        argument = action[0].get("command", action[0])
        arguments = argument["arguments"] if isinstance(argument, dict) else action[0]["arguments"]
        assert arguments[0]["version"] == 5
        assert await server_pids(runtime) != {before}
        assert back < 20  # under load; `python -m benchmarks.soak` has the figure


async def test_the_server_ends_after_its_last_window(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spawned(*CONNECT) as (process, wire):
        await wire.initialize()
        await wire.ready()
        (pid,) = await server_pids(runtime)
        process.kill()
        await process.wait()
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 10
    while list((runtime / "infill-ls").glob("*.sock")):
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def test_nobody_else_can_open_it(runtime: Path) -> None:
    async with spawned(*CONNECT) as (_, wire):
        await wire.initialize()
        await wire.ready()
        (path,) = (runtime / "infill-ls").glob("*.sock")

        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_window_that_comes_later_has_the_shared_model_fill_in_over_http(
    runtime: Path,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with spawned(*CONNECT) as (_, first):
        await first.initialize()
        await first.ready()
        before = await server_pids(runtime)
        async with spawned(*CONNECT, "--fim", f"127.0.0.1:{port}") as (_, second):
            await second.initialize()
            await second.ready()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            body = {"input_prefix": SOURCE, "input_suffix": "\n"}
            answer = await http.post("/infill", json=body, timeout=60)

        assert answer.status_code == 200
        assert isinstance(answer.json()["content"], str)
        assert await server_pids(runtime) == before
