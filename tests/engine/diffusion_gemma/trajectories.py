"""Cases of the whole loop, and what `generate()` and our loop show for each, step after step."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from infill_engine.canvas import PINNED, Canvas
from infill_engine.denoise import DenoiseConfig, denoise
from infill_engine.early_stop import Chained, Entropy, TokenStability
from infill_engine.models.diffusion_gemma.network import Network
from infill_engine.models.diffusion_gemma.stepping import Stepping
from infill_engine.noise import Uniform
from infill_engine.sampler import EntropyBound
from infill_engine.schedule import Linear
from tests.engine import tiny_gemma

# One piece, as generate() encodes: with other shapes the last bit of a key may differ. All cases
# compare equal numbers but the two whose blocks grow past the window, where transformers crops its
# cache and ours is masked; those settle within a few steps.
WHOLE = 1 << 20

Trajectory = list[list[Tensor]]  # for each block the canvas [B, T] read after every step


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, a prompt and the parameters of the loop."""

    name: str
    prompt: int = 20
    batch: int = 1
    blocks: int = 1
    canvas_length: int = 32
    steps: int = 24
    bound: float = 0.1
    threshold: float = 0.005
    t_min: float = 0.4
    t_max: float = 0.8
    seed: int = 0
    sharpness: float = 40.0
    inertia: float = 0.5
    text: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case(name="as published", steps=48),
    Case(name="as published, batch", steps=48, batch=3, seed=1),
    Case(name="rows stop one by one", bound=2.0, threshold=0.1, batch=4, seed=2),
    Case(name="stability decides the stop", bound=0.5, threshold=5.0, batch=3, seed=3, steps=40),
    Case(name="entropy decides the stop", bound=6.0, threshold=0.02, inertia=0.2, sharpness=80.0,
         t_min=0.1, t_max=1.2, batch=3, seed=4),
    Case(name="capped before it stops", bound=0.05, threshold=1e-6, steps=7, batch=2, seed=5),
    Case(name="prompt longer than the window", prompt=150, bound=0.5, threshold=0.02, seed=6),
    Case(name="batch beyond the window", prompt=90, batch=3, bound=2.0, threshold=0.1, seed=7),
    Case(name="three blocks", blocks=3, batch=2, bound=2.0, threshold=0.2, prompt=40, seed=8,
         text={"sliding_window": 256}),
    Case(name="blocks grow past the window", inertia=0.4, blocks=3, prompt=50, bound=1.0,
         threshold=0.05, seed=9, text={"sliding_window": 64}),
    Case(name="window smaller than a canvas", inertia=0.4, blocks=2, prompt=50, bound=1.0,
         threshold=0.05, seed=10, text={"sliding_window": 16}),
    Case(name="one expert of four", bound=1.0, threshold=0.05, seed=11,
         text={"num_experts": 4, "top_k_experts": 1, "moe_intermediate_size": 96}),
    Case(name="four experts of sixteen", bound=1.0, threshold=0.05, seed=12, batch=2,
         text={"num_experts": 16, "top_k_experts": 4, "moe_intermediate_size": 16}),
    Case(name="all experts", bound=1.0, threshold=0.05, seed=13,
         text={"num_experts": 3, "top_k_experts": 3, "intermediate_size": 160}),
    Case(name="six layers, two of them full", bound=1.0, threshold=0.05, seed=14, prompt=70,
         text={"num_hidden_layers": 6,
               "layer_types": (["sliding_attention"] * 2 + ["full_attention"]) * 2}),
    Case(name="no grouped heads", bound=1.0, threshold=0.05, seed=15,
         text={"num_key_value_heads": 4, "num_global_key_value_heads": 4}),
    Case(name="short canvas", canvas_length=8, blocks=3, bound=0.5, threshold=0.02, seed=16),
    Case(name="long canvas", canvas_length=96, steps=16, bound=6.0, threshold=0.1, seed=17),
    Case(name="other temperatures", t_min=0.1, t_max=1.3, bound=0.5, threshold=0.02, seed=18),
    Case(name="blunt logits", sharpness=4.0, steps=12, bound=20.0, threshold=0.5, seed=19),
    Case(name="hardly settles", inertia=0.7, steps=48, bound=2.0, threshold=0.1, batch=2, seed=20),
    Case(name="one step", steps=1, seed=21),
]  # fmt: skip
NAMED = {case.name: case for case in CASES}


class Drafts:
    """A streamer that keeps what `generate()` would show after every step."""

    def __init__(self) -> None:
        self.blocks: Trajectory = []
        self.fresh = True

    def put(self, value: Tensor) -> None:
        """The prompt, and after each block its canvas."""
        self.fresh = True

    def put_draft(self, value: Tensor) -> None:
        if self.fresh:
            self.blocks.append([])
        self.fresh = False
        self.blocks[-1].append(value.clone())

    def end(self) -> None: ...


@cache
def model_of(name: str) -> Any:
    case = NAMED[name]
    made = tiny_gemma.model(
        case.seed, case.sharpness, case.inertia, canvas_length=case.canvas_length, **case.text
    )
    assert made.config.text_config._attn_implementation == "sdpa"
    return made


def prompt_of(case: Case) -> Tensor:
    generator = torch.Generator().manual_seed(1000 + case.seed)
    return torch.randint(3, tiny_gemma.VOCAB - 4, (case.batch, case.prompt), generator=generator)


