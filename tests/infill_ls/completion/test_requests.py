"""The newest request of a document wins, every request is answered, and the model stops at once."""

import asyncio
import gc
import math
import random
import socket
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from infill_engine import (
    UNLIMITED,
    Budget,
    Draft,
    Engine,
    EngineConfig,
    EngineInfo,
    InfillRequest,
    ModelError,
    load_engine,
)
from infill_ls.completion.heads import SHOWN_FROM, percent
from infill_ls.completion.requests import NUM_LATE, QueryResult, Requests
from infill_ls.completion.worker import Query, QueryLimits, Worker
from infill_ls.documents import Document
from infill_ls.server.policy import limits_of
from infill_ls.settings import Settings
from tests.infill_ls.engines import (
    Failing,
    Knowing,
    Stepping,
    always,
    last_name,
    loads,
    unloadable,
)

LIMITS = QueryLimits(
    max_lines=6, max_tokens=None, num_candidates=1, seconds=30.0, min_confidence=0.0
)


def query(text: str, offset: int | None = None, *, version: int = 1, selected: str = "") -> Query:
    """At the end of the text unless `offset` says otherwise."""
    document = Document(uri="file:///a.x", version=version, language_id="x", text=text)
    at = len(text) if offset is None else offset
    return Query(document=document, offset=at, limits=LIMITS, selected=selected)


@asynccontextmanager
async def serving(
    engine: Engine,
    clock: Callable[[], float] = time.monotonic,
    thinking: Callable[[bool], None] = lambda _: None,
) -> AsyncIterator[Requests]:
    worker = Worker(loads(engine))
    await asyncio.wrap_future(worker.load(EngineConfig()))
    requests = Requests(worker, clock, thinking=thinking)
    try:
        yield requests
    finally:
        requests.close()
        assert await asyncio.to_thread(worker.close, 60)


def texts(answer: QueryResult) -> list[str]:
    return [candidate.text for candidate in answer.candidates]


async def started(requests: Requests, engine: Knowing, what: Query) -> asyncio.Task[QueryResult]:
    """A request whose model run has begun."""
    before = engine.journal.count("infill")
    task = asyncio.create_task(requests.answer(what, 0.0))
    await asyncio.to_thread(engine.journal.wait, "infill", before + 1)
    return task


async def drafted(requests: Requests, engine: Stepping, what: Query) -> asyncio.Task[QueryResult]:
    """A request whose model run has shown its first draft."""
    before = engine.journal.count("step")
    task = await started(requests, engine, what)
    engine.allow(1)
    await asyncio.to_thread(engine.journal.wait, "step", before + 2)
    return task


@asynccontextmanager
async def loading(
    engine: Engine | ModelError,
) -> AsyncIterator[tuple[Requests, threading.Event]]:
    """While an engine loads, until the event is set; or an error comes of it."""
    may_load = threading.Event()

    def load(config: EngineConfig) -> Engine:
        may_load.wait(60)
        if isinstance(engine, ModelError):
            raise engine
        return engine

    worker = Worker(load)
    requests = Requests(worker)
    loaded = asyncio.wrap_future(worker.load(EngineConfig()))
    loaded.add_done_callback(lambda _: requests.load_ended())
    try:
        yield requests, may_load
    finally:
        may_load.set()
        requests.close()
        assert await asyncio.to_thread(worker.close, 60)


async def test_a_request_waits_for_the_model_that_loads() -> None:
    async with loading(Knowing(last_name)) as (requests, may_load):
        asked = asyncio.create_task(requests.answer(query("alpha "), 0.0))
        await asyncio.sleep(0.01)
        assert not asked.done()
        may_load.set()

        assert texts(await asked) == ["use_alpha"]


async def test_of_requests_that_wait_for_the_model_the_newest_gets_it() -> None:
    engine = Knowing(last_name)
    async with loading(engine) as (requests, may_load):
        requests.warm(query("alpha "))
        asked = [asyncio.create_task(requests.answer(query("alpha "), 0.0)) for _ in range(5)]
        await asyncio.sleep(0.01)
        may_load.set()

        answers = [answer.how for answer in await asyncio.gather(*asked)]
        assert answers == ["superseded"] * 4 + ["model"]
        (ran,) = engine.journal.times("infill")
        assert all(ran < warmed for warmed in engine.journal.times("warm")), "who waits comes first"


async def test_a_load_that_takes_longer_than_the_model_may_is_not_waited_for() -> None:
    async with loading(Knowing(last_name)) as (requests, _):
        soon = query("alpha ")
        soon = replace(soon, limits=replace(LIMITS, seconds=0.05))
        started = time.monotonic()
        answers = [await requests.answer(soon, 0.0) for _ in range(NUM_LATE)]

        assert [(a.how, a.complaint) for a in answers] == [("no model yet", "")] * NUM_LATE
        assert time.monotonic() - started < 10


