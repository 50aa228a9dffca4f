"""What a step costs: both denoising loops whole, with sampling, renoising and stopping in them."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.denoise.models import TEMPERATURE
from infill_engine.canvas import Canvas
from infill_engine.denoise import DenoiseConfig, denoise
from infill_engine.early_stop import Chained, Entropy, TokenStability
from infill_engine.models.diffusion_gemma.captured import CapturedStepping
from infill_engine.models.diffusion_gemma.network import Memory, Network
from infill_engine.models.diffusion_gemma.stepping import FusedStepping
from infill_engine.noise import Uniform
from infill_engine.sampler import EntropyBound
from infill_engine.schedule import Linear

Loop = Callable[[int, Callable[[], None]], None]  # so many steps; calls back once in each


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one step."""

    ms: float
    kernels: float | None
    syncs: float | None

    def named(self, whose: str) -> dict[str, float | None]:
        return {f"{whose}_{name}": value for name, value in asdict(self).items()}


def reference_loop(model: Any, prompt: Tensor, num_cells: int) -> Loop:
    from transformers import LogitsProcessor, LogitsProcessorList

    class Mark(LogitsProcessor):
        def __init__(self, mark: Callable[[], None]) -> None:
            self._mark = mark

        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            self._mark()
            return scores

    def run(steps: int, mark: Callable[[], None]) -> None:
        model.config.canvas_length = num_cells
        model.generate(
            prompt,
            max_new_tokens=num_cells,
            max_denoising_steps=steps,
            confidence_threshold=1e-9,
            logits_processor=LogitsProcessorList([Mark(mark)]),
        )

    return run


def our_loop(network: Network, memory: Memory, num_cells: int) -> tuple[Loop, Loop]:
    """The whole loop, and its model step alone."""
    device = network.device
    stepping = CapturedStepping(network) if device.type == "cuda" else FusedStepping(network)
    canvas = Canvas(
        token_ids=torch.zeros(1, num_cells, dtype=torch.int64, device=device),
        hole=torch.zeros(1, num_cells, dtype=torch.int64, device=device),
    )
    generator = torch.Generator(device).manual_seed(0)

    def run(steps: int, mark: Callable[[], None]) -> None:
        config = DenoiseConfig(
            max_denoising_steps=steps,
            noise=Uniform(vocab_size=network.vocab_size),
            sampler=EntropyBound(),
            schedule=Linear(),
            early_stop=Chained((TokenStability(), Entropy(1e-9))),
        )
        for _ in denoise(canvas, stepping, memory, config, generator=generator):
            mark()

    @torch.inference_mode()
    def alone(steps: int, mark: Callable[[], None]) -> None:
        state: object = None
        for _ in range(steps):
            _, state = stepping.step(
                canvas, memory, state, temperature=TEMPERATURE, generator=generator
            )
            mark()

    return run, alone


def timed(loop: Loop, steps: int, device: torch.device) -> float:
    """Median ms between two marks, of which the first few are of a cold start."""
    cuda = device.type == "cuda"
    marks: list[Any] = []

    def mark() -> None:
        if cuda:
            event: Any = torch.cuda.Event
            marks.append(event(enable_timing=True))
            marks[-1].record()
        else:
            marks.append(time.perf_counter())

    loop(min(steps, 4), lambda: None)
    loop(steps + 1, mark)
    if cuda:
        torch.cuda.synchronize()
        return float(median(a.elapsed_time(b) for a, b in pairwise(marks)))
    return float(1e3 * median(b - a for a, b in pairwise(marks)))


def counted(loop: Loop, device: torch.device) -> tuple[float | None, float | None]:
    """Kernels launched and waits of the host in a step: those of six steps less those of two."""
    if device.type != "cuda":
        return None, None
    from torch.profiler import ProfilerActivity, profile

    loop(2, lambda: None)  # what is compiled and captured on the way is no part of a step
    kernels, waits = [], []
    for steps in (2, 6):
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            loop(steps, lambda: None)
            torch.cuda.synchronize()
        events = profiled.events() or []
        on_device = [event for event in events if "CUDA" in str(event.device_type)]
        kernels.append(len([event for event in on_device if not event.name.startswith("Mem")]))
        waits.append(sum("Synchronize" in event.name for event in events))
    return (kernels[1] - kernels[0]) / 4, (waits[1] - waits[0]) / 4


def cost(loop: Loop, steps: int, device: torch.device) -> Cost:
    kernels, waits = counted(loop, device)
    return Cost(ms=timed(loop, steps, device), kernels=kernels, syncs=waits)
