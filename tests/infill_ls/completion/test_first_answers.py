"""The first answers: the model is waited for, and what was found before the judge is not kept."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

from infill_engine import UNLIMITED, Budget, Draft, EngineInfo, InfillRequest
from tests.infill_ls.completion.test_requests import LIMITS, loading, query, serving, texts
from tests.infill_ls.engines import Knowing, last_name


async def test_who_asks_first_waits_for_the_load_and_is_answered_once_the_place_is_read() -> None:
    engine = Knowing(last_name)
    async with loading(engine) as (requests, may_load):
        soon = query("alpha ")
        soon = replace(soon, limits=replace(LIMITS, seconds=0.5))
        asked = asyncio.create_task(requests.answer(soon, 0.0, patience=60.0))
        await asyncio.sleep(1.0)
        assert not asked.done(), "that is longer than an answer may take"
        may_load.set()

        assert texts(await asked) == ["use_alpha"]
        (read, *_), (ran,) = engine.journal.times("warm"), engine.journal.times("infill")
        assert read < ran


class Slow(Knowing):
    """Reads until nobody wants it, or fails at once."""

    fails = False

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        self.journal.note("warm")
        if self.fails:
            raise RuntimeError("nothing to read with")
        while not budget.cancelled():
            time.sleep(0.001)
        self.journal.note("stopped")


async def test_a_first_request_that_is_taken_back_stops_its_reading() -> None:
    engine = Slow(last_name)
    async with loading(engine) as (requests, may_load):
        asked = asyncio.create_task(requests.answer(query("alpha "), 0.0, patience=60.0))
        await asyncio.sleep(0)
        may_load.set()
        await asyncio.to_thread(engine.journal.wait, "warm")
        asked.cancel()

        await asyncio.to_thread(engine.journal.wait, "stopped")


async def test_a_reading_that_fails_is_followed_by_the_answer() -> None:
    engine = Slow(last_name)
    engine.fails = True
    async with loading(engine) as (requests, may_load):
        asked = asyncio.create_task(requests.answer(query("alpha "), 0.0, patience=60.0))
        await asyncio.sleep(0)
        may_load.set()

        assert texts(await asked) == ["use_alpha"]


class Judged(Knowing):
    """Gets its judge when nobody waits, and says something else with it."""

    def __init__(self) -> None:
        super().__init__(lambda _: ["judged"] if self.judge else ["drafted"])
        self.judge, self.read = 0, 1

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        self.judge = 1
        super().warm(request, budget=budget)

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        for draft in super().infill(request, budget=budget):
            yield replace(draft, read=(1, 1, self.read))

    def describe(self) -> EngineInfo:
        return replace(super().describe(), judge_parameters=self.judge)


async def test_an_answer_from_before_the_judge_does_not_stick() -> None:
    engine = Judged()
    async with serving(engine) as requests:
        assert texts(await requests.answer(query("x = "), 0.0)) == ["drafted"]
        await asyncio.to_thread(engine.journal.wait, "warm")
        await asyncio.wrap_future(requests._worker.read(query("x = "), requests).result)
        assert texts(await requests.answer(query("x = "), 0.0)) == ["judged"]
        await asyncio.wrap_future(requests._worker.read(query("x = "), requests).result)
        for _ in range(3):
            assert (await requests.answer(query("x = "), 0.0)).how == "reused"
        assert texts(await requests.answer(query("x = j"), 0.0)) == ["udged"]

    assert engine.journal.count("infill") == 2


async def test_nothing_is_looked_for_again_where_the_judge_had_no_time() -> None:
    engine = Judged()
    engine.judge, engine.read = 1, 0
    engine._knows = lambda _: ["  "]
    async with serving(engine) as requests:
        assert (await requests.answer(query("x = "), 0.0)).how == "model"
        engine.read = 1
        assert (await requests.answer(query("x = "), 0.0)).how == "model"
        assert (await requests.answer(query("x = "), 0.0)).how == "reused"
