"""DiffusionGemma's two passes over one set of weights. Knows token ids and tensors, no text.

    prompt ids ──► encoder (transformers' module, causal) ──► keys and values of every layer
                                                                     │ read, never written
    canvas ids ──► decoder (ours, bidirectional) ◄───────────────────┘ ──► hidden states

The decoder is written here in terms of `infill_kernels`, so that a step runs on fused kernels
where there are any; on a CPU it is transformers' arithmetic.
"""

from dataclasses import dataclass
from inspect import signature
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.models.diffusion_gemma.layer import Layer, joined, layer_of
from infill_kernels import (
    add_norms,
    canvas_attention,
    gated,
    join_norms,
    moe_parts,
    rms_norm,
    soft_embedding,
    softcap,
    split_norm_rope,
    sum_norms,
    top_experts,
)

# Prompts are encoded in pieces that start at multiples of this, and reused up to such a border:
# the same prompt then takes the same shapes whatever was encoded before it, and gives the same
# bits. On a GPU a piece costs one reading of the weights, however few its tokens are.
ENCODE_CHUNK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A prompt and its keys and values.

    token_ids  [P, S] int64 on the CPU; P is 1, or one prompt for each canvas row
    layers     for every layer keys and values, each [P, G, S, D], torch's or MLX's

    Sliding layers keep all S tokens too, though a canvas reads the last window - 1 alone. Cropped
    like transformers' cache they could not be taken back to an earlier border when the text
    changes there; and a copy kept at every chunk border would be larger than the whole.
    """

    token_ids: Tensor
    layers: tuple[tuple[Any, Any], ...]

    @property
    def length(self) -> int:
        return self.token_ids.shape[1]


class Passes(Protocol):
    """What the denoiser asks of a network; tensors are torch's whatever computes it."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def max_positions(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where token ids are wanted, and hidden states come."""
        ...

    @property
    def dtype(self) -> torch.dtype: ...

    def encode(
        self,
        token_ids: Tensor,
        memory: Memory | None = None,
        *,
        chunk: int = ENCODE_CHUNK,
        budget: Budget = UNLIMITED,
    ) -> Memory:
        """Keys and values of prompts [P, S], reusing `memory` up to the last border it shares.

        Once the budget is over, within a chunk, it returns what is encoded by then; `memory` is
        never changed.
        """
        ...

    def context(self, memory: Memory, num_cells: int) -> Any:
        """What a canvas of so many cells right after the prompt reads, for `decode`."""
        ...

    def embed(self, token_ids: Tensor) -> Tensor:
        """Token ids [...] -> [..., D]."""
        ...

    def decode(self, token_ids: Tensor, soft: Tensor | None, context: Any) -> Tensor:
        """One pass over canvases.

        token_ids [B, T]; soft [B, T, D], the mean embedding of each cell under the step before,
        None at the first step -> hidden states [B, T, D] that the head reads.
        """
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [R, D] -> logits [R, V] float32."""
        ...

    def soften(self, logits: Tensor) -> Tensor:
        """Logits [R, V] of the last step, scaled by its temperature -> mean embeddings [R, D]."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedContext:
    """What a canvas of T cells reads at every step; it does not change while one is denoised.

    layers   for every layer the keys and values that it sees, views of a `Memory`
    tables   cos and sin [1, T, D] for a sliding (True) and a full layer (False)
    lengths  for both how many tokens of `layers` are there, [1] int32; None: all of them
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    tables: dict[bool, tuple[Tensor, Tensor]]
    lengths: dict[bool, Tensor] | None = None


class Network:
    """Implements `Passes` over a loaded `DiffusionGemmaForBlockDiffusion`."""

    def __init__(self, model: Any) -> None:
        text = model.config.text_config
        decoder = model.model.decoder
        self._encoder = model.model.encoder.language_model
        self._cache_parameter = cache_parameter(self._encoder)
        self._rotary = decoder.rotary_emb
        self.vocab_size = int(text.vocab_size)
        self.window = int(text.sliding_window)
        self.max_positions = int(text.max_position_embeddings)
        self.eps = float(text.rms_norm_eps)
        self.top_k = int(text.top_k_experts)
        self.softcap = float(text.final_logit_softcapping)
        self.table: Tensor = decoder.embed_tokens.weight.detach()
        self.embed_scale: Tensor = decoder.embed_tokens.embed_scale.to(self.table.dtype)
        self.head: Tensor = model.lm_head.weight.detach()
        self.norm: Tensor = decoder.norm.weight.detach()
        conditioning = decoder.self_conditioning
        self.condition_norm: Tensor = conditioning.pre_norm.weight.detach()
        self.condition_gate_up = joined(conditioning.gate_proj, conditioning.up_proj)
        self.condition_down: Tensor = conditioning.down_proj.weight.detach()
        self.layers = [layer_of(layer) for layer in decoder.layers]

    @property
    def device(self) -> torch.device:
        return self.table.device

    @property
    def dtype(self) -> torch.dtype:
        return self.table.dtype

    @torch.inference_mode()
    def encode(
        self,
        token_ids: Tensor,
        memory: Memory | None = None,
        *,
        chunk: int = ENCODE_CHUNK,
        budget: Budget = UNLIMITED,
    ) -> Memory:
        from transformers import DynamicCache

        token_ids = token_ids.cpu()
        if memory is not None and torch.equal(memory.token_ids, token_ids):
            return memory
        kept = 0 if memory is None else shared(memory, token_ids) // chunk * chunk
        # Made without a configuration, every layer of it keeps all tokens; masks do the sliding.
        cache: Any = DynamicCache()
        if memory is not None and kept:
            for at, (key, value) in enumerate(memory.layers):
                cache.update(key[:, :, :kept], value[:, :, :kept], at)
        end = kept
        while end < token_ids.shape[1] and not budget.over:
            piece = token_ids[:, end : end + chunk].to(self.device)
            positions = torch.arange(end, end + piece.shape[1], device=self.device)[None]
            self._encoder(input_ids=piece, position_ids=positions, **{self._cache_parameter: cache})
            end += piece.shape[1]
        layers = tuple((layer.keys, layer.values) for layer in cache.layers)
        if not layers:
            rows = token_ids.shape[0]
            layers = tuple(self._nothing(layer, rows) for layer in self.layers)
        return Memory(token_ids=token_ids[:, :end], layers=layers)

    def _nothing(self, layer: Layer, rows: int) -> tuple[Tensor, Tensor]:
        shape = (rows, layer.groups, 0, layer.head_dim)
        return self.table.new_empty(shape), self.table.new_empty(shape)

    def context(self, memory: Memory, num_cells: int) -> CachedContext:
        seen = self.window - 1
        return CachedContext(
            layers=tuple(
                (key[:, :, -seen:], value[:, :, -seen:])
                if layer.sliding and memory.length > seen
                else (key, value)
                for layer, (key, value) in zip(self.layers, memory.layers, strict=True)
            ),
            tables=self.tables(memory.length, num_cells),
        )

    def tables(self, start: int, num_cells: int) -> dict[bool, tuple[Tensor, Tensor]]:
        """Cos and sin [1, T, D] of the positions from `start` on, of sliding and full layers."""
        positions = start + torch.arange(num_cells, device=self.device)[None]
        return {
            sliding: self._rotary(self.table, positions, name)
            for sliding, name in ((True, "sliding_attention"), (False, "full_attention"))
        }

    def embed(self, token_ids: Tensor) -> Tensor:
        return embedding(token_ids, self.table) * self.embed_scale

    def decode(self, token_ids: Tensor, soft: Tensor | None, context: CachedContext) -> Tensor:
        shape = (*token_ids.shape, -1)
        x = self.embed(token_ids).flatten(0, 1)
        if soft is None:
            # Without a step before it the signal is 0, and so is what the block makes of it.
            signal = torch.zeros_like(x)
        else:
            signal = rms_norm(soft.flatten(0, 1), self.condition_norm, eps=self.eps)
            signal = linear(gated(linear(signal, self.condition_gate_up)), self.condition_down)
        x, h = sum_norms(x, signal, self.layers[0].input_norm, eps=self.eps)
        next_norms = [*(layer.input_norm for layer in self.layers[1:]), self.norm]
        for layer, (key, value), next_norm in zip(
            self.layers, context.layers, next_norms, strict=True
        ):
            query, own_key, own_value = split_norm_rope(
                linear(h, layer.query_key_value).view(shape),
                layer.query_norm,
                layer.key_norm,
                *context.tables[layer.sliding],
                heads=layer.heads,
                groups=layer.groups,
                eps=self.eps,
            )
            length = None if context.lengths is None else context.lengths[layer.sliding]
            h = canvas_attention(query, own_key, own_value, key, value, length=length)
            h = linear(h.reshape(len(x), -1), layer.out)
            x, (dense, sparse, routed) = add_norms(
                x,
                h,
                layer.post_attention_norm,
                (layer.pre_mlp_norm, layer.pre_moe_norm, layer.router_norm),
                eps=self.eps,
            )
            dense = linear(gated(linear(dense, layer.gate_up)), layer.down)
            experts, weights = top_experts(
                routed, layer.router, layer.per_expert_scale, k=self.top_k
            )
            x, h = join_norms(
                x,
                dense,
                moe_parts(sparse, experts, weights, layer.experts_gate_up, layer.experts_down),
                layer.post_mlp_norm,
                layer.post_moe_norm,
                layer.post_norm,
                next_norm,
                layer.scalar,
                eps=self.eps,
            )
        return h.view(shape)

    def logits(self, hidden: Tensor) -> Tensor:
        return softcap(linear(hidden, self.head), self.softcap)

    def soften(self, logits: Tensor) -> Tensor:
        return soft_embedding(logits, self.table, self.embed_scale)


def cache_parameter(module: Any) -> str:
    """What a module of transformers calls its cache: `cache` from 5.24 on, and from 5.40 on no
    longer by the former name."""
    named = signature(type(module).forward).parameters
    return "cache" if "cache" in named else "past_key_values"


def shared(memory: Memory, token_ids: Tensor) -> int:
    """How many leading tokens of all prompts [P, S] are those of the memory."""
    if memory.token_ids.shape[0] != token_ids.shape[0]:
        return 0
    length = min(memory.length, token_ids.shape[1])
    same = (memory.token_ids[:, :length] == token_ids[:, :length]).all(0)
    return int(same.long().cumprod(0).sum())
