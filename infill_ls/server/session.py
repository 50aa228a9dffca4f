"""One connection: what it opened, what it is told, and its end.

`Session.close` ends all of it, whether or not the client said goodbye: documents, their trees and
suggestions, what waits to be warmed up, tasks and their progress. Belongs to the event loop;
several sessions may share a worker. Knows no handler: those are functions of a session.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from infill_engine import EngineConfig
from infill_ls import secret_texts
from infill_ls.completion.acceptance import Acceptance, doubt, of_user
from infill_ls.completion.next_edit.earlier import EarlierChanges
from infill_ls.completion.next_edit.elsewhere import Elsewhere
from infill_ls.completion.next_edit.history import Edit, EditHistories
from infill_ls.completion.next_edit.requests import EditRequests
from infill_ls.completion.offers import Offers
from infill_ls.completion.requests import Requests
from infill_ls.completion.surroundings import Gone, Surroundings
from infill_ls.completion.worker import Query, QueryLimits, Worker
from infill_ls.completion.workspace.memory import WorkspaceMemory
from infill_ls.documents import Change, Document, DocumentStore, Encoding, Splice
from infill_ls.ignore import IgnorePolicy
from infill_ls.modes import settings_at
from infill_ls.server import lsp, parent
from infill_ls.server.greeting import ClientFeatures
from infill_ls.server.policy import limits_of, refusal
from infill_ls.settings import Settings
from infill_ls.uris import document_key, path_of

logger = logging.getLogger(__name__)
READY_TO_SHOW = "a suggestion is ready"
SAVE_SECONDS = 60.0  # between two writes of the counts
END_SECONDS = 1.0  # for tasks that were cancelled
MAX_TOLD = 100  # different messages to the user; what comes after them is only logged


class NoAnswer(Exception):
    """The client answered a request of ours with an error, or not in time."""


class Client(Protocol):
    """The other end of the connection."""

    def notify(self, method: str, params: object) -> None: ...

    async def ask(self, method: str, params: object, seconds: float) -> object:
        """The result as it came. Raises NoAnswer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSnapshot:
    """A document as it was when a message about it arrived, and what held for it then.

    Messages that came later do not change it. This is how handlers see documents.
    """

    document: Document
    encoding: Encoding
    settings: Settings
    ignore_policy: IgnorePolicy


