"""DiffusionGemma as a denoiser: Google's weights, our loop. Never calls `generate()`.

    prompt ids ──► encoder (transformers' module, causal) ──► keys and values of every layer
                                                                     │ read, never written
    canvas ids ──► decoder (ours, bidirectional) ◄───────────────────┘
                      │ the rows of free cells only
                      └──► logits ──► statistics, and the soft embedding of the next step

Both passes share one set of weights. The decoder is written here in terms of `infill_kernels`, so
that a step runs on fused kernels where there are any; on a CPU it is transformers' arithmetic.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import Tensor
from torch.nn.functional import embedding

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.canvas import PINNED, Canvas
from infill_engine.config import EngineConfig, Format
from infill_engine.denoise import DenoiseConfig
from infill_engine.denoiser import Scored, Sides
from infill_engine.early_stop import Chained, Entropy, TokenStability
from infill_engine.errors import ModelError
from infill_engine.load import silent
from infill_engine.models.diffusion_gemma.quantised import (
    EXPERT_MATRICES,
    METHOD,
    QuantisedExperts,
    fits,
    quantise_model,
    teach_transformers,
)
from infill_engine.models.diffusion_gemma.text import GemmaText
from infill_engine.noise import Uniform
from infill_engine.request import EngineInfo, InfillRequest
from infill_engine.sampler import EntropyBound
from infill_engine.schedule import Linear
from infill_kernels import (
    ExpertWeights,
    RowStatistics,
    add_norms,
    backend,
    canvas_attention,
    gated,
    head_statistics,
    join_norms,
    linear,
    moe_parts,
    probabilities,
    rms_norm,
    row_statistics,
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

# What a prompt is made of, in tokens. The sliding layers see the last 1,023 of it.
PREFIX_TOKENS, SUFFIX_TOKENS, NEIGHBOUR_TOKENS = 2048, 512, 768
CANVAS_LENGTHS = (32, 64, 128, 256)
# Rows of one batch: how long the hole is, is not known, and a step costs about the same for all.
HOLE_LENGTHS = (8, 16, 32, 64)
LINE_LENGTHS = (4, 8, 16, 32)
BLOCK_LENGTHS = (16, 32, 64, 128)
OPENERS = ("(", "[", "{", ":")
# A hole from this length on takes a whole canvas, and is closed by a later one.
OPEN_LENGTH = 128
MAX_TOKENS = 256
# At least so much of the suffix is pinned behind a hole; what is left of a canvas is more of it.
TAIL_TOKENS = 16
JOIN_TOKENS = 8
# On a GPU, beside the weights: keys and values of a few prompts, the head's output, graphs.
WORK_SPACE = 3 << 30
# The temperature falls with the share of steps done, so a smaller cap anneals faster; the
# published 48 are seldom used up.
MAX_STEPS = 24


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

    layers   for every layer the keys and values that it sees, views of a `Memory`
    tables   cos and sin [1, T, D] for a sliding (True) and a full layer (False)
    lengths  for both how many tokens of `layers` are there, [1] int32; None: all of them
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    tables: dict[bool, tuple[Tensor, Tensor]]
    lengths: dict[bool, Tensor] | None = None


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
        self.condition_gate_up = joined(conditioning.gate_proj, conditioning.up_proj)
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
        budget: Budget = UNLIMITED,
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
        cache: Any = DynamicCache()
        if memory is not None and kept:
            for at, (key, value) in enumerate(memory.layers):
                cache.update(key[:, :, :kept], value[:, :, :kept], at)
        end = kept
        while end < token_ids.shape[1] and not budget.cancelled():
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
        shape = (rows, layer.groups, 0, layer.head_dim)
        return self.table.new_empty(shape), self.table.new_empty(shape)

    def context(self, memory: Memory, num_cells: int) -> Context:
        """What a canvas of so many cells right after the prompt reads."""
        seen = self.window - 1
        return Context(
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
        """Token ids [...] -> [..., D]."""
        return embedding(token_ids, self.table) * self.embed_scale

    def decode(self, token_ids: Tensor, soft: Tensor | None, context: Context) -> Tensor:
        """One pass over canvases.

        token_ids [B, T]; soft [B, T, D], the mean embedding of each cell under the step before,
        None at the first step -> hidden states [B, T, D] that the head reads.
        """
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
                eps=self.eps,
                scale=layer.scalar,
            )
        return h.view(shape)

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [R, D] -> logits [R, V] float32."""
        return softcap(linear(hidden, self.head), self.softcap)

    def soften(self, logits: Tensor) -> Tensor:
        """Logits [R, V] of the last step, scaled by its temperature -> mean embeddings [R, D]."""
        return soft_embedding(logits, self.table, self.embed_scale)


