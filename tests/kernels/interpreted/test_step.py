"""A whole step of DiffusionGemma on kernels: what the model hands them is what they accept."""

from copy import copy
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("transformers")

from benchmarks.denoise.accuracy import median_error, our_logits, reference_logits
from benchmarks.denoise.models import build, converted, random_tokens
from benchmarks.denoise.shape import SMALL
from infill_engine.canvas import PINNED, Canvas
from infill_engine.models.diffusion_gemma.captured import CapturedStepping, direct, graph
from infill_engine.models.diffusion_gemma.network import Network
from infill_engine.models.diffusion_gemma.stepping import FusedStepping
from infill_kernels import backend, dequantise

SPEC = replace(SMALL, layers=2, vocab=128, experts=4, head_dim=16, full_head_dim=32)


@pytest.fixture
def model(device):
    assert backend.NAME == "triton", "these tests are of kernels"
    return build(SPEC, torch.device(device), torch.float32, seed=0)


@torch.inference_mode()
def test_two_steps_give_the_references_logits(model, device):
    # Longer than the sliding window of 32.
    prompt, canvas = (random_tokens(SPEC, count, torch.device(device)) for count in (40, 9))
    truth = reference_logits(model, prompt, canvas)
    ours = our_logits(Network(model), prompt, canvas)

    assert median_error(ours, truth) < 1e-4


def taken_back(network: Network) -> Network:
    """The same network with what its quantised experts stand for."""
    other = copy(network)
    other.layers = [
        replace(
            layer,
            experts_gate_up=dequantise(layer.experts_gate_up, torch.float32),
            experts_down=dequantise(layer.experts_down, torch.float32),
        )
        for layer in network.layers
    ]
    return other


@torch.inference_mode()
@pytest.mark.parametrize("name", ["fp8", "int4"])
def test_quantised_experts_give_the_logits_of_their_values(name, model, device):
    prompt, canvas = (random_tokens(SPEC, count, torch.device(device)) for count in (20, 5))
    network = converted(Network(model), name)
    ours = our_logits(network, prompt, canvas)
    expected = our_logits(taken_back(network), prompt, canvas)

    assert median_error(ours, expected) < 1e-4


class Waits(TorchDispatchMode):
    """Notes the ops whose result, or its size, the host has to wait for."""

    NAMES = ("_local_scalar_dense", "nonzero", "unique", "equal", "masked_select", "multinomial")

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.waits: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.calls += 1
        masks = [each for each in args[1] if each is not None] if name == "index" else []
        if any(part in name for part in self.NAMES) or any(m.dtype == torch.bool for m in masks):
            self.waits.append(name)
        return func(*args, **kwargs or {})


@torch.inference_mode()
def test_nothing_in_a_step_waits_for_the_device(model, device):
    network = Network(model)
    memory = network.encode(random_tokens(SPEC, 40, torch.device(device)))
    hole = torch.full((1, 9), PINNED, device=device)
    hole[0, 2:7] = 0
    canvas = Canvas(token_ids=random_tokens(SPEC, 9, torch.device(device)), hole=hole)
    allowed = torch.zeros(SPEC.vocab, dtype=torch.bool, device=device)
    for stepping in (FusedStepping(network, allowed), CapturedStepping(network, allowed, direct)):
        generator = torch.Generator(device).manual_seed(3)
        given = {"temperature": 0.7, "generator": generator}
        _, state = stepping.step(canvas, memory, None, **given)
        with Waits() as seen:
            stepping.step(canvas, memory, state, **given)
            assert seen.waits == []
            assert seen.calls > 20
            bool(canvas.free.all())
        assert len(seen.waits) == 1  # the last, which shows that it would be noticed


on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs are of a GPU")


@torch.inference_mode()
@pytest.mark.parametrize("capture", [direct, pytest.param(graph, marks=[pytest.mark.gpu, on_gpu])])
def test_fixed_shapes_change_nothing(capture, model, device):
    """The captured step pads contexts and rows, and reads lengths on the device."""
    network = Network(model)
    memory = network.encode(random_tokens(SPEC, 40, torch.device(device)))
    hole = torch.full((1, 9), PINNED, device=device)
    hole[0, 2:7] = 0
    canvas = Canvas(token_ids=random_tokens(SPEC, 9, torch.device(device)), hole=hole)
    found = []
    for stepping in (FusedStepping(network), CapturedStepping(network, capture=capture)):
        generator = torch.Generator(device).manual_seed(3)
        state: object = None
        for _ in range(3):
            stats, state = stepping.step(
                canvas, memory, state, temperature=0.7, generator=generator
            )
        found.append(stats)

    torch.testing.assert_close(found[0].entropy, found[1].entropy, rtol=1e-4, atol=1e-5)
    assert (found[0].best == found[1].best).all()