class Session:
    """The state of one connection. `leave` ends it from within, when the client has died."""

    def __init__(
        self,
        client: Client,
        worker: Worker,
        config: EngineConfig,
        *,
        leave: Callable[[], object],
        shared: bool,
    ) -> None:
        self.worker = worker
        self.config = config
        self.leave = leave
        self.shared = shared
        self.features = ClientFeatures()
        self.folders: tuple[str, ...] = ()  # URIs of the workspace's
        self.settings = Settings()
        self.initial: Any = None  # initializationOptions
        self.configured: dict[str, Any] = {}  # what the client's configuration says over them
        self.offers_menu = False
        self.asks_inline = False  # whatever its capabilities say
        self.requests = Requests(worker, thinking=self._thinking)
        self.offers = Offers(acceptance=Acceptance())
        self.edits = EditHistories()
        self.earlier = EarlierChanges()
        self.next_edits = EditRequests(worker)
        self.workspace = WorkspaceMemory(lambda: worker.busy, self._workspace_read)
        self.snoozed_until = 0.0  # seconds of `time.time()`
        self._ready_to_show = False  # whether the client was told that something is held back
        self.client_pid: int | None = None
        self.closed = False
        self._client = client
        self._documents = DocumentStore()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._told: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None  # once a workspace is read

    def close(self) -> None:
        """Ends everything that the connection opened. The only end there is; once is enough."""
        if self.closed:
            return
        self.closed = True
        for task in self._tasks:
            task.cancel()
        self.requests.close()
        self.next_edits.close()
        self.edits.clear()
        self.earlier.clear()
        self.workspace.close()
        self.offers.clear()
        for document in self._documents.all():
            secret_texts.forget(document.uri)
        self._documents.clear()
        self._told.clear()

    async def ended(self) -> None:
        """Once closed: what was under way has been answered."""
        await asyncio.sleep(0)  # handlers that have not begun begin, and find it closed
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=END_SECONDS)
        await self._save_counts()
        await asyncio.sleep(0)

    # -- tasks ------------------------------------------------------------------------------------

    def start(self, work: Coroutine[Any, Any, object]) -> None:
        """Runs it in the background, at most until the session is closed."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("work in the background failed", exc_info=error)

    @contextmanager
    def tasks_end_with_it(self) -> Iterator[None]:
        """The task that runs in it is cancelled when the session is closed."""
        if self.closed:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None, "handlers in the background are tasks"
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    def watch(self, pid: int) -> None:
        """Leaves when the client's process dies; not if it runs where its number means nothing."""
        if self.client_pid is None and parent.alive(pid):
            self.client_pid = pid
            self.start(self._leave_with(pid))

    async def _leave_with(self, pid: int) -> None:
        await parent.gone(pid)
        logger.info("the client's process %d is gone", pid)
        self.leave()

    @property
    def ignore_policy(self) -> IgnorePolicy:
        """What the settings, the workspace and the model say of files to leave alone."""
        config = self.worker.config or self.config
        return IgnorePolicy(
            disabled_files=self.settings.disabled_files,
            max_file_size=self.settings.max_file_size,
            folders=tuple(path for path in map(path_of, self.folders) if path),
            remote=config.is_remote,
        )

    # -- documents --------------------------------------------------------------------------------

    def open_document(self, uri: str, language_id: str, version: int, text: str) -> None:
        document = self._documents.open(uri, language_id, version, text)
        self._forget(document.uri)  # whatever it was before
        self.warm(document, 0)

    def change_document(
        self, uri: str, version: int | None, changes: Iterable[Change]
    ) -> Document | None:
        """As it is now; None when it is not open, or its text not known."""
        encoding = self.features.encoding
        document = self._documents.change(uri, version, changes, encoding, self._saw)
        if document is not None:
            self.requests.changed(document)
            self.next_edits.ended(document.uri)
            self.workspace.edited(document)
        return document

    def _saw(self, before: Document, splice: Splice) -> None:
        self._over(before, self.edits.saw(before, splice))
        self.requests.reuse.openings.saw(before, splice)

    def _over(self, document: Document, edit: Edit | None) -> None:
        """An edit is, and is known to other documents from now on; not where nothing is offered in
        this one either."""
        if edit and self._may_tell(document):
            self.earlier.add(document, edit)

    def _may_tell(self, document: Document) -> bool:
        settings, policy = self.settings_at(document), self.ignore_policy
        if policy.remote and secret_texts.takes_long(document.uri, document.text):
            return False
        return settings.next_edit and not refusal(settings, policy, document)

    def _last_edit(self, document: Document) -> Edit | None:
        return next(reversed(self.edits.of(document.uri)), None)

    def elsewhere(self, document: Document) -> Elsewhere:
        """What was changed in other documents."""
        changed = self.earlier.uris
        others = [
            (other, self._last_edit(other))
            for other in self._documents.all()
            if (other.uri in changed or self.edits.of(other.uri)) and self._may_tell(other)
        ]
        return self.earlier.for_document(document, others)

    def lose_document(self, uri: str) -> bool:
        """Its text is unknown until it comes again as a whole; False where it is not open."""
        self._forget(document_key(uri))
        return self._documents.lose(uri)

    def _forget(self, key: str) -> None:
        self.requests.closed(key)
        self.offers.forget(key)
        self.next_edits.ended(key)
        self.edits.forget(key)
        self.earlier.forget(key)

    def close_document(self, uri: str) -> None:
        self._documents.close(uri)
        self._forget(document_key(uri))
        self._lost(self.workspace.forget(document_key(uri)))
        secret_texts.forget(document_key(uri))

    def snapshot(self, uri: str) -> DocumentSnapshot | None:
        """For the arrival of a message, before any later one is read; None when it is not open."""
        document = self._documents.get(uri)
        if document is None:
            return None
        return DocumentSnapshot(
            document=document,
            encoding=self.features.encoding,
            settings=self.settings_at(document),
            ignore_policy=self.ignore_policy,
        )

    def settings_at(self, document: Document) -> Settings:
        """As they hold for a document."""
        return settings_at(self.settings, document, self.ignore_policy.folders)

    def is_current(self, snapshot: DocumentSnapshot) -> bool:
        """Whether the document has not changed since."""
        return self._documents.get(snapshot.document.uri) is snapshot.document

    def warm(self, document: Document, offset: int) -> None:
        """Has both sides of a place encoded, when the model is idle: the next request is likely
        there."""
        if not self.settings.warm:
            return
        if self.ignore_policy.remote and secret_texts.takes_long(document.uri, document.text):
            self.start(self._warm_later(document, offset))
        elif not refusal(self.settings_at(document), self.ignore_policy, document):
            limits = self.limits(document, invoked=False)
            around = self.surroundings(document, offset)
            self.requests.warm(
                Query(document=document, offset=offset, limits=limits, surroundings=around)
            )

    async def _warm_later(self, document: Document, offset: int) -> None:
        if await self.looked_through(document):
            self.warm(document, offset)

    async def looked_through(self, document: Document) -> bool:
        """Before `refusal`, so that a long text holds up nobody else while it is looked through
        for secrets. False where it has changed, or is closed, by then."""
        if self.ignore_policy.remote:
            for _ in secret_texts.look_through(document.uri, document.text):
                await asyncio.sleep(0)
                if self.closed or self._documents.get(document.uri) is not document:
                    return False
        return True

    # -- quiet ------------------------------------------------------------------------------------

    def snooze(self, minutes: int) -> None:
        """Suggests nothing that nobody asks for so long; 0 ends it."""
        self.snoozed_until = time.time() + 60 * minutes
        self.report_snoozed()
        if minutes:
            self.start(self._wake(self.snoozed_until))

    async def _wake(self, at: float) -> None:
        await asyncio.sleep(max(at - time.time(), 0.0))
        if self.snoozed_until == at:
            self.report_snoozed()

    @property
    def snoozed(self) -> str:
        """Why nothing is suggested while typing; empty where something is."""
        if time.time() >= self.snoozed_until:
            return ""
        until = datetime.fromtimestamp(self.snoozed_until)
        today = until.date() == datetime.now().date()
        return f"snoozed until {until:%H:%M}" if today else f"snoozed until {until:%Y-%m-%d %H:%M}"

    def report_snoozed(self) -> None:
        self.report_status(busy=False, message=self._at_rest())

    def report_held_back(self, held: bool) -> None:
        """That a suggestion is there for a key to show, or no more, where that is news."""
        if held != self._ready_to_show:
            self._ready_to_show = held
            self.report_status(busy=False, message=self._at_rest())

    def _at_rest(self) -> str:
        return self.snoozed or (READY_TO_SHOW if self._ready_to_show else "")

    # -- what becomes of suggestions --------------------------------------------------------------

    @property
    def acceptance(self) -> Acceptance:
        """The counts: this user's, or of this connection alone where nothing is to be learnt."""
        return self.offers.acceptance

    def count(self) -> None:
        """Counts as the settings say, and into the file once a minute."""
        self.offers.reported = self.features.plugin
        if not self.settings.learn:
            self.offers.acceptance = Acceptance()
        elif self.acceptance.path is None:
            self.offers.acceptance = of_user()

    def limits(self, document: Document, *, invoked: bool) -> QueryLimits:
        """As the settings say; and nothing is shown unasked that this user seldom takes."""
        limits = limits_of(self.settings, invoked=invoked)
        self.acceptance.follow()
        if limits.min_confidence is not None:
            return limits
        return replace(limits, doubt=doubt(self.acceptance.of(document.language_id)))

    async def keep_counts(self) -> None:
        while not self.closed:
            await asyncio.sleep(SAVE_SECONDS)
            await self._save_counts()

    async def _save_counts(self) -> None:
        acceptance = self.acceptance
        if acceptance.unsaved:
            await asyncio.to_thread(acceptance.save)
        if acceptance.complaint:
            self.tell(lsp.MessageType.WARNING, acceptance.complaint)

    # -- the workspace ----------------------------------------------------------------------------

    def follow_workspace(self) -> None:
        """Reads the folders that are open, if the settings want it. A model on a server is not told
        of other files, so nothing is read for it."""
        self._loop = asyncio.get_running_loop()
        policy = self.ignore_policy
        wanted = self.settings.workspace and not (policy.remote or self.closed)
        if self.workspace.follow(policy.folders if wanted else (), policy):
            self._lost(None)

    def touched(self, *uris: str) -> None:
        """Files were written, made or removed."""
        paths = [path for uri in uris if (path := path_of(uri))]
        if paths:
            self._lost(self.workspace.touched(*paths))

    def _lost(self, gone: Gone) -> None:
        if gone is None or gone:
            self.requests.forget_files(gone)

    def surroundings(self, document: Document, offset: int) -> Surroundings:
        """What other files say that may be of use there."""
        found = self.workspace.at(document, offset, self._documents.all())
        return replace(found, lost=self.requests.reuse.times_lost) if found.files else found

    def _workspace_read(self, message: str) -> None:
        """On the workspace's thread."""
        assert self._loop is not None, "it was asked to read"
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.log, message)

    # -- messages to the client -------------------------------------------------------------------

    def notify(self, method: str, params: object) -> None:
        if not self.closed:
            self._client.notify(method, params)

    async def ask(self, method: str, params: object, seconds: float) -> object:
        """The client's answer as it came. Raises NoAnswer."""
        return await self._client.ask(method, params, seconds)

    def tell(self, kind: lsp.MessageType, message: str) -> None:
        """Shown to the user, each message once, and logged."""
        if message in self._told:
            return
        logger.warning("%s", message)
        if len(self._told) < MAX_TOLD:
            self._told.add(message)
            self.show(kind, message)

    def show(self, kind: lsp.MessageType, message: str) -> None:
        """Shown to the user, however often: in answer to what the user did."""
        self.notify(lsp.SHOW_MESSAGE, {"type": kind, "message": message})

    def log(self, message: str) -> None:
        """For the client's log. Never source text."""
        logger.info("%s", message)
        self.notify(lsp.LOG_MESSAGE, {"type": lsp.MessageType.LOG, "message": message})

    def report_status(self, *, busy: bool, message: str = "", kind: str = "Normal") -> None:
        """In the shape that Copilot's plugins read, to those alone. Of a busy server `message`
        says what it does: "loading the model" or "thinking"; of one with `kind` "Error" what is
        wrong."""
        if self.features.plugin:
            status = {"busy": busy, "message": message, "kind": kind, "command": None}
            self.notify("didChangeStatus", status)

    def _thinking(self, thinking: bool) -> None:
        if self.worker.ready:  # the end of a load that began meanwhile has the last word
            message = "thinking" if thinking else self._at_rest()
            self.report_status(busy=thinking, message=message)
