"""The process round the connections: one client on stdio, or any number over TCP, one engine."""

import asyncio
import hmac
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from infill_engine import Engine, EngineConfig, load_engine
from infill_ls.completion.worker import Worker
from infill_ls.fim.address import FimAddress, PortError
from infill_ls.server import lsp, parent
from infill_ls.server.app import Connection, connection
from infill_ls.server.fields import Fields
from infill_ls.server.session import Session
from infill_ls.server.transport import SocketWriter, Writer, framed, read_message, serve

if TYPE_CHECKING:  # it brings h11 and the pipeline
    from infill_ls.fim.routes import FimServer

logger = logging.getLogger(__name__)
CLOSE_SECONDS = 1.0  # how long a model run or load may hold up the end of the process
TOKEN_SECONDS = 5.0
DIED_SECONDS = 1.0  # how long after its stream a process may take to end

# What is done with a connection first: it gives the first message that is left, if one was read.
Opened = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, bytes | None]]


def run_client(
    config: EngineConfig,
    reader: asyncio.StreamReader,
    writer: Writer,
    first: bytes,
    deaths: Sequence[asyncio.Task[None]],
    *,
    load: Callable[[EngineConfig], Engine],
    runner: asyncio.Runner,
) -> int:
    """Serves one client from its `first` message on until it leaves, which it also does when one
    of `deaths` ends; returns the exit code."""
    worker = Worker(load)

    async def serve_stdio() -> int:
        left = asyncio.Event()
        client = connection(worker, config, writer, leave=left.set, shared=False)
        for death in deaths:
            death.add_done_callback(lambda _: left.set())
        try:
            await serve_until(client, reader, left, first)
        finally:
            writer.close()
        return client.protocol.exit_code

    return run(serve_stdio(), worker, runner)


def run_tcp(
    host: str,
    port: int,
    config: EngineConfig,
    *,
    token: str | None = None,
    fim: FimAddress | None = None,
    load: Callable[[EngineConfig], Engine] = load_engine,
) -> int:
    """Serves any number of clients round one engine; says on stderr where it listens.

    With a `token`, those that send it with `initialize`, as `initializationOptions.token`.
    The client that started this process takes it along when it leaves; others come and go. But
    when the last of them died without a goodbye, nobody is left to end it, so it ends itself.
    At `fim` it also fills in the middle over HTTP. Raises PortError.
    """
    worker = Worker(load)

    async def listen() -> int:
        clients = Clients(worker, config)

        async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            first = None
            if token is not None and not (first := await with_token(reader, writer, token)):
                writer.close()
                return
            client = await clients.serve(reader, writer, first)
            orphaned = await died(client)
            if started_us(client.session) or (orphaned and not clients.connected):
                clients.over.set()

        try:
            server = await asyncio.start_server(serve_client, host, port)
        except OSError as error:
            raise PortError(host, port, error) from error
        for socket in server.sockets:
            where = socket.getsockname()
            announce(f"infill-ls listens on {where[0]}:{where[1]}")
        if fim is not None:
            await serve_fim(fim, worker, config)
        return await clients.serve_until_over(server)

    return run(listen(), worker, asyncio.Runner())


def run_fim(
    address: FimAddress,
    config: EngineConfig,
    *,
    load: Callable[[EngineConfig], Engine] = load_engine,
) -> int:
    """Fills in the middle over HTTP until a signal comes; says on stderr where it listens."""
    worker = Worker(load)

    async def listen() -> int:
        over = asyncio.Event()
        end_on_signals(over)
        server = await serve_fim(address, worker, config)
        await over.wait()
        server.listener.close()
        return 0

    return run(listen(), worker, asyncio.Runner())


async def serve_fim(address: FimAddress, worker: Worker, config: EngineConfig) -> "FimServer":
    """Listens, and says so on stderr. Raises PortError."""
    from infill_ls.fim.routes import listen  # with h11 and the pipeline: for those who ask for it

    try:
        server = await listen(address, worker, config)
    except OSError as error:
        raise PortError(address.host, address.port, error) from error
    for socket in server.listener.sockets:
        host, port = socket.getsockname()[:2]
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        announce(f"infill-ls fills in the middle at http://{where}")
    return server


def announce(line: str) -> None:
    """On stderr, in one piece: the engine's thread may log at the same time."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


class Clients:
    """The connections of a process that serves several; `over` ends all of them."""

    def __init__(self, worker: Worker, config: EngineConfig) -> None:
        self._worker = worker
        self._config = config
        self.connected: dict[Connection, asyncio.Task[Any] | None] = {}
        self.num_served = 0
        self.over = asyncio.Event()

    async def serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        first: bytes | None = None,
        *,
        opened: Opened | None = None,
    ) -> Connection:
        """Until this one leaves; `first` is a message of it that was read already, which `opened`
        may do as well."""
        left = asyncio.Event()
        client = connection(
            self._worker, self._config, SocketWriter(writer), leave=left.set, shared=True
        )
        self.connected[client] = asyncio.current_task()
        self.num_served += 1
        try:
            if opened is not None:
                first = await opened(reader, writer)
            await serve_until(client, reader, left, first)
        finally:
            writer.close()
            del self.connected[client]
        return client

    async def serve_until_over(self, server: asyncio.Server) -> int:
        end_on_signals(self.over)
        await self.over.wait()
        server.close()
        for client in self.connected:
            client.session.leave()
        tasks = [task for task in self.connected.values() if task]
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
        return 0


async def with_token(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str
) -> bytes:
    """A client's first message, if it holds the token; else it is told so, and this is empty."""
    try:
        body = await asyncio.wait_for(read_message(reader), TOKEN_SECONDS) or b""
        first = json.loads(body)
    except (TimeoutError, ValueError, RecursionError):
        return b""
    options = Fields(first).nested_or_empty("params").nested_or_empty("initializationOptions")
    if hmac.compare_digest(options.text_or("token", "").encode(), token.encode()):
        return body
    logger.warning("a client without the token was refused")
    error = {
        "code": lsp.ErrorCode.INVALID_REQUEST,
        "message": "This infill-ls wants its token as initializationOptions.token; it named the "
        "file that holds it when it started.",
    }
    msg_id = first.get("id") if isinstance(first, dict) else None
    answer = {"jsonrpc": "2.0", "id": msg_id, "error": error}
    writer.write(framed(json.dumps(answer).encode()))
    with suppress(ConnectionError):
        await writer.drain()
    return b""


def run(serving: Coroutine[Any, Any, int], worker: Worker, runner: asyncio.Runner) -> int:
    try:
        with runner:
            code = runner.run(serving)
    except KeyboardInterrupt:
        code = 130
    if not worker.close(CLOSE_SECONDS):
        # Python's own exit would wait for a load as long as that takes.
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)
    return code


async def serve_until(
    client: Connection,
    reader: asyncio.StreamReader,
    left: asyncio.Event,
    first: bytes | None = None,
) -> None:
    """Until the client says exit, its stream ends, or its process does; then all of it ends."""
    tasks = [
        asyncio.create_task(serve(client.protocol, reader, first)),
        asyncio.create_task(left.wait()),
    ]
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
