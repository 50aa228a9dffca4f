"""Infill by asking in words, for servers that take no canvas, and the join that words cannot force.

Text in, text out: knows nothing of HTTP or tokens. A model that is asked for "the missing text
only" repeats the line before the hole, runs on into the text after it, or wraps it all in prose;
`middle_of` undoes exactly that and leaves everything else alone.
"""

import re
from collections.abc import Sequence

from infill_engine.request import Hole, InfillRequest
from infill_engine.windows import prefix_window, suffix_window

PREFIX_CHARS = 12_000
SUFFIX_CHARS = 4_000
NEIGHBOUR_CHARS = 4_000
_THOUGHT = re.compile(
    r"\A\s*(?:<\|channel>thought\n.*?<channel\|>|<think>.*?</think>)\s*", re.DOTALL
)
_FENCE = re.compile(
    r"^[ \t]*(`{3,})[^`\n]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE
)
_OPENS = {")": "(", "]": "[", "}": "{"}


def prompt(request: InfillRequest, middle: Sequence[str | Hole]) -> str:
    """What is said to the model. The text before the hole comes last, nearest to the answer."""
    language = request.language_id
    what = f"{language} file" if language else "file"
    parts = []
    shown = neighbours(request)
    if shown:
        parts.append("For reference, from other files of the project:\n" + fenced(shown, ""))
    after = suffix_window(request.suffix, SUFFIX_CHARS)
    if after.strip():
        parts.append(f"The {what} continues after the hole with:\n" + fenced(after, language))
    before = prefix_window(request.prefix, PREFIX_CHARS)
    parts.append(f"The {what} up to the hole:\n" + fenced(before, language))
    if len(middle) > 1:
        form = "".join(part if isinstance(part, str) else "<HOLE>" for part in middle)
        parts.append("The missing text has this form, with text for each <HOLE>:\n" + fenced(form))
    lines = "" if request.max_lines is None else f" It has at most {request.max_lines} line(s)."
    parts.append(
        "Write the text that is missing between the two, in one code block and without any "
        "explanation. Start exactly where the text before the hole ends and stop exactly where the "
        f"text after it begins; repeat neither.{lines}"
    )
    return "\n\n".join(parts)


def neighbours(request: InfillRequest) -> str:
    """The best snippets of other files, as many whole ones as fit."""
    taken: list[str] = []
    room = NEIGHBOUR_CHARS
    for snippet in request.neighbours:
        room -= len(snippet)
        if room < 0:
            break
        taken.append(snippet)
    return "\n\n".join(taken)


def fenced(text: str, language: str = "") -> str:
    """A code block that the text itself cannot end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def has_block(answer: str) -> bool:
    """Whether the code block that was asked for has begun."""
    return _FENCE.search(_THOUGHT.sub("", answer, count=1)) is not None


def middle_of(answer: str, request: InfillRequest) -> str:
    """The text between prefix and suffix that an answer holds, as far as it has come."""
    text = _THOUGHT.sub("", answer, count=1)
    if block := _FENCE.search(text):
        text = block[2]
    text = text.removesuffix("\n")
    return without_suffix(without_prefix(text, request.prefix), request.suffix)


def without_prefix(text: str, prefix: str) -> str:
    """`text` without the end of `prefix` that it begins with.

    The longest of: some whole lines before the cursor, and what stands on the cursor's line from
    the beginning of some word on. A shared bracket or blank is no repetition.
    """
    lines = prefix.split("\n")[-20:]
    line = lines[-1]
    # After a line's end only much text is a repetition: "end" may well follow "end".
    least = 2 if line.strip() else 8
    for first in range(len(lines)):
        said = "\n".join(lines[first:])
        for repeated in (said, said.lstrip(" \t")):
            if len("".join(said.split())) >= least and text.startswith(repeated):
                return text[len(repeated) :]
    for start in range(len(line)):
        word = line[start].isalnum() or line[start] == "_"
        inside = start > 0 and (line[start - 1].isalnum() or line[start - 1] == "_")
        if word and not inside and text.startswith(line[start:]):
            return text[len(line) - start :]
    # The cursor's line holds only indentation, which the answer wrote as well.
    return text.removeprefix(line) if line and not line.strip() else text


def without_suffix(text: str, suffix: str) -> str:
    """`text` without the beginning of `suffix` that it ends with or runs on into."""
    text = stop_at(text, suffix)
    for length in range(min(len(text), len(suffix)), 0, -1):
        if text.endswith(suffix[:length]) and _repeats(text, length):
            return text[:-length]
    return text


def stop_at(text: str, suffix: str) -> str:
    """Cuts where the next line of code after the cursor is written again, whatever follows."""
    written = re.match(r"\s*\S.*", suffix)
    if written is None or len("".join(written[0].split())) < 8:
        return text  # "}" or "return" stands in too many places to mean this one
    at = text.find(written[0].rstrip())
    return text if at < 0 else text[:at]


def _repeats(text: str, length: int) -> bool:
    """Whether the last `length` characters repeat the suffix rather than close what is open.

    Words and line breaks do. Brackets do unless they close one that `text` itself opened, as the
    ")" of "f(x)" does before a suffix ")"; quotes do unless they close one.
    """
    shared = text[-length:]
    if shared.isspace():
        return "\n" in shared or bool(text[:-length].rpartition("\n")[2].strip())
    if any(char.isalnum() or char == "_" for char in shared):
        # A word counts only whole: "x" at the end of "max" is none of the suffix "x + 1".
        before = text[:-length][-1:]
        inside = shared[0].isalnum() or shared[0] == "_"
        return not (inside and (before.isalnum() or before == "_"))
    for at, char in enumerate(shared, start=len(text) - length):
        if char in _OPENS and _closes(text, at):
            return False
        if char in "\"'`" and text.count(char, 0, at) % 2:
            return False
    return True


def _closes(text: str, at: int) -> bool:
    """Whether the bracket at `at` closes one that was opened in `text`."""
    depth = 0
    for char in reversed(text[:at]):
        if char == text[at]:
            depth += 1
        elif char == _OPENS[text[at]]:
            if not depth:
                return True
            depth -= 1
    return False


def fills_of(text: str, middle: Sequence[str | Hole]) -> tuple[str, ...] | None:
    """The text of each hole when `text` has the template's form, else None.

    Each pin is looked for after the one before it; what stands before it fills the hole.
    """
    fills, at = [], 0
    for number, part in enumerate(middle):
        if isinstance(part, Hole):
            following = middle[number + 1] if number + 1 < len(middle) else None
            end = len(text) if not isinstance(following, str) else text.find(following, at)
            if end < 0:
                return None
            if isinstance(following, Hole):
                end = at  # two holes with nothing between them: the second takes it all
            fills.append(text[at:end])
            at = end
        else:
            if not text.startswith(part, at):
                return None
            at += len(part)
    return tuple(fills)


def cut_lines(text: str, max_lines: int | None) -> str:
    return text if max_lines is None else "\n".join(text.split("\n")[:max_lines])
