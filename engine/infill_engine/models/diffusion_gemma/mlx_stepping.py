"""What a step says of its cells, computed in MLX. Imported for `device="mlx"` alone."""

# The package is for Apple silicon, and not there where types are checked.
# mypy: disable-error-code="attr-defined, no-any-return"

from collections.abc import Callable

import torch
from torch import Tensor

from infill_engine.canvas import Canvas
from infill_engine.models.diffusion_gemma.mlx_network import MlxNetwork
from infill_engine.models.diffusion_gemma.stepping import Stepping, StepState
from infill_engine.models.mlx_weights import from_torch, mx, to_torch
from infill_kernels.rows import RowStatistics


class MlxStepping(Stepping):
    """A step whose logits and probabilities, hundreds of megabytes, stay in MLX.

    Draws are as probable as the reference's, but other ones.
    """

    network: MlxNetwork

    def statistics(
        self,
        hidden: Tensor,
        canvas: Canvas,
        state: StepState,
        allowed: Tensor | None,
        temperature: float,
        generator: torch.Generator,
    ) -> tuple[RowStatistics, Callable[[], Tensor]]:
        logits = self.network.capped(hidden)
        if allowed is not None:
            logits = mx.where(from_torch(allowed), logits, -mx.inf)
        if canvas.first is not None:
            firsts = torch.ones(len(hidden), 1, dtype=torch.bool)
            firsts[state.first] = False
            logits = mx.where(from_torch(firsts | canvas.first), logits, -mx.inf)
        logits = logits / temperature if temperature > 0 else logits
        log_probability = logits - mx.logsumexp(logits, -1, keepdims=True)
        probability = mx.exp(log_probability)
        entropy = -mx.where(probability > 0, probability * log_probability, 0.0).sum(-1)
        best = mx.argmax(logits, -1)
        sample = best
        if temperature > 0:
            seed = int(torch.randint(1 << 62, (1,), generator=generator))
            sample = mx.random.categorical(logits, key=mx.random.key(seed))
        return RowStatistics(
            entropy=to_torch(entropy),
            best=to_torch(best.astype(mx.int64)),
            sample=to_torch(sample.astype(mx.int64)),
            confidence=to_torch(probability.max(-1)),
        ), lambda: to_torch(self.network.mean(probability))
