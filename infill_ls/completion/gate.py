"""What is shown though nobody asked for it: rather nothing than something that interrupts.

Pure functions. What was asked for goes through no gate.
"""

import math

from infill_ls.completion.context import Context
from infill_ls.syntax.lexer import at_end

# What is so short is hardly worth a key: fewer characters than that have to be so much surer.
SHORT, SHORT_SCORE = 3, 0.85
# So many characters before the cursor stand elsewhere too where the file's own text goes on.
_SHARED = 8


def least_score(text: str, context: Context, elsewhere: str, threshold: float) -> float:
    """The score from which a text that belongs at the cursor is shown while the user types; above 1
    where it never is.

    The rest of a word needs no more than other texts: what reaches the threshold there was right in
    65 of 66 cases (engine/train/LOG.md), which is surer than an editor's list of words.
    """
    if not (place(context) == "code" or _goes_on(text, context, elsewhere)):
        return math.inf
    return max(threshold, SHORT_SCORE) if len(text.strip()) < SHORT else threshold


def opens(context: Context, elsewhere: str) -> bool:
    """Whether anything may be shown there, whatever it is and however sure: in a comment or string
    only where its last characters stand elsewhere too. A model need not be asked where not."""
    if place(context) == "code":
        return True
    head, prefix = context.line_before[-_SHARED:].lstrip(), context.prefix
    others = any(head in known for known in (context.suffix, elsewhere))
    return others or head in prefix[: max(len(prefix) - 1, 0)]


def place(context: Context) -> str:
    """What the cursor stands in: "code", a "comment" or a "string", which here-documents are. What
    is code of another language in a string is code, and so is the text of markup."""
    state, _ = at_end(context.code_before, context.language, context.opening)
    inner = state.open[-1] if state.open else None
    if inner is None or inner.foreign or inner.kind not in ("comment", "string", "heredoc"):
        return "code"
    return "comment" if inner.kind == "comment" else "string"


def _goes_on(text: str, context: Context, elsewhere: str) -> bool:
    """Whether the text follows the same text elsewhere."""
    line = context.line_before[-_SHARED:].lstrip() + text.partition("\n")[0].rstrip()
    return any(line in known for known in (context.prefix, context.suffix, elsewhere))
