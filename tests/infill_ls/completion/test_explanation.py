"""What the pipeline did is told as it was."""

import json
import math
from typing import Any

import pytest

from infill_engine.request import FILE_END
from infill_ls.completion.explanation import Explanation, explained, untouched
from infill_ls.completion.explanation_page import markdown, verdict
from infill_ls.completion.heads import nearest
from infill_ls.completion.pipeline import InfillOptions, Trees, infill_at
from infill_ls.completion.surroundings import NOTHING_AROUND, Surroundings
from infill_ls.completion.trace import Trace
from infill_ls.documents import Document
from infill_ls.syntax.language import language_of
from tests.infill_ls.engines import Knowing, always
from tests.infill_ls.scripted import Filling, Several


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
    score, _ = nearest([("f(a)", math.exp(-0.1))], language_of("python"), lambda _: 1.0)
    assert found.shown == ()
    assert found.why_not == f"confidence {score:.2f} is below 1.00"
    assert verdict(found) == f"Nothing is shown while typing: {found.why_not}."


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
