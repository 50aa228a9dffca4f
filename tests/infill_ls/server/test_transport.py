"""Who reads nothing holds up nobody, and little waits for it."""

import asyncio
import logging
import os
import time

import pytest

from infill_ls.server import transport
from infill_ls.server.transport import SocketWriter, StdoutWriter, framed, read_message

BIG = framed(b"x" * 100_000)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


async def test_a_client_on_stdio_that_reads_nothing_keeps_nothing_else_waiting() -> None:
    out_of, into = os.pipe()
    writer = StdoutWriter(os.fdopen(into, "wb", buffering=0), asyncio.StreamReader())
    started = time.monotonic()
    for _ in range(20):  # a pipe holds less than one of them
        writer.write(BIG)
    took = time.monotonic() - started
    with os.fdopen(out_of, "rb") as client:
        read = await asyncio.to_thread(client.read, 20 * len(BIG))

    assert took < 1
    assert read == 20 * BIG
    writer.close()


async def test_it_is_given_up_when_much_is_unread(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MOST_UNREAD", 1 << 20)
    monkeypatch.setattr(transport, "CLOSE_SECONDS", 0.05)
    out_of, into = os.pipe()
    reader = asyncio.StreamReader()
    writer = StdoutWriter(os.fdopen(into, "wb", buffering=0), reader)
    came = asyncio.create_task(read_message(reader))
    for _ in range(100):
        writer.write(BIG)

    assert await asyncio.wait_for(came, 5) is None
    assert len(warnings(caplog)) == 1
    writer.close()  # does not wait for it either
    os.close(out_of)


async def test_what_was_written_last_is_read_though_the_process_ends() -> None:
    out_of, into = os.pipe()
    stdout = os.fdopen(into, "wb", buffering=0)
    writer = StdoutWriter(stdout, asyncio.StreamReader())
    writer.write(b"last")
    writer.close()
    stdout.close()

    with os.fdopen(out_of, "rb") as client:
        assert client.read() == b"last"


async def test_a_client_on_a_socket_that_reads_nothing_is_cut_off(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MOST_UNREAD", 1 << 20)
    heard: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    async def session(reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        writer = SocketWriter(stream)
        for _ in range(300):
            writer.write(BIG)
        heard.set_result(await read_message(reader))

    async with await asyncio.start_server(session, "127.0.0.1", 0) as server:
        _, client = await asyncio.open_connection(*server.sockets[0].getsockname())

        assert await asyncio.wait_for(heard, 5) is None
        assert len(warnings(caplog)) == 1
        client.close()


async def test_one_message_may_be_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_UNREAD", 1 << 20)

    async def session(reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        writer = SocketWriter(stream)
        for body in (b"x" * (1 << 24), b"behind"):
            writer.write(framed(body))
        await read_message(reader)

    async with await asyncio.start_server(session, "127.0.0.1", 0) as server:
        reader, client = await asyncio.open_connection(*server.sockets[0].getsockname())

        assert len(await asyncio.wait_for(read_message(reader), 5) or b"") == 1 << 24
        assert await asyncio.wait_for(read_message(reader), 5) == b"behind"
        client.close()
