"""Languages within a language: fenced code in Markdown, scripts and styles in HTML, Vue and Svelte,
and the bodies of PostgreSQL's functions in other languages than its own.

Such a region is checked by its own grammar, as if it were a file. Offsets are code points. All take
time in proportion to the text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from infill_ls.syntax.language import Language, is_known, language_of

_FENCE = re.compile(r"^[ \t]*+(`{3,}+|~{3,}+)[ \t]*+([^\n`]*+)$", re.MULTILINE)
_FENCED_LANGUAGE = re.compile(r"\{?\.?([\w+#-]+)")
_TAG = re.compile(r"<(script|style)\b([^<>]*+)>|</(script|style)\b[^<>]*+>?", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"\b(lang|type)\s*=\s*[\"']?([\w/.+-]+)", re.IGNORECASE)
# Of SQL what is no code; then the dollars that open a body.
_DOLLARS = re.compile(
    r"'(?:[^']|'')*+'?|\"[^\"]*+\"?|--[^\n]*+|/\*(?:[\s\S]*?\*/|[\s\S]*)|(?P<tag>\$(?:[A-Za-z_]\w*)?\$)"
)
_BODY_LANGUAGE = re.compile(r"\bLANGUAGE\s+[\"']?pl(\w+)", re.IGNORECASE)
_BEHIND_BODY = re.compile(r"(?:\s+\w+){0,8}?\s+LANGUAGE\s+[\"']?pl(\w+)", re.IGNORECASE)
_STATEMENT = 300  # characters of it
_BODIES = {"v8": "javascript", "v8u": "javascript", "python2u": "python", "coffee": "coffeescript"}
# What a script or style is in that does not say so, or says it by another name.
_BY_NAME = {
    "script": "javascript",
    "style": "css",
    "module": "javascript",
    "ecmascript": "javascript",
    "babel": "javascriptreact",
    "importmap": "json",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """[start, end) of a document in the language `host`, and the language there. `opening` is the
    line or tag before it; "" where it is the host's, and then the whole document. `closed` says
    whether something ends it before the document does."""

    host: Language
    language: Language
    start: int
    end: int
    opening: str = ""
    closed: bool = False


def region_at(text: str, offset: int, host: Language) -> Region:
    """The region that holds `offset` of a document in the language `host`. One in a fence begins
    at the end of the opening line, one in a tag behind the tag, and what closes it is outside."""
    if not host.embeds:
        return _whole(text, host)
    return embedded_at(text, offset, host)


@lru_cache(maxsize=1)  # context and trees ask for the same place; it keeps the text
def embedded_at(text: str, offset: int, host: Language) -> Region:
    """The same, of a host that embeds others."""
    opening = None
    for mark, opens in _marks(text, host):
        if opens:
            if mark.end() > offset:
                break
            opening = mark
        elif opening is not None:
            ends = mark.end() > offset if host.embeds == "fences" else mark.start() >= offset
            if ends:
                end = max(mark.start(), offset)
                return _region(opening, end, host, closed=True)
            opening = None
    if opening is None:
        return _whole(text, host)
    return _region(opening, len(text), host, closed=False)


def _whole(text: str, host: Language) -> Region:
    return Region(host=host, language=host, start=0, end=len(text))


def within(text: str, region: Region, line_before: str, after: str) -> str:
    """The text up to where it leaves its region, or enters another one that is not closed in it.

    The whole text where it is the tag or fence that is missing: one that closes an open region, or
    a tag that opens what `after`, the text behind it, closes."""
    bodies = region.host.embeds == "bodies"
    if not region.host.embeds or (bodies and not region.opening) or closes(text, region):
        return text
    head = line_before
    if region.opening not in line_before:
        head = region.opening + "\n" + line_before
    elif not region.opening and _FENCE.fullmatch(line_before):
        head = ""  # it closes the fence above
    inside = bool(region.opening)
    cut = len(text)
    for mark, opens in _marks(head + text, region.host):
        if mark.end() <= len(head):
            continue
        at = max(mark.start() - len(head), 0)
        if inside:
            return text[:at]
        cut = at if opens and not _closed_by(after, mark, region.host) else len(text)
    return text[:cut]


def closes(text: str, region: Region) -> bool:
    """Is it the fence or tag, and nothing else, that a region lacks which is not closed?"""
    if not region.opening or region.closed:
        return False
    content = text.strip()
    marks = list(_marks(f"{region.opening}\n{content}", region.host))
    return len(marks) == 2 and marks[1][0][0] == content


def spoils_fence(text: str, region: Region, line_before: str, line_after: str) -> bool:
    """Is the cursor's line a fence that would no longer be the same with the text in it?"""
    fence = _FENCE.fullmatch(line_before + line_after) if region.host.embeds == "fences" else None
    if fence is None:
        return False
    lines = (line_before + text + line_after).split("\n")
    return all((_FENCE.fullmatch(line) or line)[0] != fence[0] for line in (lines[0], lines[-1]))


