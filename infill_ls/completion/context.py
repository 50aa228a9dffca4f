"""What stands on both sides of the cursor, cut to a window. Knows the document, not the syntax.

Offsets are code points. Both sides have LF line ends, whatever the file has.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from infill_engine.budget import Budget, BudgetSpent
from infill_engine.request import Hole, InfillRequest
from infill_ls.documents import Document
from infill_ls.syntax.language import Language, language_of
from infill_ls.syntax.lexer import START, State, beginning, state_at
from infill_ls.syntax.regions import Region, region_at

# The engine cuts to its own token windows, but copies from all of it.
_PREFIX, _SUFFIX = 24_000, 12_000
# A window's far end moves in such steps, so that it stays while the user types and what an engine
# knows of it holds.
_PREFIX_STEP, _SUFFIX_STEP = 1_500, 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class InfillOptions:
    """What is asked for.

    `selected` is what the editor's completion menu would put in beyond the cursor: every
    candidate starts with it. `num_choices` is how many texts a model on this machine compares at
    least, of which `num_candidates` are shown. `neighbours` are snippets of other files, best
    first, and `elsewhere` is text of them to copy from.
    """

    max_lines: int | None = None
    max_tokens: int | None = None
    num_candidates: int = 1
    num_choices: int = 1
    seed: int = 0
    min_confidence: float = 0.0
    selected: str = ""
    neighbours: tuple[str, ...] = ()
    elsewhere: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The text round the cursor of one version of a document.

    `region` is the part of the document in one language that holds the cursor, `code_before` and
    `code_after` what of both sides is in it: mostly all. `opening` is what is open where
    `code_before` starts; where the cursor is `parsed`, a tree without errors knows better.
    `newline` is the file's own line end, `offset` the cursor in the document.
    """

    prefix: str
    suffix: str
    region: Region
    code_before: str
    code_after: str
    newline: str
    offset: int
    uri: str
    version: int
    opening: State = START
    parsed: bool = False

    @property
    def language(self) -> Language:
        """The one at the cursor: of code in a document of prose, the code's."""
        return self.region.language

    @property
    def indentation(self) -> str:
        """One level of it as the file does it: a tab or some spaces. Few texts need it."""
        return indentation_of(self.prefix, self.suffix, self.language)

    @property
    def line_before(self) -> str:
        """The cursor's line up to the cursor."""
        return self.prefix[self.prefix.rfind("\n") + 1 :]

    @property
    def line_after(self) -> str:
        """The cursor's line from the cursor on, without its line end."""
        return self.suffix.partition("\n")[0]


def context_at(document: Document, offset: int) -> Context:
    text = document.text
    host = language_of(document.language_id)
    offset = min(max(offset, 0), len(text))
    start, end = _prefix_start(text, offset), _suffix_end(text, offset)
    prefix, suffix = _lf(text[start:offset]), _lf(text[offset:end])
    region = region_at(text, offset, host)
    whole = region.start >= start
    return Context(
        prefix=prefix,
        suffix=suffix,
        region=region,
        code_before=_lf(text[region.start : offset]) if whole else prefix,
        code_after=_lf(text[offset : region.end]) if region.end < end else suffix,
        newline=document.newline,
        offset=offset,
        uri=document.uri,
        version=document.version,
        opening=_beginning(text, region) if whole else START,
    )


def opened(context: Context, document: Document, *, budget: Budget) -> Context:
    """The same, with what is open where its window begins, if the budget is enough for that."""
    text, region = document.text, context.region
    start = _prefix_start(text, context.offset)
    if region.start >= start:
        return context
    try:
        begins = _beginning(text, region)
        window = text[region.start : start]
        opening = state_at(window, region.language, begins, budget=budget)
    except BudgetSpent:
        return context
    return replace(context, opening=opening)


def _beginning(text: str, region: Region) -> State:
    return beginning(text[region.start : region.end], region.language)


def request_for(context: Context, options: InfillOptions) -> InfillRequest:
    hole = Hole(max_tokens=options.max_tokens)
    return InfillRequest(
        prefix=context.prefix,
        suffix=context.suffix,
        language_id=context.region.host.id,
        document=context.uri,
        middle=(options.selected, hole) if options.selected else (hole,),
        max_lines=options.max_lines,
        num_candidates=options.num_candidates,
        num_choices=options.num_choices,
        neighbours=options.neighbours,
        elsewhere=options.elsewhere,
        seed=options.seed,
    )


def warm_request(document: Document, offset: int, options: InfillOptions) -> InfillRequest:
    """What to have encoded before anything is asked for at `offset`."""
    return request_for(context_at(document, offset), options)


def _prefix_start(text: str, offset: int) -> int:
    if offset <= _PREFIX:
        return 0
    start = (offset - _PREFIX) // _PREFIX_STEP * _PREFIX_STEP + _PREFIX_STEP
    return text.find("\n", start, offset) + 1 or start


def _suffix_end(text: str, offset: int) -> int:
    # Counted from the end of the file: typing at the cursor leaves that distance as it is.
    left_out = len(text) - offset - _SUFFIX
    if left_out <= 0:
        return len(text)
    end = len(text) - -(-left_out // _SUFFIX_STEP) * _SUFFIX_STEP
    return text.rfind("\n", offset, end) + 1 or end


def _lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


# The middle of a block comment and C's directives are no lines of code.
_INDENTED = re.compile(r"\n([ \t]*)[^ \t\n*#]")


def indentation_of(prefix: str, suffix: str, language: Language) -> str:
    """One level of indentation as the text does it, or as is usual in the language.

    Where a file has both, tabs or spaces go by the nearest indented line before the cursor.
    """
    # The cursor's own line is left out where others say enough: while it is typed they stay.
    tabs, steps = _indented(prefix[: prefix.rfind("\n") + 1] + suffix.partition("\n")[2])
    if not (tabs or steps):
        tabs, steps = _indented(prefix + suffix)
    usual = language.indentation
    nearest = next(_indentations_before(prefix), "")
    if nearest == "\t" or (not nearest and tabs > sum(steps.values())):
        return "\t"
    if steps:
        return " " * max(steps, key=lambda step: (steps[step], -step))
    return usual if nearest != " " or usual != "\t" else "    "


@lru_cache(maxsize=4)  # it keeps the texts
def _indented(text: str) -> tuple[int, Mapping[int, int]]:
    """How many lines begin with tabs, and how many with so many more spaces than those before."""
    tabs, previous = 0, 0
    steps: Counter[int] = Counter()
    for indentation in _INDENTED.findall(f"\n{text}"):
        width = len(indentation)
        if indentation.startswith("\t"):
            tabs += 1
        elif 2 <= width - previous <= 8:
            steps[width - previous] += 1
        previous = width
    return tabs, steps


def _indentations_before(prefix: str) -> Iterator[str]:
    """The first characters of the indented lines, nearest first."""
    end = len(prefix)
    while end >= 0:
        start = prefix.rfind("\n", 0, end) + 1
        if prefix.startswith(("\t", " "), start) and not prefix.startswith(" *", start):
            yield prefix[start]
        end = start - 1
