"""Engines of a stated property, for tests of everything around an engine."""

from collections.abc import Iterator, Sequence

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.request import Draft, EngineInfo, Hole, InfillRequest


def draft(text: str, fills: tuple[str, ...] = (), **numbers: float) -> Draft:
    """A last draft that is sure of itself."""
    given: dict[str, float] = {
        "likelihood": -0.1,
        "join": -0.1,
        "log_probability": -0.2,
        "mean_entropy": 0.1,
        **numbers,
    }
    return Draft(
        text=text,
        fills=fills or (text,),
        steps=1,
        tokens=max(1, len(text) // 4),
        converged=True,
        **given,  # type: ignore[arg-type]
    )


class Engine:
    """What every engine here has; it remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[InfillRequest] = []
        self.warmed: list[InfillRequest] = []

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        self.requests.append(request)
        if not budget.cancelled():
            yield from self.drafts(request)

    def drafts(self, request: InfillRequest) -> Iterator[Draft]:
        raise NotImplementedError

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        self.warmed.append(request)

    def forget(self) -> None:
        pass

    def describe(self) -> EngineInfo:
        return EngineInfo(
            model="scripted",
            parameters=0,
            device="cpu",
            dtype="float32",
            threads=1,
            canvas_lengths=(32,),
            max_tokens=64,
            prefix_tokens=640,
            suffix_tokens=256,
            noise="absorbing",
            source="tests",
        )


class Scripted(Engine):
    """Always answers the given texts, in order, for the whole middle; then nothing.

    Whatever a template pins, it says its text: what a bad engine could do at worst.
    """

    def __init__(self, *texts: str) -> None:
        super().__init__()
        self.texts = list(texts)

    def drafts(self, request: InfillRequest) -> Iterator[Draft]:
        if self.texts:
            yield draft(self.texts.pop(0))


class Several(Engine):
    """Offers the given texts at once, best first."""

    def __init__(self, *texts: str) -> None:
        super().__init__()
        self.texts = texts

    def drafts(self, request: InfillRequest) -> Iterator[Draft]:
        first, *others = [draft(text) for text in self.texts]
        yield Draft(
            text=first.text,
            fills=first.fills,
            steps=1,
            tokens=1,
            mean_entropy=0.1,
            likelihood=-0.1,
            converged=True,
            others=tuple(others),
        )


class Filling(Engine):
    """Fills the holes of each request in turn, and keeps what a template pins, as an engine must.

    `fills[i]` are the texts of the holes of the i-th request.
    """

    def __init__(self, *fills: str | Sequence[str]) -> None:
        super().__init__()
        self.fills = [(fill,) if isinstance(fill, str) else tuple(fill) for fill in fills]

    def drafts(self, request: InfillRequest) -> Iterator[Draft]:
        if not self.fills:
            return
        fills = self.fills.pop(0)
        left = list(fills)
        text = "".join(left.pop(0) if isinstance(part, Hole) else part for part in request.middle)
        yield draft(text, fills)


class Knowing(Engine):
    """Knows the middle, and gets it right at the second attempt: first with a wrong span in it,
    then, asked to think that span over, with the piece that belongs there."""

    def __init__(self, middle: str, wrong: str) -> None:
        super().__init__()
        self.middle, self.wrong = middle, wrong

    def drafts(self, request: InfillRequest) -> Iterator[Draft]:
        if len(self.requests) == 1:
            yield draft(self.wrong)
            return
        head = request.middle[0] if isinstance(request.middle[0], str) else ""
        tail = request.middle[-1] if isinstance(request.middle[-1], str) else ""
        assert self.middle.startswith(head), f"{head!r} was right and must be kept"
        assert self.middle.endswith(tail), f"{tail!r} was right and must be kept"
        piece = self.middle[len(head) : len(self.middle) - len(tail)]
        yield draft(self.middle, (piece,))