def joined(*modules: Any) -> Tensor:
    """The weights [out, in] of linear modules as one matrix, of which they keep views."""
    matrix = torch.cat([module.weight.detach() for module in modules])
    end = 0
    for module in modules:
        start, end = end, end + len(module.weight)
        module.weight.data = matrix[start:end]
    return matrix


def _layer(module: Any) -> Layer:
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

    rows  [R] int64, the cells of the flattened [B * T] canvas whose logits are computed
    first [B] int64, the place among `rows` of each canvas row's first free cell
    mean  makes the mean embeddings [R, D] of the last step's proposals, in its own way
    """

    context: Context
    rows: Tensor
    first: Tensor
    mean: Callable[[], Tensor] | None = None


class Stepping:
    """The step over token ids; knows no text. `forbidden` [V] bool never comes out of it.

    Draws as transformers does, from the same random numbers; `FusedStepping` is for speed.
    """

    def __init__(self, network: Network, forbidden: Tensor | None = None) -> None:
        self.network = network
        self.forbidden = forbidden

    def rows(self, canvas: Canvas) -> Tensor:
        """The flattened cells that need logits: a pinned one's answer is known."""
        return canvas.free.flatten().nonzero()[:, 0]

    def allowed(self, canvas: Canvas) -> Tensor | None:
        """The tokens [V] bool that may stand in free cells; None: all of them."""
        if canvas.allowed is not None:
            return canvas.allowed
        return None if self.forbidden is None else ~self.forbidden

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
    ) -> tuple[RowStatistics, object]:
        if not isinstance(state, State):
            state = self.start(canvas, memory)
        token_ids, free = canvas.token_ids, canvas.free
        soft: Tensor | None = None
        if state.mean is not None:
            # A pinned cell's distribution is one-hot, so its mean embedding is the pin's own row.
            soft = self.network.embed(token_ids)
            mean = soft.flatten(0, 1).index_copy(0, state.rows, state.mean())
            soft = torch.where(free[..., None], mean.view_as(soft), soft)
        hidden = self.network.decode(token_ids, soft, state.context).flatten(0, 1)[state.rows]
        allowed = self.allowed(canvas)
        stats, mean_of = self.guess(hidden, canvas, state, allowed, temperature, generator)
        return spread(stats, canvas, state.rows), replace(state, mean=mean_of)

    def guess(
        self,
        hidden: Tensor,
        canvas: Canvas,
        state: State,
        allowed: Tensor | None,
        temperature: float,
        generator: torch.Generator,
    ) -> tuple[RowStatistics, Callable[[], Tensor]]:
        """Statistics of hidden states [R, D], and how to make mean embeddings [R, D] of them."""
        logits = self.network.logits(hidden)
        if allowed is not None:
            logits.masked_fill_(~allowed, -torch.inf)
        if canvas.first is not None:
            logits[state.first] = logits[state.first].masked_fill(~canvas.first, -torch.inf)
        if temperature > 0:
            logits = logits / temperature
        stats = row_statistics(logits, temperature=float(temperature > 0), generator=generator)
        kept = logits.to(self.network.dtype)
        return stats, lambda: self.network.soften(kept)


class FusedStepping(Stepping):
    """Two passes over the head's output where the reference makes dozens; no host waits in it.

    Draws are those of `head_statistics`: as probable as the reference's, but other ones.
    """

    def guess(
        self,
        hidden: Tensor,
        canvas: Canvas,
        state: State,
        allowed: Tensor | None,
        temperature: float,
        generator: torch.Generator,
    ) -> tuple[RowStatistics, Callable[[], Tensor]]:
        network, device = self.network, hidden.device
        raw = linear(hidden, network.head)
        if canvas.first is not None:
            raw[state.first] = raw[state.first].masked_fill(~canvas.first, -torch.inf)
        heat = torch.full((1,), temperature, dtype=torch.float32, device=device)
        seed = torch.randint(1 << 62, (1,), generator=generator, device=device)
        found = head_statistics(raw, heat, seed, cap=network.softcap, allowed=allowed)

        def mean() -> Tensor:
            probability = probabilities(
                raw,
                heat,
                found.log_sum_exp,
                dtype=network.dtype,
                cap=network.softcap,
                allowed=allowed,
            )
            return (probability @ network.table) * network.embed_scale

        return RowStatistics(*found[:4]), mean


