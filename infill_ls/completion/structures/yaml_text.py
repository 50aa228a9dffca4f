"""YAML as it stands in a file that is being written: values missing, cut off anywhere.

Of what could close an open end that is taken with which the text parses; then each value that is
empty becomes a slot. PyYAML says what parses and where the values are.
"""

import re
from collections.abc import Iterator

import yaml

from infill_ls.completion.structures.json_text import HOLE, fault
from infill_ls.completion.structures.scalars import ALPHANUMERIC
from infill_ls.completion.structures.slots import Edit, Piece, Slot, spliced

_HALF_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]?|u[0-9a-fA-F]{0,3}|U[0-9a-fA-F]{0,7})?$")
_ALIAS = re.compile(r"\*(\S*)$")
_ANCHOR = re.compile(r"&(\w[\w-]*)")
_PLAIN = re.compile(
    r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\n]|\'\')*\'|[A-Za-z0-9./_+-](?:[^\n:#,\[\]{}"\'&*!|>%@`\\]|:(?=\w))*'
)
_BLANKS = re.compile(r"[ \t]*")
_ENDS = {"[": "]", "{": "}"}
_VALUE_TOKENS = 12
_LOOK_AHEAD = 2_000  # characters: what is wrong further before the end no end mends
# Ends of anchors, of lines between documents, of tags and directives.
_UNLIKELY = ("a", "-", "--", ".", "..", ">", "\n---", "1\n---", ".2\n---", " 1.2\n---")
_BEFORE_A_VALUE = (":", "-", ",", "[", "{", "?")


def yaml_template(text: str) -> list[Piece]:
    """Pieces that are the document, finished. Raises DocumentError where no text finishes it."""
    whole, why = _closed(text)
    if whole is None:
        raise fault(text, *why)
    return spliced(whole, 0, len(whole), list(_values(whole)))


def is_yaml(text: str) -> bool:
    try:
        for _ in yaml.compose_all(text, Loader=yaml.SafeLoader):
            pass
    except (yaml.YAMLError, RecursionError, ValueError):
        return False
    return True


def _closed(text: str) -> tuple[str | None, tuple[int, str, str]]:
    """The text with its open end closed; or where, why and what to do."""
    why = _why_not(text)
    if why is None:
        return text, (0, "", "")
    body = text.rstrip(" \t\r\n")
    newline = "\n" if "\n" in text[len(body) :] else ""
    at_end = why[0] >= len(body) - _LOOK_AHEAD
    for begun, tail in _tails(text, body) if at_end else ():
        if is_yaml(begun + tail + newline):
            return begun + tail + newline, (0, "", "")
    return None, why


def _why_not(text: str) -> tuple[int, str, str] | None:
    """Where it is no YAML, why and what to do; None where it is."""
    try:
        list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = error.problem or error.context or "it does not parse"
        return mark.index if mark else len(text), f"this is no YAML: {said}", "correct it there"
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        said = str(error).partition("\n")[0]
        return 0, f"this is no YAML: {said}", "correct it there"
    return None


def _tails(text: str, body: str) -> Iterator[tuple[str, str]]:
    """What may stand for the text's end, and behind it, the plainest first."""
    quote, flow = _open_at_end(body)
    closers = "".join(_ENDS[each] for each in reversed(flow))
    if quote:
        inside = text.rstrip("\r\n")
        body = _HALF_ESCAPE.sub("", inside) if quote == '"' else inside
    for colon in ("", ":", ": null"):
        yield body, quote + colon + closers
        yield body, f"{quote}{colon}\n {closers}"  # behind a comment
    if alias := _ALIAS.search(body):
        for name in _ANCHOR.findall(text):
            if name.startswith(alias.group(1)):
                yield body, name[len(alias.group(1)) :] + closers
    for tail in _UNLIKELY:
        yield body, tail + closers
        yield body, f"{tail}:{closers}"


def _open_at_end(text: str) -> tuple[str, list[str]]:
    """The quote of a string that is open at the end, and the brackets that are."""
    flow: list[str] = []
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            match token:
                case yaml.FlowSequenceStartToken():
                    flow.append("[")
                case yaml.FlowMappingStartToken():
                    flow.append("{")
                case yaml.FlowSequenceEndToken() | yaml.FlowMappingEndToken():
                    flow = flow[:-1]
    except yaml.MarkedYAMLError as error:
        context, mark = error.context or "", error.context_mark
        if mark is not None and "quoted" in context:
            # Brackets that might begin a key are told only once more of the text was read.
            _, before = _open_at_end(text[: mark.index])
            return text[mark.index : mark.index + 1], before
    except yaml.YAMLError:
        pass
    return "", flow


def _values(text: str) -> Iterator[Edit]:
    """Slots in place of what is empty or marked."""
    seen = set[int]()
    for root in yaml.compose_all(text, Loader=yaml.SafeLoader):
        for node in _nodes(root):
            start, end = node.start_mark.index, node.end_mark.index
            if start in seen:
                continue
            seen.add(start)
            if node.value == HOLE and text[start:end].strip("\"'") == HOLE:
                yield Edit(start=start, end=end, pieces=(_slot("", text[start:end]),))
            elif start == end and text[:start].rstrip(" \t").endswith(_BEFORE_A_VALUE):
                space = "" if text[start - 1 : start] in (" ", "\t") else " "
                blanks = _BLANKS.match(text, start)
                end = blanks.end() if blanks else end
                last = end == len(text) or text[end] == "\n"
                end = end if last else start
                yield Edit(start=start, end=end, pieces=(_slot(space, text[start:end]),))


def _nodes(root: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    """The scalars that are values, in order."""
    waiting = [root] if root is not None else []
    seen = set[int]()
    found: list[yaml.ScalarNode] = []
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            found.append(node)
        elif isinstance(node, yaml.MappingNode):
            waiting += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
    yield from sorted(found, key=lambda node: node.start_mark.index)


def _slot(space: str, fallback: str) -> Slot:
    def fit(proposal: str) -> str | None:
        found = _PLAIN.match(proposal.strip())
        text = found.group().strip() if found else ""
        plain = text and _is_scalar(f"v: {text}") and _is_scalar(f"v: [{text}]")
        return space + text if plain and text not in ('""', "''") else None

    return Slot(
        fallback=fallback, fit=fit, max_tokens=_VALUE_TOKENS, initials=ALPHANUMERIC, value=True
    )


def _is_scalar(text: str) -> bool:
    """Whether a mapping's one value is a scalar, or a list of one."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError):
        return False
    if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
        return False
    value = node.value[0][1]
    if isinstance(value, yaml.SequenceNode) and len(value.value) == 1:
        value = value.value[0]
    return isinstance(value, yaml.ScalarNode)
