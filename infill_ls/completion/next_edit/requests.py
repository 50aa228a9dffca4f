"""Which requests for a next edit are answered: the newest of each document.

Every one gets its answer, by its deadline; one that a newer one or an edit overtakes is answered
empty at once, and its work ends. Belongs to the event loop of one connection.
"""

import asyncio
import logging
import math
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from infill_engine import Budget, Engine, InfillError
from infill_ls.completion.next_edit.calibration import (
    SHOWN_FROM,
    SHOWN_FROM_OPENED,
    weighed,
)
from infill_ls.completion.next_edit.record import Expected
from infill_ls.completion.runs import EditQuery, EditRun
from infill_ls.completion.steps import Steps
from infill_ls.completion.worker import Worker

if TYPE_CHECKING:  # it brings the grammars: the finder's thread imports it
    from infill_ls.completion.next_edit.offer import Found, NextEdit
    from infill_ls.completion.next_edit.weighed import Alternatives

logger = logging.getLogger(__name__)
# Past the deadline, for the last look at it.
GRACE_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class EditResult:
    """`how` is for the log, `complaint` for the user where it failed for a reason. `expected` is
    all that was proposed."""

    how: str  # "offered" | "nothing" | "no edit" | "superseded" | "late" | "failed" | "stopped"
    edit: "NextEdit | None" = None
    expected: tuple[Expected, ...] = ()
    complaint: str = ""


@dataclass(slots=True)
class EditCounts:
    """For the log."""

    shown: int = 0
    accepted: int = 0

    def __str__(self) -> str:
        return f"next edits shown {self.shown}, accepted {self.accepted}"


class EditRequests:
    """The live request of each document of one connection. `counts` are what became of answers."""

    def __init__(self, worker: Worker) -> None:
        self.counts = EditCounts()
        self._worker = worker
        self._turns: dict[str, asyncio.Future[None]] = {}  # done when superseded
        self._closed = False

    async def answer(self, query: EditQuery, min_confidence: float = 0.0) -> EditResult:
        if self._closed:
            return EditResult(how="closed")
        uri, loop = query.document.uri, asyncio.get_running_loop()
        self.ended(uri)
        if not query.edits and (query.touched or not query.elsewhere.changes):
            return EditResult(how="no edit")
        turn = self._turns[uri] = loop.create_future()
        run = self._worker.next_edit(query, self)
        try:
            result = await self._answer(run, turn, loop)
            if result.edit is not None:
                weighed_edit = await self._weighed(run, turn, result.edit, min_confidence)
                result = replace(weighed_edit, expected=result.expected)
            return result
        finally:
            run.stop()
            if self._turns.get(uri) is turn:
                del self._turns[uri]

    def ended(self, uri: str) -> None:
        """What it is asked of changed, or is closed."""
        turn = self._turns.pop(uri, None)
        if turn is not None and not turn.done():
            turn.set_result(None)

    def close(self) -> None:
        self._closed = True
        for uri in [*self._turns]:
            self.ended(uri)

    async def _answer(
        self, run: EditRun, turn: "asyncio.Future[None]", loop: asyncio.AbstractEventLoop
    ) -> EditResult:
        done: asyncio.Future[None] = loop.create_future()

        def finish() -> None:
            if not done.done():
                done.set_result(None)

        def finished(_: object) -> None:  # on the finder's thread
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish)

        run.result.add_done_callback(finished)
        left = max(run.deadline + GRACE_SECONDS - time.monotonic(), 0.0)
        await asyncio.wait([turn, done], timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if turn.done():
            return EditResult(how="superseded")
        if not done.done():
            return EditResult(how="late")
        if error := run.result.exception():
            complaint = str(error) if isinstance(error, InfillError) else ""
            return EditResult(how="failed", complaint=complaint)
        if run.late:
            return EditResult(how="late")
        return _found(run.result.result())

    async def _weighed(
        self, run: EditRun, turn: "asyncio.Future[None]", edit: "NextEdit", min_confidence: float
    ) -> EditResult:
        """By the rules and the judge, or by the rules alone where it has no time."""
        least = max(_shown_from(run.query), min_confidence)
        likely = weighed(edit.confidence, edit.agreed, None)
        if self._worker.has_judge:
            worst, best = (weighed(edit.confidence, edit.agreed, x) for x in (-math.inf, math.inf))
            likely = min(max(likely, worst), best)
            if worst < least <= best:  # else it is shown, or not, whatever the judge says
                said = await self._judged(run, turn, edit)
                if turn.done():
                    return EditResult(how="superseded")
                likely = likely if said is None else weighed(edit.confidence, edit.agreed, said)
        return _offered(replace(edit, confidence=likely) if likely >= least else None)

    async def _judged(
        self, run: EditRun, turn: "asyncio.Future[None]", edit: "NextEdit"
    ) -> float | None:
        """By how many nats the judge finds the new lines likelier; None where it does not say so
        in time."""
        budget = run.budget()
        work = partial(_nats, edit.alternatives, budget)
        done = asyncio.wrap_future(self._worker.perform(work))
        waiting: set[asyncio.Future[Any]] = {turn, done}
        await asyncio.wait(waiting, timeout=budget.left(), return_when=asyncio.FIRST_COMPLETED)
        if turn.done() or not done.done():
            done.cancel()
            return None
        if error := done.exception():
            logger.warning("a next edit is not weighed: %s", error)
            return None
        return next(iter(done.result() or ()), None)


def _shown_from(query: EditQuery) -> float:
    return SHOWN_FROM if query.edits else SHOWN_FROM_OPENED


def _found(found: "Found | None") -> EditResult:
    if found is None:
        return _offered(None)
    return replace(_offered(found.edit), expected=found.expected)


def _offered(edit: "NextEdit | None") -> EditResult:
    return EditResult(how="nothing" if edit is None else "offered", edit=edit)


def _nats(of: "Alternatives", budget: Budget, engine: Engine) -> Steps[tuple[float, ...]]:
    """How much likelier the judge finds the new lines, where it says so."""
    from infill_engine.weighing import weigh

    found = yield from weigh(engine, of.before, (of.new, of.old), budget)
    return () if found is None else (found[0] - found[1],)
