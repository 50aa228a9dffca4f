"""The judge in plain torch and float32: the reference of what is compiled, and its stand-in."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infill_engine.judge.network import Llama, LlamaConfig
from infill_engine.models.two_sided.inference import Floats
from infill_engine.models.two_sided.plain import PlainBlocks, PlainHead
from infill_kernels.q4 import dequantise


def llama_in_torch(config: LlamaConfig, tensors: Mapping[str, Any]) -> Llama:
    """Of the tensors of a file; norms' gains are folded into the matrices that follow them."""

    def weight(name: str, outputs: int, gain: NDArray[np.float32] | None = None) -> torch.Tensor:
        exact = dequantise(tensors[name], outputs)
        return torch.from_numpy(exact if gain is None else exact * gain)

    blocks = []
    for layer in range(config.num_layers):
        block = f"blocks.{layer}."
        gains = [tensors[f"{block}{part}_norm"] for part in ("attention", "mlp")]
        of_part = {"qkv": gains[0], "up": gains[1]}
        blocks.append(
            [weight(block + part, size, of_part.get(part)) for part, size in config.outputs.items()]
        )
    halves = dequantise(tensors["head"], config.vocab_size).reshape(config.vocab_size, 2, -1)
    embedding: Floats = halves.sum(1)
    # The head multiplies (x, x).
    head = torch.from_numpy(np.tile(embedding / 2, 2))
    split = config.num_kv_heads, config.group + 2, config.head_dim
    return Llama(
        config,
        PlainBlocks(
            blocks, split, normed=False, epsilon=config.norm_epsilon, final=tensors["norm"]
        ),
        PlainHead(head, "cpu"),
        lambda ids: embedding[ids],
        np.dtype(np.float32),
    )
