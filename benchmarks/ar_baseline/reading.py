"""In what order a text is read: the training pass over rows, and the cache of one place in a text.

Shapes: B rows, N row length, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.denoiser import Sides
from infill_engine.models.two_sided.config import CANVAS, PREFIX
from infill_engine.models.two_sided.denoiser import (
    ENCODE_CHUNK,
)
from infill_engine.models.two_sided.inference import InferenceNetwork
from infill_engine.models.two_sided.kv_cache import SideCache, common_length
from infill_engine.models.two_sided.layers import Block, norm
from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.training_pass import TrainingOps


def in_reading_order(sides: Sides) -> list[int]:
    """The ids before the middle: bos and language, the suffix up to its eos, the prefix."""
    return [*sides.prefix_ids[:2], *sides.suffix_ids, *sides.prefix_ids[2:]]


def states(
    network: TwoSidedNetwork,
    rows: Tensor,
    cursor: Tensor,
    hints: Tensor,
    *,
    dtype: torch.dtype | None = None,
    ops: TrainingOps = TrainingOps(),  # noqa: B008 (immutable)
) -> Tensor:
    """The training pass: rows [B, N] in reading order -> final hidden states [B, N, D].

    cursor [B] is the index of the last token before the middle, N or more where there is none;
    hints [B, N, 4] are those of the tokens of the whole row. Padding belongs at the right. `dtype`
    is what activations are kept in.
    """
    B, N = rows.shape
    dtype = dtype or network.dtype
    cos_table, sin_table = network.angles(torch.promote_types(dtype, torch.float32))
    i = torch.arange(N, device=rows.device)
    pos = i.repeat(B) + network.config.max_positions
    cos, sin = cos_table[pos], sin_table[pos]
    streams = torch.where(i < cursor[:, None], PREFIX, CANVAS)
    x = network.input_states(rows, hints, streams).flatten(0, 1).to(dtype)
    for block in network.blocks:
        assert isinstance(block, Block)
        q, k, v = (
            torch.unflatten(part, 0, (B, N))
            for part in ops.project(x, block.qkv, cos, sin, network.split)
        )
        attended = ops.causal_attention(q, k, v).flatten(0, 1)
        x = ops.mlp(x, attended, block.out, block.up, block.down)
    return norm(x).view(B, N, -1)


@dataclass(slots=True)
class ContextCache:
    """A cache of one place in one text; its first `context` tokens were read as what they are.

    Tokens behind those were read as a middle, and are of no use to another request.
    """

    cache: SideCache
    context: int = 0


def read_context(
    network: InferenceNetwork,
    context_cache: ContextCache,
    ids: Sequence[int],
    *,
    keep: int = 0,
    budget: Budget = UNLIMITED,
) -> int:
    """Makes the cache one of leading `ids`, never of the last, which is read under the cursor.

    Leaves out as many as `keep` before it, for the first pass to read. Returns len(ids) - 1.
    """
    context = len(ids) - 1
    cache = context_cache.cache
    same = min(common_length(cache.ids[: context_cache.context], ids), context)
    cache.truncate(same)
    context_cache.context = same
    while len(cache) < context - keep and not budget.cancelled():
        network.push(cache, ids[len(cache) : min(context, len(cache) + ENCODE_CHUNK)])
        context_cache.context = len(cache)
    return context
