"""Our loop over DiffusionGemma is transformers' `generate()`, token for token, step for step.

Both start from the same seed and draw in the same order. What is compared is the whole trajectory:
the canvas read after every step of every block, and so the number of steps. The last tests break
one rule of the loop at a time and demand that the comparison notices.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from infill_engine.canvas import PINNED, Canvas
from infill_engine.denoise import DenoiseConfig, denoise
from infill_engine.early_stop import Chained, EarlyStop, Entropy, Progress, TokenStability
from infill_engine.models.diffusion_gemma.denoiser import Memory, Network, Stepping
from infill_engine.noise import Uniform
from infill_engine.sampler import EntropyBound
from infill_engine.schedule import Constant, Linear
from infill_kernels import RowStatistics

pytest.importorskip("transformers")
from tests.engine import tiny_gemma


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads that wait for one another over such small matrices take longer than one alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# One piece, as generate() encodes: with other shapes the last bit of a key may differ. All cases
# compare equal numbers but the two whose blocks grow past the window, where transformers crops its
# cache and ours is masked; those settle within a few steps.
WHOLE = 1 << 20

Trajectory = list[list[Tensor]]  # for each block the canvas [B, T] read after every step


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, a prompt and the knobs of the loop."""

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
    Case(name="the published knobs", steps=48),
    Case(name="published knobs, batch", steps=48, batch=3, seed=1),
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


# --- pins ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A case of one block, and for each row the cells of its hole; all holes have one size."""

    case: str
    holes: tuple[tuple[int, ...], ...]


