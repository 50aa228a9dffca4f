"""The engine with a judge beside an oracle that drafts: what is ranked, added, and left alone."""

import math
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import pytest

from infill_engine import Budget, Draft, InfillRequest
from infill_engine.budget import UNLIMITED
from infill_engine.errors import ModelError
from infill_engine.judge.awaited import at_hand, coming
from infill_engine.judge.calibration import Calibration
from infill_engine.judge.judge import Drafts, Judge, JudgeInfo, Judgement, Reading
from infill_engine.local import LocalEngine
from tests.engine.oracle import Oracle

CALIBRATION = Calibration(weights=(1, 0, 0, 0, 0), constant=0.0, show_threshold=0.25)
REQUEST = InfillRequest(prefix="a = ", suffix="\nb\n", max_lines=1)


@dataclass
class Opinion:
    """A judge whose taste is known: nats by text."""

    nats: Mapping[str, float]
    lines: Sequence[str] = ()
    prefixes: list[str] = field(default_factory=list)
    calibration: Calibration = CALIBRATION
    forgotten: int = 0
    thought_ahead: int = 0
    token_ms: float = 1
    asked: int = 0
    too_late: bool = False
    far: bool | None = None  # whether it has read all
    said: Sequence[str] = ()
    drafted: Mapping[str, list[str]] = field(default_factory=dict)
    more: Mapping[str, list[str]] = field(default_factory=dict)
    lengthened: list[tuple[str, int]] = field(default_factory=list)

    def describe(self) -> JudgeInfo:
        return JudgeInfo(
            name="opinion", parameters=1, dtype="none", source="tests", kernels="",
            token_ms=self.token_ms, calibration=self.calibration,
        )  # fmt: skip

    def read(self, request: InfillRequest, budget: Budget) -> Reading | None:
        self.prefixes.append(request.prefix)
        return None if self.too_late else self

    @property
    def prefix_tokens(self) -> int:
        return 0

    @property
    def whole(self) -> bool:
        return self.far or self.far is None

    def ahead(self, budget: Budget) -> None:
        self.thought_ahead += 1

    def continuations(self, drafts: Drafts, budget: Budget) -> list[str]:
        self.drafted = {said: [*drafts(said)] for said in self.said}
        return [*self.lines]

    def aside(self, budget: Budget) -> list[str]:
        return []

    def further(self, middle: str, lines: int, budget: Budget) -> list[str]:
        self.lengthened.append((middle, lines))
        return self.more.get(middle, [])

    def judge(
        self, middles: Sequence[str], priors: Sequence[float], budget: Budget
    ) -> list[Judgement | None]:
        self.asked += 1
        return [
            Judgement(middle=self.nats[middle], suffix=-1, tokens=8)
            if middle in self.nats
            else None
            for middle in middles
        ]

    def forget(self) -> None:
        self.forgotten += 1


def engine(judge: Judge, oracle: Oracle | None = None) -> LocalEngine:
    return LocalEngine(oracle or Oracle(["one"], guessed={"two": -1.0}), at_hand(judge))


def last(found: LocalEngine, budget: Budget = UNLIMITED) -> Draft:
    *_, draft = found.infill(REQUEST, budget=budget)
    return draft


def texts(draft: Draft) -> list[str]:
    return [draft.text, *(other.text for other in draft.others)]


def test_candidates_are_ranked_by_the_judge_and_as_sure_as_its_calibration_says() -> None:
    draft = last(engine(Opinion({"one": -3.0, "two": -1.0})))
    assert texts(draft) == ["two", "one"]
    assert draft.log_probability == pytest.approx(-math.log1p(math.exp(1.0)))
    assert len(draft.evidence) == 5


def test_what_the_judge_would_say_is_offered_once() -> None:
    draft = last(engine(Opinion({"one": -3.0, "three": -1.0, "two": -9.0}, lines=["three", "one"])))
    assert texts(draft) == ["three", "one", "two"]


def test_a_text_that_stands_elsewhere_has_that_in_its_favour() -> None:
    assert last(engine(Opinion({"one": -1.0, "two": -1.5}))).text == "two"
    assert last(engine(Opinion({"one": -1.0, "two": -2.5}))).text == "one"


def test_what_was_not_judged_comes_last_and_as_it_was() -> None:
    draft = last(engine(Opinion({"one": -30.0})))
    assert texts(draft) == ["one", "two"]
    assert draft.evidence
    assert not draft.others[0].evidence


