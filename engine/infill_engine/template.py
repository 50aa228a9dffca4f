"""A request's template, checked and folded: its pinned ends belong to the sides they touch.

Text only: knows neither tokens nor models.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from infill_engine.errors import RequestError
from infill_engine.request import Draft, Hole, InfillRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """`middle` from its first hole to its last; `request` has `head` and `tail` in its sides, and
    of the middle the holes alone."""

    request: InfillRequest
    head: str
    tail: str
    middle: tuple[str | Hole, ...]


def template(request: InfillRequest) -> Template:
    """Checks the request and folds its pinned ends into prefix and suffix.

    Raises RequestError naming the field and its value.
    """
    parts = request.middle
    holes = [at for at, part in enumerate(parts) if isinstance(part, Hole)]
    if not holes:
        raise RequestError(f"middle={parts!r} has no Hole, so there is nothing to fill")
    for part in parts:
        if isinstance(part, Hole) and part.max_tokens is not None and part.max_tokens < 1:
            raise RequestError(f"Hole(max_tokens={part.max_tokens}) must be at least 1, or None")
    for name in ("max_lines", "num_candidates", "num_choices"):
        value = getattr(request, name)
        if value is not None and value < 1:
            raise RequestError(f"{name}={value} must be at least 1")
    if not 0 <= request.temperature < math.inf:
        raise RequestError(f"temperature={request.temperature} must be 0 (greedy) or more")
    head = "".join(part for part in parts[: holes[0]] if isinstance(part, str))
    tail = "".join(part for part in parts[holes[-1] + 1 :] if isinstance(part, str))
    return Template(
        request=replace(
            request,
            prefix=request.prefix + head,
            suffix=tail + request.suffix,
            middle=tuple(part for part in parts if isinstance(part, Hole)),
        ),
        head=head,
        tail=tail,
        middle=parts[holes[0] : holes[-1] + 1],
    )


def compose(fills: Sequence[str], middle: Sequence[str | Hole]) -> str:
    """The middle: fills in the holes, the template's own text verbatim."""
    filled = iter(fills)
    return "".join(part if isinstance(part, str) else next(filled) for part in middle)


def distinct(drafts: Sequence[Draft]) -> list[Draft]:
    """The first draft of each text."""
    seen: dict[str, Draft] = {}
    for draft in drafts:
        seen.setdefault(draft.text, draft)
    return list(seen.values())
