"""`python -m infill_ls` with nothing replaced: the real engine, with the weights that ship.

What is promised here: answers in the right form, cancellation, memory, and no crash.
"""

import ast
import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from infill_engine.judge.loading import load_embedded
from infill_ls.documents import Document
from tests.e2e.wire import INFILL, ROOT, Wire, ended, infill_at, shown, spawned, types

pytestmark = pytest.mark.e2e
URI = "file:///project/a.py"
SOURCE = """import math


class Circle:
    def __init__(self, radius):
        self.radius = radius

    def area(self):
        return math.pi *

    def __repr__(self):
        return f"Circle({self.radius})"
"""


@asynccontextmanager
async def infill_ls() -> AsyncIterator[tuple[Wire, int]]:
    """The server as an editor starts it, ready; and its process id."""
    async with spawned("-m", "infill_ls", "--stdio") as (process, wire):
        await wire.initialize()
        await wire.ready()
        wire.open(SOURCE, uri=URI, language="python")
        yield wire, process.pid
        await wire.shut_down()
        code, stderr = await ended(process)
        assert (code, stderr) == (0, "")


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("this system does not tell")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def accepted(result: Any) -> str:
    """The file with the first item in it."""
    document = Document(uri=URI, version=1, language_id="python", text=SOURCE)
    item = result["items"][0]
    start, end = (
        document.offset_at(at["line"], at["character"], "utf-16")
        for at in (item["range"]["start"], item["range"]["end"])
    )
    return document.replaced(start, end, item["insertText"], version=2).text


async def test_the_model_answers_in_the_right_form_and_within_its_memory() -> None:
    async with infill_ls() as (wire, pid):
        invoked = infill_at(8, 25, URI, context={"triggerKind": 1})
        result = await wire.request(INFILL, invoked)
        texts = shown(result)
        assert len(texts) <= 3
        assert all(texts)
        if texts:
            ast.parse(accepted(result))
        report = await wire.notification("window/logMessage", "invoked v1: model")
        assert "steps" in report["params"]["message"]
        assert "tokens per forward" in report["params"]["message"]
        assert resident_mb(pid) < 600

        # The same request again: the same answer, without the model.
        assert shown(await wire.request(INFILL, invoked)) == texts


async def test_the_judge_takes_part_once_the_model_has_been_idle() -> None:
    if (without := load_embedded()[1]) and "token takes" in without:
        pytest.skip(without)
    async with infill_ls() as (wire, pid):
        taken = 0.0
        for number in range(20):
            uri = f"file:///project/{number}.py"
            wire.open(SOURCE.replace("radius", f"radius{number}"), uri=uri, language="python")
            await asyncio.sleep(1)
            at = infill_at(8, 25, uri, context={"triggerKind": 1})
            shown(await wire.request(INFILL, at))
            report = await wire.notification("window/logMessage", "invoked v1: model")
            (told,) = re.findall(r"judge ([\d.]+), validate", report["params"]["message"])
            if (taken := float(told)) > 0:
                break
        assert taken > 0
        assert resident_mb(pid) < 600


async def test_a_line_of_another_file_of_the_workspace_is_suggested(tmp_path: Path) -> None:
    body = "ledger.post_entry(account_code, Decimal(amount_cents) / 100, currency='ISK')"
    head = "def book(ledger, account_code, amount_cents):\n    for _ in range(3):\n        "
    (tmp_path / "known.py").write_text(f"{head}{body}\n")
    # A judge may well like something else better.
    async with spawned("-m", "infill_ls", "--stdio", "--judge", "off") as (process, wire):
        await wire.initialize(rootUri=tmp_path.as_uri())
        await wire.ready()
        await wire.notification("window/logMessage", "workspace: 1 files")
        typed = "\n".join(["import decimal", "", "", head + "ledger.post_entry(acc"])
        line, character = typed.count("\n"), len(typed.rpartition("\n")[2])
        texts: list[str] = []
        for number in range(5):  # the choice is made once somebody has been there
            uri = (tmp_path / "new.py").as_uri()
            wire.open(typed + "\n" * number, uri=uri, language="python")
            at = infill_at(line, character, uri, context={"triggerKind": 1})
            texts = shown(await wire.request(INFILL, at))
            if body.removeprefix("ledger.post_entry(acc") in texts:
                break
            await asyncio.sleep(0.5)
        assert body.removeprefix("ledger.post_entry(acc") in texts
        await wire.shut_down()
        await ended(process)


async def test_a_cancelled_request_frees_the_model_for_the_next() -> None:
    async with infill_ls() as (wire, _):
        wire.send(
            wire.asks("q", INFILL, infill_at(8, 25, URI)),
            {"method": "$/cancelRequest", "params": {"id": "q"}},
        )
        assert (await wire.answer("q"))["error"]["code"] == -32800
        wire.send(types(" self", 8, 24, 2, URI), wire.asks("r", INFILL, infill_at(8, 29, URI)))
        shown((await wire.answer("r"))["result"])


async def test_a_shutdown_while_torch_is_imported_ends_the_process_soon() -> None:
    async with spawned("-m", "infill_ls") as (process, wire):
        await wire.initialize()
        await wire.shut_down()
        asked = time.monotonic()
        code, stderr = await ended(process)

        assert (code, stderr) == (0, "")
        assert time.monotonic() - asked < 20


async def test_a_model_that_is_not_there_is_said_with_the_remedy() -> None:
    async with spawned("-m", "infill_ls", "--model", str(ROOT / "nowhere")) as (process, wire):
        await wire.initialize()
        said = await wire.notification("window/showMessage")
        wire.open(SOURCE, uri=URI)
        assert await wire.request(INFILL, infill_at(8, 25, URI)) == {"items": []}
        await wire.shut_down()
        await ended(process)

        assert "nowhere" in said["params"]["message"]
        assert "infill.model" in said["params"]["message"]


async def test_a_served_model_that_is_not_there_is_said_once_and_costs_no_answer() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    async with spawned("-m", "infill_ls", "--stdio", "--model", url) as (process, wire):
        await wire.initialize()
        await wire.ready()
        wire.open(SOURCE, uri=URI, language="python")
        for _ in range(2):
            assert shown(await wire.request(INFILL, infill_at(8, 23, URI))) == []
        told = await wire.notification("window/showMessage", "nothing listens at")
        await wire.shut_down()
        _, stderr = await ended(process)

    assert told["params"]["type"] == 1
    assert url in told["params"]["message"]
    assert len(wire.all_heard("window/showMessage")) == 1
    assert "Traceback" not in stderr
