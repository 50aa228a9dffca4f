"""What followed the same tokens elsewhere: found as by looking everywhere, and mixed in."""

import math
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.judge.llama import ENCODED_A_SECOND, LlamaJudge
from infill_engine.judge.recurring import (
    LEAST,
    LONGEST,
    MOST_PLACES,
    Following,
    Recurring,
    following,
)
from infill_engine.request import FILE_END, InfillRequest

Parts = list[list[int]]
TOKENS = st.integers(0, 3)


def looked_up(parts: Parts, context: list[int]) -> tuple[int, Counter[int]] | None:
    """At every place the longest end of the context; of the longest what follows."""
    found: dict[int, Counter[int]] = {}
    for part in parts:
        for at in range(1, len(part)):
            size = 0
            while (
                size < min(at, len(context), LONGEST) and part[at - size - 1] == context[-size - 1]
            ):
                size += 1
            found.setdefault(size, Counter())[part[at]] += 1
    found = {size: counts for size, counts in found.items() if size >= LEAST}
    return (max(found), found[max(found)]) if found else None


@given(
    parts=st.lists(st.lists(TOKENS, max_size=30), max_size=3),
    context=st.lists(TOKENS, max_size=20),
    more=st.lists(TOKENS, max_size=5),
    apart=st.booleans(),
)
def test_what_followed_is_found_as_by_looking_everywhere(
    parts: Parts, context: list[int], more: list[int], apart: bool
) -> None:
    texts = [Recurring([part]) for part in parts] if apart else [Recurring(parts)]
    places = [text.places(context) for text in texts]
    for said in range(len(more) + 1):
        found = following(zip(texts, places, strict=True))
        wanted = looked_up(parts, context + more[:said])
        assert (found is None) == (wanted is None)
        if found is not None and wanted is not None:
            length, counts = wanted
            assert (found.length, found.count) == (length, counts.total())
            shares = {token: count / counts.total() for token, count in counts.items()}
            assert found.shares == pytest.approx(shares)
        if said < len(more):
            places = [
                text.after(each, more[said]) for text, each in zip(texts, places, strict=True)
            ]


def test_of_too_many_places_the_last_are_looked_at() -> None:
    text = Recurring([MOST_PLACES * [1, 2, 3], MOST_PLACES * [1, 2, 4]])

    found = following([(text, text.places([1, 2]))])
    assert found == Following(length=2, count=MOST_PLACES, shares={4: 1.0})


def test_only_what_may_come_is_looked_for() -> None:
    text = Recurring([[1, 2, 3, 4], [7, 2, 3, 5]])
    places = text.places([1, 2, 3])

    def among(*tokens: int) -> Following | None:
        return following([(text, places)], np.isin(np.arange(8), tokens))

    assert among(4, 5) == Following(length=3, count=1, shares={4: 1.0})
    assert among(5) == Following(length=2, count=1, shares={5: 1.0})
    assert among(0) is None


@given(
    counts=st.dictionaries(st.integers(0, 9), st.integers(1, 9), min_size=1),
    length=st.integers(1, LONGEST),
    logits=st.lists(st.floats(-20, 20), min_size=10, max_size=10),
)
def test_all_tokens_together_stay_certain(
    counts: dict[int, int], length: int, logits: list[float]
) -> None:
    total = sum(counts.values())
    shares = {token: count / total for token, count in counts.items()}
    following = Following(length=length, count=total, shares=shares)
    nats = np.array(logits) - np.logaddexp.reduce(logits)
    said = following.mixed(dict(enumerate(nats.tolist())))

    assert sum(map(math.exp, said.values())) == pytest.approx(1)


def test_a_judge_expects_what_stands_behind_the_hole_after_the_same(judge: LlamaJudge) -> None:
    prefix, line = "def area(width):\n", "    zq_xv = (7, '#')\n"
    request = InfillRequest(prefix=prefix + "    zq_x", suffix="\n" + 3 * line)
    reading = judge.read(request, UNLIMITED)
    assert reading is not None
    rest = "v = (7, '#')"
    (with_it,) = reading.judge([rest], [0.0], UNLIMITED)
    likely = reading.tree.likeliest([0], 4)[0]
    again = reading.tree.log_probabilities([0] * len(likely), [token for token, _ in likely])
    reading.tree.among()
    (without,) = reading.judge([rest], [0.0], UNLIMITED)

    assert with_it is not None
    assert without is not None
    assert with_it.middle > without.middle + 10
    assert again == pytest.approx([nats for _, nats in likely], abs=3e-3)


def test_a_judge_expects_what_other_files_say_where_it_has_time_for_them(
    judge: LlamaJudge,
) -> None:
    request = InfillRequest(
        prefix="def area(width):\n    zq_x",
        suffix="\n",
        elsewhere=2 * f"a = 1\n    zq_xv = (7, '#')\n{FILE_END}",
    )
    rest = "v = (7, '#')"

    def probable(budget: Budget) -> float:
        reading = judge.read(request, budget)
        assert reading is not None
        (found,) = reading.judge([rest], [0.0], UNLIMITED)
        assert found is not None
        return found.middle

    judge.read(replace(request, elsewhere=""), UNLIMITED)
    long = 300_000 * " " + request.elsewhere
    assert 2 * len(long) / ENCODED_A_SECOND > 1
    without = probable(Budget(deadline=time.monotonic()))
    request = replace(request, elsewhere=long)
    late = probable(Budget(deadline=time.monotonic() + 0.5))
    known = probable(UNLIMITED)
    again = probable(Budget(deadline=time.monotonic() + 0.5))

    assert late == pytest.approx(without)
    assert known > without + 10
    assert again == pytest.approx(known)


def test_another_text_around_is_looked_through_and_typing_is_not_one(judge: LlamaJudge) -> None:
    def around(prefix: str, suffix: str, elsewhere: str = "") -> tuple[Recurring, ...]:
        request = InfillRequest(prefix=prefix, suffix=suffix, elsewhere=elsewhere)
        reading = judge.read(request, UNLIMITED)
        assert reading is not None
        return reading.tree.recurring

    one = around("a = 1\nb", "\nc = 3\n")
    assert around("a = 1\nb = a", "\nc = 3\n") == one
    assert around("a = 1\nb = a", "\nc = 4\n")[0] is not one[0]
    assert around("a = 1\nb = a\n", "\nc = 3\n")[0] is not one[0]
    others = around("a = 1\nb = a", "\nc = 3\n", "d = 4\n\0")
    assert around("a = 1\nb = ab", "\nc = 3\n", "d = 4\n\0") == others
    assert around("a = 1\nb = a\n", "\nc = 3\n", "d = 4\n\0")[1] is others[1]
