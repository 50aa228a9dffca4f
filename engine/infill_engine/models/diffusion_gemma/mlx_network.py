"""The two passes of `network` in MLX, for Apple silicon. Only there is it imported.

    prompt ids ──► the layers, causal ──► keys and values of every layer
                                              │ read, never written
    canvas ids ──► the layers, both ways ◄────┘ ──► hidden states

Token ids go in and hidden states come out as torch's tensors on the CPU. The shapes are those of
the checkpoint's tensors; of its config.json only numbers are read that no tensor has.
"""

# The package is for Apple silicon, and not there where types are checked.
# mypy: disable-error-code="attr-defined, no-any-return"

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.errors import ModelError
from infill_engine.models.checkpoint import Checkpoint
from infill_engine.models.diffusion_gemma.checkpoint import narrowed
from infill_engine.models.diffusion_gemma.network import ENCODE_CHUNK, Memory, shared
from infill_engine.models.mlx_weights import (
    Array,
    expert_product,
    from_torch,
    load,
    mx,
    product,
    rotated,
    rotations,
    table_rows,
    to_torch,
)
from infill_engine.progress import LoadProgress, silent

TABLE, NORM = "model.decoder.embed_tokens.weight", "model.decoder.norm.weight"
CONDITIONING = "model.decoder.self_conditioning."
# What transformers takes where config.json is silent.
ROPE: dict[str, dict[str, Any]] = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    "full_attention": {
        "rope_type": "proportional",
        "partial_rotary_factor": 0.25,
        "rope_theta": 1_000_000.0,
    },
}
IN_A_LAYER = (
    *(f"self_attn.{name}.weight" for name in ("q_proj", "k_proj", "o_proj", "q_norm", "k_norm")),
    *(f"mlp.{name}_proj.weight" for name in ("gate", "up", "down")),
    *(f"{name}.weight" for name in ("input_layernorm", "post_attention_layernorm")),
    *(f"{name}_feedforward_layernorm.weight" for name in ("pre", "post")),
    "pre_feedforward_layernorm_2.weight",
    *(f"post_feedforward_layernorm_{number}.weight" for number in (1, 2)),
    *(f"router.{name}" for name in ("proj.weight", "scale", "per_expert_scale")),
    *(f"experts.{name}" for name in ("gate_up_proj", "down_proj")),
    "layer_scalar",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MlxContext:
    """As `network.CachedContext`, of mlx's arrays."""

    layers: list[tuple[Array, Array]]
    tables: dict[bool, tuple[Array, Array]]


class MlxNetwork:
    """Implements `network.Passes`. `weights`, arrays and `Packed`, are by the checkpoint's names,
    `text` is what its config.json says of the language model."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, text: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
        self._weights = weights
        self.vocab_size = int(text["vocab_size"])
        self.window = int(text["sliding_window"])
        self.max_positions = int(text["max_position_embeddings"])
        self.softcap = float(text.get("final_logit_softcapping", 30.0))
        self._eps = float(text.get("rms_norm_eps", 1e-6))
        self._top_k = int(text["top_k_experts"])
        self._sliding = [kind == "sliding_attention" for kind in text["layer_types"]]
        norm = weights[NORM]
        self._dtype = norm.dtype
        # Rounded as the weights are, before it multiplies.
        self._scale = mx.array(float(norm.shape[0]) ** 0.5).astype(norm.dtype)
        rope = text.get("rope_parameters") or ROPE
        self._frequencies = {
            sliding: frequencies(rope[kind], self._head_dim(self._sliding.index(sliding)))
            for sliding, kind in ((True, "sliding_attention"), (False, "full_attention"))
            if sliding in self._sliding
        }

    def encode(
        self,
        token_ids: Tensor,
        memory: Memory | None = None,
        *,
        chunk: int = ENCODE_CHUNK,
        budget: Budget = UNLIMITED,
    ) -> Memory:
        token_ids = token_ids.cpu()
        if memory is not None and torch.equal(memory.token_ids, token_ids):
            return memory
        kept = 0 if memory is None else shared(memory, token_ids) // chunk * chunk
        batch = token_ids.shape[0]
        layers = [self._nothing(at, batch) for at in range(len(self._sliding))]
        if memory is not None and kept:
            layers = [(key[:, :, :kept], value[:, :, :kept]) for key, value in memory.layers]
        end = kept
        while end < token_ids.shape[1] and not budget.over:
            piece = from_torch(token_ids[:, end : end + chunk].contiguous())
            layers = self._read(piece, end, layers)
            # Computed when it is asked for, nothing would be done by the budget's end.
            mx.eval(layers)
            end += piece.shape[1]
        return Memory(token_ids=token_ids[:, :end], layers=tuple(layers))

    def _nothing(self, at: int, batch: int) -> tuple[Array, Array]:
        size = self._head_dim(at)
        groups = self._weights[f"{layer(at)}self_attn.k_proj.weight"].shape[0] // size
        empty = mx.zeros((batch, groups, 0, size), dtype=self._dtype)
        return empty, empty

    def _read(
        self, token_ids: Array, start: int, before: list[tuple[Array, Array]]
    ) -> list[tuple[Array, Array]]:
        """The keys and values of all tokens so far, with those of a piece [P, L] that follows."""
        size = token_ids.shape[1]
        tables = self.tables(start, size)
        own, all_ = mx.arange(start, start + size)[:, None], mx.arange(start + size)[None]
        causal = all_ <= own
        masks = {False: causal, True: causal & (all_ > own - self.window)}
        x = self._embed(token_ids)
        made: list[tuple[Array, Array]] = []
        for at, sliding in enumerate(self._sliding):

            def joined(key: Array, value: Array, at: int = at) -> tuple[Array, Array]:
                made.append(
                    (
                        mx.concatenate((before[at][0], key), 2),
                        mx.concatenate((before[at][1], value), 2),
                    )
                )
                return made[-1]

            scalar = self._weights[f"model.encoder.language_model.layers.{at}.layer_scalar"]
            x = self._layer(at, x, tables[sliding], joined, masks[sliding], scalar)
        return made

    def context(self, memory: Memory, num_cells: int) -> MlxContext:
        seen = self.window - 1
        return MlxContext(
            layers=[
                (key[:, :, -seen:], value[:, :, -seen:])
                if sliding and memory.length > seen
                else (key, value)
                for sliding, (key, value) in zip(self._sliding, memory.layers, strict=True)
            ],
            tables=self.tables(memory.length, num_cells),
        )

    def tables(self, start: int, num_cells: int) -> dict[bool, tuple[Array, Array]]:
        """Cos and sin [1, 1, T, D] of the positions from `start` on, of sliding and full layers."""
        positions = mx.arange(start, start + num_cells)[None]
        return {
            sliding: rotations(positions, each, self._dtype)
            for sliding, each in self._frequencies.items()
        }

    def embed(self, token_ids: Tensor) -> Tensor:
        return to_torch(self._embed(from_torch(token_ids)))

    def decode(self, token_ids: Tensor, soft: Tensor | None, context: MlxContext) -> Tensor:
        x = self._embed(from_torch(token_ids))
        if soft is not None:
            signal = from_torch(soft).astype(self._dtype)
            signal = self._normed(signal, f"{CONDITIONING}pre_norm.weight")
            x = x + self._gated(signal, CONDITIONING)
        x = mx.fast.rms_norm(x, None, self._eps)
        for at, sliding in enumerate(self._sliding):

            def joined(key: Array, value: Array, at: int = at) -> tuple[Array, Array]:
                far_key, far_value = (
                    mx.broadcast_to(each, (key.shape[0], *each.shape[1:]))
                    for each in context.layers[at]
                )
                return mx.concatenate((far_key, key), 2), mx.concatenate((far_value, value), 2)

            scalar = self._weights[f"{layer(at)}layer_scalar"]
            x = self._layer(at, x, context.tables[sliding], joined, None, scalar)
        return to_torch(self._normed(x, NORM))

    def logits(self, hidden: Tensor) -> Tensor:
        return to_torch(self.capped(hidden))

    def soften(self, logits: Tensor) -> Tensor:
        return to_torch(self.mean(mx.softmax(from_torch(logits.float()), -1)))

    def capped(self, hidden: Tensor) -> Array:
        """Hidden states [R, D] -> logits [R, V] float32."""
        raw = product(from_torch(hidden.contiguous()).astype(self._dtype), self._weights[TABLE])
        return mx.tanh(raw.astype(mx.float32) / self.softcap) * self.softcap

    def mean(self, probability: Array) -> Array:
        """Probabilities [R, V] -> mean embeddings [R, D]."""
        return (probability.astype(self._dtype) @ self._weights[TABLE]) * self._scale

    def _embed(self, token_ids: Array) -> Array:
        return table_rows(self._weights[TABLE], token_ids, self._dtype) * self._scale

    def _head_dim(self, at: int) -> int:
        return int(self._weights[f"{layer(at)}self_attn.q_norm.weight"].shape[0])

    def _normed(self, x: Array, name: str) -> Array:
        return mx.fast.rms_norm(x, self._weights[name], self._eps)

    def _gated(self, x: Array, prefix: str) -> Array:
        gate, up, down = (self._weights[f"{prefix}{n}_proj.weight"] for n in ("gate", "up", "down"))
        return product(gelu(product(x, gate)) * product(x, up), down)

    def _layer(
        self,
        at: int,
        x: Array,
        turned: tuple[Array, Array],
        joined: Callable[[Array, Array], tuple[Array, Array]],
        mask: Array | None,
        scalar: Array,
    ) -> Array:
        """x [B, T, D] -> [B, T, D]; `joined` puts what is known already before keys and values."""
        name, size = layer(at), self._head_dim(at)
        h = self._normed(x, f"{name}input_layernorm.weight")

        def heads(projection: str) -> Array:
            found = product(h, self._weights[f"{name}self_attn.{projection}.weight"])
            return found.reshape(*x.shape[:2], -1, size).transpose(0, 2, 1, 3)

        query, key = heads("q_proj"), heads("k_proj")
        # Full layers have no values of their own: there a value is the key before its norm.
        value = heads("v_proj") if self._sliding[at] else key
        query = rotated(self._normed(query, f"{name}self_attn.q_norm.weight"), turned)
        key = rotated(self._normed(key, f"{name}self_attn.k_norm.weight"), turned)
        key, value = joined(key, mx.fast.rms_norm(value, None, self._eps))
        h = mx.fast.scaled_dot_product_attention(query, key, value, scale=1.0, mask=mask)
        h = h.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1)
        h = product(h, self._weights[f"{name}self_attn.o_proj.weight"])
        x = x + self._normed(h, f"{name}post_attention_layernorm.weight")
        dense = self._gated(
            self._normed(x, f"{name}pre_feedforward_layernorm.weight"), f"{name}mlp."
        )
        dense = self._normed(dense, f"{name}post_feedforward_layernorm_1.weight")
        sparse = self._experts(x.reshape(-1, x.shape[-1]), name).reshape(x.shape)
        sparse = self._normed(sparse, f"{name}post_feedforward_layernorm_2.weight")
        both = self._normed(dense + sparse, f"{name}post_feedforward_layernorm.weight")
        return (x + both) * scalar

    def _experts(self, x: Array, name: str) -> Array:
        """x [N, D] through each token's experts, summed by weight -> [N, D]."""
        routed = mx.fast.rms_norm(x, None, self._eps) * self._weights[f"{name}router.scale"]
        routed = routed * x.shape[-1] ** -0.5
        scores = product(routed, self._weights[f"{name}router.proj.weight"])
        probability = mx.softmax(scores.astype(mx.float32), -1)
        experts = mx.argpartition(-probability, self._top_k - 1, -1)[:, : self._top_k]  # [N, k]
        weights = mx.take_along_axis(probability, experts, -1)
        weights = weights / weights.sum(-1, keepdims=True)
        weights = weights * self._weights[f"{name}router.per_expert_scale"][experts]
        # In the order of the experts, each of whose matrices is then read once.
        order = mx.argsort(experts.flatten())
        chosen = experts.flatten()[order]
        h = self._normed(x, f"{name}pre_feedforward_layernorm_2.weight")[order // self._top_k]
        h = expert_product(h, self._weights[f"{name}experts.gate_up_proj"], chosen)
        gate, up = mx.split(h, 2, -1)
        h = expert_product(gelu(gate) * up, self._weights[f"{name}experts.down_proj"], chosen)
        parts = h[mx.argsort(order)].reshape(*experts.shape, -1)
        return (parts.astype(mx.float32) * weights[..., None]).sum(1).astype(self._dtype)


def layer(at: int) -> str:
    return f"model.decoder.layers.{at}."


def gelu(x: Array) -> Array:
    """By tanh, as the model was trained."""
    inner = 0.7978845608028654 * (x + 0.044715 * x * x * x)
    return 0.5 * x * (1.0 + mx.tanh(inner))


def frequencies(rope: Mapping[str, Any], size: int) -> Array:
    """By which positions turn pairs of a head's `size` dimensions, [size / 2]; 0 for those that
    are not turned. Raises ModelError for a kind of rotation that is not computed here."""
    kind, share = rope.get("rope_type", "default"), float(rope.get("partial_rotary_factor", 1.0))
    if not (kind == "proportional" or (kind == "default" and share == 1.0)) or "factor" in rope:
        raise ModelError(f"a rotation of type {kind!r} is not computed in MLX; leave device unset")
    turned = int(share * size // 2)
    steps = 2 * mx.arange(turned).astype(mx.float32) / size
    return mx.concatenate((1.0 / rope["rope_theta"] ** steps, mx.zeros(size // 2 - turned)))


def load_mlx(checkpoint: Checkpoint, progress: LoadProgress = silent) -> MlxNetwork:
    """A checkpoint's weights in MLX, the experts in 4 bits of mlx's own where int4 is asked for.

    Raises ModelError when files are damaged, or of a shape that is not computed here.
    """
    folder, text = checkpoint.folder, checkpoint.config.get("text_config") or {}
    if checkpoint.config.get("tie_word_embeddings") is False:
        raise ModelError(f"{folder} keeps the weights of its two passes apart; leave device unset")
    wanted: dict[str, None] = dict.fromkeys((TABLE, NORM, f"{CONDITIONING}pre_norm.weight"))
    wanted |= dict.fromkeys(f"{CONDITIONING}{n}_proj.weight" for n in ("gate", "up", "down"))
    for at, kind in enumerate(text.get("layer_types") or ()):
        wanted |= dict.fromkeys(layer(at) + name for name in IN_A_LAYER)
        if kind == "sliding_attention":
            wanted[f"{layer(at)}self_attn.v_proj.weight"] = None
        wanted[f"model.encoder.language_model.layers.{at}.layer_scalar"] = None
    weights = load(checkpoint, wanted, lambda name, _: narrowed(name, "int4") is not None, progress)
    try:
        return MlxNetwork(text, weights)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder}/config.json lacks a size of the network ({str(error).strip(chr(39))}); "
            "download it again"
        ) from error