def fastest_stepping(network: Network, forbidden: Tensor) -> Stepping:
    """What suits the device: graphs need kernels that never wait for the host."""
    if network.device.type != "cuda":
        return Stepping(network, forbidden)
    if backend.NAME != "triton":
        return FusedStepping(network, forbidden)
    from infill_engine.models.diffusion_gemma.captured import CapturedStepping

    return CapturedStepping(network, forbidden)


def spread(stats: RowStatistics, canvas: Canvas, rows: Tensor) -> RowStatistics:
    """Statistics of some flattened cells [R] -> of all [B, T]; pinned ones are certain."""
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


class DiffusionGemma:
    """Implements `Denoiser`. `knobs` are the checkpoint's own of the loop."""

    def __init__(
        self,
        network: Network,
        text: GemmaText,
        config: EngineConfig,
        knobs: "Knobs",
        info: "Checkpoint",
    ) -> None:
        self._network = network
        self._text = text
        self._config = config
        self._knobs = knobs
        self._info = info
        forbidden = torch.zeros(network.vocab_size, dtype=torch.bool)
        forbidden[sorted(text.special)] = True
        self._forbidden = forbidden.to(network.device)
        self._stepping = fastest_stepping(network, self._forbidden)
        broken = torch.zeros(network.vocab_size, dtype=torch.bool)
        broken[text.line_breaks] = True
        self._text_in_a_line = ~(forbidden | broken).to(network.device)
        # A small model's positions may not reach; every part then gives way alike.
        room = network.max_positions - max(CANVAS_LENGTHS) - MAX_TOKENS - TAIL_TOKENS
        whole = PREFIX_TOKENS + SUFFIX_TOKENS + NEIGHBOUR_TOKENS + 256
        share = min(1.0, room / whole)
        self._parts = {
            "prefix": int(PREFIX_TOKENS * share),
            "suffix": int(SUFFIX_TOKENS * share),
            "neighbours": int(NEIGHBOUR_TOKENS * share),
        }
        self._healing: dict[bytes, Tensor] = {}

    def describe(self) -> EngineInfo:
        return EngineInfo(
            model=Path(self._config.model).name,
            parameters=self._info.parameters,
            device=str(self._network.device),
            dtype=self._info.dtype,
            threads=torch.get_num_threads(),
            canvas_lengths=CANVAS_LENGTHS,
            max_tokens=MAX_TOKENS,
            prefix_tokens=self._parts["prefix"],
            suffix_tokens=self._parts["suffix"],
            noise="uniform",
            source=str(self._info.folder),
        )

    def decode(self, ids: list[int]) -> bytes:
        return self._text.decode(ids)

    def tokens(self, text: str) -> list[int]:
        return self._text.encode(text)

    def sides(self, request: InfillRequest) -> Sides:
        return self._text.sides(request, tail=max(CANVAS_LENGTHS), **self._parts)

    def reusable(self, memory: Memory, sides: Sides) -> int:
        ids = torch.tensor([sides.prefix_ids])
        kept = shared(memory, ids)
        return (
            kept if kept == memory.length == ids.shape[1] else kept // ENCODE_CHUNK * ENCODE_CHUNK
        )

    def encode(self, sides: Sides, memory: Memory | None, *, budget: Budget = UNLIMITED) -> Memory:
        ids = torch.tensor([sides.prefix_ids])
        return self._network.encode(ids, memory, budget=budget)

    def hole_lengths(self, request: InfillRequest) -> tuple[int, ...]:
        """Shorter within a line, longer where a block or a bracket was opened."""
        if request.max_lines == 1 or request.suffix.split("\n", 1)[0].strip(" \t)]}>,;:'\"`"):
            return LINE_LENGTHS
        return BLOCK_LENGTHS if request.prefix.rstrip().endswith(OPENERS) else HOLE_LENGTHS

    def proposals(
        self,
        sides: Sides,
        request: InfillRequest,
        memory: Memory | None,
        most: int,
        *,
        budget: Budget = UNLIMITED,
    ) -> dict[tuple[int, ...], float]:
        """None: it copies well by itself."""
        return {}

    def canvas(
        self,
        middle: Sequence[Sequence[int] | int],
        hole_lengths: Sequence[int],
        sides: Sides,
        request: InfillRequest,
    ) -> Canvas:
        """Rows of one width: the template with its holes, then the suffix, to the row's end.

        A hole is filled to its last cell. Where there are several, all may be shorter than what
        bounds them, and the rows bound them by 8, 16, 32 ... cells besides.
        """
        single = list(middle) == [0]
        if single:
            templates: list[list[Sequence[int] | int]] = [[n] for n in hole_lengths]
        else:
            longest = min(max(part for part in middle if isinstance(part, int)), HOLE_LENGTHS[-1])
            shorter = [n for n in (2, 4, *HOLE_LENGTHS) if n < longest]
            templates = [
                [min(part, n) if isinstance(part, int) else part for part in middle]
                for n in (*shorter[1 - len(HOLE_LENGTHS) :], longest)
            ]
        closed = [size(row) for row in templates if not (single and size(row) >= OPEN_LENGTH)]
        cells = max([n + TAIL_TOKENS for n in closed] + [size(row) for row in templates])
        width = next((n for n in CANVAS_LENGTHS if n >= cells), cells)
        rows = [self._row(template, width, sides) for template in templates]
        allowed = self._text_in_a_line if request.max_lines == 1 else ~self._forbidden
        device = self._network.device
        return Canvas(
            token_ids=torch.tensor([ids for ids, _ in rows], device=device),
            hole=torch.tensor([hole for _, hole in rows], device=device),
            first=self._continuations(sides.healed_prefix) if sides.healed_prefix else None,
            allowed=allowed,
        )

    def _row(
        self, template: Sequence[Sequence[int] | int], width: int, sides: Sides
    ) -> tuple[list[int], list[int]]:
        token_ids: list[int] = []
        hole: list[int] = []
        number = 0
        for part in template:
            if isinstance(part, int):
                token_ids += [self._text.pad] * part
                hole += [number] * part
                number += 1
            else:
                token_ids += part
                hole += [PINNED] * len(part)
        # The suffix ends with the end of the answer, after which the model was trained on padding.
        tail = [*sides.suffix_ids, *[self._text.pad] * width][: width - len(token_ids)]
        return token_ids + tail, hole + [PINNED] * len(tail)

    def config(self, canvas: Canvas, request: InfillRequest, sides: Sides) -> DenoiseConfig:
        assert canvas.allowed is not None, "`canvas` says what may stand in it"
        knobs, heat = self._knobs, request.temperature
        return DenoiseConfig(
            max_denoising_steps=self._config.max_denoising_steps or min(knobs.steps, MAX_STEPS),
            noise=Uniform(
                vocab_size=self._network.vocab_size,
                allowed=canvas.allowed.nonzero()[:, 0],
                greedy=heat == 0,
            ),
            sampler=EntropyBound(bound=self._config.entropy_bound or knobs.entropy_bound),
            # The schedule shapes what the model is told of its last guess, so it stays when the
            # tokens are the best ones; a temperature scales it, 1 being as published.
            schedule=Linear(start=knobs.t_max * (heat or 1), end=knobs.t_min * (heat or 1)),
            early_stop=Chained((TokenStability(), Entropy(knobs.stop_entropy))),
        )

    def step(
        self,
        canvas: Canvas,
        memory: Memory,
        state: object,
        *,
        temperature: float,
        generator: torch.Generator,
    ) -> tuple[RowStatistics, object]:
        return self._stepping.step(
            canvas, memory, state, temperature=temperature, generator=generator
        )

    def score(self, memory: Memory, sides: Sides, rows: Sequence[Sequence[int]]) -> list[Scored]:
        """One pass over the filled canvases, pins as they are: what is the model ready to believe?

        A token that does not fit its surroundings looks like noise to it, and is improbable even
        though it stands there; this holds for the hole and for the first tokens of the suffix.
        """
        width = max(len(row) for row in rows) + TAIL_TOKENS
        token_ids = torch.tensor(
            [self._row([row], width, sides)[0] for row in rows], device=self._network.device
        )
        context = self._network.context(memory, width)
        hidden = self._network.decode(token_ids, None, context)
        scored = []
        for row, ids, states in zip(rows, token_ids, hidden, strict=True):
            end = len(row) + JOIN_TOKENS
            log_probability = self._network.logits(states[:end]).log_softmax(-1)
            each = log_probability.gather(-1, ids[:end, None])[:, 0]
            scored.append(
                Scored(
                    likelihood=float(each[: len(row)].mean()) if row else 0.0,
                    join=float(each[len(row) :].mean()),
                )
            )
        return scored

    def _continuations(self, piece: bytes) -> Tensor:
        if piece not in self._healing:
            allowed = torch.zeros_like(self._forbidden)
            allowed[self._text.continuations(piece)] = True
            self._healing[piece] = allowed
        return self._healing[piece]


