"""How likely the forward stream finds what may follow the prefix: log-probabilities of its tokens.

Shapes: R rows, V vocabulary, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from infill_engine.models.two_sided.hints import NO_HINTS
from infill_engine.models.two_sided.kv_cache import SideCache
from infill_engine.models.two_sided.network import TwoSidedNetwork


def score(
    network: TwoSidedNetwork,
    prefix: SideCache,
    rows: Sequence[Sequence[int]],
    first: Tensor | None = None,
) -> Tensor:
    """Log-probability of each token of each row, read after the prefix: [R, longest row].

    Of a row's first token among those of `first` [V] bool, where it is given and the token is
    one. 0 where a row is shorter. Leaves the cache as it is.
    """
    size = max(map(len, rows), default=0)
    context = network.continuation_context(prefix, len(rows), size)
    old, padded = len(prefix) - 1, len(context.cos)
    targets = torch.zeros(len(rows), padded, dtype=torch.long)
    for row, ids in zip(targets, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
    lengths = torch.tensor([len(ids) for ids in rows])
    present = (torch.arange(padded) < lengths[:, None]).to(network.device)
    targets = targets.to(network.device)
    if targets.numel() == 0:
        return network.induction.new_zeros(len(rows), size)
    # The last prefix token is read again, for it predicts the rows' first token.
    last = targets.new_full((len(rows), 1), prefix.ids[-1])
    hints = []
    for ids in rows:
        found = prefix.hints_after(ids[:-1], old)
        hints.append(found + [NO_HINTS] * (padded - len(found)))
    read = torch.cat((last, targets[:, :-1]), 1)
    told = torch.tensor(hints, device=network.device)
    hidden = network.continuation_step(context, 0, read, told)[present]
    logits = network.logits(hidden).float()
    chosen = targets[present][:, None]
    picked = logits.gather(-1, chosen)[:, 0] - logits.logsumexp(-1)
    if first is not None:
        begins = torch.zeros_like(present)
        begins[:, 0] = first[targets[:, 0]]
        begins &= present
        where = begins[present]
        among = logits[where].masked_fill(~first, -torch.inf).logsumexp(-1)
        picked[where] = logits[where].gather(-1, chosen[where])[:, 0] - among
    return picked.new_zeros(targets.shape).masked_scatter(present, picked)[:, :size]
