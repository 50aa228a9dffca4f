"""What stands elsewhere after the same text: a guess for the hole, for the model to judge.

Source repeats itself, and a small model copies worse than it recognises. The guess is ranked with
what was denoised. (Prompt lookup does the same for autoregressive models.)
"""

# A context of fewer characters, or of too few letters, stands in too many places to mean anything.
LEAST, LETTERS = 6, 3
MOST = 80


def copied(prefix: str, suffix: str) -> str:
    """The rest of the line after the longest earlier occurrence of the text before the cursor.

    Looks backward from the cursor first, then behind it; "" where nothing long enough recurs.
    Ends before what already follows the cursor on its line.
    """
    length = _longest(prefix, suffix)
    context = prefix[len(prefix) - length :]
    if length < LEAST or sum(map(str.isalnum, context)) < LETTERS:
        return ""
    at = prefix.rfind(context, 0, len(prefix) - 1)
    source, at = (prefix, at) if at >= 0 else (suffix, suffix.find(context))
    return up_to(suffix, source[at + length :].split("\n", 1)[0])


def up_to(suffix: str, line: str) -> str:
    """A guessed rest of the line without what already follows the cursor there."""
    rest = suffix.split("\n", 1)[0].rstrip()
    if not rest:
        return line.rstrip()
    return line[:end] if rest.strip() and (end := line.find(rest)) >= 0 else line


def _longest(prefix: str, suffix: str) -> int:
    """How many characters before the cursor recur elsewhere; what recurs does so in every part."""
    low, high = 0, min(MOST, max(len(prefix) - 1, 0))
    while low < high:
        middle = (low + high + 1) // 2
        context = prefix[len(prefix) - middle :]
        if prefix.find(context, 0, len(prefix) - 1) >= 0 or context in suffix:
            low = middle
        else:
            high = middle - 1
    return low
