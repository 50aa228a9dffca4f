"""How much of what an engine says is shown, and how probable it is."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infill_engine.request import Draft, EngineInfo
from infill_ls.completion.heads import (
    FIGURES,
    SHOWN_FROM,
    Head,
    figures,
    heads,
    nearest,
    shown_from,
)
from infill_ls.completion.pipeline import Infilled, InfillOptions, Trees, infill_at
from infill_ls.documents import Document
from infill_ls.syntax.brackets import balance
from infill_ls.syntax.language import language_of
from tests.infill_ls.scripted import Engine, draft

PYTHON = language_of("python")
UNASKED = InfillOptions(min_confidence=SHOWN_FROM)


def found(texts: Sequence[tuple[str, float]], least: float) -> list[Head]:
    return list(heads(texts, PYTHON, lambda _: least))


@pytest.mark.parametrize(
    ("texts", "all_of_them"),
    [
        ([("items(1)", 0.2)], ["items(1)", "items"]),
        ([("items[0].name", 0.2)], ["items[0].name", "items[0]", "items"]),
        (
            [("x = f(a, [b", 0.2)],
            ["x = f(a, [b", "x = f", "x"],
        ),  # nothing that it opens is left open
        ([("a + b", 0.2)], ["a + b", "a"]),
        ([('say("a") or', 0.2)], ['say("a") or', 'say("a")', "say"]),
        ([("first\n  second(", 0.2)], ["first\n  second(", "first"]),
        ([(")", 0.2)], [")"]),
    ],
)
def test_a_head_ends_at_a_token_and_leaves_nothing_open(
    texts: Sequence[tuple[str, float]], all_of_them: list[str]
) -> None:
    assert [head.text for head in found(texts, 0.0)] == all_of_them


def test_what_more_texts_begin_with_is_likelier() -> None:
    alone = [("names.index(a)", 0.2), ("other", 0.1)]
    both = [("names.index(a)", 0.2), ("names.index(b)", 0.1)]
    (of_one,), (of_both,) = (
        [head.score for head in found(texts, 0.0) if head.text == "names.index"]
        for texts in (alone, both)
    )

    assert of_both > of_one > 0.2
    assert of_both > 0.6
    assert dict(zip(FIGURES, figures("names", both), strict=True)) == pytest.approx(
        {
            "sum": 0.3,
            "share": 1.0,
            "rest": 0.7,
            "greatest": math.log(0.2),
            "length": 5 / 14,
            "number": 2.0,
            "part": 1.0,
            "whole": 0.0,
        }
    )
    assert figures("name", both)[0] == 0  # not within a word


@given(st.lists(st.tuples(st.text("ab(). '\n", max_size=12), st.floats(0, 0.5)), max_size=4))
def test_whatever_the_texts_a_head_begins_one_and_has_a_probability(
    texts: list[tuple[str, float]],
) -> None:
    every = found(texts, 0.0)

    assert {text for text, _ in texts} <= {head.text for head in every}
    for head in every:
        assert texts[head.of][0].startswith(head.text)
        assert head.whole == (texts[head.of][0] == head.text)
        assert 0 <= head.score <= 1
        assert head.whole or ("\n" not in head.text and not balance(head.text, PYTHON).openers)
    assert [head for head in every if head.score >= 0.5] == found(texts, 0.5)
    lengths = [len(head.text) for head in every]
    assert lengths == sorted(lengths, reverse=True)


class Doubtful(Engine):
    """Says these texts, each as probable as it is said to be."""

    def __init__(self, said: dict[str, float]) -> None:
        super().__init__()
        self.said = said

    def drafts(self, request: object) -> object:  # type: ignore[override]
        first, *others = (draft(t, log_probability=math.log(p)) for t, p in self.said.items())
        yield Draft(**{**{n: getattr(first, n) for n in first.__slots__}, "others": (*others,)})


def infilled(said: dict[str, float], source: str, options: InfillOptions = UNASKED) -> Infilled:
    before, after = source.split("‸")
    document = Document(uri="file:///a", version=1, language_id="python", text=before + after)
    return infill_at(Doubtful(said), document, len(before), options, trees=Trees())


def shown(said: dict[str, float], source: str, options: InfillOptions = UNASKED) -> list[str]:
    return [each.text for each in infilled(said, source, options).candidates]


def test_as_much_is_shown_as_is_probable_enough() -> None:
    assert shown({"names.index(a)": 0.9}, "x = ‸\n") == ["names.index(a)"]
    assert shown({"names.index(a)": 0.3, "names.index(b)": 0.2}, "x = ‸\n") == ["names.index"]
    assert shown({"names.index(a)": 0.02, "others(b)": 0.02}, "x = ‸\n") == []
    asked = InfillOptions(num_candidates=2)
    texts = {"names.index(a)": 0.3, "names.index(b)": 0.2}
    assert shown(texts, "x = ‸\n", asked) == list(texts)


def test_a_head_is_right_where_it_stands_or_not_shown() -> None:
    assert shown({"b = c + 1": 0.25, "b = c - 1": 0.25}, "x = 1\n‸\n") == ["b = c"]
    assert shown({"def f(a): pass": 0.25, "def f(b): pass": 0.25}, "‸\n") == []
    # Of a bracket from before the cursor nothing is closed that the texts do not close.
    assert shown({"names, 1)": 0.25, "names, 2)": 0.25}, "x = f(‸\n") == ["names"]


def test_a_head_is_held_to_what_other_texts_are() -> None:
    texts = {"names are": 0.3, "names were": 0.3}

    assert shown(texts, "# the ‸\n") == []
    selecting = InfillOptions(min_confidence=SHOWN_FROM, selected="names")
    assert shown({"names + 1": 0.3, "names - 1": 0.3}, "x = ‸\n", selecting) == []


def test_what_was_not_found_to_be_wrong_is_told() -> None:
    def told(said: dict[str, float]) -> dict[str, float]:
        return {each.text: round(each.score, 2) for each in infilled(said, "x = ‸\n").said}

    assert told({"names + 1": 0.2, "other": 0.1}) == {"names + 1": 0.2, "other": 0.1}
    assert told({"names +": 0.9, "other": 0.1}) == {"other": 0.1}


def test_what_is_doubted_needs_more_and_an_engine_without_probabilities_nothing() -> None:
    info = Engine().describe()
    measured = EngineInfo(
        **{**{n: getattr(info, n) for n in info.__slots__}, "show_threshold": 0.2}
    )

    assert shown_from(info) == 0
    assert shown_from(measured) == SHOWN_FROM
    assert shown_from(measured, 1.2) == pytest.approx(1.2 * SHOWN_FROM)
    assert shown_from(measured, 2.0) == 0.99


def test_the_nearest_head_is_told_with_what_it_would_need() -> None:
    texts = [("names.index(a)", 0.2), ("f(b", 0.2)]
    scores = {head.text: head.score for head in found(texts, 0.0)}

    score, least, head = nearest(texts, PYTHON, lambda _: 0.9)
    assert (score, least) == (max(scores.values()), 0.9)
    assert scores[head] == score
    surest = max(scores, key=lambda text: scores[text])
    score, least, _ = nearest(texts, PYTHON, lambda text: 2.0 if text == surest else 0.9)
    assert (score, least) == (sorted(scores.values())[-2], 0.9)


def test_what_is_checked_of_a_head_is_the_head_itself() -> None:
    (alone,) = infilled({"names, 1)": 0.25, "names, 2)": 0.25}, "x = f(‸\n").candidates
    (whole,) = infilled({"names": 0.95}, "x = f(‸\n").candidates

    assert (alone.text, whole.text) == ("names", "names)")
