"""What several texts begin with, where none of them is probable enough."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infill_engine.request import Draft
from infill_ls.completion.heads import LEAST, heads
from infill_ls.completion.pipeline import InfillOptions, Trees, infill_at
from infill_ls.documents import Document
from infill_ls.syntax.brackets import balance
from infill_ls.syntax.language import language_of
from tests.infill_ls.scripted import Engine, draft

PYTHON = language_of("python")
UNASKED = InfillOptions(min_confidence=0.3)


@pytest.mark.parametrize(
    ("texts", "likely"),
    [
        ([("items(1)", 0.2), ("items(2)", 0.2)], ["items"]),
        ([("items[0].name", 0.2), ("items[0].size", 0.2)], ["items[0]", "items"]),
        ([("total_a", 0.2), ("total_b", 0.2)], []),  # not within a word
        ([("total", 0.2), ("totals", 0.2)], []),
        ([("total", 0.2), ("total + 1", 0.2)], ["total"]),
        ([("items(1)", 0.2), ("other(2)", 0.2)], []),
        ([('say("a")', 0.2), ('say("b")', 0.2)], ["say"]),
        ([("ab(1)", 0.3), ("ab(2)", 0.3)], []),  # hardly worth a key
        ([("first\nsecond", 0.2), ("first\nthird", 0.2)], ["first"]),
    ],
)
def test_a_head_is_as_probable_as_the_texts_that_begin_with_it(
    texts: Sequence[tuple[str, float]], likely: list[str]
) -> None:
    found = [head for head in heads(texts, PYTHON) if head.score >= 0.3]

    assert [head.text for head in found] == likely
    assert [head.score for head in found] == pytest.approx([0.4] * len(likely))


@given(
    st.lists(st.tuples(st.text("ab(). '\n", max_size=12), st.floats(0, 0.5)), max_size=4),
)
def test_whatever_the_texts_a_head_begins_one_and_leaves_nothing_open(
    texts: list[tuple[str, float]],
) -> None:
    found = list(heads(texts, PYTHON))

    for head in found:
        assert texts[head.of][0].startswith(head.text)
        assert 0 <= head.score <= 1
        assert head.score >= texts[head.of][1]
        assert len(head.text.strip()) >= LEAST
        assert "\n" not in head.text
        assert not balance(head.text, PYTHON).openers
    assert [len(head.text) for head in found] == sorted(
        (len(head.text) for head in found), reverse=True
    )


class Doubtful(Engine):
    """Says these texts, each as probable as it is said to be."""

    def __init__(self, said: dict[str, float]) -> None:
        super().__init__()
        self.said = said

    def drafts(self, request: object) -> object:  # type: ignore[override]
        first, *others = (draft(t, log_probability=math.log(p)) for t, p in self.said.items())
        yield Draft(**{**{n: getattr(first, n) for n in first.__slots__}, "others": (*others,)})


def shown(said: dict[str, float], source: str, options: InfillOptions = UNASKED) -> list[str]:
    before, after = source.split("‸")
    document = Document(uri="file:///a", version=1, language_id="python", text=before + after)
    found = infill_at(Doubtful(said), document, len(before), options, trees=Trees())
    return [f"{each.text} {each.score:.2f}" for each in found.candidates]


def test_what_the_texts_begin_with_is_shown_where_none_of_them_is() -> None:
    said = {"names.index(a)": 0.2, "names.index(b)": 0.15, "other": 0.1}

    assert shown(said, "x = ‸\n") == ["names.index 0.35"]
    assert shown({**said, "names.index(a)": 0.35}, "x = ‸\n") == ["names.index(a) 0.35"]


def test_a_head_is_right_where_it_stands_or_not_shown() -> None:
    assert shown({"b = c + 1": 0.2, "b = c - 1": 0.2}, "x = 1\n‸\n") == ["b = c 0.40"]
    assert shown({"def f(a): pass": 0.2, "def f(b): pass": 0.2}, "‸\n") == []
    # Of a bracket from before the cursor nothing is closed that the texts do not close.
    assert shown({"names, 1)": 0.2, "names, 2)": 0.2}, "x = f(‸\n") == ["names 0.40"]


def test_a_head_is_held_to_what_other_texts_are() -> None:
    texts = {"names are": 0.2, "names were": 0.2}

    assert shown(texts, "# the ‸\n") == []
    selecting = InfillOptions(min_confidence=0.3, selected="names")
    assert shown({"names + 1": 0.2, "names - 1": 0.2}, "x = ‸\n", selecting) == []


@pytest.mark.parametrize(
    ("said", "best"),
    [
        ({"names + 1": 0.2, "other": 0.1}, 0.2),
        ({"names + 1": 0.4, "other": 0.1}, 0.4),
        ({"names +": 0.4, "other": 0.1}, 0.1),  # it does not parse
        ({"names +": 0.4}, 0.0),
    ],
)
def test_it_is_told_how_likely_the_likeliest_text_is(said: dict[str, float], best: float) -> None:
    document = Document(uri="file:///a", version=1, language_id="python", text="x = \n")
    found = infill_at(Doubtful(said), document, 4, UNASKED, trees=Trees())

    assert found.best == pytest.approx(best)
