"""The temperature of each step."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Schedule(Protocol):
    def temperature(self, step: int, max_denoising_steps: int) -> float:
        """For step 1 .. max_denoising_steps; 0 is greedy."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    value: float = 0.0

    def temperature(self, step: int, max_denoising_steps: int) -> float:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """From almost `start` down to almost `end`, as DiffusionGemma anneals: 0.8 to 0.4.

    Step k of N has end + (start - end) * (N - k + 1) / N, so the first step is at `start` and the
    last one (start - end) / N above `end`.
    """

    start: float = 0.8
    end: float = 0.4

    def temperature(self, step: int, max_denoising_steps: int) -> float:
        # In float32, as transformers computes it: the last bit reaches every logit, comes back by
        # self-conditioning, and after some steps decides tokens.
        left = np.float32(max_denoising_steps - step + 1) / np.float32(max_denoising_steps)
        start, end = np.float32(self.start - self.end), np.float32(self.end)
        return float(end + start * left)
