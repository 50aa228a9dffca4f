"""The loop says the same on numpy's arrays as on torch's."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from infill_engine import noise
from infill_engine.arrays import Array, draw_below, seeded
from infill_engine.canvas import PINNED, Canvas
from infill_engine.denoise import DenoiseConfig, Denoised, denoise
from infill_engine.early_stop import Chained, Decided, EarlyStop, Entropy, TokenStability
from infill_engine.noise import Absorbing, Noise, Uniform
from infill_engine.sampler import EntropyBound
from infill_engine.schedule import Linear
from infill_kernels import row_statistics
from infill_kernels.rows import RowStatistics, statistics_of

ROWS, CELLS, VOCAB, MASK, END = 3, 12, 30, 1, 4
Make = Callable[[Any], Array]


class Scripted:
    """Says at every step what was written down for it."""

    def __init__(self, script: list[tuple[Any, ...]], make: Make) -> None:
        self.script, self.make = iter(script), make

    def step(
        self, canvas: Canvas, memory: None, state: None, *, temperature: float, generator: object
    ) -> tuple[RowStatistics, None]:
        return RowStatistics(*map(self.make, next(self.script))), None


def script(draw: np.random.Generator, steps: int) -> list[tuple[Any, ...]]:
    """Entropies some of which are equal, few tokens, so that there are ends and repetitions; what
    is said of the last steps is the same and sure."""
    shape = (ROWS, CELLS)
    said = [
        (
            draw.choice(np.array([0.0, 0.01, 0.1, 0.1, 0.5, 2.0], np.float32), shape),
            draw.integers(3, 8, shape),
            draw.integers(3, 8, shape),
            draw.random(shape, np.float32),
        )
        for _ in range(steps - 2)
    ]
    entropy, *tokens = said[-1]
    return [*said, *[(entropy / 10, *tokens)] * 2]


def ran(config: DenoiseConfig, make: Make, seed: int) -> list[Denoised]:
    draw = np.random.default_rng(seed)
    hole = np.zeros((ROWS, CELLS), np.int64)
    hole[:, 5:7], hole[:, 7:] = PINNED, 1
    if seed % 2:
        hole[:, 0] = PINNED
    hole[1, -2:] = PINNED
    ends = np.isin(np.arange(VOCAB), (END, 6))
    canvas = Canvas(
        token_ids=make(draw.integers(8, VOCAB, (ROWS, CELLS))),
        hole=make(hole),
        ends=make(ends) if seed % 3 else None,
        first=make(ends) if seed % 5 else None,
        end_id=END,
    )
    steps = Scripted(script(draw, config.max_denoising_steps), make)
    return list(denoise(canvas, steps, None, config, generator=seeded(canvas.token_ids, seed)))


STABLE = TokenStability()


@pytest.mark.parametrize(
    ("noise_", "stop"),
    [
        (Absorbing(mask_id=MASK), Chained((Decided(), STABLE))),
        (Absorbing(mask_id=MASK, correction=0.5), Decided()),
        (Absorbing(mask_id=MASK, doubt=0.5), Decided()),
        (Uniform(vocab_size=VOCAB), Chained((STABLE, Entropy(0.3)))),
        (Uniform(vocab_size=VOCAB, allowed=np.arange(3, 20), greedy=True), Entropy(0.4)),
    ],
)
def test_the_loop_is_the_same_on_both(
    noise_: Noise, stop: EarlyStop, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DenoiseConfig(
        max_denoising_steps=8,
        noise=noise_,
        sampler=EntropyBound(bound=0.3),
        schedule=Linear(),
        early_stop=stop,
    )
    other = config
    if isinstance(noise_, Uniform) and noise_.allowed is not None:
        other = replace(config, noise=replace(noise_, allowed=torch.tensor(noise_.allowed)))
    ended = 0
    for seed in range(30):
        found = []
        for make, of_library in ((np.asarray, config), (torch.tensor, other)):
            drawn = np.random.default_rng(seed)
            monkeypatch.setattr(
                noise,
                "draw_below",
                lambda most, like, generator, make=make, drawn=drawn: make(
                    drawn.integers(most, size=tuple(like.shape))
                ),
            )
            found.append(ran(of_library, make, seed))
        numpys, torchs = found

        assert len(numpys) == len(torchs)
        ended += len(numpys) < 8
        for one, two in zip(numpys, torchs, strict=True):
            for name in ("token_ids", "entropy", "decided", "converged"):
                array, tensor = getattr(one, name), getattr(two, name)
                assert isinstance(array, np.ndarray)
                assert np.array_equal(array, tensor.numpy()), (seed, name)
                assert array.dtype == tensor.numpy().dtype, name
    assert ended > 0


def logits(rows: int) -> np.ndarray:
    made = np.random.default_rng(0).normal(0, 4, (rows, 500)).astype(np.float32)
    made[:, 100:300] = -np.inf
    made[1] = -np.inf
    made[1, 7] = 3.0  # certain
    made[2, 20:30] = 40.0  # ten alike, the first of which is the best
    return made


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 3.0])
def test_statistics_of_rows_are_torchs(temperature: float) -> None:
    given = logits(40)
    expected = row_statistics(
        torch.tensor(given), temperature=temperature, generator=torch.Generator()
    )

    found = statistics_of(given.copy(), temperature=temperature, generator=np.random.default_rng(0))

    for name in ("entropy", "best", "confidence"):
        array, tensor = getattr(found, name), getattr(expected, name).numpy()
        assert array.dtype == tensor.dtype, name
        np.testing.assert_allclose(array, tensor, rtol=2e-5, atol=2e-6, err_msg=name)
    assert (found.entropy >= 0).all()
    assert found.best[2] == 20
    assert np.isfinite(np.take_along_axis(given, found.sample[:, None], 1)).all()
    if temperature == 0:
        assert (found.sample == found.best).all()


def test_what_is_drawn_is_drawn_as_often_as_it_is_probable() -> None:
    given = np.repeat(logits(3)[:1, :9], 40_000, 0)
    given[:, 3] = -np.inf
    probability = torch.tensor(given[0] / 2).softmax(-1).numpy()

    found = statistics_of(given, temperature=2.0, generator=np.random.default_rng(0))

    share = np.bincount(found.sample, minlength=9) / len(found.sample)
    assert share[3] == 0
    assert np.abs(share - probability).max() < 0.01


@pytest.mark.parametrize("seed", [0, -1, 1 << 40])
def test_a_seed_gives_the_same_numbers_again(seed: int) -> None:
    for like in (np.zeros((2, 50), np.int64), torch.zeros(2, 50, dtype=torch.int64)):
        one, two = (draw_below(9, like, seeded(like, seed)) for _ in range(2))

        assert one.shape == like.shape
        assert one.dtype == like.dtype
        assert (one == two).all()
        assert {*one.ravel().tolist()} == {*range(9)}
