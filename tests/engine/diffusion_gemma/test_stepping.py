"""Fast steps read what the plain one reads: fused, captured, and over the Triton kernels."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from infill_engine import EngineConfig, InfillRequest
from infill_engine.canvas import Canvas
from infill_engine.local import LocalEngine
from infill_engine.models.diffusion_gemma.captured import CapturedStepping, direct
from infill_engine.models.diffusion_gemma.denoiser import load_diffusion_gemma
from infill_engine.models.diffusion_gemma.network import Network
from infill_engine.models.diffusion_gemma.stepping import FusedStepping, Stepping

pytest.importorskip("transformers")
from tests.engine import tiny_gemma
from tests.engine.diffusion_gemma.passes import decoded, tokens


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_gemma.model(3)


def captured(network: Network, forbidden: Tensor) -> Stepping:
    """The step over fixed buffers, run again where a GPU would replay it."""
    return CapturedStepping(network, forbidden, direct)


@pytest.mark.parametrize("fast", [FusedStepping, captured])
@pytest.mark.parametrize("healed_prefix", [False, True])
@pytest.mark.parametrize("prompt", [1, 40, 90])
def test_a_fast_step_reads_what_the_plain_one_does(
    model: Any, healed_prefix: bool, fast: Callable[[Network, Tensor], Stepping], prompt: int
) -> None:
    network = Network(model)
    memory = network.encode(tokens(1, prompt))
    some = torch.arange(tiny_gemma.VOCAB) % 3 == 0
    hole = torch.zeros(3, 24, dtype=torch.int64)
    for row in range(3):
        hole[row, 6 + 4 * row :] = -1
    canvas = Canvas(
        token_ids=tokens(3, 24, seed=1), hole=hole, first=some if healed_prefix else None
    )

    def run(stepping: Stepping) -> list[tuple[Tensor, Tensor, Tensor]]:
        state: object = None
        seen = []
        for step, temperature in enumerate((0.8, 0.6, 0.5)):
            given = replace(canvas, token_ids=tokens(3, 24, seed=step + 1))
            stats, state = stepping.step(
                given,
                memory,
                state,
                temperature=temperature,
                generator=torch.Generator().manual_seed(step),
            )
            seen.append((stats.best, stats.entropy, stats.confidence))
            assert torch.equal(stats.sample[~canvas.free], given.token_ids[~canvas.free])
            if healed_prefix:
                assert bool(some[stats.sample[:, 0]].all())
        return seen

    forbidden = torch.arange(tiny_gemma.VOCAB) < 200
    with torch.inference_mode():
        plain, fused = run(Stepping(network, forbidden)), run(fast(network, forbidden))

    for (best, entropy, confidence), (other_best, other_entropy, other_confidence) in zip(
        plain, fused, strict=True
    ):
        assert torch.equal(best, other_best)
        assert int(best[canvas.free].min()) >= 200
        torch.testing.assert_close(entropy, other_entropy, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(confidence, other_confidence, rtol=1e-3, atol=1e-3)


def test_one_plan_serves_canvases_and_prompts_of_its_shape_in_turn(model: Any) -> None:
    network = Network(model)
    forbidden = torch.arange(tiny_gemma.VOCAB) < 8
    plans = CapturedStepping(network, forbidden, direct)
    plain = FusedStepping(network, forbidden)

    for number, (prompt, cells, pinned) in enumerate(
        [(90, 24, 4), (10, 24, 9), (200, 24, 0), (90, 16, 2), (90, 24, 4), (1500, 24, 1)]
    ):
        memory = network.encode(tokens(1, prompt, seed=number))
        hole = torch.zeros(2, cells, dtype=torch.int64)
        hole[:, cells - pinned :] = -1
        canvas = Canvas(token_ids=tokens(2, cells, seed=number), hole=hole)
        with torch.inference_mode():
            states: list[object] = [None, None]
            for step in range(3):
                given = replace(canvas, token_ids=tokens(2, cells, seed=10 * number + step))
                seen = []
                for at, stepping in enumerate((plans, plain)):
                    stats, states[at] = stepping.step(
                        given,
                        memory,
                        states[at],
                        temperature=0.7,
                        generator=torch.Generator().manual_seed(step),
                    )
                    seen.append(stats)
                assert torch.equal(seen[0].best, seen[1].best)
                torch.testing.assert_close(seen[0].entropy, seen[1].entropy, rtol=1e-3, atol=1e-3)
    assert len(plans._plans) == 3


def test_an_engine_over_plans_answers_as_one_without(folder: Path) -> None:
    texts = []
    for stepping in (FusedStepping, captured):
        denoiser = load_diffusion_gemma(EngineConfig(model=str(folder), max_denoising_steps=4))
        denoiser._stepping = stepping(denoiser._network, denoiser._forbidden)
        *_, draft = LocalEngine(denoiser).infill(
            InfillRequest(prefix="def area(width, height):\n    ret", suffix="\n", num_candidates=3)
        )
        texts.append((draft.text, draft.steps, [other.text for other in draft.others]))

    assert texts[0] == texts[1]


def test_fused_samples_are_as_probable_as_the_model_says(model: Any) -> None:
    network = Network(model)
    memory = network.encode(tokens(1, 20))
    canvas = Canvas(token_ids=tokens(1, 1), hole=torch.zeros(1, 1, dtype=torch.int64))
    generator = torch.Generator().manual_seed(0)
    stepping = FusedStepping(network)

    with torch.inference_mode():
        logits = decoded(network, memory, canvas.token_ids, None)[0, 0] / 4.0
        drawn = [
            int(stepping.step(canvas, memory, None, temperature=4.0, generator=generator)[0].sample)
            for _ in range(300)
        ]

    likely = torch.zeros(tiny_gemma.VOCAB)
    for token in drawn:
        likely[token] += 1 / len(drawn)
    probability = logits.softmax(-1)
    top = int(probability.argmax())
    spread = (float(probability[top]) * (1 - float(probability[top])) / len(drawn)) ** 0.5
    assert 0.05 < float(probability[top]) < 0.95
    assert abs(float(likely[top] - probability[top])) < 4 * spread


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the interpreter is for machines without one")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_a_step_over_the_kernels_reads_what_plain_torch_does() -> None:
    found = {}
    for kernels in ("torch", "triton"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.engine.interpreted_step"],
            env=os.environ
            | {
                "TRITON_INTERPRET": "1" if kernels == "triton" else "0",
                "INFILL_KERNELS": kernels,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found[kernels] = json.loads(done.stdout)
        assert found[kernels]["kernels"] == kernels

    for form, steps in found["torch"]["steps"].items():
        for (best, sample, entropy), (other_best, other_sample, other_entropy) in zip(
            steps, found["triton"]["steps"][form], strict=True
        ):
            assert best == other_best
            assert sample == other_sample
            torch.testing.assert_close(
                torch.tensor(entropy), torch.tensor(other_entropy), rtol=1e-2, atol=1e-3
            )
