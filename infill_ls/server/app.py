"""A connection put together: the protocol, the session, and the table of all that is handled."""

from collections.abc import Callable
from dataclasses import dataclass

from infill_engine import EngineConfig
from infill_ls.completion.worker import Worker
from infill_ls.server.features import (
    acceptance,
    commands,
    configuration,
    documents,
    inline,
    lifecycle,
    menu,
    next_edit,
    workspace,
)
from infill_ls.server.handlers import Handlers
from infill_ls.server.protocol import InfillProtocol
from infill_ls.server.session import Session
from infill_ls.server.transport import Writer

HANDLERS: Handlers = {
    **lifecycle.HANDLERS,
    **configuration.HANDLERS,
    **documents.HANDLERS,
    **inline.HANDLERS,
    **menu.HANDLERS,
    **next_edit.HANDLERS,
    **commands.HANDLERS,
    **acceptance.HANDLERS,
    **workspace.HANDLERS,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Connection:
    """One client: what it says goes to the protocol, what is known of it is the session's."""

    protocol: InfillProtocol
    session: Session


def connection(
    worker: Worker,
    config: EngineConfig,
    writer: Writer,
    *,
    leave: Callable[[], object],
    shared: bool,
) -> Connection:
    """`writer` leads to the client; `leave` is called when it turns out to have died."""
    protocol = InfillProtocol(writer)
    session = Session(protocol, worker, config, leave=leave, shared=shared)
    protocol.serve(session, HANDLERS)
    return Connection(protocol=protocol, session=session)
