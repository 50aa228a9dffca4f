"""What clients opened is given back when they are gone, though they say no word of goodbye."""

import asyncio
from pathlib import Path

import pytest

from tests.e2e.wire import INFILL, Tcp, infill_at, tcp

pytestmark = pytest.mark.e2e
# 130 KB a file, of which a parser's tree takes some megabytes.
FUNCTION = "def area_{}(width, height):\n    return [width * height for _ in range(10)]\n\n\n"
SOURCE = "".join(FUNCTION.format(number) for number in range(1750))
FILES, CLIENTS = 6, 5
GROWTH_MB = 60.0  # a client's files and trees take more than that


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("this system does not tell")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def visit(server: Tcp, number: int) -> None:
    """Opens large files, asks in each, and is gone without didClose, shutdown or exit."""
    wire = await server.connect()
    await wire.initialize()
    await wire.ready()
    for file in range(FILES):
        uri = f"file:///project{number}/{file}.py"
        wire.open(SOURCE, uri=uri, language="python")
        assert (await wire.request(INFILL, infill_at(2, 0, uri)))["items"]
    wire.close()


async def test_clients_that_leave_without_a_word_leave_no_memory_behind() -> None:
    async with tcp({}) as server:
        await visit(server, 0)  # what Python and the allocator keep for the next
        await visit(server, 1)
        await asyncio.sleep(0.5)
        before = resident_mb(server.process.pid)
        for number in range(2, 2 + CLIENTS):
            await visit(server, number)
        await asyncio.sleep(0.5)
        after = resident_mb(server.process.pid)

        print(f"{CLIENTS} clients of {FILES} large files: from {before:.0f} to {after:.0f} MB")
        assert after - before < GROWTH_MB
