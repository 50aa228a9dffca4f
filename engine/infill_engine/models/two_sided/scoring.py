"""How likely the forward stream finds what may follow the prefix: log-probabilities of its tokens.

Shapes: R rows, V vocabulary, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

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
    lengths = [len(ids) for ids in rows]
    size, device = max(lengths, default=0), network.device
    present = torch.arange(size, device=device) < torch.tensor(lengths, device=device)[:, None]
    if size == 0:
        return network.induction.new_zeros(len(rows), size)
    context = network.continuation_context(prefix, len(rows), size)
    old = len(prefix) - 1
    # The last prefix token is read again, for it predicts the rows' first token.
    read = [token for ids in rows if ids for token in (prefix.ids[-1], *ids[:-1])]
    hints = [hint for ids in rows if ids for hint in prefix.hints_after(ids[:-1], old)]
    hidden = network.continuation_rows(
        context, torch.tensor(read, device=device), torch.tensor(hints, device=device), lengths
    )
    logits = network.logits(hidden).float()
    chosen = torch.tensor([token for ids in rows for token in ids], device=device)[:, None]
    picked = logits.gather(-1, chosen)[:, 0] - logits.logsumexp(-1)
    if first is not None:
        begins = torch.zeros_like(present)
        begins[:, 0] = True
        where = begins[present] & first[chosen[:, 0]]
        among = logits[where].masked_fill(~first, -torch.inf).logsumexp(-1)
        picked[where] = logits[where].gather(-1, chosen[where])[:, 0] - among
    return picked.new_zeros(present.shape).masked_scatter(present, picked)
