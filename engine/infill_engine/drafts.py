"""From the tokens of a canvas to a `Draft`: texts, and cells for people who watch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from infill_engine.canvas import PINNED, Canvas, fill_ids
from infill_engine.denoise import Denoised
from infill_engine.denoiser import Scored
from infill_engine.request import Cell, Draft

Decode = Callable[[list[int]], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What stands in the first hole before the canvas, from earlier ones.

    ids              its tokens
    log_probability  the logarithm of how probable they are
    steps            how many they took
    healed_prefix    what was taken back of the prefix: the hole's text begins with it
    """

    ids: tuple[int, ...] = ()
    log_probability: float = 0.0
    steps: int = 0
    healed_prefix: bytes = b""


def text_of(decode: Decode, ids: Sequence[int]) -> str:
    return decode([*ids]).decode("utf-8", errors="replace")


def denoised_draft(
    decode: Decode, canvas: Canvas, denoised: Denoised, row: int, committed: Committed
) -> Draft:
    """A row of the canvas as it is after a step."""
    fills = fill_ids(denoised.token_ids, canvas, row)
    texts = [text_of(decode, fill) for fill in fills]
    texts[0] = _first_text(decode, fills[0], committed)
    parts: list[str] = []
    hole, pins = -1, list[int]()
    for token, number in zip(
        canvas.token_ids[row].tolist(), canvas.hole[row].tolist(), strict=True
    ):
        if number == PINNED:
            pins.append(token)
            continue
        if number != hole:
            hole = number
            parts += [text_of(decode, pins), texts[number]]
            pins = []
    free = canvas.free[row]
    entropy = denoised.entropy[row]
    return Draft(
        text="".join(parts),
        fills=tuple(texts),
        steps=committed.steps + denoised.num_steps,
        tokens=len(committed.ids) + sum(map(len, fills)),
        mean_entropy=float(entropy[free].mean()) if bool(free.any()) else 0.0,
        cells=_cells(decode, canvas, denoised, row),
        origin="denoised",
    )


def proposed_draft(
    decode: Decode,
    ids: Sequence[int],
    steps: int,
    committed: Committed,
    origin: Literal["proposed", "written"],
) -> Draft:
    """A middle that was not denoised, beside a canvas that took so many steps."""
    text = _first_text(decode, ids, committed)
    return Draft(
        text=text,
        fills=(text,),
        steps=committed.steps + steps,
        tokens=len(committed.ids) + len(ids),
        mean_entropy=0.0,
        converged=True,
        cells=tuple(Cell(text=text_of(decode, [i]), entropy=0.0, state="settled") for i in ids),
        origin=origin,
    )


def scored_draft(draft: Draft, scored: Scored, log_probability: float) -> Draft:
    return replace(
        draft,
        likelihood=scored.likelihood,
        join=scored.join,
        log_probability=log_probability,
    )


def middle_ids(canvas: Canvas, denoised: Denoised, row: int) -> list[int]:
    """Fills and the pins between them in order, without what stands for "nothing here"."""
    ids, end = [], 0
    for token, number in zip(
        denoised.token_ids[row].tolist(), canvas.hole[row].tolist(), strict=True
    ):
        if canvas.ends is None or token != canvas.end_id:
            ids.append(token)
        if number != PINNED:
            end = len(ids)
    return ids[:end]


def _first_text(decode: Decode, ids: Sequence[int], committed: Committed) -> str:
    whole = text_of(decode, [*committed.ids, *ids])
    return whole.removeprefix(committed.healed_prefix.decode("utf-8"))


def _cells(decode: Decode, canvas: Canvas, denoised: Denoised, row: int) -> tuple[Cell, ...]:
    cells = []
    for token, number, entropy, decided in zip(
        denoised.token_ids[row].tolist(),
        canvas.hole[row].tolist(),
        denoised.entropy[row].tolist(),
        denoised.decided[row].tolist(),
        strict=True,
    ):
        ended = canvas.ends is not None and token == canvas.end_id
        if ended:
            state = "end" if decided else "noise"
        elif number == PINNED:
            state = "pinned"
        else:
            state = "settled" if decided else "noise"
        text = "" if ended else text_of(decode, [token])
        cells.append(Cell(text=text, entropy=entropy, state=state))
    return tuple(cells)
