"""How sure a candidate is."""

import math

import pytest

from infill_ls.completion.candidate import confidence
from tests.infill_ls.scripted import draft


def test_confidence_is_how_probable_the_text_is_or_what_the_engine_tells_instead() -> None:
    half = math.log(0.5)
    told = {"log_probability": math.nan, "likelihood": math.nan, "mean_entropy": math.nan}
    for numbers, expected in (
        ({"log_probability": 3 * half, "likelihood": half}, 0.125),
        ({"log_probability": 0.01}, 1.0),
        ({"likelihood": half}, 0.5),
        ({"mean_entropy": math.log(4)}, 0.25),
        ({}, 1.0),
    ):
        assert confidence(draft("a", **{**told, **numbers})) == pytest.approx(expected)
