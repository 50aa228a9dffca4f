"""What is likely asked next is answered before it is asked, and nobody waits for that."""

import asyncio
import time

import pytest

from infill_ls.completion.requests import Requests
from tests.infill_ls.completion.test_requests import query, serving, texts
from tests.infill_ls.engines import Knowing, Stepping, last_name


async def nothing_runs(requests: Requests) -> None:
    end = time.monotonic() + 30
    while requests._ahead is not None:
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


async def test_what_was_answered_ahead_costs_no_run_when_it_is_asked_for() -> None:
    engine = Knowing(last_name)
    async with serving(engine) as requests:
        await requests.answer(query("alpha "), 0.0)
        requests.ahead(query("alpha use_alpha "))
        requests.ahead(query("alpha use_alpha "))  # as every key that is typed through it says
        await nothing_runs(requests)
        answer = await requests.answer(query("alpha use_alpha ", version=2), 0.0)

    assert (answer.how, texts(answer)) == ("reused", ["use_use_alpha"])
    assert engine.journal.count("infill") == 2


async def test_where_nothing_is_to_say_ahead_the_place_after_it_is_looked_at() -> None:
    engine = Knowing(lambda request: last_name(request) if request.prefix.endswith("\n") else [])
    async with serving(engine) as requests:
        requests.ahead(query("alpha"), query("alpha\n"), query("alpha\n\n"))
        await nothing_runs(requests)
        answer = await requests.answer(query("alpha\n"), 0.0)

    assert answer.how == "reused"
    assert engine.journal.count("infill") == 2, "the third place is behind one that has something"


async def test_nobody_waits_for_what_is_answered_ahead() -> None:
    engine = Stepping(last_name, steps=2)
    async with serving(engine) as requests:
        requests.ahead(query("alpha use_alpha "))
        await asyncio.to_thread(engine.journal.wait, "infill")
        task = asyncio.create_task(requests.answer(query("beta "), 0.0))
        await asyncio.sleep(0.01)
        engine.allow(100)

        assert texts(await task) == ["use_beta"]
    assert engine.journal.count("cancelled") == 1


async def test_who_asks_for_what_is_being_answered_ahead_waits_for_that() -> None:
    told: list[bool] = []
    engine = Stepping(last_name, steps=2)
    async with serving(engine, thinking=told.append) as requests:
        requests.ahead(query("alpha "))
        await asyncio.to_thread(engine.journal.wait, "infill")
        task = asyncio.create_task(requests.answer(query("alpha "), 0.0))
        await asyncio.sleep(0.01)
        engine.allow(100)

        assert texts(await task) == ["use_alpha"]
    assert engine.journal.count("infill") == 1
    assert told == [True, False]


@pytest.mark.parametrize(
    ("now", "kept"), [("al", True), ("alpha", True), ("ax", False), ("alpha b", False)]
)
async def test_an_answer_ahead_goes_on_while_typing_leads_there(now: str, kept: bool) -> None:
    engine = Stepping(last_name, steps=2)
    async with serving(engine) as requests:
        requests.ahead(query("alpha"))
        await asyncio.to_thread(engine.journal.wait, "infill")
        requests.changed(query(now).document)
        engine.allow(100)
        await asyncio.to_thread(engine.journal.wait, "done" if kept else "cancelled")


async def test_what_is_closed_is_not_answered_ahead() -> None:
    engine = Stepping(last_name, steps=2)
    async with serving(engine) as requests:
        requests.ahead(query("alpha"))
        await asyncio.to_thread(engine.journal.wait, "infill")
        requests.closed("file:///a.x")
        engine.allow(100)
        await asyncio.to_thread(engine.journal.wait, "cancelled")
        assert len(requests.reuse) == 0
