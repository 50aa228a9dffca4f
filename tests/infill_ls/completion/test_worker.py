"""The engine's thread: what it does in which order, and that nothing ends it."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from infill_engine import (
    UNLIMITED,
    Budget,
    BudgetSpent,
    Draft,
    Engine,
    EngineConfig,
    EngineInfo,
    InfillError,
    InfillRequest,
    ModelError,
    RequestError,
)
from infill_engine.load import silent
from infill_ls import heap
from infill_ls.completion import worker as worker_module
from infill_ls.completion.worker import Query, QueryLimits, Worker
from infill_ls.documents import Document
from tests.infill_ls.engines import Knowing, Stepping, last_name, loads, unloadable

LIMITS = QueryLimits(
    max_lines=6, max_tokens=None, num_candidates=1, seconds=30.0, min_confidence=0.0
)
ME = "me"


def query(text: str, *, uri: str = "file:///a.x", language: str = "x") -> Query:
    """At the end of the text."""
    document = Document(uri=uri, version=1, language_id=language, text=text)
    return Query(document=document, offset=len(text), limits=LIMITS)


async def eventually(event: Callable[..., None], *arguments: object) -> None:
    await asyncio.to_thread(event, *arguments)


async def warming(engine: Stepping) -> Worker:
    worker = Worker(loads(engine))
    await asyncio.wrap_future(worker.load(EngineConfig()))
    worker.warm(query("alpha "), ME)
    await eventually(engine.journal.wait, "warm", 1)
    return worker


async def test_a_request_interrupts_reading_ahead() -> None:
    engine = Stepping(last_name, steps=1, keeps_warming=True)
    worker = await warming(engine)
    engine.allow(1)
    run = worker.infill(query("alpha "), ME)
    infilled = await asyncio.wrap_future(run.result)

    assert infilled is not None
    assert [candidate.text for candidate in infilled.candidates] == ["use_alpha"]
    assert worker.close(60)


async def test_reading_ahead_is_for_the_newest_place_alone() -> None:
    engine = Stepping(last_name, steps=1, keeps_warming=True)
    worker = await warming(engine)
    worker.warm(query("beta "), ME)
    await eventually(engine.journal.wait, "warmed", 1)
    await eventually(engine.journal.wait, "warm", 2)

    assert worker.close(60)
    assert engine.journal.count("warm") == 2


async def test_what_was_asked_about_is_read_rather_than_what_was_opened_before_it() -> None:
    engine = Stepping(last_name, steps=1)
    worker = Worker(loads(engine))
    await asyncio.wrap_future(worker.load(EngineConfig()))
    worker.infill(query("alpha "), ME)
    await eventually(engine.journal.wait, "step", 1)
    worker.warm(query("opened "), ME)
    asked = worker.infill(query("beta "), ME)
    engine.allow(2)
    await asyncio.wrap_future(asked.result)
    await eventually(engine.journal.wait, "warmed", 1)

    assert worker.close(60)
    assert engine.warmed == ["beta "]


async def test_an_engine_that_cannot_be_loaded_says_why_and_is_tried_again_when_asked() -> None:
    worker = Worker(unloadable)
    for _ in range(2):
        with pytest.raises(ModelError, match="There is no model in default"):
            await asyncio.wrap_future(worker.load(EngineConfig()))
    run = worker.infill(query("alpha "), ME)

    assert await asyncio.wrap_future(run.result) is None
    assert not worker.ready
    assert worker.close(60)


async def test_an_unexpected_fault_in_loading_is_a_model_error_too() -> None:
    def broken(_: EngineConfig) -> Engine:
        raise ImportError("no torch here")

    worker = Worker(broken)
    with pytest.raises(ModelError, match="no torch here"):
        await asyncio.wrap_future(worker.load(EngineConfig()))
    assert worker.close(60)


async def test_another_configuration_loads_another_engine_and_the_same_one_does_not() -> None:
    configs: list[str] = []

    def load(config: EngineConfig) -> Engine:
        configs.append(config.model)
        return Knowing(last_name)

    worker = Worker(load)
    for model in ("a", "a", "b"):
        await asyncio.wrap_future(worker.load(EngineConfig(model=model)))

    assert configs == ["a", "b"]
    assert worker.ready
    assert worker.close(60)


async def test_what_was_begun_before_anybody_asked_is_loaded_once_and_binds_nobody() -> None:
    configs: list[str] = []

    def load(config: EngineConfig) -> Engine:
        configs.append(config.model)
        return Knowing(last_name)

    worker = Worker(load)
    worker.begin(EngineConfig(model="a"))
    assert worker.config is None
    await asyncio.wrap_future(worker.load(EngineConfig(model="a")))
    assert worker.config == EngineConfig(model="a")
    assert configs == ["a"]

    await asyncio.wrap_future(worker.load(EngineConfig(model="b")))
    assert worker.config == EngineConfig(model="b")
    assert worker.close(60)


async def test_a_large_model_says_how_far_its_loading_is() -> None:
    def load(_: EngineConfig, progress: Callable[[str, float], None] = silent) -> Engine:
        progress("reading weights", 0.25)
        return Knowing(last_name)

    worker = Worker(load)
    await asyncio.wrap_future(worker.load(EngineConfig()))

    assert worker.progress == ("reading weights", 0.25)
    assert worker.close(60)


async def test_the_collector_does_not_look_through_what_was_loaded() -> None:
    gc.unfreeze()
    worker = Worker(loads(Knowing(last_name)))
    await asyncio.wrap_future(worker.load(EngineConfig()))
    kept = gc.get_freeze_count()
    gc.unfreeze()

    assert kept > 10_000
    assert worker.close(60)


async def test_closing_stops_the_model_and_leaves_nobody_waiting() -> None:
    engine = Stepping(last_name, steps=50)
    worker = Worker(loads(engine))
    await asyncio.wrap_future(worker.load(EngineConfig()))
    runs = [worker.infill(query(f"n{n} "), ME) for n in range(3)]
    await eventually(engine.journal.wait, "step", 1)

    assert not worker.close(0)  # it is in a step
    engine.allow(100)
    assert await asyncio.to_thread(worker.close, 60)
    results = [
        await asyncio.wrap_future(run.result) for run in (*runs, worker.infill(query("x"), ME))
    ]
    assert all(result is None or not result.candidates for result in results)
    assert (engine.journal.count("infill"), engine.journal.count("step")) == (1, 1)


class Broken(Knowing):
    """Raises what it is told to, in whatever it is asked first, and knows afterwards."""

    def __init__(self, error: BaseException, where: str) -> None:
        super().__init__(last_name)
        self._error: BaseException | None = error
        self._where = where

    def _fail(self, where: str) -> None:
        error, matters = self._error, where == self._where
        if error is not None and matters:
            self._error = None
            self.journal.note("failed")
            raise error

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        self._fail("infill")
        for draft in super().infill(request, budget=budget):
            self._fail("draft")
            yield draft

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        self._fail("warm")
        super().warm(request, budget=budget)

    def describe(self) -> EngineInfo:
        self._fail("describe")
        return super().describe()


ERRORS = [
    *(RuntimeError, MemoryError, RecursionError, AssertionError, SystemExit, KeyboardInterrupt),
    *(GeneratorExit, StopIteration, BudgetSpent, RequestError),
]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("where", ["infill", "draft", "warm", "describe"])
async def test_nothing_that_an_engine_raises_ends_its_thread(
    where: str, error: type[BaseException]
) -> None:
    engine = Broken(error("broken"), where)
    worker = Worker(loads(engine))
    with suppress(InfillError):  # of an engine that cannot be described, which is loaded again
        await asyncio.wrap_future(worker.load(EngineConfig()))
    await asyncio.wrap_future(worker.load(EngineConfig()))
    worker.warm(query("alpha "), ME)
    await eventually(engine.journal.wait, "failed" if where == "warm" else "warm")
    first = worker.infill(query("alpha "), ME)
    await asyncio.to_thread(first.result.exception, 60)
    second = await asyncio.wrap_future(worker.infill(query("beta "), ME).result)

    assert engine.journal.count("failed") == 1
    assert second is not None
    assert [candidate.text for candidate in second.candidates] == ["use_beta"]
    assert worker.close(60)


async def test_nothing_that_a_document_is_ends_the_thread() -> None:
    worker = Worker(loads(Knowing(last_name)))
    await asyncio.wrap_future(worker.load(EngineConfig()))
    odd: Any = None
    for language in (odd, 3, [], "\ud83d", "no such language", "x" * 10_000):
        worker.warm(query("alpha ", language=language), ME)
        run = worker.infill(query("alpha \ud83d", language=language), ME)
        await asyncio.to_thread(run.result.exception, 60)
        worker.forget(ME, "file:///never.opened")
        worker.forget(odd)
    after = await asyncio.wrap_future(worker.infill(query("beta "), ME).result)

    assert after is not None
    assert [candidate.text for candidate in after.candidates] == ["use_beta"]
    assert worker.close(60)


async def test_what_waits_to_be_warmed_is_forgotten_with_its_document() -> None:
    engine = Stepping(last_name, steps=1, keeps_warming=True)
    worker = await warming(engine)
    worker.warm(query("of another owner"), "another")
    worker.warm(query("beta ", uri="file:///b.x"), ME)  # waits, and is the newest wish
    worker.forget(ME, "file:///b.x")
    engine.allow(1)
    run = worker.infill(query("gamma "), ME)
    await asyncio.wrap_future(run.result)

    assert not [prefix for prefix in engine.warmed if "beta" in prefix]
    assert worker.close(60)


async def test_what_is_forgotten_is_given_back_once_nothing_is_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Knowing(last_name)
    monkeypatch.setattr(worker_module, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(heap, "give_back", lambda: engine.journal.note("given back"))
    worker = Worker(loads(engine))
    await asyncio.wrap_future(worker.load(EngineConfig()))
    for owner in (ME, "another"):
        await asyncio.wrap_future(worker.infill(query("alpha "), owner).result)

    worker.forget(ME)
    await asyncio.wrap_future(worker.infill(query("beta "), "another").result)
    assert engine.journal.count("given back") == 0  # somebody was waiting
    await eventually(engine.journal.wait, "given back", 1)
    assert engine.journal.count("forget") == 0  # somebody is left

    worker.forget("another")
    await eventually(engine.journal.wait, "given back", 2)
    assert engine.journal.count("forget") == 1
    await asyncio.sleep(0.5)
    assert engine.journal.count("given back") == 2  # there is nothing more of it
    assert worker.close(60)
