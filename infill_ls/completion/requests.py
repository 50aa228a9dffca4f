"""Which requests the model answers: the newest of each document, after a pause in the typing.

Every request gets its answer. One that a newer request or an edit overtakes is answered empty at
once; its model run goes on only while its drafts say what is being typed, and then serves the
next request. Belongs to the event loop of one connection; the model runs in the worker.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from infill_engine import InfillError
from infill_ls.completion.foresight import begins
from infill_ls.completion.reuse import Reuse, typed_since
from infill_ls.completion.surroundings import Gone, any_gone
from infill_ls.completion.worker import ModelRun, Query, Worker
from infill_ls.documents import Document

if TYPE_CHECKING:
    from infill_ls.completion.candidate import Candidate
    from infill_ls.completion.pipeline import Infilled

logger = logging.getLogger(__name__)

# Requests that follow one another faster come from a held uri or a paste. The first is run at
# once, the others wait for the burst to end, so that a burst costs two model runs.
BURST_SECONDS = 0.06
TYPING_ON = 8  # so many requests make up what the user did of late
# Past the deadline, for the engine to give out what it has. Then nobody waits any longer.
GRACE_SECONDS = 0.05
CHECK_SECONDS = 0.1  # for what was said before
# So many requests in a row that came to nothing in time are worth a word.
NUM_LATE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """`how` is for the log; `infilled` is the model run behind it, if it had one of its own.

    `complaint` is a sentence for the user about why it failed.
    """

    # "model" | "reused" | "nothing to show" | "superseded" | "stopped" | "late" | "failed" |
    # "no model yet"
    how: str
    candidates: "tuple[Candidate, ...]" = ()
    infilled: "Infilled | None" = None
    complaint: str = ""


class _LiveRun:
    """A model run and the loop's view of its end."""

    def __init__(self, run: ModelRun, loop: asyncio.AbstractEventLoop) -> None:
        self.run = run
        self.ended: asyncio.Future[None] = loop.create_future()
        self.waited_for = False


