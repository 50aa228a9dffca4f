"""What a run of fine-tuning takes of memory: arithmetic from a model's shape, in bytes and GiB."""

from collections.abc import Mapping
from typing import Any

from infill_engine import EngineConfig
from infill_engine.models import hub
from infill_engine.models.checkpoint import kind_of
from infill_engine.models.diffusion_gemma import checkpoint as gemma_checkpoint
from infill_engine.models.masked_qwen2 import checkpoint as masked_checkpoint
from infill_engine.models.masked_qwen2.checkpoint import Qwen2Sizes
from train.recipe import NOISE_LEVELS, Recipe

GIB = 1 << 30
CELLS = 64  # of a canvas of DiffusionGemma, mostly
# Of the text part of its config.json, and all its weights.
GEMMA: dict[str, Any] = {
    "hidden_size": 2816, "intermediate_size": 2112, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 256, "num_global_key_value_heads": 2,
    "global_head_dim": 512, "top_k_experts": 8, "moe_intermediate_size": 704,
    "vocab_size": 262_144,
    "layer_types": [*["sliding_attention"] * 5, "full_attention"] * 5,
}  # fmt: skip
GEMMA_WEIGHTS = 25.25e9
DREAMON = Qwen2Sizes(
    vocab_size=152_064, width=3584, hidden=18_944, layers=28, heads=28, groups=4, head_dim=128,
    eps=1e-6, rope_theta=1e6, max_positions=131_072,
)  # fmt: skip
OPEN_DCODER = Qwen2Sizes(
    vocab_size=151_936, width=896, hidden=4864, layers=24, heads=14, groups=2, head_dim=64,
    eps=1e-6, rope_theta=1e6, max_positions=32_768,
)  # fmt: skip


def plan(config: EngineConfig, recipe: Recipe) -> dict[str, float]:
    """In GiB, of a checkpoint: from its config.json and its files' headers."""
    folder = hub.find_checkpoint(config.model)
    if kind_of(folder) == "diffusion_gemma":
        found = gemma_checkpoint.inspect_checkpoint(folder, config)
        text = found.config.get("text_config", found.config)
        return gemma(text, found.need, recipe, width=_width(found.computed))
    found = masked_checkpoint.inspect_checkpoint(folder, config)
    sizes = masked_checkpoint.sizes_of(found.folder, found.config)
    narrow = found.format is not None
    return masked(sizes, found.need, recipe, width=_width(found.computed), narrow=narrow)


def published(recipe: Recipe) -> dict[str, dict[str, float]]:
    """In GiB, of the models that the README names, by name; nothing is fetched."""
    found = {"DiffusionGemma, bfloat16": gemma(GEMMA, 2 * GEMMA_WEIGHTS, recipe, width=2)}
    for name, sizes, tied in (("DreamOn", DREAMON, False), ("Open-dCoder", OPEN_DCODER, True)):
        shapes = sizes.shapes(tied)
        for dtype in ("bfloat16", "int4"):
            need = 0.0
            for key, shape in shapes.items():
                numbers = shape[0] * (shape[1] if len(shape) > 1 else 1)
                blocks = 0.5625 if key.endswith("_proj.weight") else 1.0 if len(shape) > 1 else 2.0
                need += numbers * (2.0 if dtype == "bfloat16" else blocks)
            narrow = dtype == "int4"
            found[f"{name}, {dtype}"] = masked(sizes, need, recipe, width=2, narrow=narrow)
    return found


def told(size: float) -> str:
    """GiB in the unit that leaves something to read, 12 characters wide."""
    for unit in ("GiB", "MiB"):
        if size >= 0.01:
            return f"{size:8.2f} {unit}"
        size *= 1024
    return f"{size:8.2f} KiB"


def masked(
    sizes: Qwen2Sizes, need: float, recipe: Recipe, *, width: int, narrow: bool
) -> dict[str, float]:
    """`need` are the weights' bytes, `width` those of a number that is computed with; `narrow`
    whether the weights are in fewer bits."""
    shapes = sizes.shapes(tied=True)
    learned = sum(
        recipe.rank * sum(shape) for name, shape in shapes.items() if name.endswith("_proj.weight")
    )
    tokens = recipe.batch * recipe.tokens
    # Each block keeps its input; one at a time is computed again, with what it keeps meanwhile.
    kept = tokens * sizes.width * sizes.layers * width
    block = tokens * (8 * sizes.width + 4 * sizes.hidden) * width
    block += recipe.batch * sizes.heads * recipe.tokens**2 * width
    widened = 3 * sizes.width * sizes.hidden * width if narrow else 0
    # A quarter of the text is masked at the most, and its logits are there twice.
    head = tokens / 4 * sizes.vocab_size * 4 * 2
    return _told(need, learned, kept + block + widened, head)


def gemma(text: Mapping[str, Any], need: float, recipe: Recipe, *, width: int) -> dict[str, float]:
    """Of the text part of a config.json; one example at a time, nothing is computed again."""
    hidden, inner = int(text["hidden_size"]), int(text["intermediate_size"])
    heads, chosen = int(text["num_attention_heads"]), int(text["top_k_experts"])
    inside, vocab = int(text["moe_intermediate_size"]), int(text["vocab_size"])
    ends = 0  # what goes into and comes out of the matrices that are adapted
    for at, kind in enumerate(text["layer_types"]):
        full = kind == "full_attention"  # such a layer's values are its keys
        own = (text.get("per_layer_config") or {}).get(str(at), {})
        size = own.get("head_dim") or (full and text.get("global_head_dim")) or text["head_dim"]
        groups = own.get("num_key_value_heads") or (
            (full and text.get("num_global_key_value_heads")) or text["num_key_value_heads"]
        )
        ends += 2 * (heads * size + hidden) + (1 if full else 2) * (groups * size + hidden)
        ends += 3 * (hidden + inner)
    # Kept besides: the hidden states of each norm and sum, and of every expert that a token goes
    # through gate, up, their product and the state.
    kept = ends + len(text["layer_types"]) * (8 * hidden + chosen * (3 * inside + hidden))
    cells = NOISE_LEVELS * CELLS
    # Logits, their softmax and its gradient in float32, and what a step is told of the one before.
    return _told(
        need,
        recipe.rank * ends,
        width * kept * (recipe.tokens + cells),
        cells * vocab * (12 + width),
    )


def _told(weights: float, learned: float, activations: float, logits: float) -> dict[str, float]:
    parts = {
        "weights": weights,
        # Itself, its gradient and two moments, in float32.
        "LoRA": 16 * learned,
        "activations": activations,
        "logits": logits,
    }
    return {name: size / GIB for name, size in (parts | {"all": sum(parts.values())}).items()}


def _width(computed: str) -> int:
    return 4 if computed == "float32" else 2
