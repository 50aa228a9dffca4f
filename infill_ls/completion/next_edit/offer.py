"""What to offer as the next edit: the most probable of what the rules propose after the last few
edits, if the file parses with it."""

import ast
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from tree_sitter import Parser

from infill_engine.budget import UNLIMITED, Budget, BudgetSpent
from infill_ls.completion.next_edit.arguments import balanced
from infill_ls.completion.next_edit.blocks import same_lines
from infill_ls.completion.next_edit.calibration import UNSURE, confidence, evidence
from infill_ls.completion.next_edit.changes import LineChange, line_change, token_changes
from infill_ls.completion.next_edit.elsewhere import (
    NOTHING_ELSEWHERE,
    Elsewhere,
    changed_elsewhere,
)
from infill_ls.completion.next_edit.fstrings import as_f_strings
from infill_ls.completion.next_edit.history import Edit
from infill_ls.completion.next_edit.migrations import migrated
from infill_ls.completion.next_edit.names import rename_elsewhere
from infill_ls.completion.next_edit.patterns import repeated
from infill_ls.completion.next_edit.proposal import Proposal, Site
from infill_ls.completion.next_edit.record import NO_RECORD, Expected, Record, expected
from infill_ls.completion.next_edit.separators import separated
from infill_ls.completion.next_edit.siblings import beside
from infill_ls.completion.next_edit.signatures import calls_after
from infill_ls.completion.next_edit.source import Source
from infill_ls.completion.next_edit.weighed import Alternatives, alternatives
from infill_ls.documents import Document
from infill_ls.syntax.edits import tree_edit
from infill_ls.syntax.language import language_of
from infill_ls.syntax.parse import parse_code, problems, utf8

Rule = Callable[[Site], Iterator[Proposal]]
RULES: tuple[Rule, ...] = (
    migrated,
    rename_elsewhere,
    calls_after,
    repeated,
    beside,
    as_f_strings,
    same_lines,
    separated,
)
MAX_CHARACTERS = 200_000  # of a file that can be parsed whole in time
_MOST_PARSED = 4  # proposals
SECONDS_ELSEWHERE = 0.1  # for what was changed in other documents
_RECENT, _OLDER = 3, 0.9  # edits that are looked at, and what one counts that is older by one


