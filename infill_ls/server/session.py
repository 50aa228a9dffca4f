"""The language server: one short function per LSP method, over one engine worker.

A connection has its own `InfillServer`; over TCP several share the worker. Nothing here touches
a tensor or waits for the model: handlers take a snapshot, ask `Requests`, and shape the answer.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from typing import Any

from lsprotocol import types as T
from pygls.exceptions import JsonRpcException, JsonRpcMethodNotFound
from pygls.lsp.server import LanguageServer

from infill_engine import Engine, EngineConfig, EngineInfo, InfillError, load_engine
from infill_ls import __version__
from infill_ls.completion.requests import Answer, Requests
from infill_ls.completion.worker import Ask, Worker
from infill_ls.documents import Change, Document, DocumentStore, Encoding
from infill_ls.ignore import IgnorePolicy
from infill_ls.server import parent
from infill_ls.server.features import commands
from infill_ls.server.features import menu as fallback
from infill_ls.server.features.inline import (
    INVOKED,
    Place,
    limits_of,
    place_of,
    refusal,
    report,
    untimely,
)
from infill_ls.server.items import to_item
from infill_ls.server.params import InfillParams, converter_factory
from infill_ls.server.protocol import InfillProtocol
from infill_ls.server.transport import StdoutWriter, serve, stream_of, take_stdio
from infill_ls.settings import SECTION, Settings, parse, pushed
from infill_ls.uris import path_of

logger = logging.getLogger(__name__)

# The settings that are the engine's own.
ENGINE_SETTINGS = tuple(
    field.name for field in fields(EngineConfig) if field.name in Settings.__dataclass_fields__
)
CLOSE_SECONDS = 1.0  # how long a model run or load may hold up the end of the process
DIED_SECONDS = 1.0  # how long after its stream a process may take to end
CONFIGURATION_SECONDS = 2.0  # a client that never answers must not keep the model from loading


class InfillServer(LanguageServer):
    """The state of one connection. `leave` ends it, when the client's process has died."""

    protocol: InfillProtocol

    def __init__(
        self, worker: Worker, config: EngineConfig, *, leave: Callable[[], object], shared: bool
    ) -> None:
        super().__init__(
            "infill-ls",
            __version__,
            T.TextDocumentSyncKind.Incremental,
            protocol_cls=InfillProtocol,
            converter_factory=converter_factory,
        )
        self.worker = worker
        self.config = config
        self.leave = leave
        self.shared = shared
        self.documents = DocumentStore()
        self.requests = Requests(worker, thinking=partial(think, self))
        self.settings = Settings()
        self.initial: Any = None  # initializationOptions
        self.configured: dict[str, Any] = {}  # what the client's configuration says over them
        self.told: set[str] = set()
        self.ahead: Ask | None = None  # where the next request is likely
        self.asks_inline = False  # whatever its capabilities say
        self.counts = commands.Counts()
        self.watching: asyncio.Task[None] | None = None
        for method, (handler, options) in HANDLERS.items():
            self.feature(method, options)(handler)
        for name, run_command in commands.COMMANDS.items():
            self.command(name)(run_command)

    @property
    def encoding(self) -> Encoding:
        return self.protocol.encoding

    @property
    def ignore_policy(self) -> IgnorePolicy:
        """What the settings, the workspace and the model say of files to leave alone."""
        config = self.worker.config or self.config
        uris = {folder.uri for folder in self.workspace.folders.values()}
        roots = map(path_of, sorted(uris | {self.workspace.root_uri or ""}))
        return IgnorePolicy(
            disabled_files=self.settings.disabled_files,
            max_file_size=self.settings.max_file_size,
            folders=tuple(root for root in roots if root),
            remote=config.is_remote,
        )

    def tell(self, kind: T.MessageType, message: str) -> None:
        """Shown to the user, each message once, and logged."""
        if message not in self.told:
            self.told.add(message)
            logger.warning("%s", message)
            self.window_show_message(T.ShowMessageParams(type=kind, message=message))

    def log(self, message: str) -> None:
        """For the client's log. Never source text."""
        logger.info("%s", message)
        self.window_log_message(T.LogMessageParams(type=T.MessageType.Log, message=message))

    def report_server_error(self, error: Exception, source: Any) -> None:
        """A fault of ours is for the log; the request has been answered with an error."""
        if isinstance(error, JsonRpcMethodNotFound):
            logger.info("%s", error)
        else:
            logger.error("a handler failed", exc_info=error)


# -- life ----------------------------------------------------------------------------------------


def initialize(ls: InfillServer, params: T.InitializeParams) -> None:
    ls.initial = params.initialization_options
    use_settings(ls)
    fallback.offer(ls)
    if params.process_id is not None:
        watch(ls, params.process_id)


