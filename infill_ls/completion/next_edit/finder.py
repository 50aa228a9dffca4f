"""The thread that looks for next edits: rules need no engine, so they wait for none that is being
loaded, reads or writes.

Knows nothing of LSP or asyncio, and shares nothing with the engine's thread: documents are frozen,
and what is parsed here is parsed whole. Every method may be called from any thread and returns at
once; results come by futures that are set on this one.
"""

import logging
import queue
import threading
import time

from infill_engine import BudgetSpent, InfillError
from infill_ls.completion.runs import EditQuery, EditRun

logger = logging.getLogger(__name__)
# More for the first one, whose rules and grammars may have to be imported.
IMPORT_SECONDS = 5.0


class EditFinder:
    """One search at a time, in the order in which they are asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[EditRun | None] = queue.SimpleQueue()
        self._runs: set[EditRun] = set()
        self._imported = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="infill-next-edit", daemon=True)

    @property
    def busy(self) -> bool:
        """Whether somebody waits for one."""
        return bool(self._runs)

    def find(self, query: EditQuery, owner: object) -> EditRun:
        run = EditRun(query, owner)
        with self._lock:
            if self._closing:
                run.result.set_result(None)
                return run
            if not self._imported:
                run.deadline += IMPORT_SECONDS
            self._runs.add(run)
            self._waiting.put(run)
            if self._thread.ident is None:
                self._thread.start()
        return run

    def close(self, timeout: float) -> bool:
        """Stops what runs and ends the thread; False when it did not end in time."""
        with self._lock:
            self._closing = True
            for run in self._runs:
                run.stop()
            self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    # -- on its thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while (run := self._waiting.get()) is not None:
            self._answer(run)
            del run  # it holds a document

    def _answer(self, run: EditRun) -> None:
        """The one place that catches, logs, answers and goes on."""
        error: BaseException | None = None
        try:
            self._find(run)
        except InfillError as failed:
            logger.error("a next edit failed: %s", failed)
            error = failed
        except BaseException as failed:
            logger.exception("a next edit failed")
            error = failed
        with self._lock:
            self._runs.discard(run)
        if error is None:
            run.result.set_result(run.found)
        else:
            run.result.set_exception(error)

    def _find(self, run: EditRun) -> None:
        if run.stopped():
            return
        from infill_ls.completion.next_edit.offer import likeliest

        query = run.query
        if not self._imported:
            self._imported = True
            run.deadline = time.monotonic() + query.seconds
        try:
            run.found = likeliest(
                query.document,
                query.edits,
                elsewhere=query.elsewhere,
                budget=run.budget(),
            )
        except BudgetSpent:
            run.late = True
