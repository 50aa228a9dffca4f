"""How long a request waits for the typing to pause."""

import asyncio

import pytest

from tests.infill_ls.completion.test_requests import query, serving, texts
from tests.infill_ls.engines import Knowing, last_name


async def test_a_delay_waits_for_the_typing_to_pause() -> None:
    engine = Knowing(last_name)
    async with serving(engine) as requests:
        first = asyncio.create_task(requests.answer(query("alpha "), 60.0))
        await asyncio.sleep(0)
        second = asyncio.create_task(requests.answer(query("beta "), 0.0))

        assert (await first).how == "superseded"
        assert texts(await second) == ["use_beta"]
        assert engine.journal.count("infill") == 1


@pytest.mark.parametrize(("text", "waits"), [("x = 1\n    ", False), ("f(", False), ("x = ", True)])
async def test_where_a_text_begins_nobody_waits_for_a_pause(text: str, waits: bool) -> None:
    async with serving(Knowing(last_name)) as requests:
        task = asyncio.create_task(requests.answer(query(text), 0.2 if waits else 60.0))
        await asyncio.wait([task], timeout=0.1 if waits else 30.0)

        assert task.done() is not waits
        assert (await task).how == "model"


async def test_who_stops_to_look_waits_less_than_who_types_on() -> None:
    now, waited = 0.0, list[float]()

    async with serving(Knowing(last_name), lambda: now) as requests:
        for since in [5.0] * 20 + [0.1] * 20:
            now += since
            waited.append(requests._pause(query("x = "), 1.0))

    assert waited[0] == pytest.approx(0.875)
    assert waited[:20] == sorted(waited[:20], reverse=True)
    assert waited[19] < 0.1
    assert waited[20:] == sorted(waited[20:])
    assert 0.9 < waited[-1] <= 1.0