async def initialized(ls: InfillServer, params: T.InitializedParams) -> None:
    await pull_configuration(ls)
    await subscribe(ls)
    await load(ls)


def watch(ls: InfillServer, pid: int) -> None:
    """Leaves when the client dies; not if it runs where its number means nothing here."""
    if ls.watching is None and parent.alive(pid):
        ls.watching = asyncio.create_task(leave_with(ls, pid))


async def leave_with(ls: InfillServer, pid: int) -> None:
    await parent.gone(pid)
    logger.info("the client's process %d is gone", pid)
    ls.leave()


# -- settings ------------------------------------------------------------------------------------


async def did_change_configuration(
    ls: InfillServer, params: T.DidChangeConfigurationParams
) -> None:
    given = pushed(params.settings)
    if given is None:
        await pull_configuration(ls)
    else:
        ls.configured = given
        use_settings(ls)
    if engine_config(ls) != ls.worker.config and not ls.shared:
        await load(ls)


async def pull_configuration(ls: InfillServer) -> None:
    workspace = ls.client_capabilities.workspace
    if not (workspace and workspace.configuration):
        return
    asked = T.ConfigurationParams([T.ConfigurationItem(section=SECTION)])
    try:
        answer = await asyncio.wait_for(
            ls.workspace_configuration_async(asked), CONFIGURATION_SECONDS
        )
    except TimeoutError:
        logger.warning("the client did not answer workspace/configuration")
        return
    if answer and isinstance(answer[0], dict):
        ls.configured = answer[0]
        use_settings(ls)


async def subscribe(ls: InfillServer) -> None:
    """Clients that are asked for their configuration say only on registration that it changed."""
    workspace = ls.client_capabilities.workspace
    change = workspace and workspace.did_change_configuration
    if change and change.dynamic_registration:
        method = T.WORKSPACE_DID_CHANGE_CONFIGURATION
        options = T.DidChangeConfigurationRegistrationOptions(section=SECTION)
        registration = T.Registration("infill-ls/configuration", method, options)
        ls.client_register_capability(T.RegistrationParams([registration]))


def use_settings(ls: InfillServer) -> None:
    """What the client configured goes over what it sent at the start."""
    settings, messages = parse(ls.initial)
    if ls.configured:
        base = ls.initial if isinstance(ls.initial, dict) else {}
        set_now = {name: value for name, value in ls.configured.items() if value is not None}
        settings, messages = parse({SECTION: {**base.get(SECTION, base), **set_now}})
    for message in messages:
        ls.tell(T.MessageType.Warning, message)
    if settings != ls.settings:
        ls.settings = settings
        ls.requests.reuse.clear()


def engine_config(ls: InfillServer) -> EngineConfig:
    """The command line's, with what the settings say over it."""
    given = {name: getattr(ls.settings, name) for name in ENGINE_SETTINGS}
    try:
        chosen = {name: value for name, value in given.items() if value not in (None, "")}
        return replace(ls.config, **chosen)
    except ValueError as error:
        ls.tell(T.MessageType.Error, f"The settings do not fit together: {error}")
        return ls.config


# -- the engine ----------------------------------------------------------------------------------


async def load(ls: InfillServer) -> None:
    """Tells the user how it goes; requests are answered empty meanwhile."""
    config = engine_config(ls)
    if ls.shared and ls.worker.config not in (None, config):
        running = ls.worker.config
        assert running is not None, "it is not None or this config"
        ls.tell(
            T.MessageType.Info,
            f"This infill-ls is shared and runs model {running.model} on {running.device}; "
            f"{', '.join(ENGINE_SETTINGS)} in the settings of this editor are not used.",
        )
        config = running
    loading = ls.worker.load(config)
    send_status(ls, busy=True, message="loading the model")
    progress = asyncio.create_task(show_progress(ls, loading))
    try:
        info = await asyncio.shield(asyncio.wrap_future(loading))
    except InfillError as error:
        ls.tell(T.MessageType.Error, str(error))
        send_status(ls, busy=False, message=str(error), kind="Error")
    else:
        ls.log(f"engine: {info.model} on {info.device} ({info.dtype}, {info.threads} threads)")
        send_status(ls, busy=False)
        if ls.ahead and ls.settings.warm:
            ls.worker.warm(ls.ahead)
    await progress


