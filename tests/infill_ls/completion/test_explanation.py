"""What the pipeline did is told as it was."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from infill_engine.request import FILE_END, Draft, InfillRequest
from infill_ls.completion.explanation import Explanation, OnScreen, explained, untouched
from infill_ls.completion.explanation_page import markdown, too_little_time, verdict
from infill_ls.completion.heads import nearest, percent
from infill_ls.completion.pipeline import InfillOptions, Trees, infill_at
from infill_ls.completion.surroundings import NOTHING_AROUND, Surroundings
from infill_ls.completion.trace import Trace
from infill_ls.documents import Document
from infill_ls.syntax.language import language_of
from tests.infill_ls.engines import Knowing, always
from tests.infill_ls.scripted import Engine, Filling, Several, draft


def document(source: str) -> tuple[Document, int]:
    before, after = source.split("‸")
    uri = "file:///a.py"
    return Document(uri=uri, version=1, language_id="python", text=before + after), len(before)


def explanation(
    engine: Any,
    source: str,
    around: Surroundings = NOTHING_AROUND,
    before: tuple[str, ...] = (),
    **options: Any,
) -> Explanation:
    """With what comes without a trace, which has to be the same."""
    text, offset = document(source)
    given = InfillOptions(elsewhere=around.elsewhere, **options)
    trace = Trace()
    infilled = infill_at(engine, text, offset, given, trees=Trees(), trace=trace)
    return explained(text, offset, infilled, trace, asked="typing", around=around, before=before)


def test_every_text_has_its_fate_and_its_reason() -> None:
    engine = Several("f(a b)", "print(x)", "g(a)", "h(a)", "")
    found = explanation(engine, "x = ‸\nprint(x)\n")

    assert found.shown == ("g(a)",)
    assert [(each.said, each.fate) for each in found.considered] == [
        ("f(a b)", "refused"),
        ("print(x)", "refused"),
        ("g(a)", "shown"),
        ("h(a)", "spare"),
        ("", "refused"),
    ]
    reasons = [each.why for each in found.considered]
    assert "syntax" in reasons[0]
    assert "repeats" in reasons[1]
    assert [reasons[2], reasons[3], reasons[4]] == ["", "", "empty"]
    assert (found.place.line, found.place.column) == (1, 5)


def test_what_is_not_probable_enough_says_by_how_much() -> None:
    found = explanation(Several("f(a)"), "x = ‸\n", min_confidence=1.0)

    # Who says no probability of a text is as sure as its likelihood.
    score, _, head = nearest([("f(a)", math.exp(-0.1))], language_of("python"), lambda _: 1.0)
    assert found.shown == ()
    assert found.why_not == f"confidence {percent(score)} is below 100 %"
    assert [(each.text, each.of) for each in found.beginnings] == [(head, (1,))]
    assert found.considered[0].spared == "no beginning of it was sure enough"
    assert verdict(found) == f"Nothing is shown while typing: {found.why_not}."


class Split(Engine):
    """Has three texts, of which two begin alike; the judge had no time for any."""

    def drafts(self, request: InfillRequest) -> Iterator[Draft]:
        first, *others = [
            draft(text, log_probability=math.log(probability))
            for text, probability in (("total(a)", 0.2), ("other", 0.1), ("total(b)", 0.6))
        ]
        yield replace(first, others=tuple(others), read=(1, 1, 63), left_out=("judging",))


def test_a_beginning_has_the_sum_of_the_texts_that_begin_so() -> None:
    found = explanation(Split(), "x = ‸\n", min_confidence=0.7)
    page = markdown(found)

    assert [each.said for each in found.considered] == ["total(b)", "total(a)", "other"]
    assert [each.rank for each in found.considered] == [3, 1, 2]
    (decided,) = found.beginnings
    assert (decided.text, decided.of, found.shown) == ("total", (1, 2), ("total",))
    assert decided.together == pytest.approx(0.8)
    assert decided.confidence >= decided.least == 0.7
    assert "texts 1 (60 %), 2 (20 %) begin so, together 80 %" in page
    assert "shown, as far as 'total'" in page
    assert found.considered[2].spared == "another beginning was sure enough"


class Heads(Engine):
    """Has three texts that begin alike, none of them probable alone."""

    def drafts(self, request: InfillRequest) -> Iterator[Draft]:
        first, *others = [
            draft(f"def size(self, {name}):", log_probability=math.log(probability))
            for name, probability in (("a", 0.5), ("b", 0.25), ("c", 0.2))
        ]
        yield replace(first, others=tuple(others))


def test_a_text_is_not_refused_for_what_is_wrong_with_its_beginning() -> None:
    source = "class A:\n    ‸\n        return 1\n"
    found = explanation(Heads(), source, min_confidence=0.7)
    whole, *beginnings = found.beginnings

    assert not found.shown
    assert {each.fate for each in found.considered} == {"spare"}
    assert (whole.text, whole.of) == ("def size(self, a):", (1,))
    assert whole.confidence < whole.least == 0.7
    assert {each.why for each in beginnings} == {"a new syntax error"}
    assert verdict(found) == (
        f"Nothing is shown while typing: the whole text is {percent(whole.confidence)}, below the "
        "70 % needed, and the beginnings above that would be wrong alone: a new syntax error."
    )
    assert explanation(Heads(), source).shown == ("def size(self, a):",)


def test_what_there_was_no_time_for_is_told() -> None:
    found = explanation(Split(), "x = ‸\n", min_confidence=0.7)
    page = markdown(replace(found, deadline_ms=150.0))

    assert found.left_out == ("judging",)
    assert "too little time (150 ms): the judge ranked nothing. infill.deadlineMs gives" in page
    assert "read 63 tokens before the cursor, and had no time to rank any text" in page
    assert too_little_time(explanation(Several("f(a)"), "x = ‸\n"), "more") == ""


def test_what_is_on_the_screen_comes_first() -> None:
    seen = OnScreen(text="otal", typed="t", line=1, column=5, asked="typing")
    found = replace(explanation(Split(), "x = ‸\n", min_confidence=0.7), on_screen=seen)
    page = markdown(found)

    places = [page.index(part) for part in ("On the screen", "otal\n", "Asked anew", "total\n")]
    assert places == sorted(places)
    same = replace(found, on_screen=replace(seen, text="total"))
    assert verdict(same).endswith("say the same: this is shown while typing.")


def test_what_was_mended_is_told() -> None:
    cut = explanation(Several("f(a) b"), "x = ‸\n")
    again = explanation(Filling("f(a b)", "(c)"), "x = ‸\n")

    assert [check.how for check in cut.considered[0].checks][-1] == "cut back"
    assert cut.considered[0].checks[-1].text == "f(a)"
    assert {"renoised", "said"} <= {check.how for each in again.considered for check in each.checks}


def test_the_canvas_is_told_step_by_step() -> None:
    found = explanation(Knowing(always("f(a)"), steps=3, wavers="g"), "x = ‸\n")

    assert [(step.run, step.step, step.text) for step in found.steps] == [(1, 1, "g"), (1, 2, "g")]


@pytest.mark.parametrize(
    ("source", "source_line", "shared"),
    [
        ("left = f(a)\n\nleft = ‸\n", "line 1", 7),
        ("\nleft = ‸\n\nleft = f(a)\n", "line 4", 8),
        ("x.y = ‸\n", "/b.py, line 2", 6),
        ("‸\nf(a)\n", "", 0),
    ],
)
def test_where_the_same_stands_is_told(source: str, source_line: str, shared: int) -> None:
    around = Surroundings(elsewhere=f"\nx.y = f(a)\n{FILE_END}", files=("/b.py",))
    found = explanation(Several("f(a)"), source, around)

    assert (found.considered[0].source, found.considered[0].shared) == (source_line, shared)
    assert found.window is not None
    assert [(file.path, file.characters) for file in found.window.searched] == [("/b.py", 12)]


def test_reasons_before_any_model_come_first() -> None:
    text, offset = document("x = ‸\n")
    alone = untouched(text, offset, asked="typing", why="off")
    later = explanation(Several("f(a)"), "x = ‸\n", before=("on demand only",))

    assert (alone.why_not, alone.considered, alone.shown) == ("off", (), ())
    assert (later.why_not, later.shown) == ("on demand only", ())
    assert later.considered[0].fate == "shown"
    assert "were it not for that" in markdown(later)


def test_as_json_has_no_number_that_is_none() -> None:
    said = json.dumps(explanation(Several("f(a)"), "x = ‸\n").as_json(), allow_nan=False)

    assert json.loads(said)["considered"][0]["said"] == "f(a)"


def test_the_page_shows_text_as_text() -> None:
    page = markdown(explanation(Several("f('```')", "*a*"), "x = ‸\n"))

    assert "````python\nf('```')\n````" in page
    assert "# Why at `/a.py:1:5`" in page
    assert page.count("\n\n\n") == 0
