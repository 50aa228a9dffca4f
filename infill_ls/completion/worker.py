"""The one thread that touches the engine: it loads, infills, and reads ahead while idle.

Knows nothing of LSP or asyncio. Every method may be called from any thread and returns at once;
results come by futures that are set on the engine's thread.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING

from infill_engine import Budget, Draft, Engine, EngineConfig, EngineInfo, InfillError, ModelError
from infill_ls.documents import Document

if TYPE_CHECKING:  # the pipeline brings the grammars: the thread imports it, not the server's start
    from infill_ls.completion.context import InfillOptions
    from infill_ls.completion.pipeline import Infilled, Trees

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is wanted. `seconds` count from the start of the model run.

    `min_confidence` None is the engine's own `show_threshold`.
    """

    max_lines: int
    max_tokens: int | None
    num_candidates: int
    seconds: float
    min_confidence: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one request is about: a place in a snapshot, and what its text must start with."""

    document: Document
    offset: int
    limits: Limits
    selected: str = ""


class Job:
    """One model run. `draft` is the newest text of it, `result` None when it was stopped early."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.draft: str | None = None
        self.result: Future[Infilled | None] = Future()
        self.result.set_running_or_notify_cancel()  # whoever waits for it cannot cancel it
        self._stopped = False

    def see(self, draft: Draft) -> None:
        """By the newest draft a later request tells whether the run is worth waiting for."""
        self.draft = draft.text

    def stop(self) -> None:
        """The engine asks before every step, so it ends within one."""
        self._stopped = True

    def stopped(self) -> bool:
        return self._stopped


