"""What is shown though nobody asked: rather nothing than something that interrupts."""

import math

import pytest

from infill_engine.budget import UNLIMITED
from infill_engine.request import Draft
from infill_ls.completion.candidate import Candidate
from infill_ls.completion.context import context_at
from infill_ls.completion.gate import SHORT_SCORE, least_score
from infill_ls.completion.pipeline import Hold, Infilled, InfillOptions, Trees, infill_at
from infill_ls.documents import Document
from tests.infill_ls.scripted import Engine, Several, draft

UNASKED, ASKED = InfillOptions(min_confidence=0.2), InfillOptions()


def least(source: str, text: str, language_id: str = "python", elsewhere: str = "") -> float:
    before, after = source.split("‸")
    document = Document(uri="file:///a", version=1, language_id=language_id, text=before + after)
    return least_score(text, context_at(document, len(before)), elsewhere, 0.2)


@pytest.mark.parametrize(
    ("source", "text", "language_id", "score"),
    [
        ("x = ‸\n", "name", "python", 0.2),
        ("x = na‸\n", "me", "python", SHORT_SCORE),  # hardly worth a key
        ("x = f(1‸\n", ")", "python", SHORT_SCORE),
        ("x = na‸\n", "me(1)", "python", 0.2),
        ("x = na‸\n", "mesake", "python", 0.2),
        ("# what it ‸\n", "does", "python", math.inf),
        ("# what it does\n\n# what it ‸\n", "does", "python", 0.2),
        ('x = "‸"\n', "name", "python", math.inf),
        ('x = d["a name"]\ny = d["a ‸"]\n', "name", "python", 0.2),
        ('def f():\n    """Does ‸\n    """\n', "it.", "python", math.inf),
        ('x = f"{‸}"\n', "name", "python", 0.2),
        ("let x = `a ${‸}`;\n", "name", "javascript", 0.2),
        ("/* what ‸ */\n", "it does", "javascript", math.inf),
    ],
)
def test_in_comments_and_strings_and_where_it_is_short_it_has_to_be_surer(
    source: str, text: str, language_id: str, score: float
) -> None:
    assert least(source, text, language_id) == score


def test_a_string_goes_on_as_it_does_in_another_file() -> None:
    assert least('x = d["a ‸"]\n', "name", elsewhere='y = d["a name"]\n') == 0.2


def infilled(
    engine: Engine, source: str, options: InfillOptions
) -> tuple[Infilled, tuple[Candidate, ...]]:
    """And what is held back."""
    before, after = source.split("‸")
    document = Document(uri="file:///a", version=1, language_id="python", text=before + after)
    holds: list[Hold] = []
    found = infill_at(engine, document, len(before), options, trees=Trees(), later=holds.append)
    return found, tuple(each for hold in holds for each in hold(UNLIMITED))


def test_what_was_asked_for_is_shown_in_a_comment_too() -> None:
    source = "# what it ‸\n"

    asked, _ = infilled(Several("does"), source, ASKED)
    assert [each.text for each in asked.candidates] == ["does"]
    found, held = infilled(Several("does"), source, UNASKED)
    assert (found.candidates, held) == ((), ())
    assert found.rejected == "in a comment or string only the file's own text is gone on with"


class Doubtful(Engine):
    """Says two texts that fit and one that does not, each less probable than the one before."""

    def drafts(self, request: object) -> object:  # type: ignore[override]
        said = {"first(1)": 0.6, "second(2": 0.15, "third)": 0.1, "fourth": 0.05}
        first, *others = (draft(t, log_probability=math.log(p)) for t, p in said.items())
        yield Draft(**{**{n: getattr(first, n) for n in first.__slots__}, "others": (*others,)})


def test_what_is_not_sure_enough_is_held_back_where_it_fits() -> None:
    found, held = infilled(Doubtful(), "x = ‸\n", UNASKED)

    assert [each.text for each in found.candidates] == ["first(1)"]
    assert [each.text for each in held] == ["second(2)", "fourth"]
    assert [each.score for each in held] == pytest.approx([0.15, 0.05])
    assert infilled(Doubtful(), "x = ‸\n", ASKED)[1] == ()