def size(template: Sequence[Sequence[int] | int]) -> int:
    """The cells of a template."""
    return sum(part if isinstance(part, int) else len(part) for part in template)


# Loading


Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A folder of files. `need` is the memory in bytes that the weights take when loaded."""

    folder: Path
    config: dict[str, Any]
    parameters: int
    need: int
    dtype: str  # what is computed in, and what the experts are stored in when that differs


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """The loop's parameters as a checkpoint was published with them."""

    steps: int = 48
    entropy_bound: float = 0.1
    t_min: float = 0.4
    t_max: float = 0.8
    stop_entropy: float = 0.005


def load_diffusion_gemma(config: EngineConfig, progress: Progress = silent) -> DiffusionGemma:
    """The checkpoint that `config.model` names: a folder, or a hub id, which is downloaded.

    Raises ModelError when it cannot be had, read, or fitted to this machine.
    """
    folder = find_checkpoint(config.model, progress)
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(f"no tokenizer.json in {folder}; put the model's own there")
    checkpoint = inspect_checkpoint(folder, config)
    network = _load(checkpoint, config, progress)
    described = checkpoint.config
    images = [described.get(f"{name}_token_id") for name in ("boi", "eoi", "image")]
    text = GemmaText(
        folder / "tokenizer.json",
        network.vocab_size,
        no_text=[token for token in images if isinstance(token, int)],
    )
    return DiffusionGemma(network, text, config, read_knobs(folder), checkpoint)