@dataclass(frozen=True, slots=True, kw_only=True)
class NextEdit:
    """[start, end) of a document, whole lines, is better replaced by `text`, which has the
    document's line ends; `line` is the first one that changes. `confidence` is what the rules say,
    `agreed` that it follows from the document's edits and from those of others as well;
    `alternatives` are for a judge."""

    start: int
    end: int
    text: str
    line: int
    rule: str
    confidence: float
    agreed: bool
    alternatives: Alternatives


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is worth a second look, if anything is, and all that was proposed, for the record."""

    edit: NextEdit | None = None
    expected: tuple[Expected, ...] = ()


def likeliest(
    document: Document,
    edits: Sequence[Edit],
    *,
    elsewhere: Elsewhere = NOTHING_ELSEWHERE,
    budget: Budget = UNLIMITED,
) -> Found:
    """A document without an edit may be due what was changed in others. Raises BudgetSpent."""
    proposed = list(_after_all(document, edits, elsewhere, budget))
    at = document.lines.line_of(edits[-1].end) if edits else 0

    def worth(of: tuple[Proposal, Site]) -> tuple[float, bool, int]:
        return -of[0].confidence, of[0].first < at, abs(of[0].first - at)

    return Found(
        edit=first_that_parses(sorted(merged(proposed), key=worth), budget),
        expected=tuple(dict.fromkeys(as_expected(each, site) for each, site in proposed)),
    )


def as_expected(proposal: Proposal, site: Site) -> Expected:
    return expected(proposal.rule, site.lines[proposal.first : proposal.end], proposal.lines)


def first_that_parses(
    found: Sequence[tuple[Proposal, Site]], budget: Budget = UNLIMITED
) -> NextEdit | None:
    """Of the first few, those that are too unlikely left out. Raises BudgetSpent."""
    for each, site in found[:_MOST_PARSED]:
        if each.confidence >= UNSURE:
            edit = _as_edit(site.document, each, site)
            if parses(site.document, edit, budget):
                return edit
    return None


def merged(found: Iterable[tuple[Proposal, Site]]) -> list[tuple[Proposal, Site]]:
    """Each change once, as likely as its surest rule finds it; what follows from the document's
    edits and from those of others as well is likelier."""
    by_place: dict[tuple[int, int, tuple[str, ...]], dict[bool, tuple[Proposal, Site]]] = {}
    for each, site in found:
        ways = by_place.setdefault((each.first, each.end, each.lines), {})
        before = ways.get(site.has_edit)
        if before is None or each.confidence > before[0].confidence:
            ways[site.has_edit] = each, site
    best = []
    for ways in by_place.values():
        each, site = max(ways.values(), key=lambda way: way[0].confidence)
        doubt = math.prod(1 - way.confidence for way, _ in ways.values())
        best.append((replace(each, confidence=1 - doubt, agreed=len(ways) > 1), site))
    return best


def _after_all(
    document: Document, edits: Sequence[Edit], elsewhere: Elsewhere, budget: Budget
) -> Iterator[tuple[Proposal, Site]]:
    """What follows from the last few edits, and from which: also what an older one leaves to be
    done, where no newer one was made, and what those of other documents do. Raises BudgetSpent."""
    if len(document.text) > MAX_CHARACTERS:
        return
    source = Source(document)
    since: list[tuple[int, int]] = []  # lines of newer edits
    newer: list[LineChange] = []

    def is_due(each: Proposal) -> bool:
        return not any(each.first < end and first < each.end for first, end in since)

    for age, edit in enumerate(reversed(edits[-_RECENT:])):
        site = site_of(source, edit)
        if site is not None:
            again = sum(_same_tokens(site.change, each) for each in newer)
            for each in filter(is_due, proposals(site, budget, elsewhere.record)):
                yield replace(each, confidence=_aged(each.confidence, age, again)), site
            newer.append(site.change)
        first = document.lines.line_of(edit.start)
        since.append((first, document.lines.line_of(edit.end) + 1))
    if newest := site_of(source, edits[-1]) if edits else without_edit(source):
        for each, site in after_others(newest, elsewhere, budget):
            if is_due(each):
                yield each, site


def _aged(confidence: float, age: int, again: int) -> float:
    """Of what follows from an edit that is older than `age` others; those of them that did the same
    `again` speak for it as much as it does."""
    return 1 - (1 - confidence) ** (1 + again) if again else confidence * _OLDER**age


def _same_tokens(one: LineChange, other: LineChange) -> bool:
    """Whether the same became the same in both, wherever."""
    a, b = ({(x.old, x.new) for x in token_changes(each)} for each in (one, other))
    return not a.isdisjoint(b)


def after_others(
    site: Site, elsewhere: Elsewhere, budget: Budget = UNLIMITED
) -> Iterator[tuple[Proposal, Site]]:
    """What follows from the changes of other documents, as far as there is time for it."""
    with suppress(BudgetSpent):
        of_these = budget.within(SECONDS_ELSEWHERE)
        for proposal, there in changed_elsewhere(site, elsewhere, of_these):
            yield _rated(proposal, there, elsewhere.record), there
    budget.check()


def site_of(source: Source, edit: Edit) -> Site | None:
    """None where nothing could follow from the edit."""
    change = line_change(source.document, edit)
    return Site(source=source, change=change) if change else None


def without_edit(source: Source) -> Site:
    """Behind its last line, where nothing became nothing."""
    nothing = LineChange(first=len(source.lines) + 1, old=(), new=())
    return Site(source=source, change=nothing)


def proposals(site: Site, budget: Budget, record: Record = NO_RECORD) -> Iterator[Proposal]:
    """Of all rules; a line that was just opened, closed or indented is the beginning of something
    else. Raises BudgetSpent."""
    if site.change.is_blank:
        return
    for rule in RULES:
        for proposal in rule(site):
            budget.check()
            yield _rated(proposal, site, record)


def _rated(proposal: Proposal, site: Site, record: Record) -> Proposal:
    likely = confidence(proposal.rule, evidence(proposal, site, record))
    return replace(proposal, confidence=likely)


def _as_edit(document: Document, proposal: Proposal, site: Site) -> NextEdit:
    first, end, newline = proposal.first, proposal.end, document.newline
    start, text = document.line_start(first), newline.join(proposal.lines)
    if end > first and proposal.lines:
        stop = document.line_end(end - 1)
    else:
        stop = document.line_start(end)
        if proposal.lines and first < document.num_lines:
            text += newline
        elif proposal.lines:  # behind a last line that has no end
            text = newline + text
    return NextEdit(
        start=start,
        end=stop,
        text=text,
        line=first,
        rule=proposal.rule,
        confidence=proposal.confidence,
        agreed=proposal.agreed,
        alternatives=alternatives(site, proposal),
    )


def parses(document: Document, edit: NextEdit, budget: Budget) -> bool:
    """Whether the whole file has no more syntax errors with the edit. Raises BudgetSpent."""
    after = document.replaced(edit.start, edit.end, edit.text, version=document.version)
    language = language_of(document.language_id)
    if language.grammar is None or language.strictness != "strict":
        removed = document.text[edit.start : edit.end]
        if balanced(removed) != balanced(edit.text):
            return False
    if language.grammar is None:
        return True
    old, new = utf8(document.text), utf8(after.text)
    parser = Parser(language.grammar)
    tree = parse_code(parser, old, language, budget=budget)
    wrong = problems(tree, old, language, budget=budget)
    start = len(utf8(document.text[: edit.start]))
    old_end = start + len(utf8(document.text[edit.start : edit.end]))
    tree.edit(*tree_edit(old, new, start, old_end, start + len(utf8(edit.text))))
    tree = parse_code(parser, new, language, budget=budget, old=tree)
    if len(problems(tree, new, language, budget=budget)) > len(wrong):
        return False
    return language.id != "python" or bool(wrong) or _compiles(after.text, document.text)


def _compiles(text: str, before: str) -> bool:
    """What the grammar takes and Python does not; as it was, where it was broken before."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        try:
            ast.parse(before)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return True
        return False
    return True
