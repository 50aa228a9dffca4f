"""The canvas: rows of token ids, some free to be denoised, the others pinned. Knows no text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infill_engine.arrays import Array, namespace

PINNED = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """B rows of T cells that share one context; arrays of numpy or of torch.

    token_ids  [B, T] int64; a free cell's entry does not count
    hole       [B, T] int64; the number of the hole that a free cell belongs to, PINNED elsewhere
    first      [V] bool or None; the tokens that may stand in a row's first free cell
               (token healing: they continue what was typed of a word)
    initials   of some holes, by their number: a cell of it, from 0, and the tokens that may stand
               there, [V] bool
    allowed    [V] bool or None; the tokens that may stand in any free cell; None leaves it to the
               model, which never gives out its special ones
    ends       [V] bool or None; tokens that end their hole when decided; whatever follows one
               in its hole becomes `end_id`, and so does the token itself
    end_id     the token that stands for "nothing more in this hole"
    done       [B] bool or None; rows whose statistics nobody looks at any more
    """

    token_ids: Array
    hole: Array
    first: Array | None = None
    initials: Mapping[int, tuple[int, Array]] = field(default_factory=dict)
    allowed: Array | None = None
    ends: Array | None = None
    end_id: int = 0
    done: Array | None = None

    @property
    def free(self) -> Array:  # [B, T] bool
        return self.hole >= 0

    @property
    def first_free(self) -> Array:  # [] int64, in the first row; all begin alike
        return (self.free[0] * 1).argmax()  # torch's flags have no argmax


def lay_out(
    middle: Sequence[Sequence[int] | int], *, canvas_length: int, end_id: int
) -> tuple[list[int], list[int]]:
    """One row from a template: a list of ids is pinned, a number n is a hole of n cells.

    Returns token ids and hole numbers, both canvas_length long. Cells left over are END pins at
    the row's tail, which say that nothing comes there.
    """
    token_ids: list[int] = []
    hole: list[int] = []
    number = 0
    for part in middle:
        if isinstance(part, int):
            token_ids += [end_id] * part
            hole += [number] * part
            number += 1
        else:
            token_ids += part
            hole += [PINNED] * len(part)
    slack = canvas_length - len(token_ids)
    assert slack >= 0, f"a template of {len(token_ids)} cells does not fit {canvas_length}"
    return token_ids + [end_id] * slack, hole + [PINNED] * slack


def close_holes(token_ids: Array, decided: Array, canvas: Canvas) -> tuple[Array, Array]:
    """Ends each hole at its first decided end token.

    token_ids [B, T], decided [B, T] bool -> the same two, with every free cell from the first
    decided end of its hole onward set to `end_id` and decided.
    """
    if canvas.ends is None:
        return token_ids, decided
    stop = canvas.ends[token_ids] & decided & canvas.free
    if canvas.first is not None:
        # A first token that was constrained continues what stands before the cursor, which may be
        # a line break; it never ends the hole.
        stop[:, canvas.first_free] = False
    if not bool(stop.any()):
        return token_ids, decided
    # A cell is past the end when some earlier-or-same cell of the same hole stopped.
    xp = namespace(token_ids)
    if int(canvas.hole.max()) == 0:
        past = (stop.cumsum(-1) > 0) & canvas.free
    else:
        same = canvas.hole[:, :, None] == canvas.hole[:, None, :]
        earlier = xp.tril(xp.ones_like(same[0]))
        past = (same & earlier & stop[:, None, :]).any(-1) & canvas.free
    return xp.where(past, canvas.end_id, token_ids), decided | past


def is_open(canvas: Canvas, row: int) -> bool:
    """Whether text may go on behind a row's last hole: no text is pinned there."""
    holes = canvas.hole[row].tolist()
    end = max((at + 1 for at, number in enumerate(holes) if number != PINNED), default=0)
    return bool((canvas.token_ids[row, end:] == canvas.end_id).all())


def fill_ids(token_ids: Array, canvas: Canvas, row: int) -> list[list[int]]:
    """The tokens of each hole of one row, in order, without the cells where nothing comes."""
    ids = token_ids[row].tolist()
    holes = canvas.hole[row].tolist()
    fills: list[list[int]] = [[] for _ in range(max(holes, default=PINNED) + 1)]
    for token, number in zip(ids, holes, strict=True):
        nothing = canvas.ends is not None and token == canvas.end_id
        if number != PINNED and not nothing:
            fills[number].append(token)
    return fills
