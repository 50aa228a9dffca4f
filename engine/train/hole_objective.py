"""The hole objective of masked models: what is masked, and what should be said there.

Both sides are given. Each token of the middle is masked with a probability that is drawn anew for
every example (arXiv:2406.07524). Where holes may grow, masked neighbours are merged into one mask
that should say "expand", and masks behind the middle should say "end" (DreamOn, published with its
training code).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from infill_engine.models.masked_qwen2.network import Network
from infill_engine.models.masked_qwen2.text import QwenText

MERGE = 0.5  # the probability at most that masked neighbours become one
MOST_ENDS = 32
IGNORED = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A text with masks; `labels` are what should be said of each cell, IGNORED elsewhere."""

    token_ids: list[int]
    labels: list[int]


def noised(
    prefix: Sequence[int],
    middle: Sequence[int],
    suffix: Sequence[int],
    text: QwenText,
    rng: random.Random,
) -> Example:
    """One example; at least one cell is masked."""
    share = rng.random()
    masked = [rng.random() < share for _ in middle]
    if middle and not any(masked):
        masked[rng.randrange(len(masked))] = True
    merges = MERGE * (1 - sum(masked) / max(1, len(masked))) if rng.random() < 0.6 else MERGE
    cells: list[tuple[int, int]] = []
    at = 0
    while at < len(middle):
        if not masked[at]:
            cells.append((middle[at], IGNORED))
        else:
            end = at
            while (
                text.expand is not None
                and end + 1 < len(middle)
                and masked[end + 1]
                and rng.random() < merges
            ):
                end += 1
            label = middle[at] if end == at or text.expand is None else text.expand
            cells.append((text.mask, label))
            at = end
        at += 1
    if text.end is not None:
        # Without anything to say there has to be one to say so.
        ends = rng.randrange(0 if middle else 1, MOST_ENDS)
        cells += [(text.mask, text.end)] * ends
    return Example(
        token_ids=[*prefix, *[token for token, _ in cells], *suffix],
        labels=[IGNORED] * len(prefix) + [label for _, label in cells] + [IGNORED] * len(suffix),
    )


def loss_of(network: Network, examples: Sequence[Example], pad: int) -> Tensor:
    """The mean cross-entropy, in nats, over all masked cells of a batch. []"""
    width = max(len(each.token_ids) for each in examples)
    device = network.device
    ids = torch.full((len(examples), width), pad, dtype=torch.int64)
    labels = torch.full((len(examples), width), IGNORED, dtype=torch.int64)
    present = torch.zeros(len(examples), width, dtype=torch.bool)
    for row, each in enumerate(examples):
        ids[row, : len(each.token_ids)] = torch.tensor(each.token_ids)
        labels[row, : len(each.labels)] = torch.tensor(each.labels)
        present[row, : len(each.token_ids)] = True
    positions = torch.arange(width, device=device).expand(len(examples), -1)
    everything = bool(present.all())
    hidden = network.hidden(ids.to(device), positions, None if everything else present.to(device))
    # The token before a cell says it; the first token of a text says itself.
    row, cell = (labels != IGNORED).nonzero(as_tuple=True)
    logits = network.logits(hidden[row.to(device), (cell - 1).clamp(min=0).to(device)])
    return cross_entropy(logits, labels[row, cell].to(device))
