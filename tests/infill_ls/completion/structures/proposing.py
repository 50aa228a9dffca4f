"""An engine that says the same in every hole, or what a function of the request makes of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from infill_engine import Draft, EngineInfo, Hole, InfillRequest
from infill_engine.budget import UNLIMITED, Budget
from tests.infill_ls.engines import Knowing

Say = Callable[[InfillRequest, int], str]


class Proposing(Knowing):
    """`says` is asked with the request and the number of the hole in it."""

    def __init__(self, says: Say | str) -> None:
        super().__init__(lambda _: [])
        self._says: Say = says if callable(says) else lambda _, __: says
        self.requests: list[InfillRequest] = []

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        self.requests.append(request)
        holes = sum(isinstance(part, Hole) for part in request.middle)
        fills = tuple(self._says(request, at) for at in range(holes))
        yield Draft(
            text=composed(request.middle, fills), fills=fills, steps=1, tokens=holes, mean_entropy=0
        )

    def describe(self) -> EngineInfo:
        return replace(super().describe(), canvas_lengths=(16, 64))


def composed(middle: Sequence[str | Hole], fills: Sequence[str]) -> str:
    filled = iter(fills)
    return "".join(part if isinstance(part, str) else next(filled) for part in middle)