def load_network(config: EngineConfig, progress: Progress = silent) -> Network:
    """The two passes alone, without text. Raises ModelError as `load_diffusion_gemma` does."""
    folder = find_checkpoint(config.model, progress)
    return _load(inspect_checkpoint(folder, config), config, progress)


def find_checkpoint(model: str, progress: Progress = silent) -> Path:
    """The folder of a checkpoint, downloaded when `model` is a hub id such as google/name."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or model.count("/") != 1:
        raise ModelError(f"no folder {folder}; name a folder that holds a model, or a hub id")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise _lacking(error) from error
    progress(f"downloading {model}", 0.0)
    try:
        # The small files first: they say whether the large ones are worth having.
        small = ["*.json", "*.jinja"]
        found = snapshot_download(model, allow_patterns=small, ignore_patterns=["*/*"])
        read_config(Path(found))
        found = snapshot_download(
            model,
            allow_patterns=[*small, "*.safetensors"],
            ignore_patterns=["*/*"],
            tqdm_class=_telling_bar(lambda done: progress(f"downloading {model}", done)),
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"{model} is no folder here and cannot be downloaded ({_first_line(error)}); check the "
            "name, the network, and that its licence was accepted with the token in use"
        ) from error
    progress(f"downloading {model}", 1.0)
    return Path(found)


def _telling_bar(tell: Callable[[float], None]) -> Any:
    """The hub's own progress bar, which also tells the share of bytes that are there."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    bar: Any = tqdm

    class Bar(bar):  # type: ignore[misc]
        most = 0.0

        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self._of_bytes = named.get("unit") == "B"
            self._came = float(named.get("initial") or 0)

        def update(self, n: float | None = 1) -> Any:
            # Counted here, because a bar that is switched off counts nothing.
            self._came += n or 0
            # The hub learns of some files late, and their total grows.
            if self._of_bytes and self.total and self._came / self.total > Bar.most:
                Bar.most = min(1.0, self._came / self.total)
                tell(Bar.most)
            return super().update(n)

    return Bar


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json, when it is DiffusionGemma's; a ModelError otherwise."""
    try:
        description = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} has no config.json that can be read ({_first_line(error)}); name a folder "
            "that transformers' save_pretrained() or a download has filled"
        ) from error
    kind = description.get("model_type") if isinstance(description, dict) else None
    if kind != "diffusion_gemma":
        raise ModelError(
            f"{folder} holds a model of type {kind!r}; only diffusion_gemma is run in this process"
        )
    return cast(dict[str, Any], description)


