"""All holes of a document, filled together.

Holes in code that stay on their line are denoised jointly, canvas after canvas; each text is
checked in the document with all the others in it, and where it is not right the hole is infilled by
itself, as at a cursor. So are holes that may take several lines. In JSON, YAML and TOML the
structure is pinned, what is open is closed, and the result parses.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from infill_engine import UNLIMITED, Budget, BudgetSpent, Draft, Engine, Hole, InfillRequest
from infill_ls.completion.attempt import attempted
from infill_ls.completion.context import InfillOptions, context_at
from infill_ls.completion.fills import Gap, filled, is_value
from infill_ls.completion.markers import Marker, markers
from infill_ls.completion.pipeline import infill_at
from infill_ls.completion.repetition import repeated
from infill_ls.completion.seam import misfit
from infill_ls.completion.steps import Steps, at_once
from infill_ls.completion.structures.complete import completing, structured_task
from infill_ls.completion.trim import trimmed
from infill_ls.documents import Document
from infill_ls.syntax.check import check
from infill_ls.syntax.language import language_id_of, language_of
from infill_ls.syntax.trees import Trees
from infill_ls.uris import path_of

_STRUCTURED = ("json", "yaml", "toml")
_ONE_A_LINE = (".jsonl", ".ndjson")
_LINE_END = re.compile(r"\r\n|\r|\n")
_TOKENS = 12  # of a hole that shares its canvas
_OPERAND_BEFORE = re.compile(r"[\w)\]}\"'`][ \t]*\Z")
_OPERAND_AFTER = re.compile(r"[ \t]*[\w(\[{\"'`]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """A span of the document, and the text in its place with the document's line ends."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HolesFilled:
    """All `replacements` together are one edit; so many of `holes` are `left`: the engine had
    nothing of use for them."""

    replacements: tuple[Replacement, ...]
    holes: int
    left: int


def structure_of(document: Document) -> str:
    """What the whole document has to parse as: "json", "yaml", "toml", or "" where it is filled as
    code is. So is JSON with comments, and that of a value a line, whatever the editor calls it."""
    language = language_of(document.language_id)
    if language.id == "json":
        path = path_of(document.uri) or ""
        lines = document.language_id.lower() == "jsonl" or path.lower().endswith(_ONE_A_LINE)
        return "" if lines or language_id_of(path) == "jsonc" else "json"
    return language.id if language.id in _STRUCTURED else ""


def fill_holes(
    engine: Engine,
    document: Document,
    chosen: Sequence[Marker],
    options: InfillOptions,
    *,
    budget: Budget = UNLIMITED,
    watch: Callable[[Draft], None] | None = None,
) -> HolesFilled:
    """The chosen holes, or all that are marked. Raises DocumentError for structured text that
    cannot be finished."""
    return at_once(filling_holes(engine, document, chosen, options, budget=budget, watch=watch))


def filling_holes(
    engine: Engine,
    document: Document,
    chosen: Sequence[Marker],
    options: InfillOptions,
    *,
    budget: Budget,
    watch: Callable[[Draft], None] | None = None,
) -> Steps[HolesFilled]:
    """The same, in steps that take no longer than a request does. Raises BudgetSpent once it is
    cancelled."""
    if not chosen and (structure := structure_of(document)):
        return (yield from _structured(engine, document, structure, options, budget, watch))
    holes = list(chosen) or markers(document)
    texts = _Texts(document, holes)
    if sum(not hole.lines for hole in holes) > 1:
        yield from _jointly(engine, texts, options, budget, watch)
    for at, hole in enumerate(holes):
        if texts.fills[at] is None and not budget.over:
            lines = options.max_lines if hole.lines else 1
            one = replace(options, max_lines=lines, num_candidates=options.num_choices)
            emptied, offset = texts.without(at)
            found = infill_at(
                engine, emptied, offset, one, trees=texts.trees, budget=budget, watch=watch
            )
            offered = (candidate.text for candidate in found.candidates)
            texts.fills[at] = next(
                (text for text in offered if texts.takes(at, text, budget)), None
            )
            yield
    if budget.cancelled():
        raise BudgetSpent
    return texts.result()


