"""What several texts begin with: where none of them is probable enough to be shown, the beginning
that they share may be. A pure function of texts and their probabilities."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from infill_ls.completion.attempt import shorter
from infill_ls.syntax.brackets import balance
from infill_ls.syntax.language import Language

LEAST = 3  # characters
_WORD = re.compile(r"\w")
_ENDS = re.compile(r"[\w)\]}\"'`;]\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """`score` is the probability that the right text begins with it, `of` which of the texts is the
    likeliest that does."""

    text: str
    score: float
    of: int


def heads(texts: Sequence[tuple[str, float]], language: Language) -> Iterator[Head]:
    """Beginnings of one line, longest first, with the sum of the probabilities of all texts that
    begin with them: two texts cannot both be right, so that is how often one of them is. A
    beginning ends at a token that need not be gone on from, and leaves no bracket or quote open
    that it opens."""
    found = {cut for text, _ in texts for cut in shorter(text, len(text)) if "\n" not in cut}
    for cut in sorted(found, key=len, reverse=True):
        if len(cut.strip()) < LEAST or not (_ENDS.search(cut) and _closed(cut, language)):
            continue
        begun = [at for at, (text, _) in enumerate(texts) if _begins(text, cut)]
        score = min(1.0, sum(texts[at][1] for at in begun))
        yield Head(text=cut, score=score, of=max(begun, key=lambda at: texts[at][1]))


def _begins(text: str, head: str) -> bool:
    """Whether the text begins with it, and not within a word."""
    if not text.startswith(head):
        return False
    return not (_WORD.match(head[-1]) and _WORD.match(text[len(head) :]))


def _closed(text: str, language: Language) -> bool:
    own = balance(text, language)
    return not (own.openers or own.mismatched or own.state.open)
