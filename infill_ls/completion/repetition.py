"""What a text says although it stands next to the cursor anyway. Pure functions of text and
context; offsets are code points of the text. All take time in proportion to what they look at.
"""

import re

from infill_ls.completion.context import Context
from infill_ls.completion.lines import (
    LONG,
    distinctive,
    first_filled,
    has_words,
    last_filled,
    same_line,
    width,
)
from infill_ls.syntax.brackets import CLOSERS, PAIRS, balance
from infill_ls.syntax.lexer import at_end, closed_at

# So many characters that the suffix begins with may not end a text, nor the prefix's end begin one.
_OVERLAP = 8
# So many lines that follow are looked at.
_BELOW = 4
# An overlap is looked for in so many characters.
_OVERLAP_WINDOW = 2_000
_WORD = re.compile(r"\w")
_ENDS_TAG = re.compile(r"[%#}]\}")


def repeated(text: str, context: Context) -> str:
    """What the text says although it stands next to it anyway, in words; "" where nothing."""
    last = text.rstrip().rpartition("\n")[2]
    following = first_filled(context.suffix, _BELOW)
    if following and same_line(last if "\n" in text else context.line_before + last, following[0]):
        return "the next line"
    if following and has_words(last) and last.strip() == following[0].strip():
        return "the next line"
    alone = "\n" in text or not context.line_before.strip()
    if alone and _stands_below(last if "\n" in text else context.line_before + last, following):
        return "a line that follows"
    if _overlap(text, context.suffix) >= _OVERLAP:
        return "what follows"
    if _doubled(text, context) < len(text):
        return "a closer that follows"
    if _echo(text, context):
        return "what stands before"
    if not context.line_before.strip() and _repeats_previous_line(text, context):
        return "the previous line"
    return ""


def without_prefix(text: str, context: Context) -> str:
    """Without the part of the cursor's line that stands there already."""
    typed = context.line_before.lstrip()
    if len(typed) >= 3 and has_words(typed) and text.lstrip().startswith(typed):
        return text.lstrip()[len(typed) :]
    return text[_echo(text, context) :]


def without_suffix(text: str, context: Context) -> str:
    """Cut before the part that says what follows the cursor."""
    following = first_filled(context.suffix, _BELOW)
    if following:
        text = _before_line(text, following[0], context)
    overlap = _overlap(text, context.suffix)
    if overlap >= _OVERLAP:
        text = text[: len(text) - overlap]
    text = text[: _doubled(text, context)]
    head, newline, last = text.rpartition("\n")
    return head if newline and _stands_below(last, following) else text


def without_loops(text: str) -> str:
    """Up to where one or two lines begin to come a third time in a row."""
    lines = text.split("\n")
    for end in range(3, len(lines) + 1):
        for period in (1, 2):
            last = lines[max(end - period, 0) : end]
            if all(line.strip() for line in last) and last * 3 == lines[end - 3 * period : end]:
                return "\n".join(lines[: end - 2 * period])
    return text


def _echo(text: str, context: Context) -> int:
    """How much of the text's beginning is the end of the prefix; 0 for a few characters."""
    return _shared(context.prefix, text)


def _overlap(text: str, suffix: str) -> int:
    """How much of the text's end is the start of the suffix, blanks between them left out or not;
    counted from the end. 0 where it is only a few characters."""
    best = 0
    for skipped in {0, len(suffix) - len(suffix.lstrip(" \t"))}:
        for tail in (text, text.rstrip()):
            shared = _shared(tail, suffix[skipped:])
            if shared:
                best = max(best, shared + len(text) - len(tail))
    return best


def _shared(left: str, right: str) -> int:
    """How many characters the end of `left` and the start of `right` share; 0 for a few."""
    head = right[:_OVERLAP]
    at = max(len(left) - min(len(right), _OVERLAP_WINDOW), 0)
    while (at := left.find(head, at)) >= 0 and len(head) == _OVERLAP:
        if right.startswith(left[at:]):
            return len(left) - at if len(left[at:].strip()) >= _OVERLAP else 0
        at += 1
    return 0


def _before_line(text: str, following: str, context: Context) -> str:
    lines = text.split("\n")
    for index, line in enumerate(lines):
        whole = context.line_before + line if index == 0 else line
        last = index == len(lines) - 1
        same = line.strip() == following.strip() and has_words(line)
        if (same and (last or len(line.strip()) >= LONG)) or (last and same_line(whole, following)):
            return "\n".join(lines[:index])
    return text


def _stands_below(line: str, following: list[str]) -> bool:
    """Is it one of the next lines but the first, in the same block?"""
    if not distinctive(line):
        return False
    for index, other in enumerate(following):
        if width(other) < width(line):
            return False
        if index and other.strip() == line.strip():
            return True
    return False


def _doubled(text: str, context: Context) -> int:
    """Where the text starts to say the bracket, quote, separator or word that follows at once;
    its length where it does not."""
    content = text.rstrip()
    rest = context.line_after.lstrip()
    head = context.suffix.lstrip()[:1]
    if not content or not head:
        return len(text)
    if _WORD.search(rest) and content.endswith(rest.rstrip()):
        return len(content) - len(rest.rstrip())
    if rest or head in CLOSERS:
        state, _ = at_end(context.code_before, context.language, context.opening)
        own = balance(text, context.language, state)
        quote = state.quote
        if quote and context.line_after.startswith(quote) and own.state != state:
            return closed_at(text, context.language, state)
        for closer, at in zip(own.closers, own.closers_at, strict=True):
            if context.language.templates and _ENDS_TAG.search(text[max(at - 1, 0) : at + 2]):
                continue
            ends = rest or (at == len(content) - 1 and not _closes_another(content, at, context))
            if closer == head and ends:
                return at
    if rest and content[-1] == rest[0] and (rest[0] in ";,\"'`" or _too_many(content)):
        return len(content) - 1
    word = re.match(r"\w{2,}", context.line_after)
    if word and text.endswith(word[0]):
        return len(text) - len(word[0])
    return len(text)


def _too_many(text: str) -> bool:
    """Is the closer at the end one more than the text opens, strings and comments included?"""
    opener = next((opener for opener, closer in PAIRS.items() if closer == text[-1]), "")
    return bool(opener) and text.count(text[-1]) > text.count(opener)


def _closes_another(text: str, at: int, context: Context) -> bool:
    """Does the closer at `at` begin a line, indented otherwise than the line that follows? Or
    does it close what the cursor's line opens, which is indented more than that?"""
    _head, newline, line = text[:at].rpartition("\n")
    line = line if newline else context.line_before + line
    following = first_filled(context.suffix, 1)[0]
    if not line.strip():
        return width(line) != width(following)
    opened = balance(line, context.language).openers[-1:]
    return PAIRS.get(opened) == text[at] and width(line) > width(following)


def _repeats_previous_line(text: str, context: Context) -> bool:
    above = last_filled(context.prefix[: len(context.prefix) - len(context.line_before)])
    first = text.strip().partition("\n")[0]
    return distinctive(first) and above.strip() == first.strip()