async def test_a_load_that_fails_is_waited_for_no_longer() -> None:
    async with loading(ModelError("nowhere")) as (requests, may_load):
        long = query("alpha ")
        long = replace(long, limits=replace(LIMITS, seconds=1000.0))
        asked = asyncio.create_task(requests.answer(long, 0.0))
        await asyncio.sleep(0.01)
        assert not asked.done()
        may_load.set()

        assert (await asyncio.wait_for(asked, 60)).how == "no model yet"


async def test_a_load_that_failed_is_not_waited_for() -> None:
    worker = Worker(unloadable)
    requests = Requests(worker)
    with pytest.raises(ModelError):
        await asyncio.wrap_future(worker.load(EngineConfig()))

    assert (await requests.answer(query("alpha "), 0.0)).how == "no model yet"
    assert await asyncio.to_thread(worker.close, 60)


async def test_a_request_is_answered_with_what_the_model_says() -> None:
    async with serving(Knowing(last_name)) as requests:
        answer = await requests.answer(query("alpha "), 0.0)

        assert (answer.how, texts(answer)) == ("model", ["use_alpha"])
        assert answer.infilled is not None


async def test_a_text_is_let_go_with_the_request_about_it() -> None:
    """At once: nothing holds itself until the collector comes."""
    async with serving(Knowing(last_name)) as requests:
        gc.disable()
        try:
            asked = query("alpha ")
            gone = weakref.ref(asked.document)
            assert texts(await requests.answer(asked, 0.0)) == ["use_alpha"]
            del asked
            until = time.monotonic() + 10
            while gone() is not None and time.monotonic() < until:  # the engine's thread lets go
                await asyncio.sleep(0.01)
            assert gone() is None
        finally:
            gc.enable()


async def test_a_newer_request_supersedes_and_stops_the_older_one() -> None:
    engine = Stepping(last_name, steps=20)
    async with serving(engine) as requests:
        old = await started(requests, engine, query("alpha "))
        new = asyncio.create_task(requests.answer(query("beta ", version=2), 0.0))

        assert QueryResult(how="superseded") == await old
        engine.allow(100)
        assert texts(await new) == ["use_beta"]
        assert engine.journal.count("cancelled") == 1
        assert engine.journal.count("step") <= 1 + 20


async def test_another_document_supersedes_nothing() -> None:
    engine = Stepping(last_name, steps=2)
    async with serving(engine) as requests:
        one = await started(requests, engine, query("alpha "))
        document = Document(uri="file:///b.x", version=1, language_id="x", text="beta ")
        two = asyncio.create_task(
            requests.answer(Query(document=document, offset=5, limits=LIMITS), 0.0)
        )
        engine.allow(10)

        assert [texts(await one), texts(await two)] == [["use_alpha"], ["use_beta"]]


async def test_fifty_requests_at_once_are_fifty_answers_and_at_most_two_runs() -> None:
    engine = Knowing(last_name)
    async with serving(engine) as requests:
        tasks = []
        for version in range(50):
            tasks.append(asyncio.create_task(requests.answer(query(f"n{version} "), 0.0)))
            await asyncio.sleep(0)
        answers = await asyncio.gather(*tasks)

        assert [texts(answer) for answer in answers] == [[]] * 49 + [["use_n49"]]
        assert engine.journal.count("infill") <= 2


async def test_of_a_burst_of_fifty_requests_the_model_runs_for_the_first_and_the_last() -> None:
    engine = Knowing(last_name)
    now = 0.0
    async with serving(engine, clock=lambda: now) as requests:
        first = asyncio.create_task(requests.answer(query("n0 "), 0.0))
        assert texts(await first) == ["use_n0"]
        tasks = []
        for number in range(1, 50):  # a key held for a second
            now += 0.02
            requests.changed(query(f"n{number} ").document)
            tasks.append(asyncio.create_task(requests.answer(query(f"n{number} "), 0.0)))
            await asyncio.sleep(0)
        answers = await asyncio.gather(*tasks)

        assert [texts(answer) for answer in answers] == [[]] * 48 + [["use_n49"]]
        assert engine.journal.count("infill") == 2


async def test_an_identical_request_joins_the_run_of_the_first() -> None:
    engine = Stepping(last_name, steps=2)
    async with serving(engine) as requests:
        first = await started(requests, engine, query("alpha "))
        second = asyncio.create_task(requests.answer(query("alpha "), 0.0))

        assert (await first).how == "superseded"
        engine.allow(10)
        assert texts(await second) == ["use_alpha"]
        assert engine.journal.count("infill") == 1