async def show_progress(ls: InfillServer, loading: "Future[EngineInfo]") -> None:
    window = ls.client_capabilities.window
    if loading.done() or not (window and window.work_done_progress):
        return
    progress = ls.work_done_progress
    token = f"infill-ls/loading/{len(progress.tokens)}"
    try:
        await progress.create_async(token)
    except JsonRpcException as error:
        logger.info("the client shows no progress: %s", error)
        return
    progress.begin(token, T.WorkDoneProgressBegin(title="infill", message="loading the model"))
    loop = asyncio.get_running_loop()
    report = partial(progress.report, token)

    def hear(stage: str, done: float) -> None:
        loop.call_soon_threadsafe(report, T.WorkDoneProgressReport(message=f"{stage}, {done:.0%}"))

    ls.worker.on_loading(hear)
    with suppress(InfillError):
        await asyncio.shield(asyncio.wrap_future(loading))
    failed = loading.done() and loading.exception()
    progress.end(token, T.WorkDoneProgressEnd(message="no model" if failed else "ready"))


def send_status(ls: InfillServer, *, busy: bool, message: str = "", kind: str = "Normal") -> None:
    """In the shape that Copilot's plugins read, to those alone. Of a busy server `message` says
    what it does: "loading the model" or "thinking"; of one with `kind` "Error" what is wrong."""
    if isinstance(ls.initial, dict) and "editorPluginInfo" in ls.initial:
        status = {"busy": busy, "message": message, "kind": kind, "command": None}
        ls.protocol.notify("didChangeStatus", status)


def think(ls: InfillServer, thinking: bool) -> None:
    if ls.worker.ready:  # the end of a load that began meanwhile has the last word
        send_status(ls, busy=thinking, message="thinking" if thinking else "")


def look_ahead(ls: InfillServer, document: Document, offset: int) -> None:
    """Has the model read, when it is idle, where the next request is likely."""
    if refusal(ls.settings, ls.ignore_policy, document):
        return
    limits = limits_of(ls.settings, invoked=False)
    ls.ahead = Ask(document=document, offset=offset, limits=limits)
    if ls.settings.warm and ls.worker.ready:
        ls.worker.warm(ls.ahead)


# -- documents -----------------------------------------------------------------------------------


def did_open(ls: InfillServer, params: T.DidOpenTextDocumentParams) -> None:
    item = params.text_document
    ls.requests.closed(item.uri)
    document = ls.documents.open(item.uri, item.language_id, item.version, item.text)
    look_ahead(ls, document, 0)


def did_change(ls: InfillServer, params: T.DidChangeTextDocumentParams) -> None:
    item, changes = params.text_document, [to_change(c) for c in params.content_changes]
    document = ls.documents.change(item.uri, item.version, changes, ls.encoding)
    if document is None:
        logger.warning("a change to a document that is not open")
        return
    ls.requests.changed(document)
    look_ahead(ls, document, cursor_after(document, changes, ls.encoding))


def did_close(ls: InfillServer, params: T.DidCloseTextDocumentParams) -> None:
    if document := ls.documents.close(params.text_document.uri):
        ls.requests.closed(document.uri)
        ls.worker.forget(document.uri)


def did_focus(ls: InfillServer, params: Any) -> None:
    """Copilot's: the user went to another document."""
    uri = getattr(getattr(params, "textDocument", None), "uri", "")
    if document := ls.documents.get(uri):
        look_ahead(ls, document, 0)


def to_change(change: T.TextDocumentContentChangeEvent) -> Change:
    if isinstance(change, T.TextDocumentContentChangeWholeDocument):
        return Change(text=change.text)
    start, end = change.range.start, change.range.end
    return Change(text=change.text, range=(start.line, start.character, end.line, end.character))


def cursor_after(document: Document, changes: list[Change], encoding: Encoding) -> int:
    """Behind what the last edit inserted, which is where typing leaves the cursor."""
    if not changes or changes[-1].range is None:
        return 0
    start = document.offset_at(*changes[-1].range[:2], encoding)
    return min(start + len(changes[-1].text), len(document.text))


# -- inline completion ---------------------------------------------------------------------------


async def inline_completion(ls: InfillServer, params: InfillParams) -> T.InlineCompletionList:
    """Always a list, never null: Neovim keeps stale text on null."""
    started = time.perf_counter()
    ls.asks_inline = True
    document = params.snapshot
    answer, place = await answered(ls, params, document)
    stale = document is not ls.documents.get(params.text_document.uri)
    if place is None or stale:
        answer = replace(answer, candidates=())
    ls.log(report(params, document, answer, (time.perf_counter() - started) * 1e3))
    return T.InlineCompletionList(
        [
            to_item(
                candidate,
                place.document,
                place.ask.offset,
                ls.encoding,
                start=place.start,
                end=place.end,
                command=commands.acceptance(ls),
            )
            for candidate in answer.candidates
            if place is not None
        ]
    )


