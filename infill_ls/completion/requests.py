"""Which requests the model answers: the newest of each document, after a pause in the typing.

Every request gets its answer. One that a newer request or an edit overtakes is answered empty at
once; its model run goes on only while its drafts say what is being typed, and then serves the
next request. Belongs to the event loop of one connection; the model runs in the worker.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infill_engine import InfillError
from infill_ls.completion.reuse import Reuse, typed_since
from infill_ls.completion.worker import Ask, Job, Worker
from infill_ls.documents import Document

if TYPE_CHECKING:
    from infill_ls.completion.candidate import Candidate
    from infill_ls.completion.pipeline import Infilled

logger = logging.getLogger(__name__)

# Requests that follow one another faster come from a held key or a paste. The first is run at
# once, the others wait for the burst to end, so that a burst costs two model runs.
BURST_SECONDS = 0.06


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`how` is for the log; `infilled` is the model run behind it, if it had one of its own.

    `complaint` is a sentence for the user about why it failed.
    """

    how: str  # "model" | "reused" | "superseded" | "stopped" | "failed"
    candidates: "tuple[Candidate, ...]" = ()
    infilled: "Infilled | None" = None
    complaint: str = ""


class _Run:
    """A job and the loop's view of its end."""

    def __init__(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        self.job = job
        self.done: asyncio.Future[None] = loop.create_future()


class Requests:
    """The live request and the model run of each document."""

    def __init__(
        self,
        worker: Worker,
        clock: Callable[[], float] = time.monotonic,
        *,
        thinking: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """`thinking` hears True when the first model run begins and False when the last ends."""
        self.reuse = Reuse(clock)
        self._worker = worker
        self._clock = clock
        self._thinking = thinking
        self._under_way = 0  # runs, those that were stopped and have not noticed yet included
        self._turns: dict[str, asyncio.Future[None]] = {}  # done when superseded
        self._runs: dict[str, _Run] = {}
        self._arrivals: dict[str, float] = {}

    async def answer(self, ask: Ask, delay: float) -> Answer:
        """`delay` seconds of quiet must pass before the model runs; reuse needs none."""
        uri = ask.document.uri
        turn = self._take_turn(ask)
        try:
            return await self._answer(ask, turn, self._pause(uri, delay))
        except asyncio.CancelledError:
            if self._turns.get(uri) is turn:
                self._stop_run(uri)
            raise
        finally:
            if self._turns.get(uri) is turn:
                del self._turns[uri]

    def changed(self, document: Document) -> None:
        """An edit: the waiting request is about a text that is no more."""
        self._end_turn(document.uri)
        run = self._runs.get(document.uri)
        if run and not _still_says(run.job, document):
            self._stop_run(document.uri)

    def closed(self, uri: str) -> None:
        self._end_turn(uri)
        self._stop_run(uri)
        self._arrivals.pop(uri, None)
        self.reuse.forget(uri)

    def close(self) -> None:
        self._thinking = lambda _: None  # nobody is there to be told
        for uri in [*self._turns, *self._runs]:
            self.closed(uri)

    async def _answer(self, ask: Ask, turn: "asyncio.Future[None]", pause: float) -> Answer:
        if (known := self.reuse.recall(ask)) is not None:
            return Answer(how="reused", candidates=known)
        if pause:
            await asyncio.wait([turn], timeout=pause)
        while not turn.done():
            if (known := self.reuse.recall(ask)) is not None:
                return Answer(how="reused", candidates=known)
            run = self._run_for(ask)
            await asyncio.wait([turn, run.done], return_when=asyncio.FIRST_COMPLETED)
            if run.job.ask is ask and not turn.done():
                return _answer_of(run.job)
            # A run that was joined has ended: what it found is in `reuse` now, if it fits.
        return Answer(how="superseded")

    def _take_turn(self, ask: Ask) -> "asyncio.Future[None]":
        uri = ask.document.uri
        self._end_turn(uri)
        run = self._runs.get(uri)
        if run and not _serves(run.job, ask):
            self._stop_run(uri)
        turn = self._turns[uri] = asyncio.get_running_loop().create_future()
        return turn

    def _run_for(self, ask: Ask) -> _Run:
        """The one under way, if its drafts still fit, or a new one."""
        run = self._runs.get(ask.document.uri)
        if run and _serves(run.job, ask):
            return run
        self._stop_run(ask.document.uri)
        return self._start(ask)

    def _end_turn(self, uri: str) -> None:
        turn = self._turns.pop(uri, None)
        if turn and not turn.done():
            turn.set_result(None)

    def _pause(self, uri: str, delay: float) -> float:
        now = self._clock()
        since = now - self._arrivals.get(uri, float("-inf"))
        self._arrivals[uri] = now
        return max(delay, BURST_SECONDS if since < BURST_SECONDS else 0.0)

    def _start(self, ask: Ask) -> _Run:
        loop = asyncio.get_running_loop()
        run = self._runs[ask.document.uri] = _Run(self._worker.infill(ask), loop)
        self._under_way += 1
        if self._under_way == 1:
            self._thinking(True)

        def finished(_: object) -> None:  # on the engine's thread
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._finished, run)

        run.job.result.add_done_callback(finished)
        return run

    def _finished(self, run: _Run) -> None:
        """Remembers before anyone who waits wakes up."""
        self._under_way -= 1
        if not self._under_way:
            self._thinking(False)
        ask = run.job.ask
        if self._runs.get(ask.document.uri) is run:
            del self._runs[ask.document.uri]
            answer = _answer_of(run.job)
            if answer.candidates or _found_nothing(answer):
                self.reuse.remember(ask, answer.candidates)
        run.done.set_result(None)

    def _stop_run(self, uri: str) -> None:
        run = self._runs.pop(uri, None)
        if run:
            run.job.stop()


def _answer_of(job: Job) -> Answer:
    """Of a job that has ended."""
    if error := job.result.exception():
        complaint = str(error) if isinstance(error, InfillError) else ""
        return Answer(how="failed", complaint=complaint)
    infilled = job.result.result()
    if infilled is None:
        return Answer(how="stopped")
    return Answer(how="model", candidates=infilled.candidates, infilled=infilled)


def _found_nothing(answer: Answer) -> bool:
    """The model had its say, and nothing of it can be shown; more time would change nothing."""
    draft = answer.infilled.draft if answer.infilled else None
    return draft is not None and draft.converged


def _serves(job: Job, ask: Ask) -> bool:
    """Whether waiting for this run is likely to answer the request."""
    typed = typed_since(job.ask, ask.document)
    grown = len(ask.document.text) - len(job.ask.document.text)
    if typed is None or ask.offset != job.ask.offset + grown or ask.limits != job.ask.limits:
        return False
    if job.ask.selected:
        return job.ask.selected == typed + ask.selected
    return _says(job, typed + ask.selected)


def _still_says(job: Job, document: Document) -> bool:
    typed = typed_since(job.ask, document)
    return typed is not None and _says(job, typed)


def _says(job: Job, text: str) -> bool:
    """Whether the run's newest draft begins so."""
    return not text or (job.draft is not None and job.draft.startswith(text))
