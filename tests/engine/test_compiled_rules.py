"""What the routine decides of a masked canvas is what the loop's rules decide, at every level."""

from dataclasses import replace

import numpy as np
import pytest

from infill_engine.arrays import seeded
from infill_engine.canvas import PINNED, Canvas
from infill_engine.denoise import ByRules, DenoiseConfig, Denoised, by_routine
from infill_engine.early_stop import Chained, Decided, TokenStability
from infill_engine.noise import Absorbing
from infill_engine.sampler import EntropyBound
from infill_engine.schedule import Constant
from infill_kernels import native as cpu_levels
from infill_kernels.native import level_of, names_of_levels
from infill_kernels.prebuilt import made_beforehand
from infill_kernels.rows import RowStatistics

VOCAB, MASK, END, STEPS = 12, 1, 4, 7


def levels() -> list[str]:
    library, _ = made_beforehand()
    return names_of_levels(library) if library else ["c"]


@pytest.fixture(params=levels(), autouse=True)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    library, reason = made_beforehand()
    if library is None:
        pytest.skip(reason)
    found = level_of(library, request.param)
    monkeypatch.setattr(cpu_levels, "native", lambda: (found, request.param))


def config(**of_noise: float) -> DenoiseConfig:
    return DenoiseConfig(
        max_denoising_steps=STEPS,
        noise=Absorbing(mask_id=MASK, **of_noise),
        sampler=EntropyBound(bound=0.3),
        schedule=Constant(0.0),
        early_stop=Chained((Decided(), TokenStability())),
    )


def a_canvas(draw: np.random.Generator) -> Canvas:
    """Up to four rows of holes that are apart, beside each other, or one within the other."""
    shape = draw.integers(1, 5), draw.choice([1, 7, 16, 33])
    hole = draw.choice([PINNED, 0, 0, 1, 1, 5], shape)
    if draw.random() < 0.5:
        hole = np.where(hole == PINNED, PINNED, 0)
    ends = np.isin(np.arange(VOCAB), (END, 6))
    return Canvas(
        token_ids=draw.integers(5, VOCAB, shape),
        hole=hole,
        ends=ends if draw.random() < 0.8 else None,
        first=ends if draw.random() < 0.5 else None,
        end_id=END,
    )


def said(draw: np.random.Generator, shape: tuple[int, ...]) -> RowStatistics:
    """Many equal entropies, and few tokens."""
    of = np.array([0.0, 0.01, 0.1, 0.1, 0.15, 0.3, 2.0], np.float32)
    return RowStatistics(
        entropy=draw.choice(of, shape),
        best=draw.integers(3, 8, shape),
        sample=draw.integers(3, 8, shape),
        confidence=draw.choice(np.array([0.1, 0.5, 0.9, 1.0], np.float32), shape),
    )


def equal(one: Denoised, other: Denoised) -> None:
    for name in ("token_ids", "entropy", "decided", "converged", "num_steps"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)


@pytest.mark.parametrize("of_noise", [{}, {"doubt": 0.5}, {"correction": 0.5}, {"correction": 2.0}])
def test_steps_are_the_same(of_noise: dict[str, float]) -> None:
    used, done = config(**of_noise), 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        canvas = a_canvas(draw)
        generator = seeded(canvas.token_ids, seed)
        routine, rules = by_routine(used, canvas, generator), ByRules(used, canvas, generator)
        assert routine is not None
        steps, found = said(draw, canvas.token_ids.shape), []
        for step in range(1, STEPS + 1):
            np.testing.assert_array_equal(routine.token_ids, rules.token_ids)
            found.append((routine.after(steps, step), rules.after(steps, step)))
            if draw.random() < 0.5:
                steps = said(draw, canvas.token_ids.shape)
        for one, other in found:  # what was given out stays as it is
            equal(one, other)
        done += int(found[-1][1].converged.any())
    assert done > 20, "rows that are done are among them"


def test_a_routine_is_for_these_rules_and_arrays_alone() -> None:
    import torch

    canvas = a_canvas(np.random.default_rng(0))
    used = config()
    of_torch = Canvas(
        token_ids=torch.tensor(canvas.token_ids), hole=torch.tensor(canvas.hole), end_id=END
    )

    generator = seeded(canvas.token_ids, 0)

    assert by_routine(used, canvas, generator) is not None
    assert by_routine(used, of_torch, generator) is None
    for rules in ((Decided(),), (TokenStability(), Decided())):
        assert by_routine(replace(used, early_stop=Chained(rules)), canvas, generator) is None
