"""The engine from text to text, over a denoiser that knows what is missing."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import pytest

from infill_engine import Hole, InfillRequest, RequestError
from infill_engine.budget import UNLIMITED, Budget
from infill_engine.denoiser import Scored, Sides
from infill_engine.local import LocalEngine
from infill_engine.request import Draft
from infill_engine.template import template
from tests.engine.oracle import Oracle, letters


def last(engine: LocalEngine, budget: Budget = UNLIMITED, **request: object):
    request = {"prefix": "a = ", "suffix": "\nend", **request}
    *_, draft = engine.infill(InfillRequest(**request), budget=budget)
    return draft


def test_one_hole_is_filled_and_every_draft_is_a_complete_text() -> None:
    drafts = list(LocalEngine(Oracle(fills=["f(x)"])).infill(InfillRequest(prefix="", suffix="")))

    assert drafts[-1].text == "f(x)"
    assert drafts[-1].fills == ("f(x)",)
    assert drafts[-1].converged
    assert drafts[-1].join == pytest.approx(-0.1)
    assert all(math.isnan(draft.join) for draft in drafts[:-1])
    assert drafts[-1].tokens == 4
    assert drafts[-1].tokens_per_forward == pytest.approx(4 / drafts[-1].steps)


def test_a_pinned_head_and_tail_come_back_verbatim_and_join_their_sides() -> None:
    oracle = Oracle(fills=["mid"])

    draft = last(LocalEngine(oracle), middle=("<", Hole(), ">"))

    assert draft.text == "<mid>"
    assert draft.fills == ("mid",)
    assert letters(oracle.encoded[0].prefix_ids) == b"a = <"
    assert letters(oracle.encoded[0].suffix_ids) == b">\nend"


def test_two_holes_are_denoised_on_one_canvas_around_their_pin() -> None:
    oracle = Oracle(fills=["x", "yz"], canvas_lengths=(8, 16, 32))

    draft = last(LocalEngine(oracle), middle=("[", Hole(), ", await ", Hole(max_tokens=5), "]"))

    assert draft.text == "[x, await yz]"
    assert draft.fills == ("x", "yz")
    assert len(oracle.encoded) == 1


def test_a_hole_longer_than_a_canvas_is_filled_block_by_block() -> None:
    text = "abcdefghijklmnopqrstuvwxyz"
    oracle = Oracle(fills=[text], lengths=(8,))

    draft = last(LocalEngine(oracle))

    assert draft.text == text
    assert draft.tokens == 26
    assert [len(sides.prefix_ids) for sides in oracle.encoded] == [4, 12, 20, 28]


def test_the_budget_ends_a_hole() -> None:
    oracle = Oracle(fills=["abcdefghijklmnopqrstuvwxyz"], lengths=(8,))

    assert last(LocalEngine(oracle), middle=(Hole(max_tokens=11),)).text == "abcdefghijk"
    assert last(LocalEngine(Oracle(fills=["abcdef"])), middle=(Hole(max_tokens=3),)).text == "abc"


def test_enough_lines_end_a_long_hole() -> None:
    oracle = Oracle(fills=["ab\ncd\nef\ngh\nij\nkl\n"], lengths=(8,))

    draft = last(LocalEngine(oracle), max_lines=2)

    assert draft.text.startswith("ab\ncd\n")
    assert draft.text.count("\n") < 5


def test_of_several_hole_lengths_the_one_that_joins_the_suffix_is_chosen() -> None:
    engine = LocalEngine(Oracle(fills=["abcd"], lengths=(2, 8, 3)))

    draft = last(engine, num_candidates=3)

    assert draft.text == "abcd"
    assert [other.text for other in draft.others] == ["ab", "abc"]


def test_a_guess_is_ranked_with_what_was_denoised_and_offered_once() -> None:
    class Fond(Oracle):
        def score(self, memory: Sides, sides: Sides, rows: Sequence[Sequence[int]]) -> list[Scored]:
            return [Scored(likelihood=-0.1, join=-float(letters(row) != b"xy")) for row in rows]

    fond = last(LocalEngine(Fond(fills=["abcd"], guessed={"xy": 0.0, "z": 0.0})))
    same = last(LocalEngine(Oracle(fills=["abcd"], guessed={"abcd": 0.0, "xy": 0.0})))

    worth = last(LocalEngine(Oracle(fills=["abcd"], guessed={"xy": 0.0}, likelihood=-9.0)))

    assert (worth.text, [other.text for other in worth.others]) == ("xy", ["abcd"])
    assert (fond.text, [other.text for other in fond.others]) == ("xy", ["z", "abcd"])
    assert (fond.tokens, fond.fills, fond.converged) == (2, ("xy",), True)
    assert "".join(cell.text for cell in fond.cells) == "xy"
    assert (same.text, [other.text for other in same.others]) == ("abcd", ["xy"])


def test_a_text_is_as_probable_as_the_model_or_a_guess_has_it() -> None:
    oracle = Oracle(fills=["abcd"], guessed={"xy": math.log(0.25)}, likelihood=-0.1)
    draft = last(LocalEngine(oracle))

    assert draft.text == "abcd"
    assert draft.log_probability == pytest.approx(-0.4)
    either = math.exp(-0.2) + 0.25 - math.exp(-0.2) * 0.25
    assert draft.others[0].log_probability == pytest.approx(math.log(either))
    certain = last(LocalEngine(Oracle(fills=["abcd"], guessed={"abcd": 0.0}, likelihood=-0.01)))
    assert certain.log_probability == 0.0
    # Block after block the logarithms add up.
    long = last(LocalEngine(Oracle(fills=["abcdefghijkl"], lengths=(8,), likelihood=-0.1)))
    assert long.text == "abcdefghijkl"
    assert long.log_probability == pytest.approx(-1.2)
    holes = last(
        LocalEngine(Oracle(fills=["x", "yz"], likelihood=-0.1)), middle=(Hole(), "|", Hole())
    )
    assert holes.log_probability < 0


def test_several_holes_that_do_not_fit_a_canvas_are_refused_with_numbers() -> None:
    middle = (Hole(), "x" * 14, Hole())

    with pytest.raises(RequestError, match=r"2 holes with 14 pinned tokens .* canvas of 16"):
        last(LocalEngine(Oracle(fills=["a", "b"])), middle=middle)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"middle": ("text",)}, "no Hole"),
        ({"middle": (Hole(max_tokens=0),)}, r"max_tokens=0"),
        ({"max_lines": 0}, "max_lines=0"),
        ({"num_candidates": -1}, "num_candidates=-1"),
        ({"temperature": -0.5}, "temperature=-0.5"),
        ({"temperature": math.nan}, "temperature=nan"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_with_its_value(request_, message) -> None:
    with pytest.raises(RequestError, match=message):
        template(InfillRequest(**{"prefix": "", "suffix": "", **request_}))


def test_a_request_cancelled_before_it_began_asks_the_model_nothing() -> None:
    oracle = Oracle(fills=["abc"])

    drafts = list(
        LocalEngine(oracle).infill(
            InfillRequest(prefix="", suffix=""), budget=Budget(cancelled=lambda: True)
        )
    )

    assert drafts == []
    assert oracle.encoded == []
    assert oracle.steps == 0


def test_a_cancelled_request_makes_no_further_step_and_gives_no_final_draft() -> None:
    oracle = Oracle(fills=["abcdefgh" * 8], lengths=(8,))

    drafts = list(
        LocalEngine(oracle).infill(
            InfillRequest(prefix="", suffix=""), budget=Budget(cancelled=lambda: oracle.steps >= 3)
        )
    )

    assert oracle.steps == 3
    assert all(math.isnan(draft.join) for draft in drafts if draft.steps >= 3)


def test_a_deadline_ends_with_a_complete_scored_draft() -> None:
    oracle = Oracle(fills=["abcdefgh" * 8], lengths=(8,))

    draft = last(LocalEngine(oracle), Budget(deadline=time.monotonic()))

    assert draft.text == "abcdefgh"
    assert not math.isnan(draft.likelihood)


@dataclass
class Slow(Oracle):
    """Encodes so many tokens of the prefix before the clock, which it moves on by a second each,
    comes to the deadline."""

    def encode(self, sides: Sides, memory: Sides | None, *, budget: Budget = UNLIMITED) -> Sides:
        done = len(memory.prefix_ids) if memory else 0
        while done < len(sides.prefix_ids) and not budget.over:
            done += 1
            CLOCK[0] += 1
        return super().encode(replace(sides, prefix_ids=sides.prefix_ids[:done]), None)

    def reusable(self, memory: Sides, sides: Sides) -> int:
        return len(memory.prefix_ids)


CLOCK = [0.0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    CLOCK[0] = 0.0
    monkeypatch.setattr("infill_engine.budget.time.monotonic", lambda: CLOCK[0])


@pytest.mark.usefixtures("clock")
def test_sides_that_are_not_encoded_in_time_give_nothing_but_the_next_request_a_start() -> None:
    slow = Slow(fills=["abc"])
    engine = LocalEngine(slow)
    request = InfillRequest(prefix="0123456789" * 10, suffix="")

    assert list(engine.infill(request, budget=Budget(deadline=70.0))) == []
    assert slow.steps == 0
    slow.start = len(request.prefix)
    *_, draft = engine.infill(request, budget=Budget(deadline=100.0))

    assert draft.text == "abc"
    assert [len(sides.prefix_ids) for sides in slow.encoded] == [70, 100]


@pytest.mark.usefixtures("clock")
def test_a_block_that_is_not_encoded_in_time_leaves_what_was_there_before_it() -> None:
    slow = Slow(fills=["abcdefghijkl"], lengths=(8,))
    engine = LocalEngine(slow)

    *_, draft = engine.infill(InfillRequest(prefix="01", suffix=""), budget=Budget(deadline=5.0))

    assert draft.text == "abcdefgh"
    assert not math.isnan(draft.log_probability)
    assert [len(sides.prefix_ids) for sides in slow.encoded] == [2, 5]


def test_a_request_that_is_taken_back_is_not_scored() -> None:
    class Unscored(Oracle):
        def score(self, memory: Sides, sides: Sides, rows: Sequence[Sequence[int]]) -> list[Scored]:
            raise AssertionError("nobody waits for it")

    for middle in ((Hole(),), (Hole(), "|", Hole())):
        oracle = Unscored(fills=["ab", "cd"], canvas_lengths=(16,))
        request = InfillRequest(prefix="", suffix="", middle=middle)
        drafts: list[Draft] = []
        budget = Budget(cancelled=partial(bool, drafts))
        for draft in LocalEngine(oracle).infill(request, budget=budget):
            drafts.append(draft)

        assert [draft.steps for draft in drafts] == [1]


def test_warming_encodes_and_denoises_nothing() -> None:
    oracle = Oracle(fills=["abc"])

    LocalEngine(oracle).warm(InfillRequest(prefix="a = ", suffix="\n"))

    assert len(oracle.encoded) == 1
    assert oracle.steps == 0


def test_cells_tell_what_is_pinned_settled_noise_and_end() -> None:
    oracle = Oracle(fills=["x", "yz"], canvas_lengths=(16,))
    request = InfillRequest(prefix="", suffix="", middle=(Hole(), "|", Hole()))

    drafts = list(LocalEngine(oracle).infill(request))

    final = {(cell.text, cell.state) for cell in drafts[-1].cells}
    assert final == {
        ("x", "settled"), ("|", "pinned"), ("y", "settled"), ("z", "settled"), ("", "end"),
    }  # fmt: skip
    assert "noise" in {cell.state for cell in drafts[0].cells}


def test_a_block_that_the_model_does_not_believe_in_is_the_last() -> None:
    oracle = Oracle(fills=["abcdefghijklmnopqrstuvwxyz"], lengths=(8,), likelihood=-4.0)

    draft = last(LocalEngine(oracle))

    assert draft.text == "abcdefgh"
    assert draft.likelihood == -4.0
