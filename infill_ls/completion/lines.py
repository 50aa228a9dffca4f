"""Lines of text: their indentation, and whether two of them say the same."""

import re

_WORD = re.compile(r"\w")
_CLOSING_TAGS = re.compile(
    r"(?:(?:</[\w:.-]*+>|\{%[-+~]?\s*+end\w*+\s*+[-+~]?%\}|\{/\w++\})\s*+)++"
)
_CLOSING_WORDS = frozenset(
    {"end", "fi", "done", "esac", "endif", "endforeach", "endwhile", "endef"}
)
# A line of fewer characters may well stand twice in a row of statements.
LONG = 8


def width(line: str) -> int:
    """Columns of a line's indentation; a tab counts as four."""
    indentation = line[: len(line) - len(line.lstrip(" \t"))]
    return len(indentation.expandtabs(4))


def first_filled(text: str, most: int) -> list[str]:
    """The first lines that are not blank, `most` of them."""
    found: list[str] = []
    start = 0
    while len(found) < most and start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        line = text[start:end]
        if line.strip():
            found.append(line)
        start = end + 1
    return found


def last_filled(text: str) -> str:
    """The last line that is not blank; "" where all are."""
    end = len(text.rstrip())
    return text[text.rfind("\n", 0, end) + 1 :].partition("\n")[0] if end else ""


def has_words(line: str) -> bool:
    """A line of words, not of brackets and words that close blocks."""
    content = line.strip()
    if not _WORD.search(content) or _CLOSING_TAGS.fullmatch(content):
        return False
    return content not in _CLOSING_WORDS


def closes_tag(line: str) -> bool:
    return _CLOSING_TAGS.match(line) is not None


def distinctive(line: str) -> bool:
    """A line that hardly stands twice by chance."""
    content = line.strip()
    leaves = content.startswith(("return", "raise", "throw", "break", "continue", "pass", "else"))
    return len(content) >= LONG and has_words(line) and not leaves


def same_line(line: str, other: str) -> bool:
    """Equal with their indentation: how a lone bracket or `end` is told from another one."""
    return bool(line.strip()) and line.rstrip() == other.rstrip()
