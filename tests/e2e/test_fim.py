"""`infill-ls --fim`: real processes, alone and beside LSP, with the model that ships."""

import ast
import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.wire import INFILL, SECONDS, Wire, ended, infill_at, running, shown, spawned
from tests.infill_ls.engines import read_journal

pytestmark = pytest.mark.e2e
BEFORE = """class Circle:
    def __init__(self, radius, centre):
        self.radius = radius
        self.centre = centre


class Square:
    def __init__(self, radius, centre):
        self.radius = radius
        self."""
AFTER = "\n"


async def told(process: asyncio.subprocess.Process, what: str) -> int:
    """The port in the line of stderr that says so; the log's lines may come before."""
    assert process.stderr is not None
    line = "INFO"
    while line.startswith("INFO"):
        line = (await asyncio.wait_for(process.stderr.readline(), SECONDS)).decode()
    found = re.fullmatch(rf"infill-ls {what} \S*?127\.0\.0\.1:(\d+)\n", line)
    assert found, line
    return int(found[1])


@asynccontextmanager
async def client(port: int) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS) as found:
        yield found


async def filled(http: httpx.AsyncClient, name: str = "") -> str:
    """Asks until there is a text: on a busy machine the first ones come too late."""
    prompt = f"# language: python\n# {name}\n{BEFORE}"
    end = time.monotonic() + 90
    while time.monotonic() < end:
        answer = await http.post("/v1/completions", json={"prompt": prompt, "suffix": AFTER})
        assert answer.status_code == 200, answer.text
        if text := answer.json()["choices"][0]["text"]:
            return str(text)
        await asyncio.sleep(0.1)
    raise AssertionError("there never was a text")


async def test_the_real_model_answers_eight_clients_at_once() -> None:
    async with spawned("-m", "infill_ls", "serve", "--fim", "127.0.0.1:0") as (process, _):
        port = await told(process, "fills in the middle at")
        async with client(port) as http:
            ast.parse(BEFORE + await filled(http) + AFTER)

        async def one(number: int) -> list[int]:
            async with client(port) as http:
                body = {"input_prefix": f"# {number}\n{BEFORE}", "input_suffix": AFTER}
                answers = [await http.post("/infill", json=body) for _ in range(3)]
                assert all(isinstance(each.json()["content"], str) for each in answers)
                return [each.status_code for each in answers]

        assert await asyncio.gather(*map(one, range(8))) == [[200] * 3] * 8
        if sys.platform != "win32":
            process.send_signal(signal.SIGTERM)
            assert await ended(process) == (0, "")


async def test_editors_over_tcp_and_http_share_one_model(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    ports = ("--tcp", "127.0.0.1:0", "--fim")
    async with running({"journal": str(journal)}, *ports) as (process, _):
        tcp = await told(process, "listens on")
        fim = await told(process, "fills in the middle at")
        wire = Wire(*await asyncio.open_connection("127.0.0.1", tcp))
        await wire.initialize()
        await wire.ready()
        wire.open("alpha ")
        async with client(fim) as http:
            both = await asyncio.gather(
                wire.request(INFILL, infill_at(0, 6)),
                http.post("/infill", json={"input_prefix": "beta ", "input_suffix": ""}),
            )
        assert shown(both[0]) == ["use_alpha"]
        assert both[1].json()["content"] == "use_beta"
        loaded = [event for event, _ in read_journal(journal) if event.startswith("loaded")]
        assert len(loaded) == 1
        wire.close()


async def test_a_token_is_wanted_where_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "token"
    arguments = ("-m", "infill_ls", "--fim", "127.0.0.1:0", "--token-file", str(path))
    async with spawned(*arguments) as (process, _):
        assert process.stderr is not None
        line = (await asyncio.wait_for(process.stderr.readline(), SECONDS)).decode()
        assert line == f"infill-ls wants the token in {path} as Authorization: Bearer\n"
        port = await told(process, "fills in the middle at")
        async with client(port) as http:
            refused = await http.get("/v1/models")
            key = {"Authorization": f"Bearer {path.read_text().strip()}"}
            models = await http.get("/v1/models", headers=key)

    assert refused.status_code == 401
    assert models.json()["data"][0]["owned_by"] == "infill-ls"
    assert os.name != "posix" or path.stat().st_mode & 0o077 == 0
