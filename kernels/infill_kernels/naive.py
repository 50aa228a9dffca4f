"""Every op in plain torch: the reference that kernels are tested against, and the path on CPUs."""

from typing import NamedTuple

import torch
from torch import Tensor


class RowStatistics(NamedTuple):
    """What the denoising loop needs to know of each row of logits.

    entropy     [...] float32, nats, of softmax(logits / temperature)
    best        [...] int64, the most probable token
    sample      [...] int64, a draw from softmax(logits / temperature); `best` at temperature 0
    confidence  [...] float32, the probability of `best`
    """

    entropy: Tensor
    best: Tensor
    sample: Tensor
    confidence: Tensor


def row_statistics(
    logits: Tensor, *, temperature: float, generator: torch.Generator | None
) -> RowStatistics:
    """Statistics over the last axis of logits [..., V], any float type; -inf marks impossible.

    Temperature 0 means greedy: the sample is the argmax, the other figures are those of T = 1.
    """
    scaled = logits.float()
    if temperature > 0 and temperature != 1:
        scaled = scaled / temperature
    probability = scaled.softmax(-1)
    confidence, best = probability.max(-1)
    # entr is 0 at p = 0, where p * log p would be NaN.
    entropy = torch.special.entr(probability).sum(-1)
    if temperature > 0:
        flat = probability.flatten(0, -2)
        sample = torch.multinomial(flat, 1, generator=generator).view(best.shape)
    else:
        sample = best
    return RowStatistics(entropy=entropy, best=best, sample=sample, confidence=confidence)