class _Texts:
    """The document with what has been filled in so far; None where nothing has."""

    def __init__(self, document: Document, holes: Sequence[Marker]) -> None:
        self.document = document
        self.holes = holes
        self.fills: list[str | None] = [None] * len(holes)
        self.trees = Trees()

    def without(self, at: int) -> tuple[Document, int]:
        """The document as it stands with one hole empty, and the place of that."""
        text, parts, end, offset = self.document.text, list[str](), 0, 0
        for number, (hole, fill) in enumerate(zip(self.holes, self.fills, strict=True)):
            parts.append(text[end : hole.start])
            if number == at:
                parts.append(self._own(hole.lead))
                offset = sum(map(len, parts))
            elif fill is None:
                parts.append(text[hole.start : hole.end])
            else:
                parts.append(self._own(hole.lead + fill))
            end = hole.end
        whole = "".join([*parts, text[end:]])
        return replace_text(self.document, whole), offset

    def takes(self, at: int, text: str, budget: Budget) -> bool:
        """Whether the document is as right with the text in a hole as it is with the mark."""
        hole = self.holes[at]
        if hole.lines and all(line.lstrip().startswith("#") for line in text.strip().split("\n")):
            return False  # a body of comments alone is none
        if not (is_value(text) or ("_" not in text and self._joins(hole))):
            return False
        emptied, offset = self.without(at)
        try:
            point = self.trees.point(emptied, offset, budget=budget)
            if point is None:
                return True
            if check(point, text, budget=budget).clean:
                return True
            mark = self.document.text[hole.start : hole.end]
            return not check(point, mark, budget=budget).clean
        except BudgetSpent:
            return False

    def _joins(self, hole: Marker) -> bool:
        """Whether an operator may be wanted, between two values."""
        text = self.document.text
        before, after = text[max(hole.start - 20, 0) : hole.start], text[hole.end : hole.end + 20]
        return bool(_OPERAND_BEFORE.search(before) and _OPERAND_AFTER.match(after))

    def result(self) -> HolesFilled:
        replacements = [
            Replacement(start=hole.start, end=hole.end, text=self._own(hole.lead + fill))
            for hole, fill in zip(self.holes, self.fills, strict=True)
            if fill is not None
        ]
        left = len(self.holes) - len(replacements)
        return HolesFilled(replacements=tuple(replacements), holes=len(self.holes), left=left)

    def _own(self, text: str) -> str:
        return text.replace("\n", self.document.newline)


def replace_text(document: Document, text: str) -> Document:
    return document.replaced(0, len(document.text), text, version=document.version)


def _jointly(
    engine: Engine,
    texts: _Texts,
    options: InfillOptions,
    budget: Budget,
    watch: Callable[[Draft], None] | None,
) -> Steps[None]:
    """Fills what stays on its line, so far as it is right where it stands."""
    document, holes = texts.document, texts.holes
    short = [at for at, hole in enumerate(holes) if not hole.lines]
    parts: list[str | Gap] = []
    end = 0
    for at in short:
        hole = holes[at]
        stand_in = document.text[hole.start : hole.end]
        parts.append(_lf(document.text[end : hole.start]))
        parts.append(Gap(hole=Hole(max_tokens=_TOKENS), stand_in=stand_in))
        end = hole.end
    parts.append(_lf(document.text[end:]))

    def settle(number: int, proposal: str) -> str:
        at = short[number]
        emptied, offset = texts.without(at)
        fill = _right(proposal, emptied, offset, texts.trees, budget)
        if fill is not None and texts.takes(at, fill, budget):
            texts.fills[at] = fill
        return texts.fills[at] or document.text[holes[at].start : holes[at].end]

    request = InfillRequest(
        prefix="",
        suffix="",
        language_id=document.language_id,
        max_lines=1,
        neighbours=options.neighbours,
        seed=options.seed,
    )
    yield from filled(engine, parts, settle, request=request, budget=budget, watch=watch)


def _right(
    proposal: str, document: Document, offset: int, trees: Trees, budget: Budget
) -> str | None:
    """As much of a proposal as belongs at the place, where that breaks nothing."""
    context = context_at(document, offset)
    text = trimmed(proposal, context, 1).rstrip(" \t")
    if not text.strip() or repeated(text, context) or misfit(text, context):
        return None
    try:
        point = trees.point(document, offset, budget=budget)
        draft = Draft(text=text, fills=(text,), steps=0, tokens=0, mean_entropy=0.0)
        attempt = attempted(text, 0.0, draft, point=point, context=context, budget=budget)
    except BudgetSpent:
        return None
    return attempt.text if attempt.verdict.valid else None


def _structured(
    engine: Engine,
    document: Document,
    language_id: str,
    options: InfillOptions,
    budget: Budget,
    watch: Callable[[Draft], None] | None,
) -> Steps[HolesFilled]:
    text = _lf(document.text)
    task = structured_task(text, language_id, seed=options.seed)
    yield
    result = yield from completing(engine, task, budget=budget, watch=watch)
    if budget.cancelled():
        raise BudgetSpent
    new = _with_line_ends_of(document, result.text)
    replacements = () if new == document.text else (_difference(document.text, new),)
    return HolesFilled(replacements=replacements, holes=len(task.slots), left=result.left)


def _difference(old: str, new: str) -> Replacement:
    """The one span that differs."""
    shortest = min(len(old), len(new))
    start = next((at for at in range(shortest) if old[at] != new[at]), shortest)
    same = shortest - start
    end = next((at for at in range(same) if old[-1 - at] != new[-1 - at]), same)
    return Replacement(start=start, end=len(old) - end, text=new[start : len(new) - end])


def _with_line_ends_of(document: Document, text: str) -> str:
    """Each of its lines ends as it did, for what is filled in takes none; others as most do."""
    ends = iter(_LINE_END.findall(document.text))
    first, *lines = text.split("\n")
    return first + "".join(f"{next(ends, document.newline)}{line}" for line in lines)


def _lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
