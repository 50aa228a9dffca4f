"""When a row is done before its steps are used up. Each rule looks at the hole, never at pins."""

from dataclasses import dataclass
from typing import Protocol

from infill_engine.arrays import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step's outcome.

    read      [B, T] int64, the complete canvas as it would be given out now
    previous  [B, T] int64, the same one step ago; None after the first step
    entropy   [B, T] float32, nats
    free      [B, T] bool
    undecided [B, T] bool, cells that still hold noise
    """

    read: Array
    previous: Array | None
    entropy: Array
    free: Array
    undecided: Array


class EarlyStop(Protocol):
    def done(self, progress: Progress) -> Array:  # [B] bool
        ...


@dataclass(frozen=True, slots=True)
class TokenStability:
    """The given-out canvas is what it was a step ago."""

    def done(self, progress: Progress) -> Array:
        if progress.previous is None:
            return progress.free[:, 0] & False
        return (progress.read == progress.previous).all(-1)


@dataclass(frozen=True, slots=True)
class Entropy:
    """The mean entropy over the hole is below the threshold; pinned cells do not dilute it."""

    threshold: float = 0.005

    def done(self, progress: Progress) -> Array:
        free = progress.free
        mean = (progress.entropy * free).sum(-1) / free.sum(-1).clip(min=1)
        return mean < self.threshold


@dataclass(frozen=True, slots=True)
class Decided:
    """No cell holds noise any more. The stop of absorbing noise, whose tokens stay."""

    def done(self, progress: Progress) -> Array:
        return ~progress.undecided.any(-1)


@dataclass(frozen=True, slots=True)
class Chained:
    """Done when every one of the rules says so."""

    rules: tuple[EarlyStop, ...]

    def done(self, progress: Progress) -> Array:
        first, *others = (rule.done(progress) for rule in self.rules)
        for other in others:
            first = first & other
        return first
