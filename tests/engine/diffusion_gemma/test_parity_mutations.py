"""One rule of the loop is broken at a time, and the comparison with `generate()` notices it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from infill_engine.canvas import Canvas
from infill_engine.denoise import DenoiseConfig
from infill_engine.early_stop import Chained, EarlyStop, Entropy, Progress, TokenStability
from infill_engine.models.diffusion_gemma.network import Memory, Network
from infill_engine.models.diffusion_gemma.stepping import Stepping
from infill_engine.noise import Uniform
from infill_engine.sampler import EntropyBound
from infill_engine.schedule import Constant, Linear
from infill_kernels.rows import RowStatistics

pytest.importorskip("transformers")
from tests.engine import tiny_gemma
from tests.engine.diffusion_gemma.trajectories import (
    NAMED,
    PINNED_CASES,
    Case,
    EveryRow,
    Pinned,
    Trajectory,
    config_of,
    model_of,
    ours,
    pinned_canvas,
    reference_with_pins,
    reference_without_pins,
    same,
)


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
    "as published, batch",
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
    """Feeds the model's own proposal for a pinned cell back to it."""

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
    "own proposal fed back": lambda network, config: (LeakyPins(network), config),
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