def reference(case: Case, **more: Any) -> Trajectory:
    """What `generate()` shows; `more` are further arguments of it."""
    from transformers.models.diffusion_gemma.generation_diffusion_gemma import (
        EntropyBoundSamplerConfig,
    )

    model, drafts = model_of(case.name), Drafts()
    settings: dict[str, Any] = {
        "max_new_tokens": case.blocks * case.canvas_length,
        "max_denoising_steps": case.steps,
        "sampler_config": EntropyBoundSamplerConfig(entropy_bound=case.bound),
        "confidence_threshold": case.threshold,
        "t_min": case.t_min,
        "t_max": case.t_max,
    }
    torch.manual_seed(case.seed)
    model.generate(prompt_of(case), streamer=drafts, **(settings | more))
    return drafts.blocks


@cache
def reference_without_pins(name: str) -> Trajectory:
    return reference(NAMED[name])


def config_of(case: Case) -> DenoiseConfig:
    return DenoiseConfig(
        max_denoising_steps=case.steps,
        noise=Uniform(vocab_size=tiny_gemma.VOCAB),
        sampler=EntropyBound(bound=case.bound),
        schedule=Linear(start=case.t_max, end=case.t_min),
        early_stop=Chained((TokenStability(), Entropy(case.threshold))),
    )


def blank(case: Case) -> Canvas:
    shape = (case.batch, case.canvas_length)
    return Canvas(
        token_ids=torch.zeros(shape, dtype=torch.int64),
        hole=torch.zeros(shape, dtype=torch.int64),
    )


def ours(
    case: Case,
    config: DenoiseConfig,
    stepping: Stepping | None = None,
    canvas: Canvas | None = None,
) -> Trajectory:
    """What our loop shows, block after block, from the random numbers that `generate()` has."""
    network = Network(model_of(case.name))
    generator = torch.Generator().manual_seed(case.seed)
    memory = network.encode(prompt_of(case), chunk=WHOLE)
    trajectory: Trajectory = []
    for _ in range(case.blocks):
        steps = denoise(
            canvas or blank(case),
            stepping or Stepping(network),
            memory,
            config,
            generator=generator,
        )
        trajectory.append([denoised.token_ids.clone() for denoised in steps])
        committed = torch.cat((memory.token_ids, trajectory[-1][-1]), -1)
        # The new block alone and in one piece, as generate() encodes it.
        memory = network.encode(committed, memory, chunk=memory.length)
    return trajectory


def same(left: Trajectory, right: Trajectory) -> bool:
    return len(left) == len(right) and all(
        len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
        for a, b in zip(left, right, strict=True)
    )


# Pins


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A case of one block, and for each row the cells of its hole; all holes have one size."""

    case: str
    holes: tuple[tuple[int, ...], ...]


PINNED_CASES = [
    Pinned(case="as published", holes=(tuple(range(8)),)),
    Pinned(case="as published, batch", holes=tuple(tuple(range(n, n + 16)) for n in (0, 5, 16))),
    Pinned(case="batch beyond the window", holes=(tuple(range(20)),) * 3),
    Pinned(case="prompt longer than the window", holes=((3, 4, 5, 17, 18, 30),)),
    Pinned(case="rows stop one by one", holes=((0,), (9,), (31,), (16,))),
    Pinned(case="long canvas", holes=(tuple(range(64)),)),
    Pinned(case="hardly settles", holes=(tuple(range(31)), tuple(range(1, 32)))),
]


class Clamp:
    """transformers' side of a pin: one-hot logits, the recipe for `generate()`."""

    def __init__(self, free: Tensor, token_ids: Tensor) -> None:
        self.free, self.token_ids = free, token_ids

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        one_hot = torch.full_like(scores, -torch.inf)
        one_hot.scatter_(-1, self.token_ids[..., None], 0.0)
        return torch.where(self.free[..., None], scores, one_hot)


class EveryRow(Stepping):
    """Computes pinned rows too, whose samples `generate()` draws from the same generator."""

    def rows(self, canvas: Canvas) -> Tensor:
        return torch.arange(canvas.free.numel())


def pinned_canvas(pinned: Pinned) -> Canvas:
    case = NAMED[pinned.case]
    generator = torch.Generator().manual_seed(2000 + case.seed)
    shape = (case.batch, case.canvas_length)
    hole = torch.full(shape, PINNED)
    for row, cells in enumerate(pinned.holes):
        hole[row, list(cells)] = 0
    return Canvas(
        token_ids=torch.randint(3, tiny_gemma.VOCAB - 4, shape, generator=generator), hole=hole
    )


def reference_with_pins(pinned: Pinned) -> Trajectory:
    """`generate()` with its start canvas drawn as ours is, clamped, and its stop rescaled."""
    from transformers import LogitsProcessorList

    case, canvas = NAMED[pinned.case], pinned_canvas(pinned)
    generator = torch.Generator().manual_seed(case.seed)
    start = config_of(case).noise.start(canvas, generator)
    return reference(
        case,
        decoder_input_ids=start,
        logits_processor=LogitsProcessorList([Clamp(canvas.free, canvas.token_ids)]),
        # Pinned cells have no entropy and would dilute the mean.
        confidence_threshold=case.threshold * len(pinned.holes[0]) / case.canvas_length,
    )
