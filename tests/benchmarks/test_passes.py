"""What is counted as spent outside of the routines is what is spent there."""

import json
import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from benchmarks import passes
from benchmarks.passes import Meter
from infill_kernels import heads
from infill_kernels import native as levels
from infill_kernels.native import native


@pytest.fixture(autouse=True)
def routines() -> None:
    if native()[0] is None:
        pytest.skip(native()[1])


def work(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_part_is_parted_into_routines_and_the_rest() -> None:
    meter = Meter()
    routine = meter.routine(partial(work, 0.03))

    def turns() -> Iterator[None]:
        yield routine()
        yield work(0.01)

    loop = meter.turns("step", turns)
    with meter.part("answer"):
        work(0.01)
        assert list(loop()) == [None, None]

    answer, step = (meter.parts[name] for name in ("answer", "step"))
    assert (answer.runs, step.runs) == (1, 2)
    assert 0.03 < answer.inside < answer.seconds - 0.015
    assert 30 < answer.figures()["outside"] < 60


def test_the_routines_are_watched_and_let_go_again() -> None:
    level, _ = native()
    assert level is not None
    meter, matrix = Meter(), heads.Matrix.of(np.ones((16, 32), np.float32))
    with meter.watching():
        product = matrix(np.ones((1, 32), np.float32))
    inside = meter.inside

    assert np.allclose(product, 32, rtol=0.01)
    assert inside > 0
    matrix(np.ones((1, 32), np.float32))
    assert meter.inside == inside
    assert levels.native()[0] is level


@pytest.mark.slow
def test_ends_in_a_line_of_json_that_holds_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    passes.main(["--places", "1", "--tokens", "96"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])

    assert {passes.ANSWER, passes.STEP, "canvas read"} <= set(result["parts"])
    assert any(name.startswith(passes.JUDGED) for name in result["parts"])
    for part in result["parts"].values():
        assert part["runs"] >= 0
        assert 0 < part["outside"] <= 100
    reads = [(each["model"], each["threads"]) for each in result["reads"]]
    assert reads == [("canvas", 1), ("judge", 1), ("canvas", 2), ("judge", 2)]
    assert all(min(each["processor"], each["wall"]) > 0 for each in result["reads"])


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(SystemExit, match="--threads 0 must be at least 1"):
        passes.main(["--threads", "0"])
