"""Where the next request is likely to be: behind what is shown, once it is accepted, and on the
next line, once this one is ended. Pure functions of a document."""

import re
from collections.abc import Iterator
from dataclasses import replace

from infill_ls.completion.worker import Query

# What ends a line that is likely whole.
_WHOLE = re.compile(r"[)\]}:;,{\"'`>]\Z|\b(?:pass|break|continue|return|else|begin|end|do|then)\Z")
_OPENS = re.compile(r"[:{(\[]\Z|\b(?:then|do|else|begin)\Z")
_INDENTED = re.compile(r"^[ \t]+(?=\S)", re.MULTILINE)
_LOOK_BACK = 8_000  # characters
_LEAVES = re.compile(r"\s*(?:pass|break|continue|return|raise|throw)\b")


def foreseen(query: Query, shown: str) -> Iterator[Query]:
    """The likeliest first. `shown` is the suggestion, "" where there is none."""
    after = _inserted(query, shown)
    if shown:
        yield after
    text, at = after.document.text, after.offset
    line = text[text.rfind("\n", 0, at) + 1 : at].rstrip("\r")
    follows = text[at : (text + "\n").index("\n", at)].strip()
    if line.strip() and not follows and (shown or _WHOLE.search(line.rstrip())):
        yield _inserted(after, "\n" + indentation_after(line, _unit(text, at)))


def begins(query: Query) -> bool:
    """Whether a line begins there, or what is in brackets."""
    text = query.document.text
    line = text[text.rfind("\n", 0, query.offset) + 1 : query.offset].rstrip()
    return not line or line[-1] in "([{"


def indentation_after(line: str, unit: str) -> str:
    """What an editor puts at the start of the line after this one."""
    own = line[: len(line) - len(line.lstrip())]
    if _OPENS.search(line.rstrip()):
        return own + unit
    leaves = _LEAVES.match(line) and not line.rstrip().endswith(("{", ",", "(", "[", "\\"))
    return own.removesuffix(unit) if leaves and not line.rstrip().endswith(";") else own


def _unit(text: str, at: int) -> str:
    """One level of indentation: the least that a line before the place has."""
    found = _INDENTED.findall(text, max(at - _LOOK_BACK, 0), at)
    return min(found, key=len, default="    ")


def _inserted(query: Query, text: str) -> Query:
    document, offset = query.document, query.offset
    text = text.replace("\n", document.newline)
    changed = document.replaced(offset, offset, text, version=document.version)
    return replace(query, document=changed, offset=offset + len(text), selected="")
