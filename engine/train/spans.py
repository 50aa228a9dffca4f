"""Where a training document may have its holes: spans of at most 64 tokens, in token offsets.

Works on one document's text: it splits it into the tokenizer's pieces, has spans drawn in
characters, cuts the pieces where a span starts or ends inside one (a user stopped there), and maps
the spans to token offsets. Knows nothing of shards.
"""

import random
import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, chain

from train.holes import HoleDrawer, parse
from train.tokenizer import PRE_SPLIT

# The last alternative is what the tokenizer leaves as a piece of its own because nothing matches.
PIECE = re.compile(PRE_SPLIT + r"|\s")
MAX_TOKENS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A document's token ids and its spans as (start, end, kind), sorted, in token offsets."""

    tokens: list[int]
    spans: list[tuple[int, int, int]]
    cuts: int  # spans that start or end where the whole text has no boundary between pieces
    words_cut: int  # those of them inside a word


def pieces_of(text: str) -> list[str]:
    """The tokenizer's pre-split pieces; together they are the text."""
    return PIECE.findall(text)


def pack(
    text: str, language: str, path: str, encode: Callable[[str], tuple[int, ...]], seed: int
) -> Packed:
    """A document's tokens and spans. `encode` gives the ids of one pre-split piece.

    The same text and seed give the same spans. A span whose ends are no token boundaries, once all
    cuts are made, or with more than 64 tokens, is left out.
    """
    pieces = pieces_of(text)
    drawer = HoleDrawer(text, parse(text, language, path), pieces, random.Random(seed))
    # Over 64 tokens hold more than 64 characters; under that there is no need to count.
    chosen = drawer.drawn(longest=8 * MAX_TOKENS)
    ids = [encode(piece) for piece in pieces]
    starts = drawer.starts
    before = list(accumulate(map(len, ids), initial=0))
    # Left out before cutting, so that the text is cut only where a span needs it.
    chosen = {
        span
        for span in chosen
        if before[bisect_left(starts, span[1])] - before[bisect_left(starts, span[0])] <= MAX_TOKENS
    }
    cuts = {at for span in chosen for at in span[:2]}.difference(starts)
    if cuts:
        pieces = _cut(pieces, starts, cuts)
        ids = [encode(piece) for piece in pieces]
        starts = [0, *accumulate(map(len, pieces))]
    # An end inside a piece was cut above, so that each end is now the start of some piece.
    token_at = dict(zip(starts, accumulate(map(len, ids), initial=0), strict=True))
    spans = sorted((token_at[a], token_at[b], kind) for a, b, kind in chosen)
    spans = [span for span in spans if span[1] - span[0] <= MAX_TOKENS]
    at_cut = {token_at[at] for at in cuts}
    in_word = {token_at[at] for at in cuts if text[at - 1].isalnum() and text[at].isalnum()}
    return Packed(
        tokens=list(chain.from_iterable(ids)),
        spans=spans,
        cuts=sum(a in at_cut or b in at_cut for a, b, _ in spans),
        words_cut=sum(a in in_word or b in in_word for a, b, _ in spans),
    )


def _cut(pieces: list[str], starts: list[int], cuts: set[int]) -> list[str]:
    """The pieces with those that contain a cut offset split there.

    A piece is split as tokenising the text's parts separately would split it: each kind of piece
    is a run of one class of characters with at most a space before it.
    """
    pending = iter(sorted(cuts))
    cut = next(pending, None)
    result: list[str] = []
    for piece, start in zip(pieces, starts, strict=False):
        end, done = start + len(piece), start
        while cut is not None and cut < end:
            if cut > done:
                result.extend(pieces_of(piece[done - start : cut - start]))
                done = cut
            cut = next(pending, None)
        result.extend(pieces_of(piece[done - start :]) if done > start else (piece,))
    return result
