"""The simulation of people and servers: what is known of queues by arithmetic, and its answers."""

import json
import math
import random
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scaleout.__main__ import Team, enough, main, simulated, widths
from benchmarks.scaleout.check import document_of, name_of, predicted, typing
from benchmarks.scaleout.clock import Clock
from benchmarks.scaleout.people import KEY_SECONDS, KEYS_A_LINE, Asking, keys
from benchmarks.scaleout.servers import GPUS, GpuServer, Job, QueueServer

ASKING = Asking(deadline=0.5, widths=(32, 48), network=0.0)
TEAM = Team(gpu=GPUS["H100"], most=32, steps=(12, 20), asking=ASKING, seed=0, pauses=60)


def job(*, at: str = "a", place: int = 0, finished: list[int], tokens: int = 1000) -> Job:
    return Job(
        document=at,
        place=place,
        prompt_tokens=tokens,
        widths=(32, 48),
        finished=finished.append,
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--tokens-per-second 0", "'0' is not a number from 1"),
        ("--typing-share 2", "'2' is not a number from 0.001 to 1"),
        ("--typing-share nan", "'nan' is not a number from 0.001 to 1"),
        ("--steps 20 12", "--steps 20 12: the fewest come first"),
        ("--delay-ms -1", "'-1' is not a number from 0"),
        ("--gpus 0", "'0' is not a whole number from 1"),
        ("--people x", "'x' is not a whole number from 1"),
    ],
)
def test_impossible_options_are_a_sentence(
    given: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(given.split())

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_queue_waits_as_long_as_pollaczek_and_khinchine_say() -> None:
    clock, source = Clock(), random.Random(0)
    service, load, count = 0.05, 0.7, 20_000
    server = QueueServer(clock=clock, seconds=lambda _, known: service)
    waits: list[float] = []
    at = 0.0
    for number in range(count):
        at += source.expovariate(load / service)

        def arrive(number: int = number, arrived: float = at) -> None:
            server.take(
                Job(
                    document=str(number),
                    place=0,
                    prompt_tokens=0,
                    widths=(1,),
                    finished=lambda _: waits.append(clock.now - arrived - service),
                )
            )

        clock.after(at, arrive)
    clock.run(math.inf)

    expected = load * service / (2 * (1 - load))  # of a service that always takes as long
    assert len(waits) == count
    assert sum(waits) / count == pytest.approx(expected, rel=0.1)
    assert server.busy_seconds == pytest.approx(service * count)


def test_a_queue_leaves_what_is_taken_back() -> None:
    clock, finished = Clock(), list[int]()
    server = QueueServer(clock=clock, seconds=lambda _, known: 0.5 if known else 1.0)
    first, second, third = (job(at=name, finished=finished) for name in "aba")
    for each in (first, second, third):
        server.take(each)
    clock.after(0.2, lambda: server.drop(first))
    clock.after(0.2, lambda: server.drop(second))
    clock.run(0.99)
    assert not finished
    clock.run(1.01)

    assert finished == [0], "what the one that was taken back has read is kept"
    assert server.busy_seconds == pytest.approx(1.0)
    server.take(job(at="a", finished=finished))
    clock.run(1.52)
    assert finished == [0, 0], "and then the place is known"


def test_canvases_on_a_gpu_step_together_and_read_a_prompt_once() -> None:
    clock, gpu, finished = Clock(), GPUS["H100"], list[int]()
    server = GpuServer(clock=clock, gpu=gpu, most=32, steps=(5, 5), random=random.Random(0))
    server.take(job(finished=finished))
    clock.run(1.0)
    cold = gpu.seconds(0, 2, 1000, 1000)
    steps = 5 * gpu.seconds(80, 2, 1000, 0)

    assert sorted(finished) == [0, 1]
    assert server.busy_seconds == pytest.approx(cold + steps, rel=1e-3)
    server.take(job(finished=finished, tokens=1010))
    clock.run(2.0)
    again = server.busy_seconds - cold - steps
    assert again == pytest.approx(steps + gpu.seconds(0, 2, 1010, 16), rel=0.05)
    taken_back = job(at="b", finished=finished)
    server.take(taken_back)
    server.drop(taken_back)
    clock.run(3.0)
    assert len(finished) == 4


def test_a_forward_is_as_fast_as_published_and_slower_with_more_to_do() -> None:
    for gpu in GPUS.values():
        alone = gpu.seconds(256, 1, 2048, 0)
        assert 256 / alone / 17 == pytest.approx(gpu.published, rel=0.02)
        assert alone < gpu.seconds(256 * 16, 16, 2048, 0) < 16 * alone


def test_people_type_as_fast_as_was_measured() -> None:
    typed = list(islice(keys(random.Random(1)), 10_000))
    pauses = sum(key.paused for key in typed)
    gaps = [b.at - a.at for a, b in pairwise(typed) if not a.paused]

    assert len(typed) / pauses == pytest.approx(KEYS_A_LINE, rel=0.1)
    assert sum(gaps) / len(gaps) == pytest.approx(KEY_SECONDS, rel=0.05)


def test_more_people_wait_longer_and_more_gpus_help() -> None:
    few, many = simulated(TEAM, 2, 1), simulated(TEAM, 60, 1)
    assert few["in_time"] > 0.95
    assert few["p50_ms"] > 1e3 * 12 * GPUS["H100"].seconds(80, 2, 3000, 0)
    assert many["in_time"] < few["in_time"]
    assert many["p95_ms"] > few["p95_ms"]
    assert enough(TEAM, 4, 8.0) == 1


@settings(max_examples=10, deadline=None)
@given(people=st.integers(1, 6), service=st.floats(0.01, 0.4), seed=st.integers(0, 5))
def test_every_request_is_answered_or_taken_back(people: int, service: float, seed: int) -> None:
    measured = {
        (document_of(name, key), key.typed): (key.typed > 1, service * (1 if key.typed > 1 else 2))
        for name in (name_of(people, number) for number in range(people))
        for key in typing(name, 10.0 + seed)
    }
    outcome, busy = predicted(["x", "y"], measured, people, 10.0 + seed)
    ended = len(outcome.waits) + len(outcome.hurried) + outcome.superseded

    assert outcome.asked - people <= ended <= outcome.asked
    assert 0 <= busy <= 1 + service
    assert predicted(["x", "y"], measured, people, 10.0 + seed)[0] == outcome


def test_the_command_says_how_many_gpus_are_enough(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--people-per-gpu", "1", "--gpus", "1", "--developers", "4", "--pauses", "30"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])

    assert [each["all"] for each in result["teams"]] == [1]
    assert result["asking"]["widths"] == widths(64) == [32, 32, 48, 64]
    assert set(result["variants"]) == {"as it is", "without affinity", "without hedging"}
