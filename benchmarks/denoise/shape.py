"""The shape of a model, and the least that a step of it has to read and multiply. No tensors."""

from dataclasses import dataclass

BYTES = {"bf16": 2.0, "fp8": 1.0, "int4": 0.5625}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """The shape of a model."""

    vocab: int
    hidden: int
    mlp: int
    layers: int
    heads: int
    groups: int
    head_dim: int
    full_groups: int
    full_head_dim: int
    experts: int
    top_k: int
    expert_hidden: int
    window: int
    pattern: int  # the last of so many layers is full

    @property
    def full_layers(self) -> int:
        return self.layers // self.pattern


REAL = Spec(
    vocab=262144,
    hidden=2816,
    mlp=2112,
    layers=30,
    heads=16,
    groups=8,
    head_dim=256,
    full_groups=2,
    full_head_dim=512,
    experts=128,
    top_k=8,
    expert_hidden=704,
    window=1024,
    pattern=6,
)
SMALL = Spec(
    vocab=512,
    hidden=128,
    mlp=96,
    layers=4,
    heads=4,
    groups=2,
    head_dim=16,
    full_groups=1,
    full_head_dim=32,
    experts=8,
    top_k=2,
    expert_hidden=64,
    window=32,
    pattern=2,
)


def least(spec: Spec, cells: int, context: int, touched: float, name: str) -> tuple[float, float]:
    """Bytes that a step must move, and operations that it must do.

    The table is read by the head and by the soft embedding; logits are written and read twice,
    their probabilities written and read once.
    """
    full, sliding = spec.full_layers, spec.layers - spec.full_layers
    seen = min(context, spec.window - 1)
    heads = spec.heads
    attention = spec.hidden * (
        sliding * spec.head_dim * (2 * heads + 2 * spec.groups)
        + full * spec.full_head_dim * (2 * heads + spec.full_groups)
    )
    dense = 3 * spec.hidden * spec.mlp
    router = spec.layers * spec.hidden * spec.experts
    expert = 3 * spec.hidden * spec.expert_hidden
    table = spec.vocab * spec.hidden
    cached = 2 * (
        sliding * seen * spec.groups * spec.head_dim
        + full * context * spec.full_groups * spec.full_head_dim
    )
    moved = (
        2 * (attention + (spec.layers + 1) * dense + router + 2 * table + cached)
        + BYTES[name] * spec.layers * touched * expert
        + 10 * cells * spec.vocab
    )
    scores = (
        sliding * (seen + cells) * spec.head_dim + full * (context + cells) * spec.full_head_dim
    )
    multiplied = attention + (spec.layers + 1) * dense + router + 2 * table
    multiplied += spec.layers * spec.top_k * expert
    return moved, cells * (2 * multiplied + 4 * heads * scores)
