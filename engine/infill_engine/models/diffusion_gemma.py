"""DiffusionGemma as a denoiser: Google's weights, our loop. Never calls `generate()`.

    prompt ids ──► encoder (transformers' module, causal) ──► keys and values of every layer
                                                                     │ read, never written
    canvas ids ──► decoder (ours, bidirectional) ◄───────────────────┘
                      │ the rows of free cells only
                      └──► logits ──► statistics, and the soft embedding of the next step

Both passes share one set of weights. The decoder is written here in terms of `infill_kernels`, so
that a step runs on fused kernels where there are any; on a CPU it is transformers' arithmetic.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from infill_kernels import (
    ExpertWeights,
    RowStatistics,
    add_rms_norm,
    canvas_attention,
    gated,
    moe,
    norm_rope,
    rms_norm,
    route,
    row_statistics,
    soft_embedding,
    softcap,
)
from torch import Tensor
from torch.nn.functional import embedding, linear

from infill_engine.canvas import Canvas
from infill_engine.request import never

# Prompts are encoded in pieces that start at multiples of this, and reused up to such a border:
# the same prompt then takes the same shapes whatever was encoded before it, and gives the same
# bits. On a GPU a piece costs one reading of the weights, however few its tokens are.
ENCODE_CHUNK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A prompt and its keys and values.

    token_ids  [P, S] int64 on the CPU; P is 1, or one prompt for each canvas row
    layers     for every layer keys and values, each [P, G, S, D]

    Sliding layers keep all S tokens too, though a canvas reads the last window - 1 alone. Cropped
    like transformers' cache they could not be taken back to an earlier border when the text
    changes there; and a copy kept at every chunk border would be larger than the whole.
    """

    token_ids: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def length(self) -> int:
        return self.token_ids.shape[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a canvas of T cells reads at every step; it does not change while one is denoised.

    layers  for every layer the keys and values that it sees, views of a `Memory`
    tables  cos and sin [1, T, D] for a sliding (True) and a full layer (False)
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    tables: dict[bool, tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One decoder layer's weights; linear ones are [out, in]. `value` None: V is K before its norm.

    query_key_value and gate_up are one matrix each, of which transformers' modules hold views.
    """

    sliding: bool
    head_dim: int
    query: Tensor
    key: Tensor
    value: Tensor | None
    out: Tensor
    query_norm: Tensor
    key_norm: Tensor
    input_norm: Tensor
    post_attention_norm: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor
    pre_mlp_norm: Tensor
    post_mlp_norm: Tensor
    pre_moe_norm: Tensor
    post_moe_norm: Tensor
    post_norm: Tensor
    router_scale: Tensor
    router: Tensor
    per_expert_scale: Tensor
    experts_gate_up: ExpertWeights
    experts_down: ExpertWeights
    scalar: Tensor


class Network:
    """The two passes over a loaded `DiffusionGemmaForBlockDiffusion`."""

    def __init__(self, model: Any) -> None:
        text = model.config.text_config
        decoder = model.model.decoder
        self._encoder = model.model.encoder.language_model
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
        self.condition_gate: Tensor = conditioning.gate_proj.weight.detach()
        self.condition_up: Tensor = conditioning.up_proj.weight.detach()
        self.condition_down: Tensor = conditioning.down_proj.weight.detach()
        self.layers = [_layer(layer) for layer in decoder.layers]

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
        cancelled: Callable[[], bool] = never,
    ) -> Memory:
        """Keys and values of prompts [P, S], reusing `memory` up to the last border it shares.

        Cancelled, it returns what is encoded by then; `memory` is never changed.
        """
        from transformers import DynamicCache

        token_ids = token_ids.cpu()
        if memory is not None and torch.equal(memory.token_ids, token_ids):
            return memory
        kept = 0 if memory is None else shared(memory, token_ids) // chunk * chunk
        # Made without a configuration, every layer of it keeps all tokens; masks do the sliding.
        cache = DynamicCache()
        if memory is not None and kept:
            for at, (key, value) in enumerate(memory.layers):
                cache.update(key[:, :, :kept], value[:, :, :kept], at)
        end = kept
        while end < token_ids.shape[1] and not cancelled():
            piece = token_ids[:, end : end + chunk].to(self.device)
            positions = torch.arange(end, end + piece.shape[1], device=self.device)[None]
            self._encoder(input_ids=piece, past_key_values=cache, position_ids=positions)
            end += piece.shape[1]
        layers = tuple((layer.keys, layer.values) for layer in cache.layers)
        if not layers:
            rows = token_ids.shape[0]
            layers = tuple(self._nothing(layer, rows) for layer in self.layers)
        return Memory(token_ids=token_ids[:, :end], layers=layers)

    def _nothing(self, layer: Layer, rows: int) -> tuple[Tensor, Tensor]:
        shape = (rows, layer.key.shape[0] // layer.head_dim, 0, layer.head_dim)
        return self.table.new_empty(shape), self.table.new_empty(shape)

    def context(self, memory: Memory, num_cells: int) -> Context:
        """What a canvas of so many cells right after the prompt reads."""
        positions = memory.length + torch.arange(num_cells, device=self.device)[None]
        tables = {
            sliding: self._rotary(self.table, positions, name)
            for sliding, name in ((True, "sliding_attention"), (False, "full_attention"))
        }
        seen = self.window - 1
        return Context(
            layers=tuple(
                (key[:, :, -seen:], value[:, :, -seen:])
                if layer.sliding and memory.length > seen
                else (key, value)
                for layer, (key, value) in zip(self.layers, memory.layers, strict=True)
            ),
            tables=tables,
        )

    def embed(self, token_ids: Tensor) -> Tensor:
        """Token ids [...] -> [..., D]."""
        return embedding(token_ids, self.table) * self.embed_scale

    def decode(self, token_ids: Tensor, soft: Tensor | None, context: Context) -> Tensor:
        """One pass over canvases.

        token_ids [B, T]; soft [B, T, D], the mean embedding of each cell under the step before,
        None at the first step -> hidden states [B, T, D] that the head reads.
        """
        x = self.embed(token_ids)
        if soft is not None:
            # Without a step before it, the signal is 0, and so is what the block makes of it.
            signal = rms_norm(soft, self.condition_norm, eps=self.eps)
            x = x + self._mlp(signal, self.condition_gate, self.condition_up, self.condition_down)
        x = rms_norm(x, None, eps=self.eps)
        for layer, (key, value) in zip(self.layers, context.layers, strict=True):
            x = self._decode_layer(layer, x, key, value, context.tables[layer.sliding])
        return rms_norm(x, self.norm, eps=self.eps)

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [R, D] -> logits [R, V] float32."""
        return softcap(linear(hidden, self.head), self.softcap)

    def soften(self, logits: Tensor) -> Tensor:
        """Logits [R, V] of the last step, scaled by its temperature -> mean embeddings [R, D]."""
        return soft_embedding(logits, self.table, self.embed_scale)

    def _mlp(self, x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
        return linear(gated(torch.cat((linear(x, gate), linear(x, up)), -1)), down)

    def _decode_layer(
        self, layer: Layer, x: Tensor, key: Tensor, value: Tensor, table: tuple[Tensor, Tensor]
    ) -> Tensor:
        eps = self.eps
        h = rms_norm(x, layer.input_norm, eps=eps)
        shape = (*h.shape[:2], -1, layer.head_dim)
        raw = linear(h, layer.key).view(shape)
        own = raw if layer.value is None else linear(h, layer.value).view(shape)
        attended = canvas_attention(
            norm_rope(linear(h, layer.query).view(shape), layer.query_norm, *table, eps=eps),
            norm_rope(raw, layer.key_norm, *table, eps=eps),
            rms_norm(own, None, eps=eps),
            key,
            value,
        )
        h = linear(attended.flatten(2), layer.out)
        x = add_rms_norm(x, h, layer.post_attention_norm, eps=eps)

        flat = x.flatten(0, 1)
        dense = self._mlp(
            rms_norm(flat, layer.pre_mlp_norm, eps=eps), layer.gate, layer.up, layer.down
        )
        experts, weights = route(
            flat, layer.router_scale, layer.router, layer.per_expert_scale, k=self.top_k, eps=eps
        )
        sparse = moe(
            rms_norm(flat, layer.pre_moe_norm, eps=eps),
            experts,
            weights,
            layer.experts_gate_up,
            layer.experts_down,
        )
        dense = rms_norm(dense, layer.post_mlp_norm, eps=eps)
        both = add_rms_norm(dense, sparse, layer.post_moe_norm, eps=eps).view_as(x)
        return add_rms_norm(x, both, layer.post_norm, eps=eps, scale=layer.scalar)


def _layer(module: Any) -> Layer:
    attention, mlp, router = module.self_attn, module.mlp, module.router
    return Layer(
        sliding=attention.is_sliding,
        head_dim=attention.head_dim,
        query=attention.q_proj.weight.detach(),
        key=attention.k_proj.weight.detach(),
        value=None if attention.v_proj is None else attention.v_proj.weight.detach(),
        out=attention.o_proj.weight.detach(),
        query_norm=attention.q_norm.weight.detach(),
        key_norm=attention.k_norm.weight.detach(),
        input_norm=module.input_layernorm.weight.detach(),
        post_attention_norm=module.post_attention_layernorm.weight.detach(),
        gate=mlp.gate_proj.weight.detach(),
        up=mlp.up_proj.weight.detach(),
        down=mlp.down_proj.weight.detach(),
        pre_mlp_norm=module.pre_feedforward_layernorm.weight.detach(),
        post_mlp_norm=module.post_feedforward_layernorm_1.weight.detach(),
        pre_moe_norm=module.pre_feedforward_layernorm_2.weight.detach(),
        post_moe_norm=module.post_feedforward_layernorm_2.weight.detach(),
        post_norm=module.post_feedforward_layernorm.weight.detach(),
        router_scale=router.scale.detach(),
        router=router.proj.weight.detach(),
        per_expert_scale=router.per_expert_scale.detach(),
        experts_gate_up=module.experts.gate_up_proj.detach(),
        experts_down=module.experts.down_proj.detach(),
        scalar=module.layer_scalar.detach(),
    )


def shared(memory: Memory, token_ids: Tensor) -> int:
    """How many leading tokens of all prompts [P, S] are those of the memory."""
    if memory.token_ids.shape[0] != token_ids.shape[0]:
        return 0
    length = min(memory.length, token_ids.shape[1])
    same = (memory.token_ids[:, :length] == token_ids[:, :length]).all(0)
    return int(same.long().cumprod(0).sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What one step hands to the next.

    rows    [R] int64, the cells of the flattened [B * T] canvas whose logits are computed
    first   [B] int64, the place among `rows` of each canvas row's first free cell
    logits  [R, V] in the weights' dtype, scaled by the last temperature: the self-conditioning
    """

    context: Context
    rows: Tensor
    first: Tensor
    logits: Tensor | None = None


class Stepping:
    """The step over token ids; knows no text. `forbidden` [V] bool never comes out of it."""

    def __init__(self, network: Network, forbidden: Tensor | None = None) -> None:
        self.network = network
        self.forbidden = forbidden

    def rows(self, canvas: Canvas) -> Tensor:
        """The flattened cells that need logits: a pinned one's answer is known."""
        return canvas.free.flatten().nonzero()[:, 0]

    def start(self, canvas: Canvas, memory: Memory) -> State:
        """What stays the same while a canvas is denoised."""
        batch, length = canvas.token_ids.shape
        rows = self.rows(canvas)
        first = canvas.free.int().argmax(-1)
        first += length * torch.arange(batch, device=first.device)
        return State(
            context=self.network.context(memory, length),
            rows=rows,
            first=torch.searchsorted(rows, first),
        )

    def step(
        self,
        canvas: Canvas,
        memory: Memory,
        state: object,
        *,
        temperature: float,
        generator: torch.Generator,
    ) -> tuple[RowStatistics, State]:
        if not isinstance(state, State):
            state = self.start(canvas, memory)
        token_ids, free = canvas.token_ids, canvas.free
        soft: Tensor | None = None
        if state.logits is not None:
            # A pinned cell's distribution is one-hot, so its mean embedding is the pin's own row.
            soft = self.network.embed(token_ids)
            mean = soft.flatten(0, 1).index_copy(0, state.rows, self.network.soften(state.logits))
            soft = torch.where(free[..., None], mean.view_as(soft), soft)
        hidden = self.network.decode(token_ids, soft, state.context)
        logits = self.network.logits(hidden.flatten(0, 1)[state.rows])
        if canvas.allowed is not None:
            logits.masked_fill_(~canvas.allowed, -torch.inf)
        elif self.forbidden is not None:
            logits.masked_fill_(self.forbidden, -torch.inf)
        if canvas.first is not None:
            logits[state.first] = logits[state.first].masked_fill(~canvas.first, -torch.inf)
        if temperature > 0:
            logits = logits / temperature
        stats = row_statistics(logits, temperature=float(temperature > 0), generator=generator)
        return spread(stats, canvas, state.rows), replace(
            state, logits=logits.to(self.network.dtype)
        )


def spread(stats: RowStatistics, canvas: Canvas, rows: Tensor) -> RowStatistics:
    """Statistics of some flattened cells [R] -> of all [B, T]; a pinned cell is certain of its pin."""
    token_ids, free = canvas.token_ids, canvas.free

    def place(background: Tensor, values: Tensor) -> Tensor:
        placed = background.flatten().index_copy(0, rows, values).view_as(background)
        return torch.where(free, placed, background)

    certain = torch.ones(token_ids.shape, device=token_ids.device)
    return RowStatistics(
        entropy=place(torch.zeros_like(certain), stats.entropy),
        best=place(token_ids, stats.best),
        sample=place(token_ids, stats.sample),
        confidence=place(certain, stats.confidence),
    )
