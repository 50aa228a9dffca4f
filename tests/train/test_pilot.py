"""A pilot knows when to stop, and what a gain is."""

import numpy as np
import pytest

from train.pilot import Figure, Measured, Pilot, Run, ended, gained


def measured(*moved: float) -> Measured:
    figures = {
        str(at): Figure(nats=1, gain=0, error=0, moved=each, moved_error=0.1)
        for at, each in enumerate(moved)
    }
    return Measured(step=1, minutes=1, figures=figures)


@pytest.mark.parametrize(
    ("curve", "stops"),
    [
        ([[0]], False),
        ([[0], [0.05]], False),
        ([[0], [0.2], [0.05]], False),
        ([[0], [0.05], [0.2]], False),
        ([[0], [0.05], [-0.2]], True),
        ([[0], [0.2], [0.05], [0.05]], True),
        ([[0, 0], [0.05, 0.2], [0.05, 0.05]], False),
        ([[0, 0], [0.05, 0.05], [-0.2, 0.05]], True),
    ],
)
def test_a_run_ends_where_two_measurements_moved_no_figure(
    curve: list[list[float]], stops: bool
) -> None:
    assert bool(ended(Run(curve=[measured(*each) for each in curve]), Pilot())) == stops


def test_a_run_ends_with_its_minutes() -> None:
    assert ended(Run(seconds=61.0), Pilot(minutes=1)) == "its minutes are over"


def test_a_gain_is_per_token_and_its_error_over_examples() -> None:
    before = np.array([[10.0, 10], [30.0, 20]])

    assert gained(before, before - np.array([[1.0, 0], [2.0, 0]])) == pytest.approx((0.1, 0.0))
    assert gained(before, before - np.array([[3.0, 0], [0.0, 0]]))[1] == pytest.approx(0.1333, 1e-2)
