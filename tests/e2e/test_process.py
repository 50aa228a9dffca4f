"""The process: it starts fast, ends when nobody needs it, and keeps its mouth shut."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.wire import (
    INFILL,
    cpu_seconds,
    ended,
    infill_at,
    running,
    spawned,
    stdio,
    tcp,
    types,
)
from tests.infill_ls.engines import read_journal

pytestmark = pytest.mark.e2e
SLOW: dict[str, Any] = {"steps": 200, "seconds": 0.05}


async def test_initialize_is_answered_in_under_a_second_and_before_torch(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with running({"journal": str(journal)}) as (process, wire):
        started = time.perf_counter()
        params: dict[str, Any] = {"processId": os.getpid(), "rootUri": None, "capabilities": {}}
        await wire.request("initialize", params)
        seconds = time.perf_counter() - started
        spent = cpu_seconds(process.pid)
        wire.notify("initialized", {})
        await wire.ready()

        print(f"initialize: {seconds:.2f} s from the start of Python, {spent:.2f} s of them CPU")
        # On a machine with other work the clock measures that work; what it takes itself is CPU.
        assert min(seconds, spent) < 1.0
        assert [event for event, _ in read_journal(journal)] == ["loaded:default:None:torch=False"]


def test_importing_the_server_imports_no_tensors_and_no_grammar() -> None:
    code = "import infill_ls.server.processes, sys; print(*sys.modules)"
    path = os.pathsep.join(sys.path)
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )

    heavy = {"torch", "numpy", "transformers", "tokenizers", "safetensors", "tree_sitter"}
    assert set() == heavy & set(ran.stdout.split())


async def test_while_the_model_loads_requests_are_answered_empty(tmp_path: Path) -> None:
    async with stdio({"gate": str(tmp_path / "gate")}) as wire:
        await wire.initialize(
            capabilities={"window": {"workDoneProgress": True}},
            initializationOptions={"deadlineMs": 300, "warm": False},
        )
        wire.open("alpha ")
        begun = await wire.notification("$/progress", "begin")
        assert await wire.request(INFILL, infill_at(0, 6)) == {"items": []}
        assert not wire.all_heard("window/showMessage")

        (tmp_path / "gate").touch()
        await wire.notification("$/progress", "reading weights, 50%")
        end = await wire.notification("$/progress", "'end'")
        assert begun["params"]["token"] == end["params"]["token"]
        assert end["params"]["value"]["message"] == "ready"
        result = await wire.request(INFILL, infill_at(0, 6))
        assert [item["insertText"] for item in result["items"]] == ["use_alpha"]


async def test_a_missing_model_is_said_once_and_the_server_goes_on() -> None:
    async with stdio({"model": False}) as wire:
        await wire.initialize()
        wire.open("alpha ")
        said = await wire.notification("window/showMessage")
        wire.notify("workspace/didChangeConfiguration", {"settings": {"infill": {"delayMs": 1}}})

        assert said["params"] == {
            "type": 1,
            "message": "There is no model in default; set infill.model to a folder with one.",
        }
        for _ in range(3):
            assert await wire.request(INFILL, infill_at(0, 6)) == {"items": []}
        assert len(wire.all_heard("window/showMessage")) == 1


async def test_shutdown_in_flight_is_answered_null_and_exit_is_zero(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with running({**SLOW, "journal": str(journal)}) as (process, wire):
        await wire.initialize()
        await wire.ready()
        wire.open("alpha ")
        wire.send(wire.asks(1, INFILL, infill_at(0, 6)))
        while not any(event == "step" for event, _ in read_journal(journal)):
            await asyncio.sleep(0.005)
        wire.send(wire.asks(2, "shutdown", None), wire.asks(3, INFILL, infill_at(0, 6)))

        assert (await wire.answer(2))["result"] is None
        assert (await wire.answer(1))["error"]["code"] == -32800
        assert (await wire.answer(3))["error"]["code"] == -32600
        asked = time.monotonic()
        wire.notify("exit", None)
        code, stderr = await ended(process)
        assert (code, "Traceback" in stderr) == (0, False), stderr
        assert time.monotonic() - asked < 2


async def test_exit_without_shutdown_is_one() -> None:
    async with running({}) as (process, wire):
        await wire.initialize()
        wire.notify("exit", None)

        assert (await ended(process))[0] == 1


@pytest.mark.parametrize("spec", [{}, {"gate": "/nowhere"}], ids=["ready", "loading"])
async def test_the_end_of_stdin_ends_the_process(spec: dict[str, Any]) -> None:
    async with running(spec) as (process, wire):
        await wire.initialize()
        assert process.stdin is not None
        process.stdin.close()

        code, stderr = await ended(process)
        assert (code, "Traceback" in stderr) == (0, False), stderr


async def parent() -> asyncio.subprocess.Process:
    """Some process that an editor may be."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE
    )


