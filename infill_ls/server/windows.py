"""The server of a user's windows, as a process: it ends some seconds after the last of them.

A window may want fill-in-the-middle over HTTP as well. Its relay says so before anything else, and
so no matter which window came first, and started the server, it listens there from then on.
"""

import asyncio
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infill_engine import EngineConfig, InfillError
from infill_ls.completion.worker import Worker
from infill_ls.fim.address import OPEN_FIM, FimAddress
from infill_ls.server import endpoint, lsp
from infill_ls.server.fields import Fields, ParamsError
from infill_ls.server.processes import Clients, run, serve_fim
from infill_ls.server.transport import framed, read_message

if TYPE_CHECKING:  # it brings h11 and the pipeline
    from infill_ls.fim.routes import FimServer

logger = logging.getLogger(__name__)


def run_windows(path: Path, config: EngineConfig, worker: Worker, linger: float) -> int:
    """Serves those who connect at `path`, until there have been none for `linger` seconds."""

    async def listen() -> int:
        clients = Clients(worker, config)
        opening = Opening(worker, config)

        async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await clients.serve(reader, writer, opened=opening.opened)
            if not clients.connected:
                await leave_after(clients, linger)

        server = await endpoint.listen(path, serve_client)
        ours = endpoint.file_identity(path)
        idle = asyncio.create_task(leave_after(clients, linger))  # if nobody comes at all
        try:
            return await clients.serve_until_over(server)
        finally:
            idle.cancel()
            if endpoint.file_identity(path) == ours:
                path.unlink(missing_ok=True)

    return run(listen(), worker, asyncio.Runner())


async def leave_after(clients: Clients, seconds: float) -> None:
    """Ends it unless somebody connects meanwhile."""
    num_served = clients.num_served
    await asyncio.sleep(seconds)
    if not clients.connected and clients.num_served == num_served:
        clients.over.set()


class Opening:
    """What windows say before they speak LSP."""

    def __init__(self, worker: Worker, config: EngineConfig) -> None:
        self._worker = worker
        self._config = config
        self._fim: dict[tuple[str, int], FimServer] = {}
        self._one_at_a_time = asyncio.Lock()

    async def opened(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        """The first message that is LSP; None where there was none, or it is still to be read."""
        body = await read_message(reader)
        address = _wanted(body) if body is not None else None
        if address is None:
            return body
        try:
            async with self._one_at_a_time:
                await self._open(address)
        except InfillError as error:
            logger.error("%s", error)
            said = {"type": lsp.MessageType.ERROR, "message": f"infill: {error}"}
            note = {"jsonrpc": "2.0", "method": lsp.SHOW_MESSAGE, "params": said}
            writer.write(framed(json.dumps(note).encode()))
        return None

    async def _open(self, address: FimAddress) -> None:
        """Once for all windows that want it. Raises InfillError."""
        where = address.host, address.port
        if (served := self._fim.get(where)) is not None:
            served.endpoint.address = served.endpoint.address.with_wish(address)
        else:
            self._fim[where] = await serve_fim(address, self._worker, self._config)


def _wanted(body: bytes) -> FimAddress | None:
    """None where it is another message."""
    try:
        message: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or message.get("method") != OPEN_FIM:
        return None
    fields = Fields(message.get("params"))
    try:
        host, port = fields.text("host"), fields.number("port")
    except ParamsError:
        return None  # it is nobody's, and will be told so
    token = fields.text_or("token", "") or None
    return FimAddress(
        host=host,
        port=port,
        token=token,
        remote=fields.flag("remote"),
        deadline_ms=fields.number_or_none("deadline_ms"),
    )
