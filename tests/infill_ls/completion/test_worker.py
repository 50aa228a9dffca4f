"""The engine's thread: what it does in which order, and that nothing ends it."""

import asyncio
from collections.abc import Callable

import pytest

from infill_engine import Engine, EngineConfig, ModelError
from infill_engine.load import silent
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


async def test_a_large_model_says_how_far_its_loading_is() -> None:
    def load(_: EngineConfig, progress: Callable[[str, float], None] = silent) -> Engine:
        progress("reading weights", 0.25)
        return Knowing(last_name)

    worker = Worker(load)
    await asyncio.wrap_future(worker.load(EngineConfig()))

    assert worker.progress == ("reading weights", 0.25)
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