PINNED_CASES = [
    Pinned(case="the published knobs", holes=(tuple(range(8)),)),
    Pinned(case="published knobs, batch", holes=tuple(tuple(range(n, n + 16)) for n in (0, 5, 16))),
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


# --- mutations ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Accept:
    """Entropy bound with one thing wrong."""

    bound: float
    rule: Callable[[Tensor, float], Tensor]
    descending: bool = False

    def accept(self, stats: RowStatistics, open_cells: Tensor, quota: Tensor) -> Tensor:
        ascending, order = stats.entropy.sort(-1, descending=self.descending)
        return torch.zeros_like(open_cells).scatter(-1, order, self.rule(ascending, self.bound))


class OffByOne(Linear):
    def temperature(self, step: int, max_denoising_steps: int) -> float:
        return super().temperature(step + 1, max_denoising_steps)


class Rising(Linear):
    def temperature(self, step: int, max_denoising_steps: int) -> float:
        return super().temperature(max_denoising_steps - step + 1, max_denoising_steps)


@dataclass(frozen=True)
class Together:
    """No row is done before all are."""

    inner: EarlyStop

    def done(self, progress: Progress) -> Tensor:
        return self.inner.done(progress).all().expand(len(progress.read))


@dataclass(frozen=True)
class LargestEntropy:
    threshold: float

    def done(self, progress: Progress) -> Tensor:
        return progress.entropy.amax(-1) < self.threshold


class NoisyRead(Uniform):
    """Gives out the canvas as sampled, not the argmaxes."""

    def read(self, token_ids: Tensor, stats: RowStatistics, canvas: Canvas) -> Tensor:
        return stats.sample


class Locked(Uniform):
    """What was accepted once is never noise again."""

    def renoise(
        self,
        token_ids: Tensor,
        accepted: Tensor,
        stats: RowStatistics,
        canvas: Canvas,
        generator: torch.Generator,
    ) -> Tensor:
        return torch.where(accepted, stats.sample, token_ids)


class EarlyNoise(Uniform):
    """Draws the noise that replaces a token from fewer numbers than the reference."""

    def _draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        return super()._draw(like[:, :1], generator).expand_as(like)


def without_conditioning(stepping: Stepping) -> None:
    stepping.network.soften = lambda logits: torch.zeros(len(logits), 64)  # type: ignore[method-assign]


def hotter_conditioning(stepping: Stepping) -> None:
    soften = stepping.network.soften
    stepping.network.soften = lambda logits: soften(logits * 0.5)  # type: ignore[method-assign]


def without_softcap(stepping: Stepping) -> None:
    stepping.network.softcap = 1e6


def wider_window(stepping: Stepping) -> None:
    stepping.network.window += 1


def later_positions(stepping: Stepping) -> None:
    rotary = stepping.network._rotary
    stepping.network._rotary = lambda x, at, name: rotary(x, at + 1, name)


def special_tokens_forbidden(stepping: Stepping) -> None:
    stepping.forbidden = torch.arange(tiny_gemma.VOCAB) < 264


LOOP_MUTATIONS: dict[str, Callable[[DenoiseConfig, Case], DenoiseConfig]] = {
    "bound includes the cell itself": lambda config, case: replace(
        config, sampler=Accept(case.bound, lambda e, bound: e.cumsum(-1) <= bound)
    ),
    "bound on each cell": lambda config, case: replace(
        config, sampler=Accept(case.bound, lambda e, bound: e <= bound)
    ),
    "most uncertain first": lambda config, case: replace(
        config, sampler=Accept(case.bound, lambda e, b: e.cumsum(-1) - e <= b, descending=True)
    ),
    "bound a tenth larger": lambda config, case: replace(
        config, sampler=EntropyBound(bound=case.bound * 1.1)
    ),
    "temperature one step late": lambda config, case: replace(
        config, schedule=OffByOne(start=case.t_max, end=case.t_min)
    ),
    "temperature rises": lambda config, case: replace(
        config, schedule=Rising(start=case.t_max, end=case.t_min)
    ),
    "temperature stays": lambda config, case: replace(config, schedule=Constant(case.t_max)),
    "stop without stability": lambda config, case: replace(
        config, early_stop=Entropy(case.threshold)
    ),
    "stop without entropy": lambda config, case: replace(config, early_stop=TokenStability()),
    "stop at twice the entropy": lambda config, case: replace(
        config, early_stop=Chained((TokenStability(), Entropy(case.threshold * 2)))
    ),
    "stop at the largest entropy": lambda config, case: replace(
        config, early_stop=Chained((TokenStability(), LargestEntropy(case.threshold)))
    ),
    "rows stop together": lambda config, case: replace(
        config, early_stop=Together(config.early_stop)
    ),
    "one step less": lambda config, case: replace(
        config, max_denoising_steps=max(1, case.steps - 1)
    ),
    "accepted tokens are locked": lambda config, case: replace(
        config, noise=Locked(vocab_size=tiny_gemma.VOCAB)
    ),
    "best token instead of the sample": lambda config, case: replace(
        config, noise=Uniform(vocab_size=tiny_gemma.VOCAB, greedy=True)
    ),
    "sample given out": lambda config, case: replace(
        config, noise=NoisyRead(vocab_size=tiny_gemma.VOCAB)
    ),
    "noise without special tokens": lambda config, case: replace(
        config,
        noise=Uniform(vocab_size=tiny_gemma.VOCAB, allowed=torch.arange(8, tiny_gemma.VOCAB)),
    ),
    "noise drawn otherwise": lambda config, case: replace(
        config, noise=EarlyNoise(vocab_size=tiny_gemma.VOCAB)
    ),
}
STEP_MUTATIONS: dict[str, Callable[[Stepping], None]] = {
    "no self-conditioning": without_conditioning,
    "self-conditioning from hotter logits": hotter_conditioning,
    "no softcap": without_softcap,
    "window one token wider": wider_window,
    "canvas one position later": later_positions,
    "special tokens forbidden": special_tokens_forbidden,
}
# Few of the cases are enough to notice, and keep the suite short.
WITNESSES = [
    "published knobs, batch",
    "rows stop one by one",
    "entropy decides the stop",
    "capped before it stops",
    "batch beyond the window",
    "prompt longer than the window",
    "other temperatures",
]


def noticed(run: Callable[[Case], Trajectory]) -> Iterator[str]:
    for name in WITNESSES:
        if not same(reference_without_pins(name), run(NAMED[name])):
            yield name


@pytest.mark.parametrize("mutation", LOOP_MUTATIONS)
def test_a_broken_loop_is_noticed(mutation: str) -> None:
    mutate = LOOP_MUTATIONS[mutation]

    assert any(noticed(lambda case: ours(case, mutate(config_of(case), case))))


@pytest.mark.parametrize("mutation", STEP_MUTATIONS)
def test_a_broken_step_is_noticed(mutation: str) -> None:
    def run(case: Case) -> Trajectory:
        stepping = Stepping(Network(model_of(case.name)))
        STEP_MUTATIONS[mutation](stepping)
        return ours(case, config_of(case), stepping)

    assert any(noticed(run))


class LeakyPins(EveryRow):
    """Feeds the model's own guess of a pinned cell back to it."""

    def step(
        self,
        canvas: Canvas,
        memory: Memory,
        state: object,
        *,
        temperature: float,
        generator: torch.Generator,
    ) -> tuple[RowStatistics, object]:
        everywhere = replace(canvas, hole=torch.zeros_like(canvas.hole))
        return super().step(everywhere, memory, state, temperature=temperature, generator=generator)


class LostPins(Uniform):
    """Pins the output alone, and lets noise into the canvas."""

    def renoise(
        self,
        token_ids: Tensor,
        accepted: Tensor,
        stats: RowStatistics,
        canvas: Canvas,
        generator: torch.Generator,
    ) -> Tensor:
        return torch.where(accepted, stats.sample, self._draw(token_ids, generator))


@dataclass(frozen=True)
class Diluted:
    """Averages the entropy over pinned cells too."""

    threshold: float

    def done(self, progress: Progress) -> Tensor:
        return progress.entropy.mean(-1) < self.threshold


PIN_MUTATIONS: dict[str, Callable[[Network, DenoiseConfig], tuple[Stepping, DenoiseConfig]]] = {
    "own guess fed back": lambda network, config: (LeakyPins(network), config),
    "pins not in the input": lambda network, config: (
        EveryRow(network),
        replace(config, noise=LostPins(vocab_size=tiny_gemma.VOCAB)),
    ),
    "stop diluted by pins": lambda network, config: (
        EveryRow(network),
        replace(config, early_stop=Chained((TokenStability(), Diluted(threshold_of(config))))),
    ),
    "fewer random numbers": lambda network, config: (Stepping(network), config),
}


def threshold_of(config: DenoiseConfig) -> float:
    assert isinstance(config.early_stop, Chained)
    entropy = config.early_stop.rules[1]
    assert isinstance(entropy, Entropy)
    return entropy.threshold


@pytest.mark.parametrize("mutation", PIN_MUTATIONS)
def test_a_broken_pin_is_noticed(mutation: str) -> None:
    def differs(pinned: Pinned) -> bool:
        case = NAMED[pinned.case]
        stepping, config = PIN_MUTATIONS[mutation](Network(model_of(case.name)), config_of(case))
        actual = ours(case, config, stepping, pinned_canvas(pinned))
        return not same(reference_with_pins(pinned), actual)

    assert any(map(differs, PINNED_CASES))