def inspect_checkpoint(folder: Path, config: EngineConfig) -> Checkpoint:
    """Reads the headers and checks that the weights are there and can be had as asked for."""
    description = read_config(folder)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        others = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        raise ModelError(
            f"no *.safetensors in {folder}"
            + (
                "; pickled weights are never read, convert them"
                if others
                else "; download it again"
            )
        )
    stored = description.get("quantization_config") or {}
    if stored and stored.get("quant_method") != METHOD:
        raise ModelError(
            f"{folder} is quantised by {stored.get('quant_method')!r}, which is not read here; "
            "take the bf16 weights, or make your own with "
            "python -m infill_engine.models.diffusion_gemma.quantise"
        )
    have: str | None = stored.get("format")
    asked: str | None = config.dtype if config.dtype in get_args(Format) else None
    if have and config.dtype not in ("auto", have):
        raise ModelError(f"{folder} is {have} already; leave dtype unset, not {config.dtype!r}")
    computed = str(
        description.get("dtype")
        or description.get("text_config", {}).get("dtype")
        or description.get("torch_dtype")
        or "bfloat16"
    )
    if config.dtype == "int8":
        raise ModelError("dtype='int8' is of the embedded model; set fp8, int4 or leave it unset")
    if config.dtype in ("float32", "bfloat16"):
        computed = config.dtype
    if (have or asked) and description.get("tie_word_embeddings") is False:
        raise ModelError(
            f"{folder} keeps the experts of its two passes apart, which {have or asked} cannot; "
            "leave dtype unset"
        )
    width = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}.get(computed)
    if width is None:
        raise ModelError(f"{folder} is stored as {computed}; set dtype to bfloat16 or float32")
    parameters = need = 0
    for path in files:
        for name, entry in _header(path).items():
            count = 1
            for extent in entry["shape"]:
                count *= extent
            matrix = name.rpartition(".")[2]
            expert = ".experts." in name and matrix in EXPERT_MATRICES
            if expert and asked and not have and not fits(cast(Format, asked), entry["shape"][-1]):
                raise ModelError(
                    f"{name} has {entry['shape'][-1]} inputs, no multiple of the 64 that {asked} "
                    "needs; take fp8 instead"
                )
            if name.endswith("_scale"):
                continue
            weights = count * 2 if expert and have == "int4" else count
            bits = {"fp8": 8.0, "int4": 4.5}.get(have or asked or "") if expert else None
            parameters += weights
            need += int(weights * (width if bits is None else bits / 8))
    return Checkpoint(
        folder=folder,
        config=description,
        parameters=parameters,
        need=need,
        dtype=f"{computed}, experts {have or asked}" if have or asked else computed,
    )


def _header(path: Path) -> dict[str, dict[str, Any]]:
    """Names, types and shapes of a safetensors file, without reading its tensors."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size) if size < 100_000_000 else b"")
            end = max((entry["data_offsets"][1] for entry in _entries(header).values()), default=0)
            complete = path.stat().st_size == 8 + size + end
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is no safetensors file; download it again") from error
    if not complete:
        raise ModelError(f"{path} is cut short; download it again")
    return _entries(header)


def _entries(header: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def read_knobs(folder: Path) -> Knobs:
    """What the checkpoint's generation_config.json says, and the published values otherwise."""
    try:
        told = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = {}
    default = Knobs()
    sampler = told.get("sampler_config") or {}
    return Knobs(
        steps=told.get("max_denoising_steps") or default.steps,
        entropy_bound=sampler.get("entropy_bound") or default.entropy_bound,
        t_min=told.get("t_min") or default.t_min,
        t_max=told.get("t_max") or default.t_max,
        stop_entropy=told.get("confidence_threshold") or default.stop_entropy,
    )


