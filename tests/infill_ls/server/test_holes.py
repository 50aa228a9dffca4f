"""Filling all holes of a document may take long: it can be cancelled, and holds up nobody."""

import asyncio

from infill_engine import Engine
from infill_ls.completion.steps import Steps
from infill_ls.completion.worker import Worker
from tests.infill_ls.engines import Stepping, always, loads
from tests.infill_ls.server.editor import URI, editing

FILL = {"command": "infill.infillHoles", "arguments": [{"uri": URI}]}
MANY = '{"a": [' + "___, " * 60


def nothing(engine: Engine) -> Steps[None]:
    yield


async def test_a_cancel_ends_it_within_a_canvas_and_others_need_not_wait_for_it() -> None:
    engine = Stepping(always("7"), steps=1)
    worker = Worker(loads(engine))
    async with editing(worker) as editor, editing(worker) as other:
        await asyncio.to_thread(editor.session.worker.load(editor.session.config).result)
        editor.open(MANY, language="json")
        filling = editor.asks("workspace/executeCommand", FILL)
        await asyncio.to_thread(engine.journal.wait, "infill")
        other.open("a = ")
        answered = asyncio.create_task(other.infills())
        while not worker.busy:
            await asyncio.sleep(0.001)
        engine.allow(2)  # the canvas that is under way, and then the answer

        assert await answered == ["7"]
        await asyncio.to_thread(engine.journal.wait, "infill", 3)
        editor.notify("$/cancelRequest", {"id": editor.last_id})
        assert (await filling)["error"]["code"] == -32800
        engine.allow(100)
        for _ in range(3):  # each waits for a step of it, if there is one
            await asyncio.wrap_future(worker.perform(nothing))
        assert engine.journal.count("infill") == 3
    worker.close(60)
