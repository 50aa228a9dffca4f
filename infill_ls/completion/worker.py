"""The one thread that touches the engine: it loads, infills, and warms up while idle.

Knows nothing of LSP or asyncio. Every method may be called from any thread and returns at once;
results come by futures that are set on the engine's thread. Nothing that goes wrong there ends it:
`Worker._do_next` is the one place that catches, logs, answers and goes on.
"""

import gc
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, TypeVar

from infill_engine import Budget, BudgetSpent, Draft, Engine, EngineConfig, EngineInfo, InfillError
from infill_ls.completion.next_edit.finder import EditFinder
from infill_ls.completion.runs import EditQuery, EditRun, Run, Task, no_model, nobody_waits
from infill_ls.completion.steps import SteppedRun, Steps
from infill_ls.completion.surroundings import NOTHING_AROUND, Surroundings
from infill_ls.documents import Document

if TYPE_CHECKING:  # the pipeline brings the grammars: the thread imports it, not the server's start
    from infill_ls.completion.candidate import Candidate
    from infill_ls.completion.context import InfillOptions
    from infill_ls.completion.pipeline import Infilled, Trees
    from infill_ls.completion.trace import Trace

logger = logging.getLogger(__name__)
T = TypeVar("T")
# Who asks gets the best of so many texts, also where one is to be shown: it is worth the time.
CHOICES_INVOKED = 3
# So long nothing may be to do before memory is given back: nobody types, so nobody has to wait.
QUIET_SECONDS = 1.0
# For what is read before an answer that somebody waits for.
READ_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLimits:
    """How much is wanted. `seconds` count from when the model was asked, waiting for other
    documents included.

    `min_confidence` None is what is shown from by default, times the user's `doubt`, where the
    engine says how probable its texts are.
    """

    max_lines: int
    max_tokens: int | None
    num_candidates: int
    num_choices: int = 1
    seconds: float
    min_confidence: float | None
    doubt: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What one request is about: an offset in a snapshot, what its text must start with, and what
    other files say. Of one that is to be explained `trace` is told all that happens. With what was
    `said` before of what belongs there, only that is looked at."""

    document: Document
    offset: int
    limits: QueryLimits
    selected: str = ""
    surroundings: Surroundings = NOTHING_AROUND
    trace: "Trace | None" = None
    said: "tuple[Candidate, ...]" = ()


class ModelRun(Run):
    """One run of the model, for a query. `draft` is the newest text of it, `judged` whether the
    engine had a judge, `result` None when it was stopped early."""

    def __init__(self, query: Query, owner: object) -> None:
        super().__init__(owner, query.limits.seconds)
        self.query = query
        self.begun = False
        self.draft: str | None = None
        self.judged = False
        self.result: Future[Infilled | None] = Future()
        self.result.set_running_or_notify_cancel()  # whoever waits for it cannot cancel it

    def begin(self) -> None:
        """Of a run that nobody waited for: its time begins now."""
        self.begun = True
        self.deadline = time.monotonic() + self.query.limits.seconds

    def watch(self, draft: Draft) -> None:
        """By the newest draft a later request tells whether the run is worth waiting for."""
        self.draft = draft.text


class Worker:
    """Owns the engine and its thread. Several connections may share one.

    `load` may take a `progress` as `load_engine` does.
    """

    def __init__(self, load: Callable[[EngineConfig], Engine]) -> None:
        self._load_engine = load
        self._progress = "", 0.0
        self._engine: Engine | None = None
        self.has_judge = False  # mostly it comes some time after the engine
        self._trees: dict[object, Trees] = {}  # by owner
        self._config: EngineConfig | None = None
        self._asked = False  # whether somebody has, or it was only begun
        self._loaded: Future[EngineInfo] | None = None
        self._changed = threading.Condition()
        self._tasks: deque[Task] = deque()
        self._steps: deque[Task] = deque()  # the next of what is performed: all else comes first
        self._runs: set[ModelRun] = set()
        self._waiting_ahead: ModelRun | None = None
        self._running_ahead: ModelRun | None = None
        self._waiting_warm: ModelRun | None = None
        self._running_warm: ModelRun | None = None
        self._edits = EditFinder()
        self._forgotten = False  # something was, and its memory is not given back yet
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="infill-engine", daemon=True)

    @property
    def config(self) -> EngineConfig | None:
        """What the engine was last asked to be."""
        return self._config if self._asked else None

    @property
    def ready(self) -> bool:
        return self._engine is not None

    @property
    def busy(self) -> bool:
        """Whether somebody waits for a run."""
        return bool(self._runs) or self._edits.busy

    @property
    def failed(self) -> bool:
        """Whether what was last asked for could not be loaded."""
        loaded = self._loaded
        return loaded is not None and loaded.done() and loaded.exception() is not None

    @property
    def progress(self) -> tuple[str, float]:
        """What the load is at, "" where the engine does not say, and which share of it is done."""
        return self._progress

    def begin(self, config: EngineConfig) -> None:
        """Loads what will most likely be asked for, before anybody could."""
        self.load(config)
        self._asked = False

    def load(self, config: EngineConfig) -> "Future[EngineInfo]":
        """Loads unless that is done or under way. The future raises ModelError if it cannot be."""
        with self._changed:
            self._asked = True
            if self._loaded is None or config != self._config or self.failed:
                self._config = config
                self._loaded = Future()
                self._loaded.set_running_or_notify_cancel()
                self._progress = "", 0.0
                self._engine = None  # two models at once would take twice the memory
                self._add(
                    Task(
                        name="loading the engine",
                        work=partial(self._load, config, self._loaded),
                        fail=partial(no_model, self._loaded),
                    )
                )
            return self._loaded

    def infill(self, query: Query, owner: object) -> ModelRun:
        run = ModelRun(query, owner)
        self._begin(run, Task("an infill", partial(self._infill, run), partial(self._failed, run)))
        return run

    def next_edit(self, query: EditQuery, owner: object) -> EditRun:
        """Needs neither the engine nor its thread."""
        return self._edits.find(query, owner)

    def _begin(self, run: ModelRun, task: Task) -> None:
        with self._changed:
            if self._closing:
                run.result.set_result(None)
                return
            self._runs.add(run)
            self._stop_idle()
            self._add(task)

    def ahead(self, query: Query, owner: object) -> ModelRun:
        """Answers, while nobody waits, what may be asked next; before anything is only encoded. The
        newest wish wins, and what somebody asks for stops it."""
        run = ModelRun(query, owner)
        with self._changed:
            before, self._waiting_ahead = self._waiting_ahead, run
            if before is not None:
                before.result.set_result(None)
            if self._running_ahead is not None:
                self._running_ahead.stop()
            self._put_off_warm()
            if self._closing:
                self._drop_ahead()
            self._changed.notify()
        return run

    def perform(self, work: Callable[[Engine], Steps[T]]) -> "Future[T | None]":
        """Other work, a step whenever nobody waits for an answer. None where there is no engine, or
        another one before it is done."""
        run = SteppedRun(work)
        with self._changed:
            self._put_off_warm()
            self._stop_idle()
            self._add_step(run)
        return run.done

    def read(self, query: Query, owner: object) -> ModelRun:
        """Encodes both sides of a place in its turn, for who waits for that; a failure ends it."""
        run = ModelRun(query, owner)
        run.deadline = time.monotonic() + READ_SECONDS

        def ended(_: BaseException | None = None) -> None:
            run.result.set_result(None)

        def work() -> None:
            self._warm(run, run.budget())
            ended()

        with self._changed:
            self._stop_idle()
            self._add(Task("reading", work, ended))
        return run

    def warm(self, query: Query, owner: object) -> None:
        """Encodes both sides of a place when nothing better is to do; the newest wish wins."""
        with self._changed:
            if self._running_warm:
                self._running_warm.stop()
            self._waiting_warm = ModelRun(query, owner)
            self._changed.notify()

    def forget(self, owner: object, uri: str | None = None) -> None:
        """Drops what is kept about an owner's document, or about all of them."""

        def concerns(warm: ModelRun | None) -> bool:
            if warm is None or warm.owner is not owner:
                return False
            return uri is None or warm.query.document.uri == uri

        with self._changed:
            # What waits would bring the document back after it was dropped.
            if concerns(self._waiting_warm):
                self._waiting_warm = None
            if self._running_warm is not None and concerns(self._running_warm):
                self._running_warm.stop()
            work = partial(self._forget, owner, uri)
            self._add(Task(name="forgetting a document", work=work, fail=nobody_waits))

    def close(self, timeout: float) -> bool:
        """Stops what runs and ends the threads; False when they did not end in time."""
        with self._changed:
            self._closing = True
            for run in self._runs:
                run.stop()
            self._stop_idle()
            self._changed.notify()
        ended = self._edits.close(timeout)
        if self._thread.is_alive():
            self._thread.join(timeout)
        return ended and not self._thread.is_alive()

    def _stop_idle(self) -> None:
        for idle in (self._running_ahead, self._running_warm):
            if idle is not None:
                idle.stop()

    def _put_off_warm(self) -> None:
        """Until what is done now is."""
        if (warm := self._running_warm) is not None:
            warm.stop()
            self._waiting_warm = self._waiting_warm or ModelRun(warm.query, warm.owner)

    def _add_step(self, run: SteppedRun[T]) -> None:
        step = Task("work on demand", partial(self._step, run), run.done.set_exception)
        self._add(step, self._steps)

    def _add(self, task: Task, to: deque[Task] | None = None) -> None:
        (self._tasks if to is None else to).append(task)
        if self._thread.ident is None:
            self._thread.start()
        self._changed.notify()

    # -- on the engine's thread -------------------------------------------------------------------

    def _run(self) -> None:
        while self._do_next():
            pass  # and keep nothing of it: it holds documents
        for run in self._runs:  # closing: they never ran
            run.result.set_result(None)
        with self._changed:
            self._drop_ahead()

    def _drop_ahead(self) -> None:
        if self._waiting_ahead is not None:
            self._waiting_ahead.result.set_result(None)
            self._waiting_ahead = None

    def _do_next(self) -> bool:
        """Waits for something to do and does it; False when there will be nothing any more."""
        task = self._next()
        if task is None:
            return False
        try:
            task.work()
        except InfillError as error:  # for the user, who is told: of a server that fails, say
            logger.error("%s failed: %s", task.name, error)
            task.fail(error)
        except BaseException as error:  # also of a library that calls sys.exit
            logger.exception("%s failed", task.name)
            task.fail(error)
        return True

    def _next(self) -> Task | None:
        with self._changed:
            self._running_ahead = self._running_warm = None
            while not (self._closing or self._tasks or self._steps or self._waiting_idle):
                if not self._changed.wait(QUIET_SECONDS if self._forgotten else None):
                    self._forgotten = False
                    return Task(name="giving back memory", work=self._give_back, fail=nobody_waits)
            if self._closing:
                return None
            if self._tasks or self._steps:
                return (self._tasks or self._steps).popleft()
            if (ahead := self._waiting_ahead) is not None:
                self._running_ahead, self._waiting_ahead = ahead, None
                return Task(
                    name="an infill ahead",
                    work=partial(self._ahead, ahead),
                    fail=ahead.result.set_exception,
                )
            warm, self._waiting_warm = self._waiting_warm, None
            self._running_warm = warm
            assert warm is not None, "woken for a reason"
            return Task(name="warming up", work=partial(self._warm, warm), fail=nobody_waits)

    @property
    def _waiting_idle(self) -> bool:
        return self._waiting_ahead is not None or self._waiting_warm is not None

    def _step(self, run: SteppedRun[T]) -> None:
        if run.step(self._engine):
            with self._changed:
                self._add_step(run)

    def _load(self, config: EngineConfig, loaded: "Future[EngineInfo]") -> None:
        started = time.perf_counter()
        engine = self._loaded_engine(config)
        # Now, rather than in the first request, and while the judge is being loaded.
        import infill_ls.completion.pipeline  # noqa: F401

        info = engine.describe()
        # All that was imported and loaded stays, or goes by its count of references. To look for
        # circles in it the collector would stop every thread now and then, 0.2 s each time.
        gc.freeze()
        with self._changed:
            if config == self._config:
                self._engine = engine
        logger.info(
            "engine ready after %.1f s: %s on %s, %s, %d threads",
            time.perf_counter() - started,
            info.model,
            info.device,
            info.dtype,
            info.threads,
        )
        loaded.set_result(info)

    def _loaded_engine(self, config: EngineConfig) -> Engine:
        if "progress" not in signature(self._load_engine).parameters:
            return self._load_engine(config)

        def progress(stage: str, done: float) -> None:
            self._progress = stage, done

        return self._load_engine(config, progress=progress)  # type: ignore[call-arg]

    def _infill(self, run: ModelRun) -> None:
        result = self._infilled(run)
        self._ended(run)
        self._warm_after(run)
        run.result.set_result(result)

    def _ahead(self, run: ModelRun) -> None:
        run.begin()
        run.result.set_result(self._infilled(run))

    def _infilled(self, run: ModelRun) -> "Infilled | None":
        if self._engine is None or run.stopped():
            return None
        from infill_ls.completion.pipeline import infill_at

        run.judged = self.has_judge = bool(self._engine.describe().judge_parameters)
        with suppress(BudgetSpent):
            return infill_at(
                self._engine,
                run.query.document,
                run.query.offset,
                _options(run.query, self._engine),
                trees=self._trees_of(run.owner),
                budget=run.budget(),
                watch=run.watch,
                trace=run.query.trace,
                said=run.query.said,
            )
        return None

    def _warm_after(self, run: ModelRun) -> None:
        """What there was no time to read before the answer is read after it, for the next one;
        first of all what was wished for since."""
        with self._changed:
            waiting = self._waiting_warm
            older = waiting is None or (waiting.owner is run.owner and waiting.asked < run.asked)
            if older and not (run.stopped() or self._closing):
                self._waiting_warm = ModelRun(run.query, run.owner)

    def _failed(self, run: ModelRun, error: BaseException) -> None:
        self._ended(run)
        run.result.set_exception(error)

    def _ended(self, run: ModelRun) -> None:
        with self._changed:
            self._runs.discard(run)

    def _warm(self, run: ModelRun, budget: Budget | None = None) -> None:
        """As far as the budget goes, or until somebody waits for something else."""
        if self._engine is None or run.stopped():
            return
        from infill_ls.completion.context import warm_request

        document, offset = run.query.document, run.query.offset
        request = warm_request(document, offset, _options(run.query, self._engine))
        budget = budget or Budget(cancelled=run.stopped)
        with suppress(BudgetSpent):
            self._engine.warm(request, budget=budget)
            self._trees_of(run.owner).parse_ahead(document, offset, budget=budget)
        self.has_judge = bool(self._engine.describe().judge_parameters)

    def _trees_of(self, owner: object) -> "Trees":
        from infill_ls.completion.pipeline import Trees

        return self._trees.setdefault(owner, Trees())

    def _forget(self, owner: object, uri: str | None) -> None:
        if uri is None:
            self._trees.pop(owner, None)
        elif owner in self._trees:
            self._trees[owner].forget(uri)
        self._forgotten = True

    def _give_back(self) -> None:
        """What was forgotten, to the system; and once nobody is left, what the engine keeps."""
        from infill_ls.heap import give_back  # not needed for a start

        if self._engine is not None and not self._trees:
            self._engine.forget()
        re.purge()  # expressions are made of what stands in documents
        give_back()


def _options(query: Query, engine: Engine) -> "InfillOptions":
    from infill_ls.completion.context import InfillOptions
    from infill_ls.completion.heads import shown_from

    least = query.limits.min_confidence
    if least is None:
        least = shown_from(engine.describe(), query.limits.doubt)
    return InfillOptions(
        max_lines=query.limits.max_lines,
        max_tokens=query.limits.max_tokens,
        num_candidates=query.limits.num_candidates,
        num_choices=query.limits.num_choices,
        seed=0,
        min_confidence=least,
        selected=query.selected,
        neighbours=query.surroundings.neighbours,
        elsewhere=query.surroundings.elsewhere,
    )
