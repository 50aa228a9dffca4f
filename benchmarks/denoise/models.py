"""transformers' DiffusionGemma in a given shape with random weights, and ours in any format."""

import copy
import dataclasses
from typing import Any

import torch
from torch import Tensor

from benchmarks.denoise.shape import Spec
from infill_engine.models.diffusion_gemma.network import Network
from infill_kernels import ExpertWeights, quantise_fp8, quantise_int4

# What experts are kept in; the rest is bfloat16, as in the engine.
FORMATS = ("bf16", "fp8", "int4")
TEMPERATURE = 0.6  # of every step


def config_of(spec: Spec) -> Any:
    from transformers import DiffusionGemmaConfig
    from transformers.models.gemma4 import Gemma4VisionConfig

    full = "full_attention"
    kinds = [
        full if (at + 1) % spec.pattern == 0 else "sliding_attention" for at in range(spec.layers)
    ]
    text: dict[str, Any] = {
        "vocab_size": spec.vocab,
        "hidden_size": spec.hidden,
        "intermediate_size": spec.mlp,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.groups,
        "head_dim": spec.head_dim,
        "num_global_key_value_heads": spec.full_groups,
        "global_head_dim": spec.full_head_dim,
        "num_experts": spec.experts,
        "top_k_experts": spec.top_k,
        "moe_intermediate_size": spec.expert_hidden,
        "sliding_window": spec.window,
        "max_position_embeddings": 262144,
        "layer_types": kinds,
        "use_bidirectional_attention": "vision",
    }
    vision = Gemma4VisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        patch_size=4,
        position_embedding_size=64,
    )
    return DiffusionGemmaConfig(
        text_config=text,
        vision_config=vision,
        boi_token_id=spec.vocab - 3,
        eoi_token_id=spec.vocab - 2,
        image_token_id=spec.vocab - 1,
    )


def build(spec: Spec, device: torch.device, dtype: torch.dtype, seed: int) -> Any:
    """transformers' model of a shape with random weights, made on the device tensor by tensor.

    Logits and router scores are as far apart as a trained model's, or rounding would decide what
    is best and which experts are taken.
    """
    from transformers import DiffusionGemmaForBlockDiffusion

    with torch.device("meta"):
        model: Any = DiffusionGemmaForBlockDiffusion(config_of(spec))
    model.tie_weights()
    model.model.encoder.vision_tower = model.model.encoder.embed_vision = None
    generator = torch.Generator(device).manual_seed(seed)
    made: dict[int, torch.nn.Parameter] = {}
    for name, module in model.named_modules():
        for each, parameter in list(module._parameters.items()):
            if parameter is not None:
                if id(parameter) not in made:
                    fresh = torch.empty(parameter.shape, dtype=dtype, device=device)
                    _fill(fresh, f"{name}.{each}", generator)
                    made[id(parameter)] = torch.nn.Parameter(fresh, requires_grad=False)
                module._parameters[each] = made[id(parameter)]
        _fill_buffers(module, device, dtype)
    model.eval()
    model.generation_config.eos_token_id = None
    return model


def _fill(weight: Tensor, name: str, generator: torch.Generator) -> None:
    if ".q_norm." in name:
        # Scores of attention are not scaled, but by what this norm has learned.
        weight.fill_(weight.shape[0] ** -0.5)
    elif weight.ndim < 2:
        weight.fill_(8.0 if name.endswith(("decoder.norm.weight", "model.norm.weight")) else 1.0)
    else:
        spread = (
            1.0 if ".router." in name else 0.02 if "embed" in name else weight.shape[-1] ** -0.5
        )
        weight.normal_(0, spread, generator=generator)


def _fill_buffers(module: Any, device: torch.device, dtype: torch.dtype) -> None:
    if not any(buffer is not None and buffer.is_meta for buffer in module._buffers.values()):
        return
    if hasattr(module, "rope_init_fns"):
        module._buffers.update(type(module)(module.config).to(device)._buffers)
    for name, buffer in module._buffers.items():
        if buffer is not None and buffer.is_meta:
            value = module.scalar_embed_scale if name == "embed_scale" else 1.0
            module._buffers[name] = torch.full(buffer.shape, value, dtype=dtype, device=device)


def random_tokens(spec: Spec, count: int, device: torch.device) -> Tensor:
    # Below the ids of images, which the encoder would look for.
    return torch.randint(3, spec.vocab - 4, (1, count), device=device)


def quantise(weight: Tensor, name: str) -> ExpertWeights:
    """[E, N, K] in a format, an expert at a time: quantising takes several times the memory."""
    if name == "bf16":
        return weight
    make = quantise_fp8 if name == "fp8" else quantise_int4
    pieces = [make(weight[at : at + 8]) for at in range(0, len(weight), 8)]
    return type(pieces[0])(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


def converted(network: Network, name: str) -> Network:
    """The same network with experts in another format."""
    other = copy.copy(network)
    other.layers = [
        dataclasses.replace(
            layer,
            experts_gate_up=quantise(_dense(layer.experts_gate_up), name),
            experts_down=quantise(_dense(layer.experts_down), name),
        )
        for layer in network.layers
    ]
    return other


def _dense(weights: Any) -> Tensor:
    assert isinstance(weights, Tensor), "only what is not quantised yet can be converted"
    return weights
