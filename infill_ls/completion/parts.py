"""How much of a suggestion is taken at a time: its next word, or its next lines."""

import re

_WORD = re.compile(r"\s*\w+|\s*[^\w\s]+")
# A line takes along the blank ones before it.
_LINE = re.compile(r"(?:\s*\n)?[^\n]*\S[^\n]*")
UNITS = ("word", "line", "all")


def beginning(text: str, unit: str, count: int = 1) -> str:
    """The first words or lines of a text, all of it where that is less; `unit` is one of UNITS."""
    if unit == "all":
        return text
    end = 0
    for _ in range(count):
        found = (_WORD if unit == "word" else _LINE).match(text, end)
        if found is None:
            return text
        end = found.end()
    return text[:end]
