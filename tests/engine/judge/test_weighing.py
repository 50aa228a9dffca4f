"""Texts are weighed behind what stands before, and nothing else is touched."""

import time

import pytest

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.judge.awaited import at_hand
from infill_engine.judge.judge import Judge
from infill_engine.judge.llama import LlamaJudge
from infill_engine.judge.tree import Tree
from infill_engine.judge.vocabulary import END_OF_TEXT
from infill_engine.local import LocalEngine
from infill_engine.request import InfillRequest
from infill_engine.weighing import BEFORE, CHUNK, EACH, weigh
from tests.engine.oracle import Oracle
from tests.train.tiny_gguf import CODE


def engine_with(judge: Judge | None) -> LocalEngine[object]:
    engine = LocalEngine(Oracle(fills=["x"]), at_hand(judge))
    engine.warm(InfillRequest(prefix="", suffix=""))
    return engine


def weighed(
    judge: Judge | None, texts: list[str], budget: Budget = UNLIMITED
) -> tuple[int, object]:
    """In how many steps, and what comes of it."""
    work, steps = weigh(engine_with(judge), CODE * 9, texts, budget), 0
    while True:
        try:
            next(work)
        except StopIteration as end:
            return steps, end.value
        steps += 1


def test_each_text_behind_what_stands_before(judge: LlamaJudge) -> None:
    texts = ["def f(x):\n", "def g(x):\n" * 30]
    rows = [judge.vocabulary.encode(text)[:EACH] for text in texts]
    before = [END_OF_TEXT, *judge.vocabulary.encode(CODE * 9)[-BEFORE:]]
    prefix = judge.network.prefix(len(before))
    judge.network.push(prefix, before)
    tree, wanted = Tree(judge.network, judge.vocabulary, prefix, 2 * EACH, b""), []
    for ids in rows:
        (path,) = tree.grow([ids], UNLIMITED)
        wanted.append(sum(tree.log_probabilities(path[:-1], ids, alone=True)))

    steps, found = weighed(judge, texts)

    assert found == pytest.approx(wanted, abs=0.5)
    shared = next(at for at, (a, b) in enumerate(zip(*rows, strict=False)) if a != b)
    assert shared, "which are read once"
    read = [len(before), sum(map(len, rows)) - shared]
    assert steps == sum(-(-size // CHUNK) for size in read), "of a few tokens each"


def test_what_was_read_of_other_places_stays(judge: LlamaJudge) -> None:
    engine, asked = engine_with(judge), InfillRequest(prefix=CODE, suffix="")
    tree = _tree(judge, asked)

    assert list(weigh(engine, CODE * 9, ["a", "b"]))

    assert _tree(judge, asked) is tree


def _tree(judge: LlamaJudge, asked: InfillRequest) -> Tree:
    reading = judge.read(asked, UNLIMITED)
    assert reading is not None
    return reading.tree


def test_nothing_without_a_judge_or_time(judge: LlamaJudge) -> None:
    spent = Budget(deadline=time.monotonic() - 1)

    assert weighed(None, ["a"]) == (0, None)
    assert weighed(judge, ["a"], spent) == (0, None)
    assert weighed(judge, ["a"], Budget(cancelled=lambda: True)) == (0, None)
