"""A text at the cursor and what the parser says of it: closed, blamed, cut back.

Offsets are code points of the text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from infill_engine.budget import Budget
from infill_engine.request import Draft
from infill_ls.completion.context import Context
from infill_ls.completion.repetition import repeated
from infill_ls.completion.seam import misfit
from infill_ls.syntax.brackets import PAIRS, balance, fits, followed
from infill_ls.syntax.check import Verdict, check
from infill_ls.syntax.language import Language
from infill_ls.syntax.regions import closes
from infill_ls.syntax.templates import template_faults
from infill_ls.syntax.trees import ParsePoint

# How many shorter texts are tried, at most and by the bytes that each has to be parsed with: where
# an excerpt is large, two.
_CUTS, _CUT_BYTES = 10, 160_000
# What leaves more brackets open is not to be mended.
_MOST_CLOSERS = 64
_TOKEN = re.compile(r"\w+|[^\S\n]+|\n\s*|[^\w\s]")
_WORD = re.compile(r"\w")
_MAY_PRECEDE_CLOSER = re.compile(r"[\w)\]}\"'`]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A text, what the parser says of it, and how sure the engine was."""

    text: str
    verdict: Verdict
    score: float
    draft: Draft


def attempted(
    text: str,
    score: float,
    draft: Draft,
    *,
    point: ParsePoint | None,
    context: Context,
    budget: Budget,
    close: bool = True,
) -> Attempt:
    """The text checked, with closers behind it where it lacks some and may get them. Raises
    BudgetSpent."""
    verdict = _verdict(text, point, context, budget)
    if close and not verdict.clean:
        text, verdict = _closed(point, context, text, verdict, budget)
    return Attempt(text=text, verdict=verdict, score=score, draft=draft)


def blamed(attempt: Attempt) -> tuple[int, int]:
    """The span to renoise: from the first to the last wrong place; the whole text where what is
    wrong is outside of it."""
    text, spans = attempt.text, attempt.verdict.spans
    if not spans:
        return 0, len(text)
    start, end = min(span[0] for span in spans), max(span[1] for span in spans)
    return widened(text, min(start, len(text)), min(end, len(text)))


def cut_back(
    attempt: Attempt, *, selected: str, point: ParsePoint | None, context: Context, budget: Budget
) -> Attempt | None:
    """The longest beginning of the text that is right where it stands; None where there is none.

    Half a text that leaves a broken file as broken as it was would help nobody. Raises
    BudgetSpent.
    """
    text = attempt.text
    ends = [span[1] for span in attempt.verdict.spans] or [len(text)]
    num_cuts = _CUT_BYTES // (len(point.before) + len(point.after) + 1 if point else 1)
    num_cuts = max(2, min(num_cuts, _CUTS))
    for kept in islice(shorter(text, min(max(ends) + 1, len(text))), num_cuts):
        if not kept.startswith(selected) or kept == selected or unfit(kept, context):
            continue
        tried = attempted(
            kept, attempt.score, attempt.draft, point=point, context=context, budget=budget
        )
        if tried.verdict.clean and not unfit(tried.text, context):
            return tried
    return None


def unfit(text: str, context: Context) -> str:
    """Why the text does not belong there, though it may parse; "" where nothing is wrong."""
    return repeated(text, context) or misfit(text, context)


def _verdict(text: str, point: ParsePoint | None, context: Context, budget: Budget) -> Verdict:
    """By the parser; without a grammar by the brackets and quotes: what the text opens it closes,
    or what follows does. A fence or tag that was missing belongs to no grammar of the region."""
    budget.check()
    if closes(text, context.region):
        return Verdict(valid=True, clean=True)
    if point is not None:
        return check(point, text, budget=budget)
    before, after, language = context.code_before, context.code_after, context.language
    if language.prose:
        return Verdict(valid=True, clean=True)
    reason = (
        ""
        if fits(before, text, after, language, context.opening)
        else "brackets or quotes do not match"
    )
    if language.templates and not reason:
        then = template_faults(before + after, language)
        now = template_faults(before + text + after, language)
        reason = "a tag lacks its partner" if len(now) > len(then) else ""
    if not reason:
        return Verdict(valid=True, clean=True)
    return Verdict(valid=False, clean=False, spans=((len(text), len(text)),), reason=reason)


def _closed(
    point: ParsePoint | None, context: Context, text: str, verdict: Verdict, budget: Budget
) -> tuple[str, Verdict]:
    """The text with the brackets closed that are open on its line, where that makes it right.

    Where closing them right away would have mended the file, but not with the text before them,
    then the text is at fault, though the file is no worse for it.
    """
    before, after, language = context.code_before, context.code_after, context.language
    if point is not None:
        before, after = point.before.decode(), point.after.decode()
    closers = missing_closers(before, text, after, language)
    if not closers:
        return text, verdict
    closed = text.rstrip() + closers
    with_closers = _verdict(closed, point, context, budget)
    if with_closers.clean and not unfit(closed, context):
        return closed, with_closers
    alone = missing_closers(before, "", after, language)
    mends = bool(alone) and verdict.valid and _verdict(alone, point, context, budget).clean
    if mends and not with_closers.clean:
        spans = with_closers.spans or ((0, len(text)),)
        return text, Verdict(valid=False, clean=False, spans=spans, reason="a new syntax error")
    return text, verdict


def missing_closers(before: str, text: str, after: str, language: Language) -> str:
    """The closers that, put behind the text, give every bracket opened on its line its partner.

    "" where none is missing, where a string is open, where an operand is still to come, or where
    they would take a line of their own.
    """
    if text and not _MAY_PRECEDE_CLOSER.match(text.rstrip()[-1:]):
        return ""
    head = balance(before, language)
    own = balance(text, language, head.state)
    if "\n" in text or head.state.open or own.state.open:
        return ""
    on_line = followed(balance(before.rpartition("\n")[2], language), own)
    if len(on_line) > _MOST_CLOSERS:
        return ""
    closed_after = balance(after, language).closers
    closers = "".join(PAIRS[opener] for opener in reversed(followed(head, own)))
    for count in range(len(on_line) + 1):
        if closed_after.startswith(closers[count:]):
            return closers[:count]
    return ""


def shorter(text: str, before: int) -> Iterator[str]:
    """The text cut at the ends of lines, then at tokens of its first line, longest first; all of
    it ends at or before offset `before`."""
    ends = [match.start() for match in re.finditer(r"\n", text)]
    first = ends[0] if ends else len(text)
    tokens = [match.end() for match in _TOKEN.finditer(text, 0, first)]
    for end in [*reversed(ends), *(end for end in reversed(tokens) if end < first)]:
        cut = text[:end].rstrip()
        if end <= before and _WORD.search(cut):
            yield cut


def widened(text: str, start: int, end: int) -> tuple[int, int]:
    """The span grown to whole tokens; an empty one takes in the token before it."""
    tokens = [match.span() for match in _TOKEN.finditer(text)]
    if start == end:
        before = [token for token in tokens if token[0] < end and text[slice(*token)].strip()]
        return (before[-1][0], max(end, before[-1][1])) if before else (start, end)
    low = next((token[0] for token in tokens if token[1] > start), start)
    high = next((token[1] for token in tokens if token[1] >= end), end)
    return low, high
