"""A function's parameters were changed: its calls in this file, where they stand on one line.

An argument of a parameter that is gone goes, a keyword is renamed, and a name that the caller has
under the same name is passed on.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from infill_ls.completion.next_edit.arguments import arguments
from infill_ls.completion.next_edit.names import function_above
from infill_ls.completion.next_edit.proposal import Proposal, Site

_SIGNATURE = re.compile(r"\b(?:def|function|fn|func|fun)\s+(?P<name>[\w$]+)\(")
_PARAMETER = re.compile(r"^(?P<stars>\*{0,2})(?P<name>[\w$]+)(?P<rest>.*)$", re.DOTALL)
_KEYWORD = re.compile(r"^(\w+)\s*=(?!=)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    name: str
    optional: bool


def calls_after(site: Site) -> Iterator[Proposal]:
    old, new = signature_of(site.change.old), signature_of(site.change.new)
    if old is None or new is None or old[0] != new[0] or old[1] == new[1]:
        return
    name, before, after = old[0], [each.name for each in old[1]], [each.name for each in new[1]]
    gone = [each for each in before if each not in after]
    came = [each for each in new[1] if each.name not in before]
    if len(gone) > 1 or len(came) > 1 or "" in (*before, *after):
        return
    call = re.compile(rf"(?<![\w$]){re.escape(name)}\(")
    for at, line in enumerate(site.lines):
        match = call.search(line)
        if match is None or site.change.first <= at < site.change.end:
            continue
        if re.search(r"\b(?:def|function|fn|func|fun)\s+$", line[: match.start()]):
            continue
        found = arguments(line, match.end())
        if found is None:
            continue
        values, end = found
        if gone and came and before.index(gone[0]) == after.index(came[0].name):
            said, rule = _renamed(values, gone[0], came[0].name), "keyword"
        elif gone and not came:
            said, rule = _without(values, before, gone[0]), "argument_gone"
        elif came and not gone and not came[0].optional and came[0].name == after[-1]:
            said, rule = _passed_on(site, at, values, came[0].name), "passed_on"
            if len(values) != len(before):
                continue
        else:
            return
        if said != values:
            text = line[: match.end()] + ", ".join(said) + line[end - 1 :]
            yield Proposal(rule=rule, first=at, end=at + 1, lines=(text,))


def signature_of(lines: tuple[str, ...]) -> tuple[str, list[Parameter]] | None:
    """A function's name and parameters, without self, where the lines hold all of them."""
    text = " ".join(line.strip() for line in lines)
    match = _SIGNATURE.search(text)
    found = arguments(text, match.end("name") + 1) if match else None
    if match is None or found is None:
        return None
    parameters = []
    for each in found[0]:
        said = _PARAMETER.match(each)
        if each in ("self", "cls", "&self", "&mut self", "*", "/"):
            continue
        stars = bool(said and said["stars"])
        optional = stars or bool(said and re.search(r"=(?!=)", said["rest"]))
        parameters.append(Parameter(name=said["name"] if said else "", optional=optional))
    return match["name"], parameters


def _renamed(values: list[str], old: str, new: str) -> list[str]:
    return [re.sub(rf"^{re.escape(old)}(?=\s*=(?!=))", new, each) for each in values]


def _without(values: list[str], before: list[str], gone: str) -> list[str]:
    """The keyword, or what stands in its place where every parameter is given by its place."""
    left = [x for x in values if (said := _KEYWORD.match(x)) is None or said[1] != gone]
    if len(left) < len(values) or len(values) != len(before):
        return left
    if any(map(_KEYWORD.match, values)) or any(each.startswith("*") for each in values):
        return values
    at = before.index(gone)
    return [*values[:at], *values[at + 1 :]]


def _passed_on(site: Site, at: int, values: list[str], name: str) -> list[str]:
    """With the name as well, where the function that calls has it."""
    start = function_above(site.lines, at)
    if start is None:
        return values
    bound = rf"[(,]\s*{re.escape(name)}\s*[:,)=]|^\s*{re.escape(name)}\s*(?::[^=]*)?=(?!=)"
    if not re.search(bound, "\n".join(site.lines[start:at]), re.MULTILINE):
        return values
    return [*values, f"{name}={name}" if any(map(_KEYWORD.match, values)) else name]
