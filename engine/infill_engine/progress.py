"""How a caller is told how far loading a model is."""

from collections.abc import Callable

# Takes what is being done, and which share of that is done, from 0 to 1.
LoadProgress = Callable[[str, float], None]


def silent(stage: str, done: float) -> None:
    """The `LoadProgress` of a caller who does not ask."""
