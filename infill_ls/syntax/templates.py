"""The tags of templates, Jinja's, Django's, Twig's, Nunjucks' and Liquid's, and what is wrong with
them; of Vue's the expressions.

Every one of them has tags of its own, and users add more, so this looks at what they share: `{{ }}`
and `{% %}` are closed and not nested, brackets and quotes in them too, and a block has its end.
What stands outside of tags is text. Takes time in proportion to the text.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from infill_ls.syntax.branches import Mark, other_branches
from infill_ls.syntax.language import Language

_OPENINGS = {"tags": re.compile(r"\{[{%#]"), "expressions": re.compile(r"\{\{")}
_REGEX = (
    r"(?:(?<=[({\[,=:!&|?])|(?<=[({\[,=:!&|?] ))"
    r"/(?![*/ ])(?:\\.|\[(?:\\.|[^\]\\\n])*+\]|[^/\\\[\n])++/"
)
_INSIDE = re.compile(
    r""""(?:\\.|[^"\\\n])*+"|'(?:\\.|[^'\\\n])*+'|`(?:\\.|[^`\\])*+`"""
    + rf"|{_REGEX}"
    + r"""|\{\{|\{%|%\}|[()\[\]{}"']"""
)
_OPENER_OF = {")": "(", "]": "[", "}": "{"}
_NAME = re.compile(r"[-+~]?\s*(\w+)")
_ALONE = {
    name: re.compile(pattern)
    for name, pattern in {"set": "=", "trans": "[\"']", "block": r"\S\s+[\w\"'(]"}.items()
}
"""Blocks that need no end, though they may have one, where this stands in their tag: they say at
once what they mean."""
_SAME = {"ifAsync": "if"}
"""Names of blocks whose end has another one."""
_RAW = frozenset({"raw", "verbatim", "comment"})
"""Blocks that hold text, not tags."""
_BLOCKS = {
    *("if", "for", "macro", "call", "filter", "with", "autoescape", "unless", "case", "capture"),
    *("cache", "blocktrans", "blocktranslate", "spaceless", "ifchanged", *_ALONE, *_RAW),
}
_VISIBLE = re.compile(r"\S", re.ASCII)

Range = tuple[int, int]
"""Start and end of a tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tag:
    """One that is not `closed` ends where it stops to make sense. Of a block it has the `name`, and
    `rest` is what stands behind it."""

    start: int
    end: int
    closed: bool
    name: str = ""
    rest: str = ""

    @property
    def span(self) -> Range:
        return self.start, self.end

    @property
    def may_be_alone(self) -> bool:
        alone = _ALONE.get(self.name)
        return alone is not None and alone.search(self.rest) is not None


def template_faults(text: str, language: Language) -> tuple[Range, ...]:
    """The tags that are open, nested or wrong within, and those of blocks without a partner."""
    faults: list[Range] = []
    blocks: list[_Tag] = []  # those that are open, outermost first
    num_open: Counter[str] = Counter()
    for tag in _tags(text, language):
        ends = tag.name.removeprefix("end")
        if not tag.closed:
            faults.append(tag.span)
        elif tag.name in _BLOCKS:
            blocks.append(tag)
            num_open[tag.name] += 1
        elif ends != tag.name and ends in _BLOCKS:
            if not num_open[ends]:
                faults.append(tag.span)
                continue
            while (inner := blocks.pop()).name != ends:
                num_open[inner.name] -= 1
                faults += [] if inner.may_be_alone else [inner.span]
            num_open[ends] -= 1
    return (*faults, *(block.span for block in blocks if not block.may_be_alone))


def without_tags(source: bytes, language: Language) -> bytes:
    """The source for a grammar of markup, to which `{% if a > b %}` is a syntax error: tags are
    words to it. Nothing moves."""
    text = source.decode("latin-1")  # a character a byte
    tags = [tag for tag in _tags(text, language) if tag.closed]
    spans = [tag.span for tag in tags]
    if language.tags and language.templates == "tags":
        text = _blanked(text, sorted(other_branches(text, _marks(tags, language))))
    return _blanked(text, spans).encode("latin-1")


def _blanked(text: str, spans: list[Range]) -> str:
    """With words in place of what is visible in the spans, which are in order; one may hold those
    behind it."""
    parts, at = [], 0
    for start, end in spans:
        if end > at:
            start = max(start, at)
            parts += [text[at:start], _VISIBLE.sub("_", text[start:end])]
            at = end
    return "".join([*parts, text[at:]])


def _marks(tags: list[_Tag], language: Language) -> Iterator[Mark]:
    """What opens, parts and ends the blocks of tags."""
    blocks: list[str] = []
    num_open: Counter[str] = Counter()
    for tag in tags:
        ends = tag.name.removeprefix("end")
        if tag.name in _BLOCKS and not tag.may_be_alone:
            blocks.append(tag.name)
            num_open[tag.name] += 1
            yield Mark(start=tag.start, end=tag.end, opens=True)
        elif tag.name in language.carry_on:
            yield Mark(start=tag.start, end=tag.end)
        elif ends != tag.name and num_open[ends]:
            closed = 1
            while (inner := blocks.pop()) != ends:
                num_open[inner] -= 1
                closed += 1
            num_open[ends] -= 1
            yield Mark(start=tag.start, end=tag.end, ends=closed)


def _tags(text: str, language: Language) -> Iterator[_Tag]:
    opening, at = _OPENINGS[language.templates], 0
    while mark := opening.search(text, at):
        name, rest = "", ""
        if mark[0] == "{#":
            at, closed = _comment_end(text, mark.end())
        else:
            at, closed = _tag_end(text, mark.end(), mark[0])
        end = at
        if closed and mark[0] == "{%" and (named := _NAME.match(text, mark.end(), at)):
            name, rest = _SAME.get(named[1], named[1]), text[named.end() : at]
            if name in _RAW:
                stops = re.compile(rf"\{{%[-+~]?\s*end{name}\b").search(text, at)
                at = stops.start() if stops else len(text)
        yield _Tag(start=mark.start(), end=end, closed=closed, name=name, rest=rest)


def _comment_end(text: str, at: int) -> tuple[int, bool]:
    end = text.find("#}", at)
    return (len(text), False) if end < 0 else (end + 2, True)


def _tag_end(text: str, start: int, opening: str) -> tuple[int, bool]:
    """Where the tag is closed, and True; or how far it makes sense, and False."""
    if opening == "{%" and text[start : start + 2].strip(" -")[:1] == "#":  # Liquid's comment
        end = text.find("%}", start)
        return (len(text), False) if end < 0 else (end + 2, True)
    open_brackets: list[str] = []
    for found in _INSIDE.finditer(text, start):
        token = found[0]
        if not open_brackets and opening == "{%" and token == "%}":
            return found.end(), True
        if not open_brackets and opening == "{{" and text.startswith("}}", found.start()):
            return found.start() + 2, True
        if token in ("(", "[", "{"):
            open_brackets.append(token)
        elif token in _OPENER_OF and open_brackets[-1:] == [_OPENER_OF[token]]:
            open_brackets.pop()
        elif len(token) == 1 or token in ("{{", "{%", "%}"):
            return max(found.start(), start), False
    return len(text), False
