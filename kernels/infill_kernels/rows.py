"""What the denoising loop wants of each row of logits; in numpy, where there is no torch."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Below it nothing is told apart from what cannot be: its probability is 0 beside any other.
IMPOSSIBLE = np.float32(-1e30)


class RowStatistics(NamedTuple):
    """What the denoising loop needs to know of each row of logits: arrays of numpy or of torch.

    entropy     [...] float32, nats, of softmax(logits / temperature)
    best        [...] int64, the most probable token
    sample      [...] int64, a draw from softmax(logits / temperature); `best` at temperature 0
    confidence  [...] float32, the probability of `best`
    """

    entropy: Any
    best: Any
    sample: Any
    confidence: Any


def statistics_of(
    logits: NDArray[np.floating], *, temperature: float, generator: np.random.Generator | None
) -> RowStatistics:
    """`row_statistics` in numpy: of logits [R, V] float32 or float64, which are overwritten.

    -inf marks impossible. Temperature 0 means greedy: the sample is the argmax, the other figures
    are those of T = 1.
    """
    z = np.maximum(logits, IMPOSSIBLE, out=logits)
    if temperature > 0 and temperature != 1:
        z /= temperature
    best = z.argmax(-1)
    z -= np.take_along_axis(z, best[:, None], -1)
    weight = np.exp(z)
    total = weight.sum(-1)
    # With p = w / sum: -sum p log p = log sum - (sum w z) / sum.
    entropy = np.maximum(np.log(total) - np.einsum("rv,rv->r", weight, z) / total, 0)
    sample = best
    if temperature > 0:
        assert generator is not None, "what is drawn is drawn from a generator"
        # Where a uniform share of the sum is passed: never where nothing was added.
        sums = weight.cumsum(-1, dtype=np.float64)
        sample = (sums > generator.random((len(sums), 1)) * sums[:, -1:]).argmax(-1)
    return RowStatistics(entropy=entropy, best=best, sample=sample, confidence=1 / total)
