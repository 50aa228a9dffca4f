"""How likely the forward stream finds what may follow the prefix: log-probabilities of its tokens.

Shapes: R rows, V vocabulary, D width.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from infill_engine.models.two_sided.inference import InferenceNetwork
from infill_engine.models.two_sided.kv_cache import SideCache


def score(
    network: InferenceNetwork,
    prefix: SideCache,
    rows: Sequence[Sequence[int]],
    first: NDArray[np.bool_] | None = None,
) -> list[NDArray[np.floating]]:
    """Log-probability of each token of each row [n], read after the prefix.

    Of a row's first token among those of `first` [V] bool, where it is given and the token is
    one. Leaves the cache as it is.
    """
    lengths = [len(ids) for ids in rows]
    if not any(lengths):
        return [np.zeros(0, network.dtype) for _ in rows]
    old = len(prefix) - 1
    # The last prefix token is read again, for it predicts the rows' first token.
    read = [token for ids in rows if ids for token in (prefix.ids[-1], *ids[:-1])]
    hints = [hint for ids in rows if ids for hint in prefix.hints_after(ids[:-1], old)]
    hidden = network.continuation_rows(prefix, read, hints, lengths)
    chosen = np.array([token for ids in rows for token in ids])
    said = network.head(hidden, chosen=chosen)
    found = said.chosen - said.total
    ends = list(accumulate(lengths))
    if first is not None:
        starts = [end - n for end, n in zip(ends, lengths, strict=True) if n]
        begins = [at for at in starts if first[chosen[at]]]
        if begins:
            among = network.head(hidden[begins], bias=network.head.bias(~first))
            found[begins] = said.chosen[begins] - among.total
    return np.split(found, ends[:-1])
