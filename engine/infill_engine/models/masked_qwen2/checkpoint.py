"""What a masked Qwen2's config.json says, and whether it is one that is computed here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infill_engine.config import EngineConfig, Format
from infill_engine.errors import ModelError
from infill_engine.models.checkpoint import Checkpoint, inspect_weights, kind_of, read_config

EMBEDDING, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Qwen2Sizes:
    """The network's shape: `heads` of queries, `groups` of keys and values, `head_dim` wide."""

    vocab_size: int
    width: int
    hidden: int
    layers: int
    heads: int
    groups: int
    head_dim: int
    eps: float
    rope_theta: float
    max_positions: int

    def shapes(self, tied: bool) -> dict[str, tuple[int, ...]]:
        """Every tensor that a checkpoint has to hold."""
        width, queries, values = (
            self.width,
            self.heads * self.head_dim,
            self.groups * self.head_dim,
        )
        found: dict[str, tuple[int, ...]] = {EMBEDDING: (self.vocab_size, width), NORM: (width,)}
        if not tied:
            found[HEAD] = (self.vocab_size, width)
        for at in range(self.layers):
            layer = f"model.layers.{at}."
            for name, size in (("q", queries), ("k", values), ("v", values)):
                found[f"{layer}self_attn.{name}_proj.weight"] = (size, width)
                found[f"{layer}self_attn.{name}_proj.bias"] = (size,)
            found[f"{layer}self_attn.o_proj.weight"] = (width, queries)
            found[f"{layer}mlp.gate_proj.weight"] = (self.hidden, width)
            found[f"{layer}mlp.up_proj.weight"] = (self.hidden, width)
            found[f"{layer}mlp.down_proj.weight"] = (width, self.hidden)
            found[f"{layer}input_layernorm.weight"] = (width,)
            found[f"{layer}post_attention_layernorm.weight"] = (width,)
        return found


def sizes_of(folder: Path, description: dict[str, Any]) -> Qwen2Sizes:
    """The shape that config.json describes; a ModelError for what is not computed here."""
    rope = description.get("rope_parameters") or description.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    for name, value, wanted in (
        ("rope_type", kind, "default"),
        ("hidden_act", description.get("hidden_act", "silu"), "silu"),
        ("use_sliding_window", description.get("use_sliding_window") or False, False),
    ):
        if value != wanted:
            raise ModelError(f"{folder} has {name} {value!r}; only {wanted!r} is computed here")
    try:
        heads, width = int(description["num_attention_heads"]), int(description["hidden_size"])
        return Qwen2Sizes(
            vocab_size=int(description["vocab_size"]),
            width=width,
            hidden=int(description["intermediate_size"]),
            layers=int(description["num_hidden_layers"]),
            heads=heads,
            groups=int(description.get("num_key_value_heads") or heads),
            head_dim=int(description.get("head_dim") or width // heads),
            eps=float(description.get("rms_norm_eps", 1e-6)),
            rope_theta=float(rope.get("rope_theta") or description.get("rope_theta") or 1e4),
            max_positions=int(description.get("max_position_embeddings") or 2048),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(
            f"{folder}/config.json lacks a size of the network ({first(error)}); download it again"
        ) from error


def first(error: Exception) -> str:
    return str(error).strip("'") or type(error).__name__


def narrowed(name: str, wanted: Format) -> Format | None:
    """Every matrix; the table of tokens and the head are never in fewer than 8 bits."""
    if name in (EMBEDDING, HEAD):
        return "fp8"
    return wanted if name.endswith("_proj.weight") else None


def inspect_checkpoint(folder: Path, config: EngineConfig) -> Checkpoint:
    """What there is, read from the files' headers; a ModelError where it cannot be had as asked."""
    assert kind_of(folder) == "masked_qwen2", "who loads has looked what it is"
    description = read_config(folder)
    return inspect_weights(folder, description, config, narrowed="weights", narrows=narrowed)
