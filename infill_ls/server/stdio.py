"""One client on stdin and stdout, which is greeted before the server itself is imported."""

import asyncio
from collections.abc import Callable
from typing import Any, BinaryIO

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
    writer = StdoutWriter(stdout)
    runner = asyncio.Runner()
    try:
        reader, body = runner.run(_first_message(stdin, client_process_id))
        if body is None:
            return 0
        response, body = greeted(body)
        if response:
            writer.write(framed(response))
        from infill_ls.server.processes import run_client  # most of a second
    except KeyboardInterrupt:
        return INTERRUPTED
    return run_client(
        config,
        reader,
        writer,
        body,
        load=load,
        client_process_id=client_process_id,
        runner=runner,
    )


async def _first_message(
    stdin: BinaryIO, client_process_id: int | None
) -> tuple[asyncio.StreamReader, bytes | None]:
    """The stream and its first message; None where it ends, or the client's process does."""
    reader = stream_of(stdin)
    message = asyncio.create_task(read_message(reader))
    tasks: list[asyncio.Task[Any]] = [message]
    if client_process_id is not None:
        tasks.append(asyncio.create_task(parent.gone(client_process_id)))
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return reader, message.result() if message in done else None
