"""What a model said a few typed characters ago is shown without it, once it is likely enough."""

import asyncio
import math
from collections.abc import Iterator
from dataclasses import replace

from infill_engine import UNLIMITED, Budget, Draft, EngineInfo, InfillRequest
from infill_ls.completion.requests import QueryResult
from infill_ls.completion.worker import Query
from infill_ls.documents import Document
from tests.infill_ls.completion.test_requests import LIMITS, query, serving, texts
from tests.infill_ls.engines import Knowing


class Likely(Knowing):
    """Says these texts behind a "= ", each as probable as it is said to be; else what is hardly
    so."""

    def __init__(self, said: dict[str, float]) -> None:
        unlikely = {"unlikely": 0.01}
        super().__init__(lambda request: [*(said if request.prefix.endswith("= ") else unlikely)])
        self.said = said | unlikely

    def describe(self) -> EngineInfo:
        return replace(super().describe(), show_threshold=0.25)

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        for each in super().infill(request, budget=budget):
            texts = [each, *each.others]
            first, *others = (
                replace(t, others=(), log_probability=math.log(self.said[t.text])) for t in texts
            )
            yield replace(first, others=tuple(others))


async def test_what_was_said_is_shown_once_what_is_typed_speaks_for_it_without_the_model() -> None:
    automatic = replace(LIMITS, min_confidence=None)
    engine = Likely({"second(1)": 0.5, "third(2)": 0.3})
    async with serving(engine) as requests:

        async def typed(text: str) -> QueryResult:
            return await requests.answer(replace(query(text), limits=automatic), 0.0)

        first = await typed("x = ")
        later = await typed("x = sec")
        on = await typed("x = seco")
        other = await typed("x = th")
        runs = engine.journal.count("infill")
        elsewhere = await typed("x = fo")
        again = await typed("x = four")

    assert (first.how, texts(first)) == ("model", [])
    assert (later.how, texts(later)) == ("reused", ["ond(1)"])
    assert (on.how, texts(on)) == ("reused", ["nd(1)"])
    assert (other.how, texts(other)) == ("reused", ["ird(2)"])
    assert runs == 1
    assert (elsewhere.how, again.how) == ("model", "reused")  # nothing was likely there


async def test_what_was_said_and_is_wrong_by_now_is_asked_anew() -> None:
    automatic = replace(LIMITS, min_confidence=None)
    engine = Likely({"if a": 0.6, "other": 0.3})
    python = Document(uri="file:///a.py", version=1, language_id="python", text="x = ")
    async with serving(engine) as requests:

        async def typed(text: str) -> QueryResult:
            document = replace(python, text=text)
            asked = Query(document=document, offset=len(text), limits=automatic)
            return await requests.answer(asked, 0.0)

        first = await typed("x = ")
        later = await typed("x = i")

    assert (texts(first), texts(later)) == ([], [])
    assert (first.how, later.how) == ("model", "model")


async def test_what_was_said_is_looked_at_before_anybody_asks() -> None:
    automatic = replace(LIMITS, min_confidence=None)
    engine = Likely({"second(1)": 0.3, "third(2)": 0.3})
    async with serving(engine) as requests:
        await requests.answer(replace(query("x = "), limits=automatic), 0.0)
        soon = replace(query("x = sec"), limits=automatic)
        requests.ahead(soon)
        while (known := requests.reuse.find(soon)) is None:
            await asyncio.sleep(0.001)
        runs = engine.journal.count("infill")

    assert [each.text for each in known] == ["ond(1)"]
    assert runs == 1
