"""Which language the text of a request is in: HTTP clients do not say it, but many say a path."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from infill_ls.syntax.language import language_id_of

UNKNOWN = ""  # the id of a language without a grammar: brackets and quotes alone are looked at
# As minuet writes it into the first line: `# language: python`.
_NAMED = re.compile(r"[^\w\n]{0,8}language: ([\w+#.-]{1,40})")
_LEAST = 8  # characters of a line that is found again


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """A piece of a file that a client sends along."""

    path: str
    text: str


def language_of_path(path: str) -> str:
    known = language_id_of(path) if path else UNKNOWN
    return UNKNOWN if known == "plaintext" and not path.endswith(".txt") else known


def named_language(before: str) -> str:
    found = _NAMED.match(before)
    return found[1] if found else UNKNOWN


def path_by_excerpts(text: str, excerpts: Iterable[Excerpt]) -> str:
    """The path of the excerpt that shares most lines with the text, for it may be of the same
    file; "" where none shares any."""
    lines = set(_lines(text))
    shared: dict[str, int] = {}
    for each in excerpts:
        count = sum(line in lines for line in _lines(each.text))
        shared[each.path] = shared.get(each.path, 0) + count
    best = max(shared, key=shared.__getitem__, default="")
    return best if shared.get(best) else ""


def common_language(excerpts: Iterable[Excerpt]) -> str:
    """That of all excerpts, which a project's files mostly have; UNKNOWN where they differ."""
    found = {language_of_path(each.path) for each in excerpts}
    return found.pop() if len(found) == 1 else UNKNOWN


def _lines(text: str) -> list[str]:
    return [line for line in map(str.strip, text.split("\n")) if len(line) >= _LEAST]
