"""Python's strings that are formatted: once one of them is written as an f-string, the others."""

import re
from collections.abc import Iterator

from infill_ls.completion.next_edit.arguments import arguments
from infill_ls.completion.next_edit.proposal import Proposal, Site

_F_STRING = re.compile(r"(?<!\w)[fF][rR]?[\"']|(?<!\w)[rR][fF][\"']")
_FORMATTED = re.compile(r"[\"']\s*%\s*[\w(]|[\"']\s*\.format\(")
_STRING = r"(?P<quote>[\"'])(?P<text>(?:(?!(?P=quote))[^\\\n{}]|\\.)*)(?P=quote)"
_PERCENT = re.compile(rf"(?<!\w){_STRING}\s+%\s+(?P<value>[\w.]+(?=[),\]]|$)|\()")
_FORMAT = re.compile(
    r"(?<!\w)(?P<quote>[\"'])(?P<text>(?:(?!(?P=quote))[^\\\n]|\\.)*)(?P=quote)\.format\("
)
_BRACES = re.compile(r"\{(?:![rs])?(?::[^{}]*)?\}")
_FIELD = re.compile(r"%([srd%])")


def as_f_strings(site: Site) -> Iterator[Proposal]:
    if site.document.language_id != "python":
        return
    old, new = "\n".join(site.change.old), "\n".join(site.change.new)
    if not _FORMATTED.search(old) or _F_STRING.search(old) or not _F_STRING.search(new):
        return
    for at, line in enumerate(site.lines):
        if site.change.first <= at < site.change.end or not _FORMATTED.search(line):
            continue
        if (changed := f_string(line)) not in ("", line):
            yield Proposal(rule="f_string", first=at, end=at + 1, lines=(changed,))


def f_string(line: str) -> str:
    """The line with its formatted string as an f-string; "" where that is not plain."""
    found: tuple[list[str], int] | None
    if match := _PERCENT.search(line):
        found = [match["value"]], match.end()
        if match["value"] == "(":
            found = arguments(line, match.end())
        text = _of_percents(match["text"], found[0]) if found else ""
    else:
        match = _FORMAT.search(line)
        found = arguments(line, match.end()) if match else None
        text = _of_braces(match["text"], found[0]) if match and found else ""
    if match is None or found is None or not text:
        return ""
    quote = match["quote"]
    if any(character in value for value in found[0] for character in (quote, "\\", "{")):
        return ""
    return line[: match.start()] + f"f{quote}{text}{quote}" + line[found[1] :]


def _of_percents(text: str, values: list[str]) -> str:
    kinds = [each for each in _FIELD.findall(text) if each != "%"]
    if len(kinds) != len(values) or "%" in _FIELD.sub("", text):
        return ""
    given = iter(values)

    def field(found: re.Match[str]) -> str:
        if found[1] == "%":
            return "%"
        return "{" + next(given) + ("!r}" if found[1] == "r" else "}")

    return _FIELD.sub(field, text)


def _of_braces(text: str, values: list[str]) -> str:
    """`{}` takes what is given in its order; anything else is not plain."""
    parts = _BRACES.split(text)
    holes = _BRACES.findall(text)
    plain = not any(re.search(r"\w\s*=(?!=)|^\*", value) for value in values)
    if len(holes) != len(values) or not plain or any("{" in p or "}" in p for p in parts):
        return ""
    filled = ["{" + value + hole[1:] for value, hole in zip(values, holes, strict=True)]
    return "".join(part + hole for part, hole in zip(parts, [*filled, ""], strict=True))
