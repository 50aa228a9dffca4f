"""The two passes as transformers makes them and as ours does, on a small random model."""

from typing import Any

import torch
from torch import Tensor

from infill_engine.models.diffusion_gemma.network import Memory, Network, cache_parameter
from tests.engine import tiny_gemma

WINDOW = 64


def tokens(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, tiny_gemma.VOCAB - 4, shape, generator=generator)


def theirs(model: Any, prompt: Tensor, canvas: Tensor, before: Tensor | None) -> Tensor:
    """transformers' logits for a canvas after a prompt, with its own cache and modules."""
    from transformers import DynamicCache

    with torch.inference_mode():
        cache = DynamicCache(config=model.config.get_text_config(decoder=True))
        size = prompt.shape[1]
        model.model.encoder(
            input_ids=prompt,
            position_ids=torch.arange(size)[None],
            **{cache_parameter(model.model.encoder): cache},
        )
        logits: Tensor = model(
            decoder_input_ids=canvas,
            decoder_position_ids=size + torch.arange(canvas.shape[1])[None],
            self_conditioning_logits=before,
            **{cache_parameter(model): cache},
        ).logits
    return logits


def decoded(network: Network, memory: Memory, canvas: Tensor, before: Tensor | None) -> Tensor:
    with torch.inference_mode():
        soft = None
        if before is not None:
            soft = network.soften(before.flatten(0, 1)).view(*canvas.shape, -1)
        hidden = network.decode(canvas, soft, network.context(memory, canvas.shape[1]))
        return network.logits(hidden.flatten(0, 1)).view(*canvas.shape, -1)