async def test_the_death_of_the_clients_process_ends_the_server_though_stdin_is_open() -> None:
    editor = await parent()
    async with running({}) as (process, wire):
        await wire.initialize(processId=editor.pid)
        editor.kill()

        assert (await ended(process))[0] == 0


async def test_its_death_ends_a_server_that_has_heard_nothing_yet() -> None:
    editor = await parent()
    arguments = ("-m", "infill_ls", f"--clientProcessId={editor.pid}")
    async with spawned(*arguments) as (process, _):
        await asyncio.sleep(0.3)
        editor.kill()

        assert (await ended(process))[0] == 0


async def test_the_death_of_the_last_client_ends_a_server_on_tcp() -> None:
    editor = await parent()
    async with tcp({}) as server:
        one, other = await server.connect(), await server.connect()
        await one.initialize(processId=editor.pid)
        await other.initialize()
        await one.ready()
        editor.kill()
        await one.ended.wait()
        other.open("alpha ")
        assert (await other.request(INFILL, infill_at(0, 6)))["items"]

        editor = await parent()
        last = await server.connect()
        await last.initialize(processId=editor.pid)
        await other.shut_down()
        await other.ended.wait()
        editor.kill()
        assert (await ended(server.process))[0] == 0


async def test_a_client_that_leaves_or_loses_its_connection_leaves_the_server_running() -> None:
    async with tcp({}) as server:
        one = await server.connect()
        await one.initialize()
        await one.shut_down()
        await one.ended.wait()
        two = await server.connect()
        await two.initialize()
        two.close()
        three = await server.connect()
        await three.initialize(processId=os.getpid())
        await three.ready()


async def test_the_client_that_started_a_server_on_tcp_takes_it_along() -> None:
    async with tcp({}) as server:
        wire = await server.connect()
        await wire.initialize(processId=os.getpid())
        await wire.shut_down()

        assert (await ended(server.process))[0] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
async def test_a_server_on_tcp_ends_on_a_signal_while_loading() -> None:
    async with tcp({"gate": "/nowhere"}) as server:
        wire = await server.connect()
        await wire.initialize()
        server.process.send_signal(signal.SIGTERM)

        code, stderr = await ended(server.process)
        assert (code, "Traceback" in stderr) == (0, False), stderr


async def test_logs_hold_no_source_text() -> None:
    secret = "hush_hush_hush"
    async with running({"texts": [f"{secret}_too"]}) as (process, wire):
        await wire.initialize(initializationOptions={"maxLines": 99})
        await wire.ready()
        wire.open(f"{secret} = ")
        wire.send(types(secret, 0, 0, 2))
        await wire.request(INFILL, infill_at(0, 20))
        # What goes wrong is logged too, and must not bring the text along.
        wire.notify("textDocument/didChange", {"contentChanges": [{"text": secret}]})
        wire.notify("textDocument/didFocus", {"textDocument": secret})
        wire.send(wire.asks("bad", INFILL, {"textDocument": {"uri": secret}, "position": secret}))
        assert (await wire.answer("bad"))["error"]["code"] == -32602
        wire.send(wire.asks("unknown", "textDocument/nonsense", {"text": secret}))
        assert (await wire.answer("unknown"))["error"]["code"] == -32601
        await wire.shut_down()
        _, stderr = await ended(process)

        logged = stderr + json.dumps(wire.all_heard("window/logMessage"))
        assert "automatic v2: model, 1 items" in logged
        assert "tokens per forward" in logged
        assert secret not in logged


async def test_what_prints_to_stdout_does_not_break_the_protocol() -> None:
    async with running({"noisy": True}) as (process, wire):
        await wire.initialize()
        await wire.ready()
        await wire.shut_down()
        code, stderr = await ended(process)

        assert code == 0
        assert "hello from a library" in stderr
        assert "hello from a child" in stderr
