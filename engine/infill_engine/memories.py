"""What is encoded of the last few places: an editor goes back and forth between some of them."""

from typing import Generic

from infill_engine.budget import Budget
from infill_engine.denoiser import Denoiser, MemoryT, Sides

NUM_MEMORIES = 4
# Below this many reusable tokens another place is being edited: keep the old memory for a return.
WORTH_REUSING = 64


class Memories(Generic[MemoryT]):
    """At most NUM_MEMORIES of one denoiser; `kept` has the most recently used one last.

    Encoding ends within a chunk of the budget's end; what is encoded by then is kept.
    """

    def __init__(self, denoiser: Denoiser[MemoryT]) -> None:
        self._denoiser = denoiser
        self.kept: list[MemoryT] = []

    def encode(self, sides: Sides, budget: Budget) -> MemoryT:
        """A memory of these sides, made of the one that shares most with them."""
        reusable = [self._denoiser.reusable(memory, sides) for memory in self.kept]
        best = max(reusable, default=0)
        enough = best >= min(WORTH_REUSING, len(sides.prefix_ids) + len(sides.suffix_ids))
        memory: MemoryT | None = None
        if reusable and (enough or len(self.kept) == NUM_MEMORIES):
            memory = self.kept.pop(reusable.index(best) if enough else 0)
        memory = self._denoiser.encode(sides, memory, budget=budget)
        self.kept.append(memory)
        return memory

    def extend(self, sides: Sides, budget: Budget) -> MemoryT:
        """The memory that was used last, with what was added to its prefix."""
        self.kept[-1] = self._denoiser.encode(sides, self.kept[-1], budget=budget)
        return self.kept[-1]
