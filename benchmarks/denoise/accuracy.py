"""How far the logits of ours, and of the reference, are from the float32 truth."""

import dataclasses
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import linear

from benchmarks.denoise.models import (
    TEMPERATURE,
    build,
    converted,
    quantise,
    random_tokens,
)
from benchmarks.denoise.shape import REAL, Spec
from infill_engine.models.diffusion_gemma.network import Network, cache_parameter
from infill_kernels import dequantise, head_statistics, probabilities


def reference_logits(model: Any, prompt: Tensor, canvas: Tensor) -> Tensor:
    """Logits of a second step, conditioned on the first: [T, V] float32."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    positions = torch.arange(prompt.shape[1] + canvas.shape[1], device=prompt.device)[None]
    model.model.encoder(
        input_ids=prompt,
        position_ids=positions[:, : prompt.shape[1]],
        **{cache_parameter(model.model.encoder): cache},
    )
    soft = None
    for _ in range(2):
        logits = model(
            decoder_input_ids=canvas,
            decoder_position_ids=positions[:, prompt.shape[1] :],
            self_conditioning_logits=soft,
            **{cache_parameter(model): cache},
        ).logits
        soft = (logits / TEMPERATURE).to(model.dtype)
    return cast(Tensor, logits[0].float())


def our_logits(network: Network, prompt: Tensor, canvas: Tensor) -> Tensor:
    """The same of ours, by the ops that `FusedStepping` uses."""
    memory = network.encode(prompt)
    context = network.context(memory, canvas.shape[1])
    heat = torch.full((1,), TEMPERATURE, device=prompt.device)
    seed = torch.zeros(1, dtype=torch.int64, device=prompt.device)
    soft = None
    for _ in range(2):
        raw = linear(network.decode(canvas, soft, context)[0], network.head)
        found = head_statistics(raw, heat, seed, cap=network.softcap)
        share = probabilities(
            raw, heat, found.log_sum_exp, dtype=network.dtype, cap=network.softcap
        )
        soft = ((share @ network.table) * network.embed_scale)[None]
    return torch.tanh(raw.float() / network.softcap) * network.softcap


def check(spec: Spec, device: torch.device, formats: list[str]) -> dict[str, dict[str, float]]:
    """For each format how far from the truth the logits of ours and of the reference are.

    The truth is the reference in float32 over the same weights, quantised and back.
    """
    torch.manual_seed(0)  # the same tokens each time
    spec = dataclasses.replace(spec, layers=spec.pattern)
    dtype = torch.bfloat16
    truth_model = build(spec, device, torch.float32, seed=1)
    model = build(spec, device, dtype, seed=2)
    prompt, canvas = (
        random_tokens(spec, 1500 if spec is REAL else 50, device),
        random_tokens(spec, 64, device),
    )
    found = {}
    exact = {name: weight.to(dtype) for name, weight in truth_model.state_dict().items()}
    for name in formats:
        _restore(model, exact)
        _restore(truth_model, exact)
        network = converted(Network(model), name)
        # Prompts are encoded by transformers' modules, whose weights take the way of the others.
        for target in (model, truth_model):
            _round_trip(target, name)
        truth = reference_logits(truth_model, prompt, canvas)
        found[name] = {
            "ours": median_error(our_logits(network, prompt, canvas), truth),
            "reference": median_error(reference_logits(model, prompt, canvas), truth),
        }
        del network
    return found


def median_error(logits: Tensor, truth: Tensor) -> float:
    """Of the median cell. Where rounding sends a cell to another expert, it is another cell."""
    return float(((logits - truth).norm(dim=-1) / truth.norm(dim=-1)).median())


def _restore(model: Any, weights: dict[str, Tensor]) -> None:
    for name, weight in model.state_dict().items():
        weight.copy_(weights[name])


def _round_trip(model: Any, name: str) -> None:
    """Quantises experts and takes them back, in place."""
    for layer in model.model.decoder.layers:
        for weight in (layer.experts.gate_up_proj, layer.experts.down_proj):
            _rounded(weight, name)


def _rounded(weight: Tensor, name: str) -> None:
    if name != "bf16":
        # Scales of 4 bits are in the dtype of what is quantised.
        weight.copy_(dequantise(quantise(weight.to(torch.bfloat16), name), torch.float32))
