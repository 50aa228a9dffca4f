"""A GGUF judge's cache that computes nothing: what the judge says is known beforehand. Drafts are
verified against that, so that their passes are counted where a pass takes long."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.judge.gguf.model import KVCache

CERTAIN = 30.0  # logit of what is said next; the others have 0


class Replay(KVCache):
    """Behind any prompt come the tokens `said`. Sequences below `places` hold prompts; of the
    others, what they share with one of those is their prompt."""

    def __init__(self, vocab_size: int, *, places: int, batch: int) -> None:
        self.said: Sequence[int] = ()
        self.batch, self.token_ms = batch, 0.0
        self._vocab_size, self._places = vocab_size, places
        self._prompts: dict[int, int] = {}  # how long that of a sequence is
        self._tokens: dict[int, list[int]] = {}

    def share(self, source: int, target: int, end: int) -> None:
        self._prompts[target] = end if source < self._places else self._prompts[source]
        self._tokens[target] = self._tokens[source][:end]

    def cut(self, sequence: int, start: int = 0) -> bool:
        del self._tokens.setdefault(sequence, [])[start:]
        return True

    def read(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[Sequence[int]],
        wanted: Sequence[bool],
        budget: Budget = UNLIMITED,
    ) -> NDArray[np.float32] | None:
        """Logits [wanted, V]."""
        logits = []
        for token, position, within, tell in zip(tokens, positions, sequences, wanted, strict=True):
            for sequence in within:
                read = self._tokens.setdefault(sequence, [])
                assert len(read) == position, "a sequence is read from its start on"
                read.append(token)
            if tell:
                logits.append(self._behind(within[0]))
        return np.stack(logits) if logits else np.empty((0, self._vocab_size), np.float32)

    def _behind(self, sequence: int) -> NDArray[np.float32]:
        logits = np.zeros(self._vocab_size, np.float32)
        read = self._tokens[sequence]
        behind = [] if sequence < self._places else read[self._prompts[sequence] :]
        if behind == [*self.said[: len(behind)]] and len(behind) < len(self.said):
            logits[self.said[len(behind)]] = CERTAIN
        return logits