def test_without_time_drafts_are_ranked_as_without_a_judge() -> None:
    alone = LocalEngine(Oracle(["one"], guessed={"two": -1.0}))
    *_, expected = alone.infill(REQUEST)
    late = Opinion({"two": -1.0}, too_late=True)
    found = engine(late)
    found.warm(REQUEST)
    assert texts(last(found)) == texts(expected)
    assert len(late.prefixes) == 3  # what is near, all, and what was asked for
    assert last(found).left_out == ("reading",)


@pytest.mark.parametrize(
    ("nats", "token_ms", "left_out"),
    [
        ({"one": -1.0, "two": -2.0}, 10_000, ()),
        ({"one": -1.0}, 10_000, ("texts",)),
        ({}, 10_000, ("judging",)),
        ({}, 1e6, ("judging", "lines")),
        ({}, 1, ()),  # a judge may pass over what it has time for
    ],
)
def test_what_a_judge_had_no_time_for_is_told(
    nats: dict[str, float], token_ms: float, left_out: tuple[str, ...]
) -> None:
    found = engine(Opinion(nats, token_ms=token_ms))
    found.warm(REQUEST)
    request = replace(REQUEST, max_lines=2)
    *_, draft = found.infill(request, budget=Budget(deadline=time.monotonic() + 60))
    assert draft.left_out == left_out


def test_a_judge_is_waited_for_when_nobody_waits() -> None:
    judge, soon = Opinion({"one": -3.0, "two": -1.0}), time.monotonic() + 60
    coming: Future[tuple[Judge | None, str]] = Future()
    found = LocalEngine(Oracle(["one"], guessed={"two": -1.0}), coming)
    assert found.describe().judge == "being loaded"
    assert last(found, Budget(deadline=soon)).text == "one"
    found.warm(REQUEST, budget=Budget(deadline=time.monotonic() + 0.01))
    assert judge.prefixes == []
    threading.Timer(0.05, coming.set_result, [(judge, "")]).start()
    found.warm(REQUEST)
    assert judge.prefixes == ["a = "]
    assert judge.thought_ahead == 1
    assert found.describe().judge.startswith("opinion")
    assert found.describe().show_threshold == CALIBRATION.show_threshold
    assert last(found, Budget(deadline=soon)).text == "two"


def test_a_judge_that_is_there_is_used_at_once() -> None:
    judge = Opinion({"one": -3.0, "two": -1.0})
    assert last(engine(judge), Budget(deadline=time.monotonic() + 60)).text == "two"


def test_what_is_near_is_read_and_gone_on_with_before_what_is_far() -> None:
    judge = Opinion({"one": -3.0}, far=False)
    budgets: list[Budget] = []
    read = judge.read

    def watched(request: InfillRequest, budget: Budget) -> Reading | None:
        budgets.append(budget)
        judge.far = budget.deadline == math.inf
        return read(request, budget)

    judge.read = watched  # type: ignore[method-assign]
    engine(judge).warm(REQUEST)
    assert [budget.deadline == math.inf for budget in budgets] == [False, True]
    assert judge.thought_ahead == 2
    budgets.clear()
    # Who waits for a reading waits for what is near alone.
    engine(judge).warm(REQUEST, budget=Budget(deadline=time.monotonic() + 60))
    assert [budget.deadline == math.inf for budget in budgets] == [False]


def test_a_reason_why_there_is_none_is_said() -> None:
    found = LocalEngine(Oracle(["one"]), at_hand(None, "off: too slow"))
    found.warm(REQUEST)
    assert found.describe().judge == "off: too slow"
    assert found.describe().show_threshold == 0


def test_who_waits_for_something_else_waits_for_no_judge() -> None:
    wanted: list[bool] = []
    found = LocalEngine(Oracle(["one"]), Future())
    threading.Timer(0.1, wanted.append, [True]).start()
    found.warm(REQUEST, budget=Budget(cancelled=lambda: bool(wanted)))
    assert last(found, Budget(deadline=time.monotonic() + 60)).text == "one"


def test_a_judge_is_loaded_by_a_thread_that_holds_up_no_end() -> None:
    going = threading.Event()

    def load() -> tuple[Judge | None, str]:
        going.wait(60)
        raise OSError("the disk is gone")

    found = coming(load)
    (loading,) = (each for each in threading.enumerate() if each.name == "infill-judge")
    assert loading.daemon
    going.set()
    assert isinstance(found.exception(60), OSError)