def _load(checkpoint: Checkpoint, config: EngineConfig, progress: Progress) -> Network:
    """The weights through transformers' own loading path, quantised when that is asked for."""
    device = _device(config)
    torch.set_num_threads(config.threads or min(4, torch.get_num_threads()))
    stored = checkpoint.config.get("quantization_config")
    asked = cast(Format, config.dtype) if config.dtype in get_args(Format) else None
    name = (stored or {}).get("format") or asked
    if (
        name == "fp8"
        and device.type == "cuda"
        and torch.cuda.get_device_capability(device) < (8, 9)
    ):
        raise ModelError(
            f"{torch.cuda.get_device_name(device)} cannot compute with fp8 (it needs compute "
            "capability 8.9); set dtype to int4 or bfloat16"
        )
    # Quantised here, the weights pass through main memory first, one layer at a time after that.
    through_memory = asked is not None and stored is None
    _check_memory(checkpoint, device)
    if through_memory:
        files = sum(path.stat().st_size for path in checkpoint.folder.glob("*.safetensors"))
        _check_memory(replace(checkpoint, need=files, dtype="stored"), torch.device("cpu"))
    try:
        model_class: Any = _model_class()
        if stored:
            teach_transformers()
        with _watched(progress):
            model, found = model_class.from_pretrained(
                str(checkpoint.folder),
                dtype=getattr(torch, checkpoint.dtype.partition(",")[0]),
                device_map=None if through_memory or device.type == "cpu" else {"": device},
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
        model.eval().requires_grad_(False)
        # Nothing here looks at images.
        model.model.encoder.vision_tower = model.model.encoder.embed_vision = None
        if through_memory:
            assert asked is not None, "a format was asked for"
            quantise_model(
                model, asked, device, progress=lambda done: progress(f"quantising to {asked}", done)
            )
            model.to(device)
    except torch.OutOfMemoryError as error:
        raise _too_large(checkpoint, device, None) from error
    except ImportError as error:
        raise _lacking(error) from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{checkpoint.folder} cannot be loaded: {_first_line(error)}; download it again, or "
            "save it anew with save_pretrained()"
        ) from error
    # transformers fills what it misses with random numbers, which would look like a bad model.
    missing = sorted(key for key in found["missing_keys"] if "vision" not in key)
    if missing:
        raise ModelError(
            f"{checkpoint.folder} lacks {len(missing)} weights, {missing[0]} for one; download it "
            "again"
        )
    return Network(model)


def _model_class() -> Any:
    import transformers

    if not hasattr(transformers, "DiffusionGemmaForBlockDiffusion"):
        raise ModelError(
            f"transformers {transformers.__version__} does not know DiffusionGemma; "
            "pip install --upgrade 'infill-ls[gpu]' (transformers 5.17 or later)"
        )
    return transformers.DiffusionGemmaForBlockDiffusion


@contextmanager
def _watched(progress: Progress) -> Iterator[None]:
    """Reports transformers' own bar over the weights instead of drawing it."""
    from transformers.utils import logging

    def watch(factory: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if named.get("desc") != "Loading weights" or not given or not hasattr(given[0], "__len__"):
            return factory(*given, **named)
        return _counted(given[0], progress)

    before = logging.set_tqdm_hook(watch)
    try:
        yield
    finally:
        logging.set_tqdm_hook(before)


def _counted(items: Any, progress: Progress) -> Iterator[Any]:
    for at, item in enumerate(items):
        yield item
        progress("loading weights", (at + 1) / len(items))


def _device(config: EngineConfig) -> torch.device:
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.device.partition(":")[0] == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device={config.device!r} is not available here; use cpu or auto")
    try:
        return torch.device(config.device)
    except RuntimeError as error:
        raise ModelError(f"device={config.device!r} is none of auto, cpu, cuda, cuda:N") from error


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free for weights; None where it cannot be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _check_memory(checkpoint: Checkpoint, device: torch.device) -> None:
    free = free_memory(device)
    room = WORK_SPACE if device.type == "cuda" else 0
    if free is not None and checkpoint.need + room > free:
        raise _too_large(checkpoint, device, free)


def _too_large(checkpoint: Checkpoint, device: torch.device, free: int | None) -> ModelError:
    experts = {"fp8": 1.0, "int4": 0.5625}
    smaller = " or ".join(name for name in experts if name not in checkpoint.dtype)
    has = "less than that" if free is None else f"{free / 2**30:.1f} GiB"
    return ModelError(
        f"{checkpoint.folder} needs {checkpoint.need / 2**30:.1f} GiB as {checkpoint.dtype}, and "
        f"{device} has {has} free; make a smaller copy with "
        f"python -m infill_engine.models.diffusion_gemma.quantise "
        f"(--format {smaller}), close what else uses the memory, or name a served model's URL"
    )


def _lacking(error: ImportError) -> ModelError:
    return ModelError(
        f"DiffusionGemma needs {error.name or 'transformers'} ({_first_line(error)}); "
        "pip install 'infill-ls[gpu]'"
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
