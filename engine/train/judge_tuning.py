"""What of the judge is trained, so that its file stays what it is: the minima of its groups of 4
bits, and its norms' gains.

A weight is scale * code + minimum. Codes and scales stay, so nothing is rounded to 4 bits again and
a step that is far smaller than a code's counts. To move the minima of a matrix [O, I] is to add to
it a linear map of the I / 32 sums of its inputs' groups: LoRA of rank I / 32 whose first half is
fixed. So the gradient costs one more product in 32, and none of the weights' own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from infill_engine.judge.loading import read_tensors
from infill_kernels.q4 import GROUP, pack, unpack
from train.corpus.state import replace
from train.judge import Tensors, aligned, in_file

# The matrices of a block of the file, and of which of transformers' each is made.
PARTS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
NORMS = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}


class Shifted(nn.Module):
    """A matrix [O, I] that stays, and by how much its minima [O, I / 32] are moved."""

    def __init__(self, matrix: nn.Linear) -> None:
        super().__init__()
        self.weight = matrix.weight
        self.shift = nn.Parameter(torch.zeros(matrix.out_features, matrix.in_features // GROUP))

    def forward(self, x: Tensor) -> Tensor:
        sums = x.unflatten(-1, (-1, GROUP)).sum(-1)
        return F.linear(x, self.weight) + F.linear(sums, self.shift)


def attach(network: LlamaForCausalLM) -> dict[str, nn.Parameter]:
    """Makes a network's minima and gains trainable, and all else not; these by name."""
    network.requires_grad_(False)
    for layer in network.model.layers:
        for name in (name for names in PARTS.values() for name in names):
            owner, _, own = name.rpartition(".")
            block = layer.get_submodule(owner)
            setattr(block, own, Shifted(cast(nn.Linear, getattr(block, own))))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.endswith("norm.weight") or "shift" in name)
    return {name: each for name, each in network.named_parameters() if each.requires_grad}


def write(
    source: Path, target: Path, network: LlamaForCausalLM, note: str, share: float = 1.0
) -> None:
    """judge.safetensors of `source`, so great a share of the way to what `network` has learned, by
    rename; `note` says what it has learned, in the metadata.

    On the way between a model and the same, trained further, are some that are better at the new
    and at what the first could than either (arXiv:2109.01903).
    """
    metadata, tensors = read_tensors(source)
    found = dict(network.named_parameters())
    tensors |= dict(_moved(tensors, found, network.config.num_key_value_heads, share))
    replace(target, aligned(in_file(tensors), metadata | {"trained": note}))


def _moved(
    tensors: Tensors, found: dict[str, nn.Parameter], kv_heads: int, share: float
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    def between(name: str, gains: nn.Parameter) -> NDArray[np.float32]:
        before = tensors[name].astype(np.float32)
        return before + np.float32(share) * (_array(gains) - before)

    yield "norm", between("norm", found["model.norm.weight"])
    layers = sum(name.endswith(".qkv") for name in tensors)
    for layer in range(layers):
        ours, theirs = f"blocks.{layer}.", f"model.layers.{layer}."
        for name, norm in NORMS.items():
            yield ours + name, between(ours + name, found[f"{theirs}{norm}.weight"])
        for part, names in PARTS.items():
            shifts = [_array(found[f"{theirs}{name}.shift"]) for name in names]
            groups = shifts[0].shape[1]
            if part == "qkv":  # of each key/value head its queries, its key, its value
                shifts = [each.reshape(kv_heads, -1, groups) for each in shifts]
                shift = np.concatenate(shifts, 1).reshape(-1, groups)
            else:
                shift = np.concatenate(shifts)
            codes, scales, minima = unpack(tensors[ours + part], len(shift))
            yield ours + part, pack(codes, scales, (minima + share * shift).astype(np.float16))


def _array(parameter: nn.Parameter) -> NDArray[np.float32]:
    return cast("NDArray[np.float32]", parameter.detach().numpy())
