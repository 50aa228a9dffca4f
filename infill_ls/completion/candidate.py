"""From what an engine wrote to what may stand at the cursor: pure functions of text and context.

They cut and never invent. Texts have LF line ends, offsets are code points of the text. Whether
the file still parses is for `infill_ls.syntax.check`, and asked afterwards.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from infill_engine.request import Draft
from infill_ls.completion.context import Context
from infill_ls.syntax.brackets import CLOSERS, PAIRS, balance, followed, string_end
from infill_ls.syntax.language import language

# So many characters that the suffix begins with may not end a text, nor the prefix's end begin one.
_OVERLAP = 8
# A line of fewer characters may well stand twice in a row of statements.
_LINE = 8
_TOKEN = re.compile(r"\w+|[^\S\n]+|\n\s*|[^\w\s]")
_WORD = re.compile(r"\w")
_CLOSING_TAGS = re.compile(r"(?:</[\w:.-]*>\s*)+")
# What may follow the cursor on its line for a text of several lines to fit before it.
_ONLY_CLOSERS = re.compile(r"(?:[\s)\]}>\"'`]|/>|</[\w:.-]*>)*[;,:{]?\s*\\?")
_DEFINITION = re.compile(
    r"(?:@\w|#\[|template\b|(?:export|default|async|public|private|protected|internal|static|final"
    r"|abstract|pub(?:\([^)]*\))?|override|inline|extern|unsafe)\s+)*"
    r"(?:@\w|def|class|fn|func|function|interface|struct|enum|impl|trait|module|namespace|record"
    r"|mod)\b"
)
# VS Code shows nothing of a text of more than 5,000 characters.
_LONGEST = 4_000
# Not in any source file: what a broken decoding leaves, and control characters.
_GARBAGE = re.compile("[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What may be shown. `score` is the engine's confidence, from 0 to 1.

    `parses`: the file with the text in it has no syntax error that it had not without; None where
    the language has no grammar.
    """

    text: str
    score: float
    parses: bool | None
    draft: Draft


def confidence(draft: Draft) -> float:
    """How probable the text is; what an engine tells instead, the mean probability of a token;
    1 where it tells nothing.

    On held-out holes it sorts right from wrong better than means of tokens do, and is about how
    often the text is right (engine/train/LOG.md).
    """
    if not math.isnan(draft.log_probability):
        return min(1.0, math.exp(draft.log_probability))
    if not math.isnan(draft.likelihood):
        return min(1.0, math.exp(draft.likelihood))
    if not math.isnan(draft.mean_entropy):
        return math.exp(-max(draft.mean_entropy, 0.0))
    return 1.0


def allowed_lines(context: Context, max_lines: int | None) -> int | None:
    """One where more than closing brackets follows the cursor on its line."""
    return max_lines if _ONLY_CLOSERS.fullmatch(context.line_after) else 1


