"""Holes that say what they may begin with, on the embedded model."""

import pytest

from infill_engine import EngineConfig, Hole, InfillRequest, load_engine


def test_a_hole_begins_with_what_it_may_begin_with() -> None:
    engine = load_engine(EngineConfig(judge="off"))
    number, word = Hole(max_tokens=4, initials="0123456789"), Hole(max_tokens=4, initials="xyz")
    *_, last = engine.infill(
        InfillRequest(
            prefix="limits = { first: ",
            suffix=" }\n",
            middle=(number, ", second: ", word, ", third: ", number),
            max_lines=1,
        )
    )

    first, second, third = last.fills
    assert first[0].isdigit()
    assert second[0] in "xyz"
    assert third[0].isdigit()


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_it_goes_on_from_what_was_taken_back_of_the_prefix(temperature: float) -> None:
    engine = load_engine(EngineConfig(judge="off"))
    request = InfillRequest(
        prefix='{"port": "',
        suffix='", "x": 1}\n',
        middle=(Hole(max_tokens=4, initials="789"), '", "y": ', Hole(max_tokens=4)),
        max_lines=1,
        temperature=temperature,
    )
    *_, last = engine.infill(request)

    assert last.fills[0][0] in "789"