async def test_typing_what_the_running_model_says_joins_its_run() -> None:
    engine = Stepping(always("value = 1"), steps=5)
    async with serving(engine) as requests:
        first = await drafted(requests, engine, query("", version=1))
        typed = query("va", version=2)
        requests.changed(typed.document)
        assert (await first).how == "superseded"
        second = asyncio.create_task(requests.answer(typed, 0.0))
        engine.allow(10)

        assert texts(await second) == ["lue = 1"]
        assert engine.journal.count("infill") == 1


@pytest.mark.parametrize("text", ["x", "vax", "value = 1 and more"])
async def test_typing_something_else_stops_the_running_model(text: str) -> None:
    engine = Stepping(always("value = 1"), steps=5)
    async with serving(engine) as requests:
        first = await drafted(requests, engine, query("", version=1))
        requests.changed(query(text, version=2).document)

        assert (await first).how == "superseded"
        engine.allow(10)
        await asyncio.to_thread(engine.journal.wait, "cancelled")
        assert engine.journal.count("step") == 2


@pytest.mark.parametrize("text", ["a  b", "ab!", "", "a"])
async def test_an_edit_elsewhere_or_a_deletion_stops_the_running_model(text: str) -> None:
    engine = Stepping(always("  "), steps=5)
    async with serving(engine) as requests:
        first = await drafted(requests, engine, query("ab", 2, version=1))
        requests.changed(query(text, version=2).document)

        assert texts(await first) == []
        engine.allow(10)
        await asyncio.to_thread(engine.journal.wait, "cancelled")


async def test_a_joined_run_that_ends_otherwise_is_followed_by_an_own_one() -> None:
    engine = Stepping(always("other"), steps=2, wavers="value")
    async with serving(engine) as requests:
        first = await drafted(requests, engine, query("", version=1))
        typed = query("v", version=2)
        requests.changed(typed.document)
        second = asyncio.create_task(requests.answer(typed, 0.0))
        engine.allow(10)

        assert (await first).how == "superseded"
        assert texts(await second) == ["other"]
        assert engine.journal.count("infill") == 2


async def test_a_cancelled_request_stops_the_model_within_one_step() -> None:
    engine = Stepping(last_name, steps=50)
    async with serving(engine) as requests:
        task = await drafted(requests, engine, query("alpha "))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        steps = engine.journal.count("step")
        engine.allow(100)
        await asyncio.to_thread(engine.journal.wait, "cancelled")

        assert steps == engine.journal.count("step")
        again = await requests.answer(query("beta "), 0.0)
        assert texts(again) == ["use_beta"]


async def test_a_closed_document_answers_empty_and_stops_the_model() -> None:
    engine = Stepping(last_name, steps=50)
    async with serving(engine) as requests:
        task = await drafted(requests, engine, query("alpha "))
        requests.closed("file:///a.x")

        assert texts(await task) == []
        engine.allow(100)
        await asyncio.to_thread(engine.journal.wait, "cancelled")


async def test_a_fault_of_the_engine_costs_one_answer() -> None:
    async with serving(Failing(last_name)) as requests:
        assert QueryResult(how="failed") == await requests.answer(query("alpha "), 0.0)
        assert texts(await requests.answer(query("beta "), 0.0)) == ["use_beta"]


async def test_what_an_engine_has_to_say_to_the_user_comes_with_the_answer() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        config = EngineConfig(model=f"http://127.0.0.1:{free.getsockname()[1]}")
    async with serving(load_engine(config)) as requests:
        answer = await requests.answer(query("alpha "), 0.0)

    assert answer.how == "failed"
    assert answer.complaint.startswith(f"nothing listens at {config.model}; start the server")


async def test_it_says_when_the_model_thinks_and_when_no_longer() -> None:
    said: list[bool] = []
    engine = Stepping(always("one"), steps=2)
    async with serving(engine, thinking=said.append) as requests:
        first = await started(requests, engine, query("a "))
        assert said == [True]
        engine.allow(2)
        await first
        assert said == [True, False]
        await requests.answer(query("a "), 0.0)  # known already

    assert said == [True, False]


async def test_typing_through_a_suggestion_needs_no_model() -> None:
    engine = Knowing(always("value = 1"))
    async with serving(engine) as requests:
        assert texts(await requests.answer(query("", version=1), 0.0)) == ["value = 1"]
        for typed in range(1, len("value = 1")):
            answer = await requests.answer(query("value = 1"[:typed], version=typed + 1), 60.0)
            assert ("reused", ["value = 1"[typed:]]) == (answer.how, texts(answer))
        assert engine.journal.count("infill") == 1

        await requests.answer(query("value = 1"), 0.0)
        await requests.answer(query("valx"), 0.0)
        assert engine.journal.count("infill") == 3


