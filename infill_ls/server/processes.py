"""The process round the connections: one client on stdio, or any number over TCP, one engine."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from infill_engine import Engine, EngineConfig, load_engine
from infill_ls.completion.worker import Worker
from infill_ls.server import parent
from infill_ls.server.app import Connection, connection
from infill_ls.server.session import Session
from infill_ls.server.transport import StdoutWriter, serve, stream_of, take_stdio

logger = logging.getLogger(__name__)
CLOSE_SECONDS = 1.0  # how long a model run or load may hold up the end of the process
DIED_SECONDS = 1.0  # how long after its stream a process may take to end


def run_stdio(
    config: EngineConfig,
    *,
    load: Callable[[EngineConfig], Engine] = load_engine,
    client_process_id: int | None = None,
) -> int:
    """Serves one client on stdin and stdout until it leaves; returns the exit code."""
    stdin, stdout = take_stdio()
    worker = Worker(load)

    async def serve_stdio() -> int:
        reader, left = stream_of(stdin), asyncio.Event()
        client = connection(worker, config, leave=left.set, shared=False)
        client.protocol.set_writer(StdoutWriter(stdout))
        if client_process_id is not None:
            client.session.watch(client_process_id)
        await serve_until(client, reader, left)
        return client.protocol.exit_code

    return run(serve_stdio(), worker)


def run_tcp(
    host: str,
    port: int,
    config: EngineConfig,
    *,
    load: Callable[[EngineConfig], Engine] = load_engine,
) -> int:
    """Serves any number of clients round one engine; says on stderr where it listens.

    The client that started this process takes it along when it leaves; others come and go. But
    when the last of them died without a goodbye, nobody is left to end it, so it ends itself.
    """
    worker = Worker(load)

    async def listen() -> int:
        ended = asyncio.Event()
        clients: dict[Connection, asyncio.Task[Any] | None] = {}

        async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            left = asyncio.Event()
            client = connection(worker, config, leave=left.set, shared=True)
            client.protocol.set_writer(writer)
            clients[client] = asyncio.current_task()
            await serve_until(client, reader, left)
            writer.close()
            orphaned = await died(client)
            del clients[client]
            if started_us(client.session) or (orphaned and not clients):
                ended.set()

        server = await asyncio.start_server(serve_client, host, port)
        end_on_signals(ended)
        for socket in server.sockets:
            where = socket.getsockname()
            print(f"infill-ls listens on {where[0]}:{where[1]}", file=sys.stderr, flush=True)
        await ended.wait()
        server.close()
        for client in clients:
            client.session.leave()
        tasks = [task for task in clients.values() if task]
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
        return 0

    return run(listen(), worker)


def run(serving: Coroutine[Any, Any, int], worker: Worker) -> int:
    quiet_pygls()
    try:
        code = asyncio.run(serving)
    except KeyboardInterrupt:
        code = 130
    if not worker.close(CLOSE_SECONDS):
        # Python's own exit would wait for a load as long as that takes.
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)
    return code


async def serve_until(
    client: Connection, reader: asyncio.StreamReader, left: asyncio.Event
) -> None:
    """Until the client says exit, its stream ends, or its process does; then all of it ends."""
    tasks = [asyncio.create_task(serve(client.protocol, reader)), asyncio.create_task(left.wait())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if error := task.exception():
                logger.error("the connection failed", exc_info=error)
    finally:
        for task in tasks:
            task.cancel()
        client.session.close()
    await client.session.ended()


def started_us(session: Session) -> bool:
    return session.client_pid is not None and session.client_pid == os.getppid()


async def died(client: Connection) -> bool:
    """Whether the client ended without saying exit; its stream ends just before its process."""
    pid = client.session.client_pid
    if pid is None or client.protocol.exited:
        return False
    with suppress(TimeoutError):
        await asyncio.wait_for(parent.gone(pid), DIED_SECONDS)
        return True
    return False


def end_on_signals(ended: asyncio.Event) -> None:
    if sys.platform != "win32":
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)


def quiet_pygls() -> None:
    """It logs whole messages, source text and all; what matters of it we log ourselves."""
    logging.getLogger("pygls").setLevel(logging.WARNING)
    logging.getLogger("pygls.protocol.json_rpc").setLevel(logging.CRITICAL)