class Worker:
    """Owns the engine and its thread. Several connections may share one.

    `load` may take a `progress` as `load_engine` does.
    """

    def __init__(self, load: Callable[[EngineConfig], Engine]) -> None:
        self._load_engine = load
        self._loading: list[Callable[[str, float], None]] = []  # who wants to hear of it
        self._engine: Engine | None = None
        self._trees: Trees | None = None
        self._config: EngineConfig | None = None
        self._loaded: Future[EngineInfo] | None = None
        self._changed = threading.Condition()
        self._tasks: deque[Callable[[], None]] = deque()
        self._jobs: set[Job] = set()
        self._waiting_warm: Job | None = None
        self._running_warm: Job | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="infill-engine", daemon=True)

    @property
    def config(self) -> EngineConfig | None:
        """What the engine was last asked to be."""
        return self._config

    @property
    def ready(self) -> bool:
        return self._engine is not None

    def load(self, config: EngineConfig) -> "Future[EngineInfo]":
        """Loads unless that is done or under way. The future raises ModelError if it cannot be."""
        with self._changed:
            failed = self._loaded and self._loaded.done() and self._loaded.exception()
            if self._loaded is None or config != self._config or failed:
                self._config = config
                self._loaded = Future()
                self._loaded.set_running_or_notify_cancel()
                self._engine = None  # two models at once would take twice the memory
                self._add(partial(self._load, config, self._loaded))
            return self._loaded

    def on_loading(self, hear: Callable[[str, float], None]) -> None:
        """Calls `hear` on the engine's thread with what a load is at, and which share is done."""
        self._loading.append(hear)

    def infill(self, ask: Ask) -> Job:
        job = Job(ask)
        with self._changed:
            if self._closing:
                job.result.set_result(None)
                return job
            self._jobs.add(job)
            if self._running_warm:
                self._running_warm.stop()
            self._add(partial(self._infill, job))
        return job

    def warm(self, ask: Ask) -> None:
        """Reads both sides of a place when there is nothing better to do; the newest wish wins."""
        with self._changed:
            if self._running_warm:
                self._running_warm.stop()
            self._waiting_warm = Job(ask)
            self._changed.notify()

    def forget(self, uri: str) -> None:
        """Drops what is kept about a document."""
        with self._changed:
            self._add(partial(self._forget, uri))

    def close(self, timeout: float) -> bool:
        """Stops what runs and ends the thread; False when it did not end in time."""
        with self._changed:
            self._closing = True
            for job in self._jobs:
                job.stop()
            if self._running_warm:
                self._running_warm.stop()
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _add(self, task: Callable[[], None]) -> None:
        self._tasks.append(task)
        if self._thread.ident is None:
            self._thread.start()
        self._changed.notify()

    def _run(self) -> None:
        while task := self._next():
            task()
        for job in self._jobs:  # closing: they never ran
            job.result.set_result(None)

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            self._running_warm = None
            while not (self._closing or self._tasks or self._waiting_warm):
                self._changed.wait()
            if self._closing:
                return None
            if self._tasks:
                return self._tasks.popleft()
            warm, self._waiting_warm = self._waiting_warm, None
            self._running_warm = warm
            assert warm is not None, "woken for a reason"
            return partial(self._warm, warm)

    def _load(self, config: EngineConfig, loaded: "Future[EngineInfo]") -> None:
        started = time.perf_counter()
        try:
            from infill_ls.completion.pipeline import Trees

            engine = self._loaded_engine(config)
            self._trees = Trees()
            info = engine.describe()
        except InfillError as error:
            logger.error("no engine: %s", error)
            loaded.set_exception(error)
        except Exception as error:
            logger.exception("loading the engine failed")
            loaded.set_exception(
                ModelError(f"The model could not be loaded ({type(error).__name__}: {error}).")
            )
        else:
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
        finally:
            self._loading.clear()

    def _loaded_engine(self, config: EngineConfig) -> Engine:
        if "progress" not in signature(self._load_engine).parameters:
            return self._load_engine(config)

        def progress(stage: str, done: float) -> None:
            for hear in self._loading:
                hear(stage, done)

        return self._load_engine(config, progress=progress)  # type: ignore[call-arg]

    def _infill(self, job: Job) -> None:
        try:
            result = None if job.stopped() else self._infilled(job)
        except InfillError as error:  # of a server that fails, say: told to the user
            logger.error("an infill failed: %s", error)
            job.result.set_exception(error)
        except Exception as error:  # the request boundary: an engine's fault costs one answer
            logger.exception("an infill failed")
            job.result.set_exception(error)
        else:
            job.result.set_result(result)
        finally:
            with self._changed:
                self._jobs.discard(job)

    def _infilled(self, job: Job) -> "Infilled | None":
        from infill_ls.completion.pipeline import infill_at

        engine, trees = self._engine, self._trees
        if engine is None or trees is None:
            return None
        return infill_at(
            engine,
            job.ask.document,
            job.ask.offset,
            _options(job.ask, engine),
            trees=trees,
            budget=_budget(job),
            watch=job.see,
        )

    def _warm(self, job: Job) -> None:
        from infill_ls.completion.context import warm_request

        if self._engine is None:
            return
        request = warm_request(job.ask.document, job.ask.offset, _options(job.ask, self._engine))
        try:
            self._engine.warm(request, budget=Budget(cancelled=job.stopped))
            if self._trees and not job.stopped():
                # The first parse of a large file takes longer than any other.
                self._trees.place(job.ask.document, job.ask.offset)
                if not job.stopped():
                    self._trees.settle(job.ask.document)
        except Exception:
            logger.exception("reading ahead failed")

    def _forget(self, uri: str) -> None:
        if self._trees:
            self._trees.forget(uri)


def _budget(job: Job) -> Budget:
    return Budget(deadline=time.monotonic() + job.ask.limits.seconds, cancelled=job.stopped)


def _options(ask: Ask, engine: Engine) -> "InfillOptions":
    from infill_ls.completion.context import InfillOptions

    least = ask.limits.min_confidence
    return InfillOptions(
        max_lines=ask.limits.max_lines,
        max_tokens=ask.limits.max_tokens,
        num_candidates=ask.limits.num_candidates,
        seed=0,
        min_confidence=engine.describe().show_threshold if least is None else least,
        selected=ask.selected,
    )
