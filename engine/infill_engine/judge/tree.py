"""What may follow a prefix, as one tree of tokens: heads that candidates share are read once.

It grows: a greedy line adds a token a pass, candidates all of theirs in one. Node 0 is the prefix
itself. Shapes: n nodes, D width, V vocabulary.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infill_engine.budget import Budget
from infill_engine.judge.network import Llama, Prefix
from infill_engine.judge.recurring import Following, Places, Recurring, following
from infill_engine.judge.vocabulary import JudgeVocabulary
from infill_engine.models.two_sided.inference import Floats
from infill_kernels.rows import IMPOSSIBLE

# Nodes that are read between two looks at the budget.
NODES = 16


class Tree:
    """Holds for as long as nothing is pushed to its prefix.

    `owed` is what the text has to begin with: what was taken back of the prefix. Only tokens that
    go on with it have a share. What followed the same tokens elsewhere has one as well (`among`).
    """

    def __init__(
        self,
        network: Llama,
        vocabulary: JudgeVocabulary,
        prefix: Prefix,
        room: int,
        owed: bytes,
        caches: tuple[NDArray[Any], NDArray[Any]] | None = None,
    ) -> None:
        """In `caches` of so much room, which nobody else uses any more, or in new ones."""
        self._network, self._vocabulary, self.prefix = network, vocabulary, prefix
        self._keys, self._values = caches or network.caches(1, room)
        self._room = room
        self._tokens: list[int] = []
        self._parents: list[int] = []  # of each token, as nodes
        self._depth = [0]
        self._owed = [owed]
        self._children: dict[tuple[int, int], int] = {}
        self._hidden = [prefix.hidden]
        self._totals: dict[int, float] = {}
        self._likeliest: dict[tuple[int, int], list[tuple[int, float]]] = {}
        self.recurring: tuple[Recurring, ...] = ()
        self._places: dict[int, tuple[Places, ...]] = {}
        self._followings: dict[int, Following | None] = {}

    def __len__(self) -> int:
        return len(self._hidden)

    def among(self, *recurring: Recurring) -> None:
        """From here on what follows is mixed with what followed in these texts."""
        if recurring != self.recurring:
            self.recurring, self._places, self._followings = recurring, {}, {}

    def owed(self, node: int) -> bytes:
        """What the text still has to go on with there."""
        return self._owed[node]

    def descend(self, tokens: Sequence[int], owed: bytes) -> "Tree | None":
        """The tree behind its prefix and these tokens, which are pushed to it; None where they were
        not read. What contradicts `owed` is dropped. This tree holds no longer."""
        if not tokens and owed == self._owed[0]:
            return self
        path = self._known(tokens)
        if len(path) <= len(tokens):
            return None
        pushed, at = [node - 1 for node in path[1:]], len(self.prefix.ids)
        for ours, theirs in ((self.prefix.keys, self._keys), (self.prefix.values, self._values)):
            ours[:, :, at : at + len(pushed)] = theirs[:, 0][:, :, pushed]
        self.prefix.ids += tokens
        self.prefix.hidden = self._hidden[path[-1]]
        tree = Tree(self._network, self._vocabulary, self.prefix, 0, owed)
        tree._room, tree._keys, tree._values = self._room, self._keys, self._values
        tree._take_over(self, path[-1])
        return tree

    def _take_over(self, other: "Tree", root: int) -> None:
        """All that goes on from a node of another tree, whose caches are this one's now."""
        new = {root: 0}
        kept: list[int] = []
        for node, (parent, token) in enumerate(zip(other._parents, other._tokens, strict=True), 1):
            said = self._vocabulary.token_bytes[token]
            if parent not in new:
                continue
            owed = self._owed[new[parent]]
            if not (said.startswith(owed) or owed.startswith(said)):
                continue
            kept.append(node)
            self._add(new[parent], token)
            new[node] = len(kept)
            self._hidden.append(other._hidden[node])
        places = [node - 1 for node in kept]
        for cache in (self._keys, self._values):
            cache[:, 0, :, : len(kept)] = cache[:, 0][:, :, places]
        # What is said next depends on what is owed.
        same = {node: at for node, at in new.items() if other._owed[node] == self._owed[at]}
        self._totals = {same[node]: x for node, x in other._totals.items() if node in same}
        self._likeliest = {
            (same[node], count): x for (node, count), x in other._likeliest.items() if node in same
        }

    def grow(self, paths: Sequence[Sequence[int]], budget: Budget) -> list[list[int]]:
        """Reads paths of tokens from node 0 on; of each the nodes that were read, node 0 first:
        all of them, unless the budget ends before a pass would, or there is no room for more."""
        new: dict[tuple[int, int], int] = {}
        for path in paths:
            node = 0
            for token in path:
                found = self._children.get((node, token)) or new.get((node, token))
                if found is None:
                    found = new[node, token] = len(self) + len(new)
                node = found
        waiting = list(new)
        while waiting and len(self) <= self._room:
            count = min(NODES, len(waiting), self._room + 1 - len(self))
            if self._network.seconds(count) > budget.left():
                break
            self._read(waiting[:count])
            waiting = waiting[count:]
        return [self._known(path) for path in paths]

    def holds(self, path: Sequence[int]) -> bool:
        return len(self._known(path)) > len(path)

    def likeliest(self, nodes: Sequence[int], count: int) -> list[list[tuple[int, float]]]:
        """Of each node the tokens that are likeliest next and their log-probabilities, best
        first."""
        asked = [node for node in dict.fromkeys(nodes) if (node, count) not in self._likeliest]
        if asked:
            self._ask(asked, count)
        return [self._mixed(node, self._likeliest[node, count], count) for node in nodes]

    def _mixed(
        self, node: int, likely: list[tuple[int, float]], count: int
    ) -> list[tuple[int, float]]:
        """With what followed the same tokens elsewhere."""
        elsewhere = self._following(node)
        if elsewhere is None:
            return likely
        said = dict(likely)
        more = [token for token in elsewhere.shares if token not in said]
        said |= zip(more, self._said([node] * len(more), more), strict=True)
        mixed = elsewhere.mixed(said)
        return sorted(mixed.items(), key=lambda each: -each[1])[:count]

    def _following(self, node: int) -> Following | None:
        if node not in self._followings:
            owed = self._owed[node]
            allowed = self._vocabulary.allowed(owed) if owed else None
            found = zip(self.recurring, self._places_of(node), strict=True)
            self._followings[node] = following(found, allowed)
        return self._followings[node]

    def _places_of(self, node: int) -> tuple[Places, ...]:
        found = self._places.get(node)
        if found is None:
            if node:
                parent, token = self._parents[node - 1], self._tokens[node - 1]
                before = zip(self.recurring, self._places_of(parent), strict=True)
                found = tuple(text.after(places, token) for text, places in before)
            else:
                found = tuple(text.places(self.prefix.ids) for text in self.recurring)
            self._places[node] = found
        return found

    def _ask(self, nodes: Sequence[int], count: int) -> None:
        for alike, allowed in self._by_what_is_owed(nodes):
            said = self._network.likeliest(self._hidden_of(alike), count, allowed)
            nats = said.most - said.total[:, None]
            # What is not allowed is all but impossible to the head.
            nats[said.most < IMPOSSIBLE / 2] = -np.inf
            for node, row, of_row, total in zip(
                alike, said.best.tolist(), nats.tolist(), said.total.tolist(), strict=True
            ):
                self._likeliest[node, count] = list(zip(row, of_row, strict=True))
                self._totals[node] = total

    def log_probabilities(
        self, nodes: Sequence[int], tokens: Sequence[int], *, alone: bool = False
    ) -> list[float]:
        """Of a token behind each of the nodes, by the network `alone` or with what followed
        elsewhere; -inf where it does not go on with what is owed."""
        said = self._said(nodes, tokens)
        found = list[float]()
        for node, token, nats in zip(nodes, tokens, said, strict=True):
            elsewhere = None if alone or nats == -math.inf else self._following(node)
            found.append(nats if elsewhere is None else elsewhere.mixed({token: nats})[token])
        return found

    def log_sum(self, node: int, states: Floats) -> float:
        """The log-probability that one of some tokens follows a node that owes nothing, by the
        network alone: of tokens whose embedded `states` [n, D] are given."""
        self._look_at([node])
        logits = states @ self._hidden[node]
        return float(np.logaddexp.reduce(logits)) - self._totals[node]

    def _said(self, nodes: Sequence[int], tokens: Sequence[int]) -> list[float]:
        """By the network alone."""
        if not nodes:
            return []
        self._look_at(nodes)
        hidden = self._hidden_of(nodes)
        logits = np.einsum("nd,nd->n", self._network.embed(tokens), hidden)
        return [
            float(logit) - self._totals[node] if self._may_follow(node, token) else -math.inf
            for node, token, logit in zip(nodes, tokens, logits, strict=True)
        ]

    def _may_follow(self, node: int, token: int) -> bool:
        owed = self._owed[node]
        return not owed or bool(self._vocabulary.allowed(owed)[token])

    def _known(self, path: Sequence[int]) -> list[int]:
        nodes = [0]
        for token in path:
            node = self._children.get((nodes[-1], token))
            if node is None:
                break
            nodes.append(node)
        return nodes

    def _read(self, new: Sequence[tuple[int, int]]) -> None:
        """Adds nodes: of each its parent and its token."""
        at = len(self._tokens)
        for parent, token in new:
            self._add(parent, token)
        hidden = self._network.read_tree(
            self.prefix,
            [token for _, token in new],
            np.array(self._parents, np.int32) - 1,
            max(self._depth),
            self._keys,
            self._values,
            at,
        )
        self._hidden += list(hidden)

    def _add(self, parent: int, token: int) -> None:
        self._tokens.append(token)
        self._parents.append(parent)
        self._depth.append(self._depth[parent] + 1)
        self._owed.append(self._owed[parent][len(self._vocabulary.token_bytes[token]) :])
        self._children[parent, token] = len(self._tokens)

    def _look_at(self, nodes: Sequence[int]) -> None:
        """Asks the head how much there is to say at the nodes that it was not asked about."""
        asked = [node for node in dict.fromkeys(nodes) if node not in self._totals]
        for alike, allowed in self._by_what_is_owed(asked):
            totals = self._network.totals(self._hidden_of(alike), allowed)
            self._totals |= dict(zip(alike, totals.tolist(), strict=True))

    def _by_what_is_owed(
        self, nodes: Sequence[int]
    ) -> Iterator[tuple[list[int], NDArray[np.bool_] | None]]:
        """Nodes that are alike, and the tokens [V] that are allowed there, None for all."""
        for owed in dict.fromkeys(self._owed[node] for node in nodes):
            alike = [node for node in nodes if self._owed[node] == owed]
            yield alike, self._vocabulary.allowed(owed) if owed else None

    def _hidden_of(self, nodes: Sequence[int]) -> Floats:
        return np.stack([self._hidden[node] for node in nodes])
