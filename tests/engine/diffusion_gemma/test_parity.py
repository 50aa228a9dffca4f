"""Our loop over DiffusionGemma is transformers' `generate()`, token for token, step for step.

Both start from the same seed and draw in the same order. What is compared is the whole trajectory:
the canvas read after every step of every block, and so the number of steps.
"""

from dataclasses import replace

import pytest
import torch

from infill_engine.canvas import Canvas
from infill_engine.denoise import denoise
from infill_engine.models.diffusion_gemma.network import Memory, Network
from infill_engine.models.diffusion_gemma.stepping import Stepping
from infill_engine.noise import Uniform
from infill_kernels.rows import RowStatistics

pytest.importorskip("transformers")
from tests.engine import tiny_gemma
from tests.engine.diffusion_gemma.trajectories import (
    NAMED,
    PINNED_CASES,
    WHOLE,
    EveryRow,
    Pinned,
    config_of,
    model_of,
    ours,
    pinned_canvas,
    prompt_of,
    reference_with_pins,
    reference_without_pins,
    same,
)


@pytest.mark.parametrize("name", NAMED)
def test_without_pins_it_is_generate(name: str) -> None:
    expected = reference_without_pins(name)
    actual = ours(NAMED[name], config_of(NAMED[name]))

    assert [len(block) for block in expected] == [len(block) for block in actual]
    assert same(expected, actual)


def test_the_cases_stop_early_one_row_after_the_other_and_at_the_cap() -> None:
    steps = {name: len(reference_without_pins(name)[0]) for name in NAMED}

    assert sum(steps[name] < case.steps for name, case in NAMED.items()) >= 12
    assert sum(steps[name] == case.steps for name, case in NAMED.items()) >= 3
    assert max(steps.values()) > 24


@pytest.mark.parametrize("pinned", PINNED_CASES, ids=lambda pinned: pinned.case)
def test_with_pins_it_is_generate_with_a_clamp(pinned: Pinned) -> None:
    case, canvas = NAMED[pinned.case], pinned_canvas(pinned)
    expected = reference_with_pins(pinned)
    stepping = EveryRow(Network(model_of(case.name)))
    actual = ours(case, config_of(case), stepping, canvas)

    assert [len(block) for block in expected] == [len(block) for block in actual]
    assert same(expected, actual)
    for canvas_read in actual[0]:
        assert torch.equal(canvas_read[~canvas.free], canvas.token_ids[~canvas.free])


@pytest.mark.parametrize("pinned", PINNED_CASES, ids=lambda pinned: pinned.case)
def test_leaving_out_pinned_rows_changes_nothing(pinned: Pinned) -> None:
    case, canvas = NAMED[pinned.case], pinned_canvas(pinned)
    network = Network(model_of(case.name))
    greedy = replace(config_of(case), noise=Uniform(vocab_size=tiny_gemma.VOCAB, greedy=True))

    every, free = (
        [
            (denoised.token_ids, denoised.entropy)
            for denoised in denoise(
                canvas,
                OwnNoise(stepping),
                network.encode(prompt_of(case), chunk=WHOLE),
                greedy,
                generator=torch.Generator().manual_seed(5),
            )
        ]
        for stepping in (EveryRow(network), Stepping(network))
    )

    assert len(every) == len(free)
    for (ids, entropy), (other_ids, other_entropy) in zip(every, free, strict=True):
        assert torch.equal(ids, other_ids)
        torch.testing.assert_close(entropy, other_entropy, rtol=1e-4, atol=1e-5)


class OwnNoise:
    """Draws samples from a generator of its own, so that their number leaves the noise alone."""

    def __init__(self, stepping: Stepping) -> None:
        self.stepping = stepping
        self.generator = torch.Generator().manual_seed(0)

    def step(
        self,
        canvas: Canvas,
        memory: Memory,
        state: object,
        *,
        temperature: float,
        generator: torch.Generator,
    ) -> tuple[RowStatistics, object]:
        return self.stepping.step(
            canvas, memory, state, temperature=temperature, generator=self.generator
        )
