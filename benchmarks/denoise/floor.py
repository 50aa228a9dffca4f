"""The least that a step can take: what it has to read and multiply, over this machine's rates."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.denoise.loops import timed
from infill_engine.models.diffusion_gemma import network as network_module
from infill_engine.models.diffusion_gemma.network import Memory, Network
from infill_kernels import top_experts


@contextmanager
def recorded() -> Iterator[list[Tensor]]:
    """The experts that every layer chooses, as long as it lasts."""
    chosen: list[Tensor] = []

    def watch(*args: Any, **named: Any) -> tuple[Tensor, Tensor]:
        experts, weights = top_experts(*args, **named)
        chosen.append(experts)
        return experts, weights

    with mock.patch.object(network_module, "top_experts", watch):
        yield chosen


@torch.inference_mode()
def experts_touched(network: Network, memory: Memory, num_cells: int) -> float:
    """Experts that a canvas of noise reads in a layer, on the mean."""
    with recorded() as chosen:
        canvas = torch.randint(network.vocab_size, (1, num_cells), device=network.device)
        network.decode(canvas, None, network.context(memory, num_cells))
    return sum(len(set(each.flatten().tolist())) for each in chosen) / len(chosen)


def bandwidth(device: torch.device) -> float:
    """Bytes a second of a copy, those read and those written."""
    size = 2**32 if device.type == "cuda" else 2**26
    source = torch.randint(0, 100, (size // 4,), dtype=torch.int32, device=device)
    target = torch.empty_like(source)
    return 2 * size / _seconds(lambda: target.copy_(source), device)


def matrix_rate(device: torch.device) -> float:
    """Operations a second of a large product in bfloat16."""
    size = 8192 if device.type == "cuda" else 256
    a, b = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    return 2 * size**3 / _seconds(lambda: a @ b, device)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    def loop(steps: int, mark: Callable[[], None]) -> None:
        for _ in range(steps):
            work()
            mark()

    return timed(loop, 10, device) / 1e3
