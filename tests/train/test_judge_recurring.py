"""What followed elsewhere is weighed by how often it was right."""

import math

import numpy as np
import pytest

from infill_engine.judge.recurring import following
from train.judge_recurring import HOLE, Looked, fitted, holes_of, in_folds, mixed


def test_holes_are_said_behind_what_stands_before_them_and_look_through_the_rest() -> None:
    ids = list(range(100, 100 + 5 * HOLE))
    found = list(holes_of(ids, 2 * HOLE))

    assert [before + hole for before, hole, _ in found] == [
        ids[: (at + 1) * HOLE] for at in range(2, 5)
    ]
    around = found[0][2]
    at = around.places(ids[3 * HOLE : 3 * HOLE + 2])  # behind the first hole
    followed = following([(around, at)])
    assert followed is not None
    assert followed.shares == {ids[3 * HOLE + 2]: 1.0}
    inside = [
        len(around.places(hole[at : at + 2]).lengths)
        for _, hole, around in found
        for at in range(HOLE - 1)
    ]
    assert not any(inside), "a hole is not looked through"


def test_what_is_right_as_often_as_it_looks_is_weighed_so() -> None:
    draw = np.random.default_rng(0)
    count = 4_000
    sure = draw.random(count) < 0.5
    figures = np.stack([np.ones(count), sure * 2.0, np.zeros(count), np.zeros(count)], 1)
    theirs = draw.random(count) < np.where(sure, 0.6, 0.1)
    found = Looked(
        nats=np.where(theirs, -9.0, -1.0),
        share=theirs.astype(float),
        figures=figures,
        package=np.arange(count) % 10,
    )
    constant, per_step, *_ = fitted(found)

    assert 1 / (1 + math.exp(-constant)) == pytest.approx(0.1, abs=0.03)
    assert 1 / (1 + math.exp(-constant - 2 * per_step)) == pytest.approx(0.6, abs=0.04)
    assert in_folds(found).mean() > found.nats.mean() + 0.5
    assert mixed(found, fitted(found)).mean() == pytest.approx(in_folds(found).mean(), abs=0.05)
