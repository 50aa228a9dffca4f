"""How good the two-sided model is on held-out shards while it is trained."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from infill_engine.models.two_sided.config import PREFIX, SUFFIX
from infill_engine.models.two_sided.inference import InferenceNetwork
from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.plain import of_module
from infill_engine.models.two_sided.training_pass import TrainingOps
from infill_engine.tokenizer import BOS, END, EOS, FIRST_LEARNED, FIRST_TAG, MASK
from train.batches import Batch, BatchShape, batch, tensors
from train.config import TrainConfig
from train.objective import losses
from train.windows import ShardSet


def masked(data: Batch, t: float) -> Batch:
    """The same canvases with a share of their cells masked, the same ones at every call, and only
    these counted: a run of END as one token."""
    hidden = np.random.default_rng(7).random(data.clean.shape) < t
    ends = hidden & (data.clean == END)
    share = np.where(ends, 1.0 / np.maximum(1, ends.sum(-1, keepdims=True)), 1.0)
    return replace(
        data,
        noisy=np.where(hidden, MASK, data.clean),
        weight=np.where(hidden, share, 0.0).astype(np.float32),
    )


@torch.no_grad()
def validate(
    model: TwoSidedNetwork, shards: ShardSet, config: TrainConfig, batches: int = 2
) -> dict[str, float]:
    """Losses on windows that are the same at every call, in nats per token."""
    tokens = min(config.tokens, 16_384)
    sums: dict[str, list[float]] = defaultdict(list)
    rng = np.random.default_rng(1234)
    dtype = getattr(torch, config.dtype)
    row, canvas = (512, 32) if tokens >= 512 else (128, 16)
    for _ in range(batches):
        data = batch(
            shards,
            rng,
            tokens=tokens,
            shape=BatchShape(row=row, canvas=canvas, share=1.0),
            vocab_size=model.config.vocab_size,
        )
        for name, t in (("canvas_all_mask", 1.0), ("canvas_half", 0.5)):
            changed = tensors(masked(data, t))
            found = losses(
                model,
                {name: each.to(model.device) for name, each in changed.items()},
                stream_weight=0.0,
                dtype=dtype,
                ops=TrainingOps(),
            ).parts
            sums[name].append(float(found["canvas"]))
            for other in ("prefix", "suffix"):
                if t == 1.0:
                    sums[other].append(float(found[other]))
    return {name: round(sum(values) / len(values), 4) for name, values in sums.items()}


def infill_greedily(
    network: InferenceNetwork,
    prefix: list[int],
    suffix: list[int],
    *,
    canvas: int = 16,
    most: int = 6,
) -> list[int]:
    """The engine's policy in its simplest form: canvas of masks, the surest cells first.

    prefix and suffix are token ids in reading order, sentinels included.
    """
    before, after = network.cache(PREFIX), network.cache(SUFFIX)
    network.push(before, prefix)
    network.push(after, suffix[::-1])
    context = network.canvas_context(before, after, 1, canvas)
    special = np.arange(network.config.vocab_size)
    bias = network.head.bias((special < FIRST_LEARNED) & (special != END))
    ids = np.full(canvas, MASK)
    quota = -(-canvas // most)
    for _ in range(most):
        said = network.head(network.step(context, ids[None])[0], bias=bias)
        sure = np.exp(said.most - said.total)
        open_cells = ids == MASK
        chosen = open_cells & (sure > 0.9)
        ranked = np.argsort(np.where(open_cells, -sure, 1.0), stable=True)[:quota]
        chosen[ranked] = open_cells[ranked]
        ids = np.where(chosen, said.best, ids)
        ends = np.flatnonzero(ids == END)
        if len(ends):
            ids[ends[0] :] = END
        if not (ids == MASK).any():
            break
    found: list[int] = ids.tolist()
    return found[: found.index(END)] if END in found else found


def tail_holes(shards: ShardSet, count: int) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Rests of lines, the same at every call: prefix, middle and suffix in token ids.

    Spans of kind 0 of at most 14 tokens, with 384 + 128 of context between sentinels.
    """
    rng = np.random.default_rng(99)
    tried = attempts = 0
    while tried < count and attempts < 100 * count:
        attempts += 1
        shard, index, low, high = shards.draw(rng)
        a, z = np.searchsorted(shard.span_start, (low, high))
        tails = np.arange(a, z)[shard.span_kind[a:z] == 0]
        if len(tails) == 0:
            continue
        span = tails[rng.integers(len(tails))]
        first, last = int(shard.span_start[span]), int(shard.span_end[span])
        if not 1 <= last - first <= 14:
            continue
        tokens = shard.tokens
        language = FIRST_TAG + int(shard.doc_language[index])
        prefix = [BOS, language, *tokens[max(low, first - 384) : first].tolist()]
        suffix = [*tokens[last : min(high, last + 128)].tolist(), EOS]
        tried += 1
        yield prefix, tokens[first:last].tolist(), suffix


def exact_match(
    model: TwoSidedNetwork, shards: ShardSet, count: int, *, most: int = 6
) -> dict[str, float]:
    """Greedy infill of `tail_holes`."""
    right = tried = 0
    network = of_module(model)
    for prefix, middle, suffix in tail_holes(shards, count):
        tried += 1
        right += infill_greedily(network, prefix, suffix, most=most) == middle
    return {"tail_exact": round(right / max(1, tried), 4), "tail_count": tried}