def test_a_judge_that_could_not_be_loaded_is_left_out() -> None:
    coming: Future[tuple[Judge | None, str]] = Future()
    coming.set_exception(MemoryError("67 MB"))
    found = LocalEngine(Oracle(["one"]), coming)
    found.warm(REQUEST)
    assert last(found).text == "one"
    assert "MemoryError('67 MB')" in found.describe().judge


def test_a_request_that_is_taken_back_is_not_judged() -> None:
    judge = Opinion({"one": -1.0})
    found = engine(judge)
    found.warm(REQUEST)
    judge.prefixes.clear()
    drafts = found.infill(REQUEST, budget=Budget(cancelled=lambda: bool(seen)))
    seen: list[Draft] = []
    seen += [draft for draft, _ in zip(drafts, range(1), strict=False)]
    assert list(drafts) == []
    assert judge.asked == 0


def test_forgetting_reaches_the_judge() -> None:
    judge = Opinion({})
    found = engine(judge)
    found.forget()
    found.warm(REQUEST)
    found.forget()
    assert judge.forgotten == 1


@pytest.mark.parametrize(
    ("further", "chosen"),
    [
        ([-1.5], "one\nfor"),  # a further line of -0.5
        ([-1.5, -1.9], "one\nfor\nx"),
        ([-1.5, -2.4], "one\nfor"),
        ([-2.0], "one"),
    ],
)
def test_the_best_line_is_gone_on_with_as_far_as_a_line_is_rather_right(
    further: list[float], chosen: str
) -> None:
    texts_of = ["one\nfor", "one\nfor\nx"][: len(further)]
    nats = {"one": -1.0, "two": -6.0, "three": -9.0, **dict(zip(texts_of, further, strict=True))}
    judge = Opinion(nats, lines=["three"], more={"one": texts_of})
    several = replace(REQUEST, max_lines=3)
    found = engine(judge)
    *_, draft = found.infill(several)
    assert draft.text == chosen
    assert judge.lengthened == [("one", 2)]
    *_, alone = found.infill(REQUEST)
    assert (alone.text, alone.log_probability) == ("one", draft.log_probability)
    # Not where something follows the cursor on its line, nor where one line is wanted.
    judge.lengthened.clear()
    *_, draft = found.infill(replace(several, suffix=" + 1\n"))
    assert (draft.text, judge.lengthened) == ("one", [])
    assert (last(found).text, judge.lengthened) == ("one", [])


def test_drafts_are_the_candidates_and_what_goes_on_with_what_is_said() -> None:
    judge = Opinion({}, said=["", "o", "tw", "a = "])
    last(engine(judge))
    assert judge.drafted[""] == ["one", "two"]
    assert judge.drafted["o"] == ["ne"]
    assert judge.drafted["tw"] == ["o"]
    last(engine(judge, Oracle(["one"], guessed={"two": -5.0, "three": -1.0})))
    assert judge.drafted[""] == ["one", "three", "two"], "the likeliest first"
    request = InfillRequest(prefix="bcde = 1\nf = ", suffix="\nb\n", max_lines=1)
    *_, _ = engine(judge).infill(request)
    judge.said = ["bcde"]
    found = engine(judge)
    found.warm(request)
    *_, _ = found.infill(request)
    assert judge.drafted["bcde"] == [" = 1"], "which stands elsewhere"
    other = replace(request, prefix="f = ", elsewhere="bcde = 2\n")
    *_, _ = found.infill(other)
    assert judge.drafted["bcde"] == [" = 2"], "in another file"


@pytest.mark.parametrize("part", ["read", "continuations", "judge"])
def test_a_judge_that_fails_is_told_of_once_and_left_out(
    part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ModelError("no memory for 7 tokens")

    judge = Opinion({"one": -3.0, "two": -1.0})
    found = engine(judge)
    assert last(found).text == "two"
    monkeypatch.setattr(judge, part, fail)
    assert texts(last(found)) == texts(last(LocalEngine(Oracle(["one"], guessed={"two": -1.0}))))
    assert last(found).text == "one"
    found.warm(REQUEST)
    assert found.describe().judge == "off: no memory for 7 tokens"
    assert [record.getMessage() for record in caplog.records] == [
        "the judge failed and is left out from here on: no memory for 7 tokens"
    ]
