"""How likely the forward stream finds what may follow the prefix: log-probabilities of its tokens.

Shapes: R rows, V vocabulary, D width.
"""

from collections.abc import Sequence

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
    # The last prefix token is read again, for it predicts the rows' first token. What rows have in
    # common is read once: a tree of tokens, and of each the tokens that are looked for behind it.
    tokens, parents = [prefix.ids[-1]], [-1]
    children: dict[tuple[int, int], int] = {}
    wanted: dict[tuple[int, int], int] = {}
    places: list[list[int]] = []
    for ids in rows:
        node, of_row = 0, list[int]()
        for at, token in enumerate(ids, 1):
            of_row.append(wanted.setdefault((node, token), len(wanted)))
            if at == len(ids):
                break
            if (node, token) not in children:
                children[node, token] = len(tokens)
                tokens.append(token)
                parents.append(node)
            node = children[node, token]
        places.append(of_row)
    if not wanted:
        return [np.zeros(0, network.dtype) for _ in rows]
    hints = prefix.tree_hints(tokens, parents)
    hidden = network.continuation_tree(prefix, tokens, hints, np.array(parents, np.int32))
    nodes, chosen = np.array([*wanted]).T
    said = network.head(hidden[nodes], chosen=chosen)
    found = said.chosen - said.total
    if first is not None:
        begins = (nodes == 0) & first[chosen]
        among = network.head(hidden[:1], bias=network.head.bias(~first))
        found[begins] = said.chosen[begins] - among.total
    return [found[of_row] for of_row in places]