def tidied(text: str, context: Context, max_lines: int | None = None) -> str:
    """As much of the text as belongs at the cursor; "" where that is nothing.

    It ends where its statement or block ends, is indented as the file is, and does not say what
    stands before or behind it anyway.
    """
    text = _without_garbage(text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _without_echo(text, context)
    text = _indented(text, context)
    text = _without_loops(_within_scope(text, context))
    if len(text) > _LONGEST:
        text = text[: text.rfind("\n", 0, _LONGEST) + 1]
    lines = allowed_lines(context, max_lines)
    if lines is not None:
        text = "\n".join(text.split("\n")[: max(lines, 1)])
    text = _without_suffix(_stripped(text, context), context)
    return text if text.strip() and not repeated(text, context) else ""


def repeated(text: str, context: Context) -> str:
    """What the text says although it stands next to it anyway, in words; "" where nothing."""
    last = text.rstrip().rpartition("\n")[2]
    following = _lines(context.suffix)
    if following and _same_line(last if "\n" in text else context.line_before + last, following[0]):
        return "the next line"
    if following and _says_something(last) and last.strip() == following[0].strip():
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


def shorter(text: str, before: int) -> Iterator[str]:
    """The text cut at the ends of lines, then at tokens of its first line, longest first; all of
    it ends at or before offset `before`."""
    ends = [match.start() for match in re.finditer(r"\n", text)]
    first = ends[0] if ends else len(text)
    tokens = [match.end() for match in _TOKEN.finditer(text, 0, first)]
    for end in [*reversed(ends), *(end for end in reversed(tokens) if end < first)]:
        cut = text[:end].rstrip()
        if end <= before and _WORD.search(cut):
            yield cut


def widened(text: str, start: int, end: int) -> tuple[int, int]:
    """The span grown to whole tokens; an empty one takes in the token before it."""
    tokens = [match.span() for match in _TOKEN.finditer(text)]
    if start == end:
        before = [token for token in tokens if token[0] < end and text[slice(*token)].strip()]
        return (before[-1][0], max(end, before[-1][1])) if before else (start, end)
    low = next((token[0] for token in tokens if token[1] > start), start)
    high = next((token[1] for token in tokens if token[1] >= end), end)
    return low, high


def missing_closers(before: str, text: str, after: str, language_id: str) -> str:
    """The closers that, put behind the text, give every bracket opened on its line its partner.

    "" where none is missing, where a string is open, where an operand is still to come, or where
    they would take a line of their own.
    """
    if not re.search(r"[\w)\]}\"'`]\s*\Z", text or "x"):
        return ""
    head = balance(before, language_id)
    own = balance(text, language_id, head.quote)
    if "\n" in text or head.quote or own.quote:
        return ""
    on_line = followed(balance(before.rpartition("\n")[2], language_id), own)
    closed_after = balance(after, language_id).closers
    openers = followed(head, own)
    for count in range(len(on_line) + 1):
        outer = [PAIRS[opener] for opener in reversed(openers[: len(openers) - count])]
        if closed_after.startswith("".join(outer)):
            inner = openers[len(openers) - count :]
            return "".join(PAIRS[opener] for opener in reversed(inner))
    return ""


# --- steps of `tidied` ---------------------------------------------------------------------------


def _without_garbage(text: str) -> str:
    """Up to the first character that no file has, and then to the last whole token before it."""
    found = _GARBAGE.search(text)
    if found is None:
        return text
    kept = text[: found.start()]
    line_end = kept.rfind("\n")
    return kept[:line_end] if line_end >= 0 else re.sub(r"[^\s]*\Z", "", kept)


def _without_echo(text: str, context: Context) -> str:
    """Without the part of the cursor's line that stands there already."""
    typed = context.line_before.lstrip()
    if len(typed) >= 3 and _says_something(typed) and text.lstrip().startswith(typed):
        return text.lstrip()[len(typed) :]
    return text[_echo(text, context) :]


def _echo(text: str, context: Context) -> int:
    """How much of the text's beginning is the end of the prefix; 0 for a few characters."""
    for length in range(min(len(text), len(context.prefix)), _OVERLAP - 1, -1):
        if len(text[:length].strip()) >= _OVERLAP and context.prefix.endswith(text[:length]):
            return length
    return 0


def _indented(text: str, context: Context) -> str:
    """With the file's own indentation, and the first line joined to what is typed of it."""
    before = context.line_before
    if before.strip():
        return _in_units(text, context)
    if not text[:1].isspace():
        return _in_units(text, context)
    # The cursor stands on a line of its own: no empty lines, and no second indentation.
    starts_below = "\n" in text[: len(text) - len(text.lstrip())]
    text = text.lstrip("\n") if not starts_below else re.sub(r"\A\s*\n", "", text)
    content = text.lstrip(" \t")
    lead = _width(text[: len(text) - len(content)] + "x")
    here = _width(before)
    if starts_below and lead < here:
        return ""  # it belongs to a block further out
    lead = lead - here if starts_below else lead
    step = _width(context.indentation + "x")
    plausible = here + lead <= _expected_width(context) and (here + lead) % step == 0
    first = context.indentation * (lead // step) + " " * (lead % step) if plausible else ""
    return first + _in_units(content, context)


def _expected_width(context: Context) -> int:
    """How far the cursor's line should be indented, going by the line before it."""
    lines = _lines(context.prefix[: len(context.prefix) - len(context.line_before)])
    if not lines:
        return 0
    last = lines[-1]
    opens = last.rstrip()[-1:] in ("{", "(", "[", ":")
    return _width(last) + (_width(context.indentation + "x") if opens else 0)


def _in_units(text: str, context: Context) -> str:
    """Tabs or spaces as the file has them, at the start of every line but the first."""
    head, newline, rest = text.partition("\n")
    if not newline or not re.search("^ |^\t", rest, re.MULTILINE):
        return text
    if context.indentation == "\t":
        step = _step(rest)
        rest = re.sub(
            r"^[ \t]+",
            lambda match: (
                "\t" * (match[0].count("\t") + match[0].count(" ") // step)
                + " " * (match[0].count(" ") % step)
            ),
            rest,
            flags=re.MULTILINE,
        )
    elif "\t" in rest:
        rest = re.sub(
            r"^[ \t]+",
            lambda match: match[0].replace("\t", context.indentation),
            rest,
            flags=re.MULTILINE,
        )
    return head + newline + rest


def _step(text: str) -> int:
    """How many spaces one level has in a text that is indented with spaces."""
    widths = [len(match[0]) for match in re.finditer(r"^ +", text, re.MULTILINE)]
    return 4 if all(width % 4 == 0 for width in widths) else 2


def _within_scope(text: str, context: Context) -> str:
    """Up to where the statement or block ends that the text begins or goes on with."""
    lines = text.split("\n")
    before = context.line_before
    here = _width(before if before.strip() else before + lines[0])
    traits = language(context.language_id)
    deeper = False
    comment = traits.line_comment or "//"
    started = bool(before.strip()) or not _is_preamble(lines[0], comment)
    for index, line in enumerate(lines[1:], 1):
        content = line.strip()
        if not content:
            continue
        # Comments and decorators belong to what follows them.
        in_preamble, started = not started, started or not _is_preamble(line, comment)
        width = _width(line)
        word = re.match(r"\w+|;;", content)
        closes = content[0] in CLOSERS or bool(_CLOSING_TAGS.match(content))
        closes = closes or (word is not None and word[0] in traits.close)
        carries_on = word is not None and word[0] in traits.carry_on
        if width > here:
            deeper = True
            continue
        apart = not lines[index - 1].strip()
        if width < here:
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


def _without_loops(text: str) -> str:
    """Up to where one or two lines begin to come a third time in a row."""
    lines = text.split("\n")
    for end in range(3, len(lines) + 1):
        for period in (1, 2):
            last = lines[max(end - period, 0) : end]
            if all(line.strip() for line in last) and last * 3 == lines[end - 3 * period : end]:
                return "\n".join(lines[: end - 2 * period])
    return text


def _is_preamble(line: str, comment: str) -> bool:
    return line.strip().startswith((comment, "/*", "*", "@", "#[", "template")) or not line.strip()


def _stripped(text: str, context: Context) -> str:
    """Without white space at the ends of its lines, and without empty lines at its end."""
    text = re.sub(r"[ \t]+(?=\n)", "", text)
    rest = context.line_after
    if not rest.strip():
        return text.rstrip()
    if rest.lstrip()[0] in ")]},;" and not rest[:1].isspace():
        head, newline, last = text.rpartition("\n")
        return head + newline + (last.rstrip() if last.strip() else last)
    return text


def _without_suffix(text: str, context: Context) -> str:
    """Cut before the part that says what follows the cursor."""
    following = _lines(context.suffix)
    for _ in range(8):
        before = text
        if following:
            text = _before_line(text, following[0], context)
        overlap = _overlap(text, context.suffix)
        if overlap >= _OVERLAP:
            text = text[: len(text) - overlap]
        text = text[: _doubled(text, context)]
        head, newline, last = text.rpartition("\n")
        if newline and _stands_below(last, following):
            text = head
        text = _stripped(text, context)
        if text == before:
            break
    return text


def _before_line(text: str, following: str, context: Context) -> str:
    lines = text.split("\n")
    for index, line in enumerate(lines):
        whole = context.line_before + line if index == 0 else line
        last = index == len(lines) - 1
        same = line.strip() == following.strip() and _says_something(line)
        if (same and (last or len(line.strip()) >= _LINE)) or (
            last and _same_line(whole, following)
        ):
            return "\n".join(lines[:index])
    return text


def _stands_below(line: str, following: list[str]) -> bool:
    """Is it one of the next lines but the first, in the same block?"""
    if not _weighty(line):
        return False
    for index, other in enumerate(following[:4]):
        if _width(other) < _width(line):
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
    quote = balance(context.line_before, context.language_id).quote
    own = balance(text, context.language_id, quote)
    if quote and context.line_after.startswith(quote) and own.quote != quote:
        return string_end(text, context.language_id, quote)
    for closer, at in zip(own.closers, own.closers_at, strict=True):
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
    """Does the closer at `at` begin a line, indented otherwise than the line that follows?"""
    _head, newline, line = text[:at].rpartition("\n")
    following = _lines(context.suffix)[0]
    return bool(newline) and not line.strip() and _width(line) != _width(following)


def _repeats_previous_line(text: str, context: Context) -> bool:
    above = _lines(context.prefix[: len(context.prefix) - len(context.line_before)])
    first = text.strip().partition("\n")[0]
    return bool(above) and _weighty(first) and above[-1].strip() == first.strip()


def _overlap(left: str, right: str) -> int:
    """How much of the end of `left` is the start of `right`, blanks between them left out or not;
    counted from the end. 0 where it is only a few characters."""
    best = 0
    for skipped in {0, len(right) - len(right.lstrip(" \t"))}:
        head = right[skipped:]
        for tail in (left, left.rstrip()):
            for length in range(min(len(tail), len(head)), best, -1):
                if tail.endswith(head[:length]):
                    if len(head[:length].strip()) >= _OVERLAP:
                        best = max(best, length + len(left) - len(tail))
                    break
    return best


def _lines(text: str) -> list[str]:
    """The lines that are not blank."""
    return [line for line in text.split("\n") if line.strip()]


def _says_something(line: str) -> bool:
    """A line of words, not of brackets and words that close blocks."""
    content = line.strip()
    if not _WORD.search(content) or _CLOSING_TAGS.fullmatch(content):
        return False
    return content not in _CLOSING_WORDS


_CLOSING_WORDS = frozenset({"end", "fi", "done", "esac", "endif", "endforeach", "endwhile"})


def _weighty(line: str) -> bool:
    """A line that hardly stands twice by chance."""
    content = line.strip()
    leaves = content.startswith(("return", "raise", "throw", "break", "continue", "pass", "else"))
    return len(content) >= _LINE and _says_something(line) and not leaves


def _same_line(line: str, other: str) -> bool:
    """Equal with their indentation: how a lone bracket or `end` is told from another one."""
    return bool(line.strip()) and line.rstrip() == other.rstrip()


def _width(line: str) -> int:
    """Columns of a line's indentation; a tab counts as four."""
    indentation = line[: len(line) - len(line.lstrip(" \t"))]
    return len(indentation.expandtabs(4))