def _marks(text: str, host: Language) -> Iterator[tuple[re.Match[str], bool]]:
    """What opens a region (True) and what closes it, in turns."""
    opening: re.Match[str] | None = None
    if host.embeds == "fences":
        for mark in _FENCE.finditer(text):
            if opening is None:
                opening = mark
                yield mark, True
            elif mark[1].startswith(opening[1]) and not mark[2].strip():
                opening = None
                yield mark, False
    elif host.embeds == "scripts":
        start, end = _comment(text, 0)
        for mark in _TAG.finditer(text):
            while opening is None and end <= mark.start():
                start, end = _comment(text, end)
            if opening is None and mark[1] and not (mark[2].endswith("/") or start < mark.start()):
                opening = mark
                yield mark, True
            elif opening is not None and mark[3] and mark[3].lower() == opening[1].lower():
                opening = None
                if start < mark.end():  # in a script it is none
                    start, end = _comment(text, mark.end())
                yield mark, False
    elif host.embeds == "bodies":
        at = 0
        while opens := _dollars(text, at):
            yield opens, True
            closes = re.compile(re.escape(opens[0])).search(text, opens.end())
            if closes is None:
                return
            yield closes, False
            at = closes.end()


def _comment(text: str, at: int) -> tuple[int, int]:
    """The first one behind an offset; where there is none, or no end of it, the text's end."""
    start = text.find("<!--", at)
    end = text.find("-->", start + 4) + 3 if start >= 0 else 0
    return (start if start >= 0 else len(text) + 1), (end if end > 3 else len(text) + 1)


def _dollars(text: str, at: int) -> re.Match[str] | None:
    return next((mark for mark in _DOLLARS.finditer(text, at) if mark["tag"]), None)


def _closed_by(after: str, opening: re.Match[str], host: Language) -> bool:
    """Is what follows the end of what this tag opens? Fences that open and close look alike."""
    following = _TAG.search(after) if host.embeds == "scripts" else None
    return following is not None and (following[3] or "").lower() == opening[1].lower()


def _region(opening: re.Match[str], end: int, host: Language, *, closed: bool) -> Region:
    if host.embeds == "bodies":
        language = _bodied(opening, end, host)
        if language == host:
            return _whole(opening.string, host)
    else:
        name = _fenced(opening) if host.embeds == "fences" else _scripted(opening)
        language = language_of(name)
    return Region(
        host=host,
        language=language,
        start=opening.end(),
        end=end,
        opening=opening[0].rstrip(),
        closed=closed,
    )


def _fenced(opening: re.Match[str]) -> str:
    said = _FENCED_LANGUAGE.match(opening[2])
    return said[1] if said else ""


def _scripted(opening: re.Match[str]) -> str:
    said = {each[1].lower(): each[2].lower() for each in _ATTRIBUTE.finditer(opening[2])}
    name = said.get("lang") or said.get("type") or opening[1].lower()
    name = re.split(r"[/+]|x-", name)[-1]
    return _BY_NAME.get(name, name)


def _bodied(opening: re.Match[str], end: int, host: Language) -> Language:
    """What its statement says before or behind it."""
    text = opening.string
    start = max(text.rfind(";", 0, opening.start()), text.rfind("$", 0, opening.start()))
    start = max(start + 1, opening.start() - _STATEMENT)
    behind = end + len(opening[0])
    said = _BODY_LANGUAGE.search(text, start, opening.start())
    said = said or _BEHIND_BODY.match(text, behind, behind + _STATEMENT)
    if said is None:
        return host
    name = said[1].lower()
    known = [each for each in (_BODIES.get(name, name), name.removesuffix("u")) if is_known(each)]
    return language_of(known[0]) if known else host
