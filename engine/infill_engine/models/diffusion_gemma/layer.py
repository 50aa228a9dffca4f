"""The weights of one decoder layer, taken from transformers' module."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infill_engine.models.diffusion_gemma.quantised import QuantisedExperts
from infill_kernels import ExpertWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One decoder layer's weights; matrices are [out, in].

    heads, groups, head_dim  of queries; of keys and values; the size of each
    query_key_value          one matrix; without values in full layers, where V is K before its norm
    gate_up                  one matrix, the gate first
    router_norm              float32: the router's scale and the root of its width in one

    transformers' modules, which encode, keep views of the matrices that are one here.
    """

    sliding: bool
    heads: int
    groups: int
    head_dim: int
    query_key_value: Tensor
    out: Tensor
    query_norm: Tensor
    key_norm: Tensor
    input_norm: Tensor
    post_attention_norm: Tensor
    gate_up: Tensor
    down: Tensor
    pre_mlp_norm: Tensor
    post_mlp_norm: Tensor
    pre_moe_norm: Tensor
    post_moe_norm: Tensor
    post_norm: Tensor
    router_norm: Tensor
    router: Tensor
    per_expert_scale: Tensor
    experts_gate_up: ExpertWeights
    experts_down: ExpertWeights
    scalar: Tensor


def joined(*modules: Any) -> Tensor:
    """The weights [out, in] of linear modules as one matrix, of which they keep views."""
    matrix = torch.cat([module.weight.detach() for module in modules])
    end = 0
    for module in modules:
        start, end = end, end + len(module.weight)
        module.weight.data = matrix[start:end]
    return matrix


def layer_of(module: Any) -> Layer:
    """The weights of transformers' decoder layer."""
    attention, mlp, router = module.self_attn, module.mlp, module.router
    projections = [attention.q_proj, attention.k_proj]
    if attention.v_proj is not None:
        projections.append(attention.v_proj)
    gate_up: ExpertWeights
    down: ExpertWeights
    if isinstance(module.experts, QuantisedExperts):
        gate_up, down = module.experts.gate_up, module.experts.down
    else:
        gate_up = module.experts.gate_up_proj.detach()
        down = module.experts.down_proj.detach()
    return Layer(
        sliding=attention.is_sliding,
        heads=attention.q_proj.out_features // attention.head_dim,
        groups=attention.k_proj.out_features // attention.head_dim,
        head_dim=attention.head_dim,
        query_key_value=joined(*projections),
        out=attention.o_proj.weight.detach(),
        query_norm=attention.q_norm.weight.detach(),
        key_norm=attention.k_norm.weight.detach(),
        input_norm=module.input_layernorm.weight.detach(),
        post_attention_norm=module.post_attention_layernorm.weight.detach(),
        gate_up=joined(mlp.gate_proj, mlp.up_proj),
        down=mlp.down_proj.weight.detach(),
        pre_mlp_norm=module.pre_feedforward_layernorm.weight.detach(),
        post_mlp_norm=module.post_feedforward_layernorm_1.weight.detach(),
        pre_moe_norm=module.pre_feedforward_layernorm_2.weight.detach(),
        post_moe_norm=module.post_feedforward_layernorm_2.weight.detach(),
        post_norm=module.post_feedforward_layernorm.weight.detach(),
        router_norm=router.scale.detach().float() * router.scale.shape[0] ** -0.5,
        router=router.proj.weight.detach(),
        per_expert_scale=router.per_expert_scale.detach(),
        experts_gate_up=gate_up,
        experts_down=down,
        scalar=module.layer_scalar.detach(),
    )
