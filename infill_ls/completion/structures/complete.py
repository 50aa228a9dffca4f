"""A structured text, completed by an engine: what it proposes goes in where it holds.

The same call for every engine, and for a document that has no schema.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from infill_engine import UNLIMITED, Budget, Draft, Engine, Hole, InfillRequest
from infill_ls.completion.fills import Gap, filled, is_value
from infill_ls.completion.steps import Steps, at_once
from infill_ls.completion.structures.json_template import json_template
from infill_ls.completion.structures.json_text import HOLE
from infill_ls.completion.structures.patterns import UnsupportedPattern
from infill_ls.completion.structures.schema import Schema, SchemaError
from infill_ls.completion.structures.slots import Piece, Slot, composed, slots_of
from infill_ls.completion.structures.toml_text import is_toml, toml_template
from infill_ls.completion.structures.yaml_text import is_yaml, yaml_template

_MOST_TRIED = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """`text` holds whatever the engine said. Of its `slots` so many hold what it `proposed`, up to
    where a value ends, or the nearest that was right (`repaired`); the others what the template
    had. Values for which it proposed nothing of use are `left`."""

    text: str
    slots: int
    proposed: int
    repaired: int
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Pieces to complete: with their fallbacks they hold, which `holds` tells of a text. `request`
    has all that the engine is told but the text."""

    pieces: tuple[Piece, ...]
    holds: Callable[[str], bool]
    request: InfillRequest

    @property
    def slots(self) -> list[Slot]:
        return slots_of(self.pieces)


def json_task(text: str, schema: Schema, *, everything: bool = False, seed: int = 0) -> Task:
    """The document, to be finished so that it satisfies the schema; `everything` adds what is
    optional.

    Raises DocumentError where no text could finish it, and SchemaError where no value satisfies
    the schema.
    """
    try:
        pieces = json_template(text, schema, everything=everything)
    except UnsupportedPattern as why:
        raise SchemaError(f"A pattern of the schema is not supported: {why}.") from None
    except RecursionError:
        raise SchemaError(
            "The schema refers to itself without end, or the document is nested too deep for it; "
            "let each $ref that leads back stand in a property or an item."
        ) from None
    said = json.dumps(schema.root, ensure_ascii=False) if schema.root is not True else ""
    request = InfillRequest(
        prefix="",
        suffix="",
        language_id="json",
        max_lines=1,
        neighbours=(said,) if said else (),
        seed=seed,
    )
    return Task(
        pieces=tuple(pieces),
        holds=lambda text: schema.valid(json.loads(text), schema.root),
        request=request,
    )


_MARKUP: dict[str, tuple[Callable[[str], list[Piece]], Callable[[str], bool]]] = {
    "yaml": (yaml_template, is_yaml),
    "toml": (toml_template, is_toml),
}


def structured_task(text: str, language_id: str, *, seed: int = 0) -> Task:
    """A document of JSON, YAML or TOML, to be finished so that it parses. Raises DocumentError."""
    if language_id == "json":
        return json_task(text, Schema(True), seed=seed)
    template, holds = _MARKUP[language_id]
    request = InfillRequest(prefix="", suffix="", language_id=language_id, max_lines=1, seed=seed)
    return Task(pieces=tuple(template(text)), holds=holds, request=request)


def completed(
    engine: Engine,
    task: Task,
    *,
    budget: Budget = UNLIMITED,
    watch: Callable[[Draft], None] | None = None,
) -> Completed:
    """What the engine proposes in the slots, so far as the whole holds with it."""
    return at_once(completing(engine, task, budget=budget, watch=watch))


def completing(
    engine: Engine,
    task: Task,
    *,
    budget: Budget,
    watch: Callable[[Draft], None] | None,
) -> Steps[Completed]:
    """The same, in steps."""
    pieces, slots = task.pieces, task.slots
    proposals: dict[int, str] = {}

    def settle(number: int, proposal: str) -> str:
        proposals[number] = proposal
        slot = slots[number]
        fit = slot.fit(proposal)
        taken = fit is not None and HOLE not in fit and (is_value(fit) or not slot.value)
        return fit if taken and fit is not None else slot.fallback

    parts = [_part(piece) for piece in pieces]
    fills = yield from filled(
        engine, parts, settle, request=task.request, budget=budget, watch=watch
    )
    fills = [fill if at in proposals else slots[at].fallback for at, fill in enumerate(fills)]
    text = composed(pieces, fills)
    if not task.holds(text):
        fills = yield from _as_far_as_it_holds(task, fills, budget)
        text = composed(pieces, fills)
    said = [
        bool(fill.strip()) and proposals.get(at, "").strip().startswith(fill.strip())
        for at, fill in enumerate(fills)
    ]
    changed = [fill != slot.fallback for fill, slot in zip(fills, slots, strict=True)]
    repaired = sum(change and not as_said for change, as_said in zip(changed, said, strict=True))
    left = sum(
        slot.value and not (change or as_said)
        for slot, change, as_said in zip(slots, changed, said, strict=True)
    )
    return Completed(text=text, slots=len(slots), proposed=sum(said), repaired=repaired, left=left)


def _as_far_as_it_holds(task: Task, fills: Sequence[str], budget: Budget) -> Steps[list[str]]:
    """The fallbacks, and each fill in turn that leaves the whole right: what two say together may
    be wrong."""
    kept = [slot.fallback for slot in task.slots]
    for at, fill in enumerate(fills[:_MOST_TRIED]):
        if fill != kept[at] and not budget.over:
            tried = [*kept[:at], fill, *kept[at + 1 :]]
            if task.holds(composed(task.pieces, tried)):
                kept = tried
            yield
    return kept


def _part(piece: Piece) -> str | Gap:
    if isinstance(piece, Slot):
        return Gap(
            hole=Hole(max_tokens=piece.max_tokens, initials=piece.initials),
            # To the engine a mark would be an example of what to say.
            stand_in="null" if piece.fallback.strip("\"'") == HOLE else piece.fallback,
        )
    return piece
