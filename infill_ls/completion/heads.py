"""How much of what an engine says is shown: beginnings of its texts, and how probable each is. Pure
functions of texts and their probabilities.

An engine says of each text how probable it is that nothing else belongs there. A beginning of it is
right more often: where other texts begin so too, and where what nobody thought of may.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infill_engine.request import EngineInfo
from infill_ls.completion.attempt import shorter
from infill_ls.syntax.brackets import balance
from infill_ls.syntax.language import Language

# Fitted by `python -m benchmarks.typing.fit`.
WEIGHTS = Path(__file__).with_name("heads.json")
# From which probability a beginning is shown though nobody asked for it.
SHOWN_FROM = 0.7
# Of a beginning: the sum of the probabilities of all texts that begin with it, which part of the
# sum of all texts that is, how much of what nobody thought of that would be, the logarithm of the
# greatest of them, how much of the longest of these texts it is, how many they are, which part of
# all texts, and whether it is a text itself.
FIGURES = ("sum", "share", "rest", "greatest", "length", "number", "part", "whole")
_LEAST = 1e-4  # probability
_WORD = re.compile(r"\w")
_ENDS = re.compile(r"[\w)\]}\"'`;]\Z")

Texts = Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """`score` is the probability that the right text begins with it, `of` which of the texts is the
    likeliest that does; `whole` where it is that text."""

    text: str
    score: float
    of: int
    whole: bool


def percent(probability: float) -> str:
    """Rounded down, so that what is below a bound reads so."""
    return f"{math.floor(100 * probability + 1e-6)} %"


def shown_from(info: EngineInfo, doubt: float = 1.0) -> float:
    """Which probability what nobody asked for needs, of which an engine's user doubts so much more
    than others; 0 where the engine's texts have none."""
    return min(SHOWN_FROM * doubt, 0.99) if info.show_threshold else 0.0


def heads(texts: Texts, language: Language, least: Callable[[str], float]) -> Iterator[Head]:
    """Those that are at least so probable as `least` says, longest first. One that is not a whole
    text has one line, ends at a token that need not be gone on from, and leaves no bracket or quote
    open that it opens."""
    whole = {text for text, _ in texts}
    for text in sorted(beginnings(texts), key=len, reverse=True):
        score = probability(text, texts)
        if score < least(text) or not (text in whole or _closed(text, language)):
            continue  # in this order: to look for brackets takes longest
        begun = [at for at, (other, _) in enumerate(texts) if other.startswith(text)]
        of = max(begun, key=lambda at: (texts[at][0] == text, texts[at][1]))
        yield Head(text=text, score=score, of=of, whole=text in whole)


def nearest(
    texts: Texts, language: Language, least: Callable[[str], float]
) -> tuple[float, float, str]:
    """How probable the head is that lacks least of what `least` says, what that is, and the
    head."""
    whole = {text for text, _ in texts}
    scores = [(probability(text, texts), least(text), text) for text in beginnings(texts)]
    by_lack = sorted(scores, key=lambda each: each[0] - each[1], reverse=True)
    return next(each for each in by_lack if each[2] in whole or _closed(each[2], language))


def beginnings(texts: Texts) -> list[str]:
    """The texts, and where they may end before."""
    found = dict.fromkeys(text for text, _ in texts)
    cuts = (cut for text, _ in texts for cut in shorter(text, len(text)))
    found |= dict.fromkeys(cut for cut in cuts if "\n" not in cut and _ENDS.search(cut))
    return list(found)


def figures(beginning: str, texts: Texts) -> tuple[float, ...]:
    """What speaks for it, in the order of FIGURES."""
    begun = [(text, p) for text, p in texts if begins(text, beginning)]
    said, every = sum(p for _, p in begun), max(sum(p for _, p in texts), _LEAST)
    share = said / every
    greatest = max((p for _, p in begun), default=0.0)
    longest = max((len(text) for text, _ in begun), default=len(beginning))
    return (
        *(min(said, 1.0), share, share * max(0.0, 1.0 - every)),
        *(math.log(max(greatest, _LEAST)), len(beginning) / max(longest, 1)),
        *(float(len(begun)), len(begun) / max(len(texts), 1)),
        float(any(text == beginning for text, _ in begun)),
    )


def probability(beginning: str, texts: Texts) -> float:
    """That the right text begins so."""
    weights, of = _weights(), figures(beginning, texts)
    odds = weights["constant"]
    odds += sum(weights[name] * figure for name, figure in zip(FIGURES, of, strict=True))
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, odds))))


@cache
def _weights() -> dict[str, float]:
    return {name: float(weight) for name, weight in json.loads(WEIGHTS.read_text()).items()}


def begins(text: str, beginning: str) -> bool:
    """Whether the text begins so, and not within a word."""
    if not text.startswith(beginning):
        return False
    return not (_WORD.match(beginning[-1:]) and _WORD.match(text[len(beginning) :]))


def _closed(text: str, language: Language) -> bool:
    own = balance(text, language)
    return not (own.openers or own.mismatched or own.state.open)
