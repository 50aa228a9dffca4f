"""What is shown though nobody asked for it: rather nothing than something that interrupts.

Pure functions. What was asked for goes through no gate.
"""

import math
import re

from infill_ls.completion.context import Context
from infill_ls.syntax.brackets import balance

# What only ends the word under the cursor is what an editor's own completion does; it must be so
# much likelier right.
WORD_SCORE = 0.5
# So many characters before the cursor stand elsewhere too where the file's own text goes on.
_SHARED = 8
_WORD = re.compile(r"\w+\Z")
_STARTS_WORD = re.compile(r"\w")


def least_score(text: str, context: Context, elsewhere: str, threshold: float) -> float:
    """The score from which a text that belongs at the cursor is shown while the user types; above 1
    where it never is."""
    if not (place(context) == "code" or _goes_on(text, context, elsewhere)):
        return math.inf
    within = _WORD.search(context.line_before) and not _STARTS_WORD.match(context.line_after)
    return max(threshold, WORD_SCORE) if within and _WORD.fullmatch(text) else threshold


def place(context: Context) -> str:
    """What the cursor stands in: "code", a "comment" or a "string"."""
    kind = balance(context.code_before, context.language, context.opening).state.kind
    return kind if kind in ("comment", "string") else "code"


def _goes_on(text: str, context: Context, elsewhere: str) -> bool:
    """Whether the text follows the same text elsewhere."""
    line = context.line_before[-_SHARED:].lstrip() + text.partition("\n")[0].rstrip()
    return any(line in known for known in (context.prefix, context.suffix, elsewhere))
