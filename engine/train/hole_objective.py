"""The hole objective of masked models: what is masked, what should be said there, what it weighs.

Both sides are given. Each token of the middle is masked with a probability that is drawn anew for
every example (arXiv:2406.07524). Where holes may grow, masked neighbours are merged into one mask
that should say "expand", and masks behind the middle should say "end" (DreamOn, published with its
training code). Ends are more than text is, so those of an example weigh together as one token
does; an example weighs less the more of it is masked. Both are as published, but that there those
of eight examples weigh as one token: short runs do not learn to end so.
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
FEWER_MERGES = 0.5  # of the examples; in these it falls with the share that is masked
MOST_ENDS = 64
IGNORED = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A text with masks; `labels` are what should be said of each cell, IGNORED elsewhere."""

    token_ids: list[int]
    labels: list[int]
    weight: float = 1.0


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
    merges = MERGE
    if rng.random() < FEWER_MERGES:
        merges *= 1 - sum(masked) / max(1, len(masked))
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
        weight=1.0 if text.expand is None else 1 - share,
    )


def loss_of(network: Network, examples: Sequence[Example], text: QwenText) -> Tensor:
    """The weighted mean cross-entropy, in nats, over all masked cells of a batch. []"""
    width = max(len(each.token_ids) for each in examples)
    device = network.device
    ids = torch.full((len(examples), width), text.mask, dtype=torch.int64)
    labels = torch.full((len(examples), width), IGNORED, dtype=torch.int64)
    present = torch.zeros(len(examples), width, dtype=torch.bool)
    for at, each in enumerate(examples):
        ids[at, : len(each.token_ids)] = torch.tensor(each.token_ids)
        labels[at, : len(each.labels)] = torch.tensor(each.labels)
        present[at, : len(each.token_ids)] = True
    positions = torch.arange(width, device=device).expand(len(examples), -1)
    everything = bool(present.all())
    hidden = network.hidden(ids.to(device), positions, None if everything else present.to(device))
    # The token before a cell says it; the first token of a text says itself.
    row, cell = (labels != IGNORED).nonzero(as_tuple=True)
    logits = network.logits(hidden[row.to(device), (cell - 1).clamp(min=0).to(device)])
    wanted = labels[row, cell].to(device)
    weight = torch.tensor([each.weight for each in examples])[row].to(device)
    if text.end is not None:
        ends = wanted == text.end
        count = torch.bincount(row.to(device)[ends], minlength=len(examples))
        weight = torch.where(ends, weight / count[row.to(device)].clamp(min=1), weight)
    each_cell = cross_entropy(logits, wanted, reduction="none")
    return (weight * each_cell).sum() / weight.sum()
