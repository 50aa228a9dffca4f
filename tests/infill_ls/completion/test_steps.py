"""Long work on the engine's thread: whoever asks between two steps of it comes first."""

import asyncio
import threading

from infill_engine import Engine, EngineConfig
from infill_ls.completion.steps import Steps
from infill_ls.completion.worker import Worker
from tests.infill_ls.completion.test_worker import ME, eventually, query, warming
from tests.infill_ls.engines import Knowing, Stepping, last_name, loads


class Slow:
    """Three steps, the first of which the test ends."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.entered, self.go_on = threading.Event(), threading.Event()

    def work(self, engine: Engine) -> Steps[str]:
        for step in "abc":
            self.order.append(step)
            self.entered.set()
            assert self.go_on.wait(60)
            yield
        return "done"


async def test_an_answer_waits_for_one_step_at_most() -> None:
    worker, slow, other = Worker(loads(Knowing(last_name))), Slow(), Slow()
    await asyncio.wrap_future(worker.load(EngineConfig()))
    done, then = worker.perform(slow.work), worker.perform(other.work)
    await asyncio.to_thread(slow.entered.wait)
    other.order, other.go_on = slow.order, slow.go_on  # two fill their holes in turn
    run = worker.infill(query("alpha "), ME)
    run.result.add_done_callback(lambda _: slow.order.append("answer"))
    slow.go_on.set()

    assert [await asyncio.wrap_future(each) for each in (done, then)] == ["done", "done"]
    assert slow.order == ["a", "answer", "a", "b", "b", "c", "c"]
    assert worker.close(60)


async def test_what_is_read_ahead_is_gone_on_with_after_them() -> None:
    engine, slow = Stepping(last_name, steps=1, keeps_warming=True), Slow()
    worker = await warming(engine)
    slow.go_on.set()
    done = worker.perform(slow.work)

    assert await asyncio.wrap_future(done) == "done"
    await eventually(engine.journal.wait, "warm", 2)
    assert engine.warmed[0] == engine.warmed[1]
    assert worker.close(60)


async def test_steps_end_with_their_engine() -> None:
    worker, slow = Worker(lambda _: Knowing(last_name)), Slow()
    assert await asyncio.wrap_future(worker.perform(slow.work)) is None
    await asyncio.wrap_future(worker.load(EngineConfig()))
    done = worker.perform(slow.work)
    await asyncio.to_thread(slow.entered.wait)
    worker.load(EngineConfig(model="another"))
    slow.go_on.set()

    assert await asyncio.wrap_future(done) is None
    assert slow.order == ["a"]
    assert worker.close(60)