async def test_nothing_found_is_not_looked_for_again_at_the_same_place() -> None:
    engine = Knowing(always(""))
    async with serving(engine) as requests:
        answers = [await requests.answer(query("alpha "), 0.0) for _ in range(3)]

        assert [answer.how for answer in answers] == ["model", "reused", "reused"]
        assert engine.journal.count("infill") == 1


async def test_whatever_order_of_requests_edits_and_closing_every_request_is_answered() -> None:
    rng = random.Random(3)
    engine = Knowing(last_name, steps=2, seconds=0.0005)
    async with serving(engine) as requests:
        tasks: list[tuple[Query, asyncio.Task[QueryResult]]] = []
        text = "alpha "
        for version in range(300):
            match rng.randrange(6):
                case 0:
                    text += rng.choice(["u", "use_alpha", " beta "])
                    requests.changed(query(text, version=version).document)
                case 1:
                    requests.closed("file:///a.x")
                case 2 if tasks:
                    tasks[-1][1].cancel()
                case _:
                    what = query(text, version=version)
                    task = asyncio.create_task(requests.answer(what, rng.choice([0.0, 0.001])))
                    tasks.append((what, task))
            await asyncio.sleep(rng.choice([0, 0, 0.0005, 0.003]))
        done, pending = await asyncio.wait([task for _, task in tasks], timeout=100)

        assert not pending
        assert len(done) == len(tasks)
        shown = [
            (what.document.text, text)
            for what, task in tasks
            if not task.cancelled()
            for text in texts(task.result())
        ]
        assert shown
        assert [(before, text) for before, text in shown if not belongs(text, before)] == []


def belongs(text: str, before: str) -> bool:
    """Whether it is the rest of `use_<name>`, said where the name was the last one."""
    return any(
        [before[at:] + text] == last_name(InfillRequest(prefix=before[:at], suffix=""))
        for at in range(len(before) + 1)
    )


async def test_unless_told_otherwise_what_an_engine_is_not_sure_of_is_not_shown_unasked() -> None:
    class Doubtful(Knowing):
        threshold = 0.25

        def describe(self) -> EngineInfo:
            return replace(super().describe(), show_threshold=self.threshold)

        def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
            for each in super().infill(request, budget=budget):
                yield replace(each, log_probability=math.log(0.05))

    class Unmeasured(Doubtful):
        threshold = 0.0

    automatic = replace(LIMITS, min_confidence=None)
    async with serving(Doubtful(last_name)) as requests:
        doubted = await requests.answer(replace(query("total "), limits=automatic), 0.0)
        told = await requests.answer(query("total "), 0.0)
    async with serving(Unmeasured(last_name)) as requests:
        unmeasured = await requests.answer(replace(query("total "), limits=automatic), 0.0)

    assert (texts(doubted), texts(told)) == ([], ["use_total"])
    assert texts(unmeasured) == ["use_total"]
    assert doubted.infilled is not None
    assert f"is below {percent(SHOWN_FROM)}" in doubted.infilled.rejected
    assert limits_of(Settings(), invoked=False).min_confidence is None
    assert limits_of(Settings(), invoked=True).min_confidence == 0.0
    assert limits_of(Settings(min_confidence=0.4), invoked=True).min_confidence == 0.4


def test_one_text_that_is_asked_for_is_the_best_of_as_many_as_three_are() -> None:
    one = limits_of(Settings(num_candidates=1), invoked=True)
    while_typing = limits_of(Settings(), invoked=False)

    assert (one.num_candidates, one.num_choices) == (1, 3)
    assert (while_typing.num_candidates, while_typing.num_choices) == (1, 1)


async def test_nobody_waits_past_the_deadline_and_what_came_late_is_there_the_next_time() -> None:
    engine = Stepping(last_name, steps=1)
    limits = replace(LIMITS, seconds=0.05)
    async with serving(engine) as requests:
        what = replace(query("alpha "), limits=limits)
        begun = time.monotonic()
        answers = [await requests.answer(what, 0.0) for _ in range(NUM_LATE + 1)]
        waited = (time.monotonic() - begun) / len(answers)
        engine.allow(100)
        end = time.monotonic() + 10
        while (answer := await requests.answer(what, 0.0)).how == "late":
            assert time.monotonic() < end

    assert {each.how for each in answers} == {"late"}
    assert 0.05 <= waited < 0.5
    assert [bool(each.complaint) for each in answers] == [False] * (NUM_LATE - 1) + [True, False]
    assert texts(answer) == ["use_alpha"]