async def answered(
    ls: InfillServer, params: InfillParams, document: Document | None
) -> tuple[Answer, Place | None]:
    if document is None:
        return Answer(how="not open"), None
    if params.version not in (None, document.version):
        return Answer(how="another version"), None
    invoked = params.context.trigger_kind == INVOKED
    position = params.position
    offset = document.offset_at(position.line, position.character, ls.encoding)
    why = refusal(ls.settings, ls.ignore_policy, document) or untimely(
        ls.settings, document, offset, invoked
    )
    if why:
        return Answer(how=why), None
    limits = limits_of(ls.settings, invoked=invoked)
    selection = params.context.selected_completion_info
    place = place_of(document, offset, limits, selection, ls.encoding)
    if place is None:
        return Answer(how="the menu's selection does not continue the text"), None
    if not ls.worker.ready:
        ls.ahead = place.ask
        return Answer(how="no model yet"), None
    delay = 0.0 if invoked else ls.settings.delay_ms / 1000
    answer = await ls.requests.answer(place.ask, delay)
    if answer.complaint:
        ls.tell(T.MessageType.Error, answer.complaint)
    return answer, place


HANDLERS: dict[str, tuple[Callable[..., Any], Any]] = {
    T.INITIALIZE: (initialize, None),
    T.INITIALIZED: (initialized, None),
    T.WORKSPACE_DID_CHANGE_CONFIGURATION: (did_change_configuration, None),
    T.TEXT_DOCUMENT_DID_OPEN: (did_open, None),
    T.TEXT_DOCUMENT_DID_CHANGE: (did_change, None),
    T.TEXT_DOCUMENT_DID_CLOSE: (did_close, None),
    # pygls announces inline completion only when it is given options.
    T.TEXT_DOCUMENT_INLINE_COMPLETION: (inline_completion, T.InlineCompletionOptions()),
    "textDocument/didFocus": (did_focus, None),
    **commands.FEATURES,
}


# -- processes -----------------------------------------------------------------------------------


def run_stdio(
    config: EngineConfig,
    *,
    load: Callable[[EngineConfig], Engine] = load_engine,
    client_process_id: int | None = None,
) -> int:
    """Serves one client on stdin and stdout until it leaves; returns the exit code."""
    stdin, stdout = take_stdio()
    worker = Worker(load)

    async def session() -> int:
        reader, ended = stream_of(stdin), asyncio.Event()
        ls = InfillServer(worker, config, leave=ended.set, shared=False)
        ls.protocol.set_writer(StdoutWriter(stdout))
        if client_process_id is not None:
            watch(ls, client_process_id)
        await serve_until(ls, reader, ended)
        return ls.protocol.exit_code

    return run(session(), worker)


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
        sessions: dict[InfillServer, asyncio.Task[Any] | None] = {}

        async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            left = asyncio.Event()
            ls = InfillServer(worker, config, leave=left.set, shared=True)
            ls.protocol.set_writer(writer)
            sessions[ls] = asyncio.current_task()
            await serve_until(ls, reader, left)
            writer.close()
            orphaned = await died(ls)
            del sessions[ls]
            if started_us(ls) or (orphaned and not sessions):
                ended.set()

        server = await asyncio.start_server(session, host, port)
        end_on_signals(ended)
        for socket in server.sockets:
            where = socket.getsockname()
            print(f"infill-ls listens on {where[0]}:{where[1]}", file=sys.stderr, flush=True)
        await ended.wait()
        server.close()
        for ls in sessions:
            ls.leave()
        tasks = [task for task in sessions.values() if task]
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
        return 0

    return run(listen(), worker)


def run(session: Coroutine[Any, Any, int], worker: Worker) -> int:
    quiet_pygls()
    try:
        code = asyncio.run(session)
    except KeyboardInterrupt:
        code = 130
    if not worker.close(CLOSE_SECONDS):
        # Python's own exit would wait for a load as long as that takes.
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)
    return code


async def serve_until(ls: InfillServer, reader: asyncio.StreamReader, ended: asyncio.Event) -> None:
    """Until the client says exit, its stream ends, or its process does."""
    tasks = [asyncio.create_task(serve(ls.protocol, reader)), asyncio.create_task(ended.wait())]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    ls.requests.close()
    for task in [*tasks, *([ls.watching] if ls.watching else [])]:
        task.cancel()
    for task in done:
        if error := task.exception():
            logger.error("the connection failed", exc_info=error)


def started_us(ls: InfillServer) -> bool:
    return ls.process_id is not None and ls.process_id == os.getppid()


async def died(ls: InfillServer) -> bool:
    """Whether the client ended without saying exit; its stream ends just before its process."""
    if ls.watching is None or ls.process_id is None or ls.protocol.exited:
        return False
    with suppress(TimeoutError):
        await asyncio.wait_for(parent.gone(ls.process_id), DIED_SECONDS)
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