class Requests:
    """The live request and the model run of each document of one connection."""

    def __init__(
        self,
        worker: Worker,
        clock: Callable[[], float] = time.monotonic,
        *,
        thinking: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """`thinking` is told True when the first model run begins, False when the last ends."""
        self.reuse = Reuse(clock, has_judge=lambda: worker.has_judge)
        self._worker = worker
        self._clock = clock
        self._thinking = thinking
        self._under_way = 0  # runs, those that were stopped and have not noticed yet included
        self._turns: dict[str, asyncio.Future[None]] = {}  # done when superseded
        self._runs: dict[str, _LiveRun] = {}
        self._arrivals: dict[str, float] = {}
        self._likely_next: Query | None = None
        self._ahead: _LiveRun | None = None
        self._ahead_next: tuple[Query, ...] = ()
        self._typing_on = 1.0  # how often the user did within the delay, of late
        self._load_ended = asyncio.Event()
        self._num_late = 0  # since the model last answered in time
        self._closed = False

    async def answer(self, query: Query, delay: float, *, patience: float = 0.0) -> QueryResult:
        """`delay` seconds of quiet must pass at most before the model runs; reuse needs none.

        A model that is being loaded is waited for `patience` seconds longer than for an answer, and
        the place then read before it is asked: nobody was idle yet.
        """
        if self._closed:
            return QueryResult(how="closed")
        uri = query.document.uri
        turn = self._take_turn(query)
        try:
            return await self._answer(query, turn, self._pause(query, delay), patience)
        except asyncio.CancelledError:
            if self._turns.get(uri) is turn:
                self._stop_run(uri)
            raise
        finally:
            if self._turns.get(uri) is turn:
                del self._turns[uri]

    def warm(self, query: Query) -> None:
        """Says where the next request is likely: encoded when the model is idle, and loaded."""
        if self._closed:
            return
        self._likely_next = query
        if self._worker.ready:
            self._worker.warm(query, self)

    def ahead(self, *queries: Query) -> None:
        """What may be asked next, the likeliest first: answered in turn when the model is idle,
        until one of them has something to show."""
        if self._ahead and any(_serves(self._ahead.run, query) for query in queries):
            return
        self._stop_ahead()
        if self._closed or not self._worker.ready:
            return
        for number, query in enumerate(queries):
            known = self.reuse.find(query)
            if known:
                return
            # What was said before is looked at first, which takes no model.
            said = () if query.said else self.reuse.said(query)
            if known is None and (said or not self.reuse.quiet(query)):
                wanted, rest = replace(query, said=said), queries[number + 1 :]
                live = _LiveRun(self._worker.ahead(wanted, self), asyncio.get_running_loop())
                self._ahead, self._ahead_next = live, (wanted, *rest) if said else rest
                self._follow(live)
                return

    def load_ended(self) -> None:
        """The worker has an engine now, or will have none."""
        self._load_ended.set()
        # Who waits comes first.
        if self._worker.ready and self._likely_next is not None and not self._turns:
            self._worker.warm(self._likely_next, self)

    def changed(self, document: Document) -> None:
        """An edit: the waiting request is about a text that is no more."""
        self._end_turn(document.uri)
        live = self._runs.get(document.uri)
        if live and not _still_says(live.run, document):
            self._stop_run(document.uri)
        if self._ahead and not _leads_to(document, self._ahead.run.query):
            self._stop_ahead()

    def closed(self, uri: str) -> None:
        """A document is no longer open, or its text no longer known."""
        self._end_turn(uri)
        self._stop_run(uri)
        if self._ahead and self._ahead.run.query.document.uri == uri:
            self._stop_ahead()
        self._arrivals.pop(uri, None)
        self.reuse.forget(uri)
        if self._likely_next is not None and self._likely_next.document.uri == uri:
            self._likely_next = None
        self._worker.forget(self, uri)

    def forget_files(self, gone: Gone) -> None:
        """Of the workspace: what was found with them is not shown any more, nor waited for."""
        self.reuse.forget_files(gone)
        for uri, live in list(self._runs.items()):
            if any_gone(live.run.query.surroundings.files, gone):
                self._stop_run(uri)
        if self._ahead and any_gone(self._ahead.run.query.surroundings.files, gone):
            self._stop_ahead()
        if self._likely_next and any_gone(self._likely_next.surroundings.files, gone):
            self._likely_next = None

    def close(self) -> None:
        """Ends all of it, here and in the worker: nothing that was opened stays."""
        if self._closed:
            return
        self._closed = True
        self._thinking = lambda _: None  # nobody is there to be told
        for uri in [*self._turns, *self._runs]:
            self._end_turn(uri)
            self._stop_run(uri)
        self._stop_ahead()
        self._arrivals.clear()
        self.reuse.clear()
        self._likely_next = None
        self._worker.forget(self)

    async def _answer(
        self, query: Query, turn: "asyncio.Future[None]", pause: float, patience: float
    ) -> QueryResult:
        known = self.reuse.find(query)
        if known is None:
            known = await self._checked(query, turn) or (() if self.reuse.quiet(query) else None)
        if known is not None:
            return QueryResult(how="reused", candidates=known)
        until = time.monotonic() + query.limits.seconds + GRACE_SECONDS
        if pause > BURST_SECONDS:  # the user's own pause comes before
            until += pause
        if pause:
            await asyncio.wait([turn], timeout=pause)
        loading = not self._worker.ready
        if loading:
            await self._load(turn, until + patience)
            if not (self._worker.ready or turn.done()):
                return QueryResult(how="no model yet")
            if patience and not turn.done():
                await self._read_first(query, turn)
                until = time.monotonic() + query.limits.seconds + GRACE_SECONDS
        while not turn.done():
            if (known := self.reuse.find(query)) is not None:
                return QueryResult(how="reused", candidates=known)
            live = self._run_for(query)
            left = max(until - time.monotonic(), 0.0)
            await asyncio.wait(
                [turn, live.ended], timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            if not (turn.done() or live.ended.done()):
                return QueryResult(how="late") if loading else self._late(query)
            if live.run.query is query and not turn.done():
                self._num_late = 0
                return _result_of(live.run)
            # A run that was joined has ended: what it found is in `reuse` now, if it fits.
        return QueryResult(how="superseded")

    async def _checked(self, query: Query, turn: "asyncio.Future[None]") -> "tuple[Candidate, ...]":
        """What is right here of what the model said a few typed characters ago."""
        said = self.reuse.said(query) if self._worker.ready else ()
        if not said:
            return ()
        live = self._start(replace(query, said=said))
        await asyncio.wait(
            [turn, live.ended], timeout=CHECK_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if not live.ended.done():
            live.run.stop()
            return ()
        result = _result_of(live.run)
        if result.candidates and result.infilled:
            said, judged = result.infilled.said, live.run.judged
            self.reuse.remember(query, result.candidates, said, judged=judged)
        return result.candidates

    async def _load(self, turn: "asyncio.Future[None]", until: float) -> None:
        """Waits for the end of a load, at most until then, or the turn's."""
        if self._worker.failed:
            return
        self._load_ended.clear()
        loaded = asyncio.create_task(self._load_ended.wait())
        either: list[asyncio.Future[Any]] = [turn, loaded]
        left = max(until - time.monotonic(), 0.0)
        try:
            await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loaded.cancel()

    async def _read_first(self, query: Query, turn: "asyncio.Future[None]") -> None:
        run = self._worker.read(query, self)
        either: list[asyncio.Future[Any]] = [turn, asyncio.wrap_future(run.result)]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:  # also where the request is taken back
            run.stop()

    def _late(self, query: Query) -> QueryResult:
        """The run goes on, for what it finds is there when it is asked for again."""
        self._num_late += 1
        ms = query.limits.seconds * 1e3
        complaint = (
            f"The model seldom answers within {ms:.0f} ms here. Give it more time with "
            "infill.deadlineMs, or choose a faster model; infill-ls doctor says how long it takes."
        )
        return QueryResult(how="late", complaint=complaint if self._num_late == NUM_LATE else "")

    def _take_turn(self, query: Query) -> "asyncio.Future[None]":
        uri = query.document.uri
        self._end_turn(uri)
        live = self._runs.get(uri)
        if live and not _serves(live.run, query):
            self._stop_run(uri)
        turn = self._turns[uri] = asyncio.get_running_loop().create_future()
        return turn

    def _run_for(self, query: Query) -> _LiveRun:
        """The one under way, if its drafts still fit, or a new one."""
        live = self._runs.get(query.document.uri)
        if live and _serves(live.run, query):
            return live
        self._stop_run(query.document.uri)
        ahead = self._ahead
        if ahead and ahead.run.begun and _serves(ahead.run, query):
            self._ahead, self._ahead_next = None, ()
            return self._waited_for(ahead)
        return self._waited_for(self._start(query))

    def _end_turn(self, uri: str) -> None:
        turn = self._turns.pop(uri, None)
        if turn and not turn.done():
            turn.set_result(None)

    def _pause(self, query: Query, delay: float) -> float:
        """As much of the delay as of the last times that it was waited the user typed on within
        it; none where a text begins, for there an answer is worth most."""
        now, uri = self._clock(), query.document.uri
        since = now - self._arrivals.get(uri, float("-inf"))
        self._arrivals[uri] = now
        if delay:
            self._typing_on += ((since < delay) - self._typing_on) / TYPING_ON
        pause = 0.0 if begins(query) else delay * self._typing_on
        return max(pause, BURST_SECONDS if since < BURST_SECONDS else 0.0)

    def _start(self, query: Query) -> _LiveRun:
        live = _LiveRun(self._worker.infill(query, self), asyncio.get_running_loop())
        self._follow(live)
        return live

    def _waited_for(self, live: _LiveRun) -> _LiveRun:
        """Now the run of its document, and the user is told that the model thinks."""
        self._runs[live.run.query.document.uri] = live
        live.waited_for = True
        self._under_way += 1
        if self._under_way == 1:
            self._thinking(True)
        return live

    def _follow(self, live: _LiveRun) -> None:
        """Has the loop told of the run's end."""
        loop = asyncio.get_running_loop()
        waiting = [live]  # until then: a future keeps its callbacks, and the run its future

        def finished(_: object) -> None:  # on the engine's thread
            ended = waiting.pop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._finished, ended)

        live.run.result.add_done_callback(finished)

    def _finished(self, live: _LiveRun) -> None:
        """Remembers before anyone who waits wakes up."""
        if live.waited_for:
            self._under_way -= 1
            if not self._under_way:
                self._thinking(False)
        query, result = live.run.query, _result_of(live.run)
        was_ahead = self._ahead is live
        if was_ahead or self._runs.get(query.document.uri) is live:
            if result.candidates or (not query.said and _found_nothing(result)):
                said = result.infilled.said if result.infilled else None
                judged, hurried = live.run.judged, _judge_had_no_time(live.run, result)
                self.reuse.remember(query, result.candidates, said, judged=judged, hurried=hurried)
            if was_ahead:
                self._ahead = None
                if not result.candidates:
                    self.ahead(*self._ahead_next)
            else:
                del self._runs[query.document.uri]
        live.ended.set_result(None)

    def _stop_ahead(self) -> None:
        live, self._ahead, self._ahead_next = self._ahead, None, ()
        if live:
            live.run.stop()

    def _stop_run(self, uri: str) -> None:
        live = self._runs.pop(uri, None)
        if live:
            live.run.stop()


def _result_of(run: ModelRun) -> QueryResult:
    """Of a run that has ended."""
    if error := run.result.exception():
        complaint = str(error) if isinstance(error, InfillError) else ""
        return QueryResult(how="failed", complaint=complaint)
    infilled = run.result.result()
    if infilled is None:
        return QueryResult(how="stopped")
    how = "model" if infilled.asked else "nothing to show"
    return QueryResult(how=how, candidates=infilled.candidates, infilled=infilled)


def _found_nothing(result: QueryResult) -> bool:
    """The model had its say, and nothing of it can be shown; more time would change nothing."""
    draft = result.infilled.draft if result.infilled else None
    return draft is not None and draft.converged


def _judge_had_no_time(run: ModelRun, result: QueryResult) -> bool:
    draft = result.infilled.draft if result.infilled else None
    return run.judged and draft is not None and draft.read is not None and not draft.read[2]


def _serves(run: ModelRun, query: Query) -> bool:
    """Whether waiting for this run is likely to answer the request."""
    asked = run.query
    typed = typed_since(asked, query.document)
    grown = len(query.document.text) - len(asked.document.text)
    if typed is None or query.offset != asked.offset + grown or query.limits != asked.limits:
        return False
    if asked.selected:
        return asked.selected == typed + query.selected
    return _says(run, typed + query.selected)


def _still_says(run: ModelRun, document: Document) -> bool:
    typed = typed_since(run.query, document)
    return typed is not None and _says(run, typed)


def _leads_to(document: Document, query: Query) -> bool:
    """Whether typing at the cursor makes a document the one of the query, or it is another one."""
    text, then = document.text, query.document.text
    after = then[query.offset :]
    typed = text[: max(len(text) - len(after), 0)]
    return document.uri != query.document.uri or (text.endswith(after) and then.startswith(typed))


def _says(run: ModelRun, text: str) -> bool:
    """Whether the run's newest draft begins so."""
    return not text or (run.draft is not None and run.draft.startswith(text))
