"""A text with slots: what is fixed, and what the engine may propose for the rest.

A template is right with every slot's fallback in it. A proposal is taken as it is where it holds;
else the nearest text that does is.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """`fallback` holds whatever the model says; `fit` turns a proposal into a text that holds, as
    near to it as may be, or gives None. `max_tokens` is what the model needs for it at most, and
    `initials` what it may begin with, "" for anything. A `value` is one that is missing as a
    whole."""

    fallback: str
    fit: Callable[[str], str | None]
    max_tokens: int
    initials: str = ""
    value: bool = False


Piece = str | Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Pieces in place of a span of the document."""

    start: int
    end: int
    pieces: tuple[Piece, ...]


def spliced(text: str, start: int, end: int, edits: Sequence[Edit]) -> list[Piece]:
    """A part of the document with the edits in it; of several at a place the first comes first."""
    pieces: list[Piece] = []
    at = start
    for edit in sorted(edits, key=lambda edit: edit.start):
        assert edit.start >= at, "two edits overlap"
        pieces += [text[at : edit.start], *edit.pieces]
        at = edit.end
    return joined([*pieces, text[at:end]])


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """The same, adjacent texts as one."""
    result: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and result and isinstance(result[-1], str):
            result[-1] += piece
        elif piece != "":
            result.append(piece)
    return result


def composed(pieces: Iterable[Piece], fills: Iterable[str] | None = None) -> str:
    """The text with these fills in its slots, or with the fallbacks."""
    if fills is None:
        return "".join(each if isinstance(each, str) else each.fallback for each in pieces)
    filled = iter(fills)
    return "".join(each if isinstance(each, str) else next(filled) for each in pieces)


def slots_of(pieces: Iterable[Piece]) -> list[Slot]:
    return [each for each in pieces if isinstance(each, Slot)]


def one_of(options: Sequence[str], *, nth: int = 0) -> Piece:
    """One of the texts, the `nth` of them where the model says nothing of use; a single one needs
    no slot."""
    if len(options) == 1:
        return options[0]

    def fit(proposal: str) -> str | None:
        said = proposal.strip()
        if said in options:
            return said
        if found := [each for each in options if each and said.startswith(each)]:
            return max(found, key=len)
        likeness = {
            each: SequenceMatcher(None, said[: len(each)], each).ratio() for each in options
        }
        best = max(options, key=lambda each: (each[:1] == said[:1], likeness[each]))
        return best if best[:1] == said[:1] or likeness[best] > 0.5 else None

    return Slot(
        fallback=options[nth],
        fit=fit,
        max_tokens=max(2, max(map(len, options)) // 3 + 2),
        initials="".join(sorted({each[0] for each in options})) if all(options) else "",
    )
