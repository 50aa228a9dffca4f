"""Python's strings that are formatted: once one of them is written as an f-string, the others."""

import re
from collections.abc import Iterator, Sequence

from infill_ls.completion.next_edit.arguments import arguments, balanced
from infill_ls.completion.next_edit.changes import LineChange
from infill_ls.completion.next_edit.proposal import Proposal, Site

_F_STRING = re.compile(r"(?<!\w)[fF][rR]?[\"']|(?<!\w)[rR][fF][\"']")
_FORMATTED = re.compile(r"[\"']\s*%\s*[\w(]|[\"']\s*\.format\(")
_STRING = r"(?P<quote>[\"'])(?P<text>(?:(?!(?P=quote))[^\\\n{}]|\\.)*)(?P=quote)"
_PERCENT = re.compile(rf"(?<!\w){_STRING}\s+%\s+(?P<value>[\w.]+(?=[),\]]|$)|[\w.]+\(|\()")
_REPR = re.compile(r"repr\(([^()]*)\)")
_FORMAT = re.compile(
    r"(?<!\w)(?P<quote>[\"'])(?P<text>(?:(?!(?P=quote))[^\\\n]|\\.)*)(?P=quote)\.format\("
)
_VALUE = r"[A-Za-z_][\w.]*(?:\([^()\"'{}\\]*\)|\[[^\[\]\"'{}\\]*\])?"
_PART = rf"(?:[\"'](?:(?![\"'])[^\\\n{{}}]|\\.)*[\"']|{_VALUE})"
_SUM = re.compile(rf"(?<![\w.)\]] )(?<![\w.\"'+]){_PART}(?: \+ {_PART})+(?![\w.(\[]| [*/%])")
_ALONE = re.compile(r"(?:[(\[{,=:]|\breturn|\byield|^)\s*$")  # what stands before a whole sum
_PLUS = re.compile(r"[\"'] \+ \w|\w[)\]]? \+ [\"']")
_BRACES = re.compile(r"\{(?:![rs])?(?::[^{}]*)?\}")
_STRINGS = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'")
_MOST_LINES, _LONGEST = 5, 88  # of a call, and characters of what becomes one line
_FIELD = re.compile(r"%([srd%])")


def as_f_strings(site: Site) -> Iterator[Proposal]:
    if site.document.language_id != "python":
        return
    formatted, summed = formats(site.change)
    for at, line in enumerate(site.lines):
        if site.change.first <= at < site.change.end or not (formatted or summed):
            continue
        is_sum = not _FORMATTED.search(line)
        if not is_sum:
            whole = _whole_call(site.lines, at)
            changed = f_string(whole)
            size = 1 if whole == line else _size(site.lines, at)
        elif _PLUS.search(line):
            changed, size = of_sum(line), 1
        else:
            continue
        if changed not in ("", line) and len(changed) <= max(len(line), _LONGEST):
            yield Proposal(
                rule="f_string",
                first=at,
                end=at + size,
                lines=(changed,),
                evidence=(
                    ("lines", float(size > 1)),
                    ("sum", float(is_sum)),
                    ("same", float(summed if is_sum else formatted)),
                ),
            )


def formats(change: LineChange) -> tuple[bool, bool]:
    """Whether what became f-strings was formatted, and whether it was a sum."""
    old, new = "\n".join(change.old), "\n".join(change.new)
    if _F_STRING.search(old) or not _F_STRING.search(new):
        return False, False
    return bool(_FORMATTED.search(old)), bool(_PLUS.search(old))


def _size(lines: Sequence[str], at: int) -> int:
    """How many lines it takes from `at` on until what is opened there is closed."""
    for size in range(1, _MOST_LINES + 1):
        text = "\n".join(lines[at : at + size])
        if balanced(_STRINGS.sub("", text)):
            return size
    return 1


def _whole_call(lines: Sequence[str], at: int) -> str:
    """A line, or the call that it begins, on one line."""
    size = _size(lines, at)
    head, *others = lines[at : at + size]
    said = head + " ".join(line.strip() for line in others)
    return re.sub(r",?\s*\)$", ")", said) if others else head


def of_sum(line: str) -> str:
    """The line with its strings and values that are added up as an f-string."""
    match = _SUM.search(line)
    if match is None or not _ALONE.search(line[: match.start()]):
        return ""
    parts = re.findall(_PART, match[0])
    texts = [part for part in parts if part[0] in "\"'"]
    quotes = {part[0] for part in texts}
    if len(quotes) != 1 or len(texts) == len(parts) or re.search(r"[\"']", match[0][1:-1]) is None:
        return ""
    (quote,) = quotes
    said = "".join(p[1:-1] if p[0] == quote else "{" + p + "}" for p in parts)
    return line[: match.start()] + f"f{quote}{said}{quote}" + line[match.end() :]


def f_string(line: str) -> str:
    """The line with its formatted string as an f-string; "" where that is not plain."""
    found: tuple[list[str], int] | None
    if match := _PERCENT.search(line):
        found = [match["value"]], match.end()
        if match["value"] == "(":
            found = arguments(line, match.end())
        elif match["value"][-1] == "(":
            found = _called(line, match.start("value"), match.end())
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


def _called(line: str, start: int, inside: int) -> tuple[list[str], int] | None:
    """The call whose brackets open before `inside`, with the attributes of its result."""
    found = arguments(line, inside)
    if found is None:
        return None
    attributes = re.compile(r"(?:\.\w+)*(?=[),\]]|$)").match(line, found[1])
    return ([line[start : attributes.end()]], attributes.end()) if attributes else None


def _of_percents(text: str, values: list[str]) -> str:
    kinds = [each for each in _FIELD.findall(text) if each != "%"]
    if len(kinds) != len(values) or "%" in _FIELD.sub("", text):
        return ""
    given = iter(values)

    def field(found: re.Match[str]) -> str:
        if found[1] == "%":
            return "%"
        value = next(given)
        if said := _REPR.fullmatch(value):
            value, kind = said[1], "r"
        else:
            kind = found[1]
        return "{" + value + ("!r}" if kind == "r" else "}")

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
