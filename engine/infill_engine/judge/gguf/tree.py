"""What may follow a prompt, as one tree of tokens in llama.cpp's cache: heads that candidates share
are read once, each leaf is a sequence of its own.

It grows pass by pass. Node 0 is the prompt itself. Shapes: V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from infill_engine.budget import Budget
from infill_engine.judge.gguf.model import KVCache

Floats = NDArray[np.float32]


class Tree:
    """Holds for as long as its prompt stays as it is: `sequence`, of `start` tokens, with `logits`
    [V] behind the last. Branches are `branches`, sequences that nobody else uses; there are at
    most `room` nodes."""

    def __init__(
        self,
        cache: KVCache,
        sequence: int,
        start: int,
        logits: Floats,
        branches: Sequence[int],
        room: int,
    ) -> None:
        self._cache, self._start, self._room = cache, start, room
        self._free, self._taken = list(branches), list[int]()
        self._depth, self._sequence, self._logits = [0], [sequence], [logits]
        self._children: dict[tuple[int, int], int] = {}
        self._totals: dict[int, float] = {}
        self.passes = 0

    @property
    def start(self) -> int:
        """How many tokens stand before it."""
        return self._start

    def __len__(self) -> int:
        return len(self._depth)

    def logits(self, node: int) -> Floats:
        return self._logits[node]

    def total(self, node: int) -> float:
        """The logarithm of the sum of exponentials of its logits."""
        if node not in self._totals:
            self._totals[node] = total(self._logits[node])
        return self._totals[node]

    def child(self, node: int, token: int) -> int | None:
        return self._children.get((node, token))

    def known(self, path: Sequence[int]) -> list[int]:
        """The nodes of a path of tokens from node 0 on, as far as they were read."""
        nodes = [0]
        for token in path:
            node = self.child(nodes[-1], token)
            if node is None:
                break
            nodes.append(node)
        return nodes

    def grow(self, paths: Sequence[Sequence[int]], budget: Budget) -> list[list[int]]:
        """Reads paths of tokens from node 0 on; of each the nodes that were read: all of them,
        unless the budget ended or there was no room for more. Raises ModelError."""
        parents: list[int] = []
        tokens: list[int] = []
        new: dict[tuple[int, int], int] = {}
        branches: list[list[int]] = []  # of each new node, the sequences that pass through it
        for path in paths:
            self._branch(path, new, parents, tokens, branches)
        for at in range(0, len(tokens), self._cache.batch):
            end = min(at + self._cache.batch, len(tokens))
            # What cannot be read in time is not begun.
            late = budget.over or self._cache.seconds(end - at) > budget.left()
            if late or not self._read(parents[at:end], tokens[at:end], branches[at:end], budget):
                break
        return [self.known(path) for path in paths]

    def has_room(self, nodes: int, branches: int) -> bool:
        return len(self) + nodes <= self._room and branches <= len(self._free)

    def prune(self, node: int) -> int:
        """Drops what does not lead to a node; gives its new number."""
        parents = {child: (parent, token) for (parent, token), child in self._children.items()}
        path, said = [node], list[int]()
        while path[0]:
            parent, token = parents[path[0]]
            path.insert(0, parent)
            said.insert(0, token)
        kept = self._sequence[node]
        for sequence in self._taken:
            if sequence != kept:
                self._cache.cut(sequence)
                self._free.append(sequence)
        self._taken = [sequence for sequence in self._taken if sequence == kept]
        self._cache.cut(kept, self._start + self._depth[node])
        self._depth = [*range(len(path))]
        self._sequence = [self._sequence[0], *[kept] * len(said)]
        self._logits = [self._logits[at] for at in path]
        self._children = {(at, token): at + 1 for at, token in enumerate(said)}
        self._totals.clear()
        return len(said)

    def close(self) -> None:
        """Frees the branches; nothing grows any more."""
        for sequence in self._taken:
            self._cache.cut(sequence)
        self._taken, self._free = [], []

    def _branch(
        self,
        path: Sequence[int],
        new: dict[tuple[int, int], int],
        parents: list[int],
        tokens: list[int],
        branches: list[list[int]],
    ) -> None:
        """Adds what is new of a path to what is to be read, with a sequence for its leaf."""
        node, through, rest = 0, list[int](), list(path)
        while rest:
            found = self._children.get((node, rest[0]), new.get((node, rest[0])))
            if found is None:
                break
            if found >= len(self):
                through.append(found)
            node = found
            del rest[0]
        if not rest or not self.has_room(len(tokens) + len(rest), 1):
            return
        sequence = self._free.pop()
        self._taken.append(sequence)
        grown = node
        while grown >= len(self):
            grown = parents[grown - len(self)]
        self._cache.share(self._sequence[grown], sequence, self._start + self._depth[grown])
        for found in through:
            branches[found - len(self)].append(sequence)
        for token in rest:
            found = new[node, token] = len(self) + len(tokens)
            parents.append(node)
            tokens.append(token)
            branches.append([sequence])
            node = found

    def _read(
        self,
        parents: Sequence[int],
        tokens: Sequence[int],
        branches: Sequence[Sequence[int]],
        budget: Budget,
    ) -> bool:
        """Whether the budget lasted; adds the nodes if so."""
        depth = list(self._depth)
        for parent in parents:
            depth.append(depth[parent] + 1)
        positions = [self._start + each - 1 for each in depth[len(self) :]]
        self.passes += 1
        logits = self._cache.read(tokens, positions, branches, [True] * len(tokens), budget)
        if logits is None:
            self.close()
            return False
        for at, (parent, token) in enumerate(zip(parents, tokens, strict=True)):
            self._children[parent, token] = len(self._depth)
            self._depth.append(depth[len(self._depth)])
            self._sequence.append(branches[at][0])
            self._logits.append(logits[at])
        return True


def total(logits: Floats) -> float:
    """The logarithm of the sum of exponentials; -inf of nothing."""
    if not len(logits):
        return -np.inf
    most = logits.max()
    return float(most + np.log(np.exp(logits - most).sum()))
