"""One client on stdin and stdout, which is greeted before the server itself is imported."""

import asyncio
from collections.abc import Callable
from typing import BinaryIO

from infill_engine import Engine, EngineConfig, load_engine
from infill_ls.server import parent
from infill_ls.server.greeting import greeted
from infill_ls.server.transport import StdoutWriter, framed, read_message, stream_of, take_stdio

INTERRUPTED = 130


def run_stdio(
    config: EngineConfig,
    *,
    load: Callable[[EngineConfig], Engine] = load_engine,
    client_process_id: int | None = None,
) -> int:
    """Serves it until it leaves; returns the exit code."""
    stdin, stdout = take_stdio()
    runner = asyncio.Runner()
    try:
        reader, writer, body, deaths = runner.run(_greet(stdin, stdout, client_process_id))
        if body is None:
            return 0
        from infill_ls.server.processes import run_client  # not needed for the answer
    except KeyboardInterrupt:
        return INTERRUPTED
    return run_client(config, reader, writer, body, deaths, load=load, runner=runner)


async def _greet(
    stdin: BinaryIO, stdout: BinaryIO, client_process_id: int | None
) -> tuple[asyncio.StreamReader, StdoutWriter, bytes | None, list[asyncio.Task[None]]]:
    """Both streams, the first message as the server has to read it, and tasks that end when the
    client's process does, for that may be before there is a server. No message where the stream
    ends or the client has died."""
    reader = stream_of(stdin)
    writer = StdoutWriter(stdout, reader)
    message = asyncio.create_task(read_message(reader))
    deaths = [] if client_process_id is None else [_death(client_process_id)]
    await asyncio.wait({message, *deaths}, return_when=asyncio.FIRST_COMPLETED)
    if not message.done():
        message.cancel()
        return reader, writer, None, deaths
    body = message.result()
    if body is None:
        return reader, writer, None, deaths
    greeting = greeted(body)
    if greeting.process_id is not None and parent.alive(greeting.process_id):
        deaths.append(_death(greeting.process_id))
        await asyncio.sleep(0)  # so that it watches when the client has its answer
    if greeting.response:
        writer.write(framed(greeting.response))
    return reader, writer, greeting.left, deaths


def _death(pid: int) -> asyncio.Task[None]:
    return asyncio.create_task(parent.gone(pid))
