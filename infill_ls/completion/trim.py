"""From what an engine wrote to what of it belongs at the cursor: functions of text and context.

They cut and never invent. Texts have LF line ends, offsets are code points of the text. Whether
the file still parses is for `infill_ls.syntax.check`, and asked afterwards.
"""

import re
from bisect import bisect_right

from infill_ls.completion.context import Context
from infill_ls.completion.indent import indented
from infill_ls.completion.lines import closes_tag, width
from infill_ls.completion.repetition import (
    repeated,
    without_loops,
    without_prefix,
    without_suffix,
)
from infill_ls.completion.seam import misfit
from infill_ls.syntax.brackets import CLOSERS
from infill_ls.syntax.lexer import at_end, lex
from infill_ls.syntax.regions import within

# What may follow the cursor on its line for a text of several lines to fit before it. Possessive:
# what it took it does not give back, so that it reads every character once.
_ONLY_CLOSERS = re.compile(r"(?:[\s)\]}>\"'`]|/>|</[\w:.-]*+>)*+[;,:{]?\s*+\\?")
_DEFINITION = re.compile(
    r"(?:@\w|#\[|template\b|(?:export|default|async|public|private|protected|internal|static|final"
    r"|abstract|pub(?:\([^)]*+\))?|override|inline|extern|unsafe|data|sealed|open|suspend|case|local"
    r"|fileprivate)\s++)*+"
    r"(?:@\w|(?:def|class|fn|func|function|interface|struct|enum|impl|trait|module|namespace|record"
    r"|mod)\b|(?:fun|object|protocol|extension|mixin|actor)\s++\w)"
)
# Of a line, or of the template tag that it begins with.
_FIRST_WORD = re.compile(r"(?:\{[%:][-+~]?\s*+)?(\w+|;;)")
# VS Code shows nothing of a text of more than 5,000 characters.
_LONGEST = 4_000
# An engine that says more than this has lost its way; nobody looks at the rest of it.
_MOST_LOOKED_AT = 2 * _LONGEST
# Not in any source file: what a broken decoding leaves, and control characters.
_GARBAGE = re.compile("[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def allowed_lines(context: Context, max_lines: int | None) -> int | None:
    """One where more than closing brackets follows the cursor on its line."""
    return max_lines if _ONLY_CLOSERS.fullmatch(context.line_after) else 1


def trimmed(text: str, context: Context, max_lines: int | None = None) -> str:
    """As much of the text as belongs at the cursor; "" where that is nothing.

    It ends where its statement or block ends, is indented as the file is, and does not say what
    stands before or behind it anyway.
    """
    text = text[:_MOST_LOOKED_AT].replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        return ""
    text = without_prefix(_without_garbage(text), context)
    text = indented(text, context)
    text = within(text, context.region, context.line_before, context.suffix)
    text = without_loops(_within_scope(text, context))
    if len(text) > _LONGEST:
        text = text[: text.rfind("\n", 0, _LONGEST) + 1]
    lines = allowed_lines(context, max_lines)
    if lines is not None:
        text = "\n".join(text.split("\n")[: max(lines, 1)])
    text = _stripped(text, context)
    for _ in range(8):  # one cut can bring to light what follows as well
        before = text
        text = _stripped(without_suffix(text, context), context)
        if text == before:
            break
    fits = text.strip() and not repeated(text, context) and not misfit(text, context)
    return text if fits else ""


def _without_garbage(text: str) -> str:
    """Up to the first character that no file has, and then to the last whole token before it."""
    found = _GARBAGE.search(text)
    if found is None:
        return text
    kept = text[: found.start()]
    line_end = kept.rfind("\n")
    if line_end >= 0:
        return kept[:line_end]
    token = next((i for i in range(len(kept), 0, -1) if kept[i - 1].isspace()), 0)
    return kept[:token]


def _within_scope(text: str, context: Context) -> str:
    """Up to where the statement or block ends that the text begins or goes on with."""
    lines = text.split("\n")
    before = context.line_before
    here = width(before if before.strip() else before + lines[0])
    language = context.language
    deeper = False
    comment = language.line_comment or "//"
    started = bool(before.strip()) or not _is_preamble(lines[0], comment)
    literal = _literal_lines(text, context) if len(lines) > 1 else set()
    for index, line in enumerate(lines[1:], 1):
        content = line.strip()
        if not content or index in literal:
            continue
        # Comments and decorators belong to what follows them.
        in_preamble, started = not started, started or not _is_preamble(line, comment)
        depth = width(line)
        word = _FIRST_WORD.match(content)
        closes = content[0] in CLOSERS or closes_tag(content)
        closes = closes or (word is not None and word[1] in language.close)
        carries_on = word is not None and word[1] in language.carry_on
        if depth > here:
            deeper = True
            continue
        apart = not lines[index - 1].strip()
        if depth < here:
            # It may close what is open here, if the file does not; the parser will tell.
            keep = index + 1 if closes and not apart else index
            return "\n".join(lines[:keep])
        if closes or carries_on:
            continue
        defines = bool(_DEFINITION.match(content)) and not in_preamble
        # The cursor's line opened the block that is over now.
        over = deeper and not lines[0].strip() and bool(before.strip())
        if (apart and not in_preamble) or defines or over:
            return "\n".join(lines[:index])
    return text


def _literal_lines(text: str, context: Context) -> set[int]:
    """The lines that begin within a string or here-document which the text opens and closes:
    what is indented there is no code."""
    language = context.language
    if at_end(context.code_before, language, context.opening)[0].open:
        return set()
    found = lex(text, language)
    starts = [match.end() for match in re.finditer("\n", text)]
    spans = [(low, high) for low, high, kind in found.pieces if kind in ("string", "heredoc")]
    if found.state.open:  # it may be no string at all
        spans = spans[:-1]
    low_of = [low for low, _ in spans]
    inner: set[int] = set()
    for index, start in enumerate(starts, 1):
        at = bisect_right(low_of, start) - 1
        if at >= 0 and start < spans[at][1]:
            inner.add(index)
    return inner


def _is_preamble(line: str, comment: str) -> bool:
    return line.strip().startswith((comment, "/*", "*", "@", "#[", "template")) or not line.strip()


def _stripped(text: str, context: Context) -> str:
    """Without white space at the ends of its lines, and without empty lines at its end."""
    *lines, last = text.split("\n")
    lines = [line.rstrip(" \t") for line in lines]
    rest = context.line_after
    if not rest.strip():
        return "\n".join([*lines, last]).rstrip()
    if rest.lstrip()[0] in ")]},;" and not rest[:1].isspace() and last.strip():
        last = last.rstrip()
    return "\n".join([*lines, last])
