"""Several threads read what one would, sooner where cores are free, and give way elsewhere."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from infill_kernels.bfloat16 import widened
from infill_kernels.blocks import CHUNK, Blocks, Shape
from infill_kernels.heads import Matrix
from infill_kernels.native import native
from infill_kernels.wavefront import Wavefront, always

LAYERS, KV, GROUP, HEAD, FF = 5, 2, 2, 32, 192
WIDTH = KV * GROUP * HEAD


@pytest.fixture
def routines() -> None:
    if native()[0] is None:
        pytest.skip(native()[1])


def matrices(layers: int = LAYERS) -> list[list[Matrix]]:
    generator = np.random.default_rng(0)
    shapes = [(KV * (GROUP + 2) * HEAD, WIDTH), (WIDTH, WIDTH), (2 * FF, WIDTH), (WIDTH, FF)]
    return [
        [Matrix.of(generator.standard_normal(shape) * shape[1] ** -0.5) for shape in shapes]
        for _ in range(layers)
    ]


def blocks(threads: int, of: list[list[Matrix]]) -> Blocks:
    return Blocks(of, Shape(kv=KV, group=GROUP, head=HEAD), threads=threads)


def read(
    routine: Blocks, n: int, at: int = 0, shared: int = 0, going: Callable[[], bool] = always
) -> list[np.ndarray]:
    """What a read gives and leaves, of numbers that depend on nothing else."""
    generator = np.random.default_rng(1)
    x = generator.standard_normal((1, n, WIDTH)).astype(np.float32)
    angle = generator.standard_normal((n, HEAD // 2)).astype(np.float32)
    layers = len(routine.blocks)
    keys, values = np.zeros((2, layers, 1, KV, at + n, HEAD), np.uint16)
    common = tuple(np.full((layers, KV, shared, HEAD), 0x3F00, np.uint16) for _ in range(2))
    given = (x, np.cos(angle), np.sin(angle), keys, values, at, 0)
    return [routine(*given, common if shared else None, going=going), keys, values]


@pytest.mark.parametrize("threads", [2, 3, 9])
@pytest.mark.parametrize(
    ("n", "at", "shared"), [(2 * CHUNK, 0, 0), (2 * CHUNK + 1, 7, 0), (3 * CHUNK + 5, 0, 19)]
)
def test_several_threads_read_what_one_does(
    threads: int, n: int, at: int, shared: int, routines: None
) -> None:
    of = matrices()
    alone, together = (read(blocks(each, of), n, at, shared) for each in (1, threads))

    # A product of other rows beside it may be rounded the other way.
    for name, found, wanted in zip(("hidden", "keys", "values"), together, alone, strict=True):
        if found.dtype == np.uint16:
            found, wanted = widened(found), widened(wanted)
        assert np.linalg.norm(found - wanted) < 2e-3 * np.linalg.norm(wanted), name


def test_a_step_wakes_no_thread(routines: None, monkeypatch: pytest.MonkeyPatch) -> None:
    routine = blocks(2, matrices())
    ran = []
    monkeypatch.setattr(Wavefront, "run", lambda _, chunks, *rest: ran.append(chunks) or chunks)

    read(routine, 1, 500)
    read(routine, 2 * CHUNK - 1)
    x, angle = np.zeros((2, 2 * CHUNK, WIDTH), np.float32), np.zeros((2 * CHUNK, HEAD // 2))
    caches = np.zeros((2, LAYERS, 2, KV, 2 * CHUNK, HEAD), np.uint16)
    cos = angle.astype(np.float32)
    routine(x, cos, cos, *caches, 0, 2 * CHUNK)
    assert not ran
    read(routine, 2 * CHUNK)
    assert ran


def test_a_chunk_is_done_stage_by_stage_and_stages_in_order() -> None:
    done: list[tuple[int, int]] = []
    lock = threading.Lock()

    def step(chunk: int, stage: int) -> None:
        with lock:
            assert stage == 0 or (chunk, stage - 1) in done
            assert chunk == 0 or (chunk - 1, stage) in done
            done.append((chunk, stage))

    Wavefront(3).run(7, step)

    assert sorted(done) == [(chunk, stage) for chunk in range(7) for stage in range(3)]


@pytest.mark.parametrize("stages", [2, 3])
def test_no_chunk_is_begun_once_the_read_is_not_going_on(stages: int) -> None:
    done: list[tuple[int, int]] = []
    asked: list[int] = []

    def step(chunk: int, stage: int) -> None:
        done.append((chunk, stage))

    def going() -> bool:
        asked.append(len(asked))
        return len(asked) < 3

    wavefront = Wavefront(stages)
    assert wavefront.run(9, step, going) == 3
    assert sorted(done) == [(chunk, stage) for chunk in range(3) for stage in range(stages)]
    assert len(asked) == 3
    # What was begun is worth its time: something is read.
    assert wavefront.run(9, step, lambda: False) == 1


def test_a_read_that_ends_early_gives_what_it_has(routines: None) -> None:
    of, n = matrices(), 5 * CHUNK
    whole, *_ = read(blocks(2, of), n)
    half, *_ = read(blocks(2, of), n, going=iter([True, False]).__next__)
    assert half.shape == (1, 2 * CHUNK, WIDTH)
    assert np.linalg.norm(half - whole[:, : 2 * CHUNK]) < 2e-3 * np.linalg.norm(half)


@pytest.mark.parametrize("wrong", [0, 1])
def test_what_goes_wrong_is_raised_when_nothing_runs_any_more(wrong: int) -> None:
    running: set[int] = set()

    def step(chunk: int, stage: int) -> None:
        running.add(stage)
        time.sleep(0.01)
        if (chunk, stage) == (1, wrong):
            running.remove(stage)
            raise MemoryError("no memory")
        running.remove(stage)

    wavefront = Wavefront(2)
    with pytest.raises(MemoryError, match="no memory"):
        wavefront.run(6, step)
    assert not running
    wavefront.run(2, lambda chunk, stage: None)  # and it can be used again


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@pytest.mark.slow
def test_on_a_busy_machine_threads_cost_no_more_than_one(routines: None) -> None:
    """Beside two busy loops: in processor time, which spinning would show in, and in patience."""
    of = matrices(12)
    with busy_loops(2):
        spent = []
        for threads in (1, 2):
            routine, runs = blocks(threads, of), []
            for _ in range(5):
                wall, used = time.perf_counter(), time.process_time()
                read(routine, 16 * CHUNK)
                runs.append((time.process_time() - used, time.perf_counter() - wall))
            spent.append([min(of_all) for of_all in zip(*runs, strict=True)])
    (used_alone, wall_alone), (used, wall) = spent
    assert used < 1.4 * used_alone
    assert wall < 2 * wall_alone
