"""Loads the engine that the settings ask for, and tells the client how it goes.

Requests wait for it meanwhile, but for no longer than the model might take.
"""

import asyncio
import time
from concurrent.futures import Future
from dataclasses import fields, replace

from infill_engine import EngineConfig, EngineInfo, InfillError
from infill_ls.server import lsp
from infill_ls.server.session import NoAnswer, Session
from infill_ls.settings import Settings

# The settings that are the engine's own.
ENGINE_SETTINGS = tuple(
    field.name for field in fields(EngineConfig) if field.name in Settings.__dataclass_fields__
)
PROGRESS_SECONDS = 0.2  # between looks at how far it is
CREATE_SECONDS = 10.0  # for a client to say that it shows progress


def engine_config(session: Session) -> EngineConfig:
    """The command line's, with what the settings say over it."""
    given = {name: getattr(session.settings, name) for name in ENGINE_SETTINGS}
    try:
        chosen = {name: value for name, value in given.items() if value not in (None, "")}
        return replace(session.config, **chosen)
    except ValueError as error:
        session.tell(lsp.MessageType.ERROR, f"The settings do not fit together: {error}")
        return session.config


async def load(session: Session) -> None:
    """Until it is loaded or cannot be. A shared engine stays what the first client made it, unless
    that cannot be loaded."""
    config = engine_config(session)
    keeps = session.shared and not session.worker.failed
    if keeps and session.worker.config not in (None, config):
        running = session.worker.config
        assert running is not None, "it is not None or this config"
        session.tell(
            lsp.MessageType.INFO,
            f"This infill-ls is shared and runs model {running.model} on {running.device}; "
            f"{', '.join(ENGINE_SETTINGS)} in the settings of this editor are not used.",
        )
        config = running
    loading = session.worker.load(config)
    session.report_status(busy=True, message="loading the model")
    session.start(show_progress(session, loading))
    try:
        info = await asyncio.wrap_future(loading)
    except InfillError as error:
        session.tell(lsp.MessageType.ERROR, str(error))
        session.report_status(busy=False, message=str(error), kind="Error")
    else:
        session.log(f"engine: {info.model} on {info.device} ({info.dtype}, {info.threads} threads)")
        session.report_status(busy=False)
    session.requests.load_ended()


async def show_progress(session: Session, loading: "Future[EngineInfo]") -> None:
    if loading.done() or not session.features.progress:
        return
    token = f"infill-ls/loading/{time.monotonic_ns()}"
    try:
        await session.ask(lsp.CREATE_PROGRESS, {"token": token}, CREATE_SECONDS)
    except NoAnswer as why:
        session.log(f"no progress is shown: {why}")
        return

    def say(kind: str, message: str, **more: str) -> None:
        value = {"kind": kind, **more, "message": message}
        session.notify(lsp.PROGRESS, {"token": token, "value": value})

    say("begin", "loading the model", title="infill")
    ended = asyncio.wrap_future(loading)
    said = session.worker.progress
    while True:
        await asyncio.wait([ended], timeout=PROGRESS_SECONDS)
        if session.worker.progress != said:
            stage, done = said = session.worker.progress
            say("report", f"{stage}, {done:.0%}")
        if ended.done():
            break
    failed = ended.exception() is not None
    say("end", "no model" if failed else "ready")
