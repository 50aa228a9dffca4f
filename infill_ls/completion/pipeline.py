"""From a cursor in a document to what may be shown there: the one pipeline of server, command
line and benchmark.

    context_at -> engine.infill -> tidied -> check -> re-noise what is wrong -> cut back -> drop

What comes out adds no syntax error to the file and does not say what follows the cursor.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.request import Draft, Engine, Hole, InfillRequest
from infill_ls.completion.candidate import (
    Candidate,
    allowed_lines,
    confidence,
    missing_closers,
    repeated,
    shorter,
    tidied,
    widened,
)
from infill_ls.completion.context import Context, InfillOptions, context_at, request_for
from infill_ls.documents import Document
from infill_ls.syntax.check import Place, Trees, Verdict, check

__all__ = ["Candidate", "InfillOptions", "Infilled", "Timings", "Trees", "infill_at"]

# How often a wrong span is thought over again.
_RENOISED = 2
# How many shorter texts are tried after that, at most and by the bytes that each has to be parsed
# with: where a whole large file is, two.
_CUTS, _CUT_BYTES = 10, 160_000
# Seconds that a run of the engine needs to be worth starting before the deadline.
_WORTH_STARTING = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Milliseconds. `encode` and `denoise` are the engine's own figures, over all its runs."""

    total: float
    context: float
    encode: float
    denoise: float
    validate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Infilled:
    """`candidates`, best first; where there are none, `rejected` says why.

    `draft` is the engine's last, None when it offered nothing; `num_renoised` counts how often a
    part of it went back to noise because the parser did not take it.
    """

    candidates: tuple[Candidate, ...]
    draft: Draft | None
    ms: Timings
    rejected: str = ""
    num_renoised: int = 0


def infill_at(
    engine: Engine,
    document: Document,
    offset: int,
    options: InfillOptions,
    *,
    trees: Trees,
    budget: Budget = UNLIMITED,
    watch: Callable[[Draft], None] | None = None,
) -> Infilled:
    """`offset` counts code points. `watch` sees every draft as it comes."""
    run = _Run(engine=engine, options=options, budget=budget)
    with run.timed("total"):
        with run.timed("context"):
            context = context_at(document, offset)
            lines = allowed_lines(context, options.max_lines)
            request = request_for(context, replace(options, max_lines=lines))
        draft = run.last_draft(request, watch or _unwatched)
        found: tuple[Candidate, ...] = ()
        if draft is None or budget.cancelled():
            why = "cancelled" if budget.cancelled() else "the engine offers nothing"
        else:
            with run.timed("place"):
                place = trees.place(document, context.offset)
            found, why = _candidates(run, request, context, place, draft)
    return Infilled(
        candidates=found,
        draft=draft,
        ms=run.timings(),
        rejected="" if found else why,
        num_renoised=run.num_renoised,
    )


def _unwatched(draft: Draft) -> None:
    """The `watch` of those who do not."""


@dataclass(slots=True, kw_only=True)
class _Run:
    """What one infill asks of the engine, and what it costs."""

    engine: Engine
    options: InfillOptions
    budget: Budget
    num_renoised: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    encode_ms: float = 0.0
    denoise_ms: float = 0.0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started

    def last_draft(self, request: InfillRequest, watch: Callable[[Draft], None]) -> Draft | None:
        last = None
        with self.timed("engine"):
            for last in self.engine.infill(request, budget=self.budget):
                watch(last)
        if last is not None:
            self.encode_ms += last.encode_ms
            self.denoise_ms += last.denoise_ms
        return last

    def may_renoise(self) -> bool:
        return self.num_renoised < _RENOISED and self.budget.left() > _WORTH_STARTING

    def timings(self) -> Timings:
        total, engine, context = (
            1000 * self.seconds.get(stage, 0.0) for stage in ("total", "engine", "context")
        )
        return Timings(
            total=total,
            context=context,
            encode=self.encode_ms,
            denoise=self.denoise_ms,
            validate=total - engine - context,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """A text, what the parser says of it, and how sure the engine was."""

    text: str
    verdict: Verdict
    score: float
    draft: Draft


def _candidates(
    run: _Run, request: InfillRequest, context: Context, place: Place | None, draft: Draft
) -> tuple[tuple[Candidate, ...], str]:
    """The candidates, best first, or why there are none."""
    options = run.options
    why = "empty"
    attempts: list[_Attempt] = []
    for each in (draft, *draft.others):
        text = _tidied(each.text, context, request)
        if not text:
            why = _why_not(each.text, context)
            continue
        score = confidence(each)
        if score < options.min_confidence:
            why = f"confidence {score:.2f} is below {options.min_confidence:.2f}"
            continue
        attempts.append(_judged(place, context, text, score, each))
        if sum(attempt.verdict.valid for attempt in attempts) >= options.num_candidates:
            break  # a check takes milliseconds, so the rest is for where one fails
    good = [each for each in attempts if each.verdict.valid]
    if attempts and not good:
        why = attempts[0].verdict.reason
        mended = _renoised(run, request, context, place, attempts[0])
        mended = mended or next(
            filter(
                None, (_cut(place, context, run, a) for a in attempts[: options.num_candidates])
            ),
            None,
        )
        good = [mended] if mended else []
    good.sort(key=lambda attempt: not attempt.verdict.clean)  # stable: else in the engine's order
    texts: dict[str, Candidate] = {}
    for attempt in good:
        if attempt.score < options.min_confidence:
            why = f"confidence {attempt.score:.2f} is below {options.min_confidence:.2f}"
            continue
        candidate = Candidate(
            text=attempt.text,
            score=attempt.score,
            parses=None if place is None else True,
            draft=attempt.draft,
        )
        texts.setdefault(attempt.text, candidate)
    return tuple(texts.values())[: max(options.num_candidates, 1)], why


def _why_not(text: str, context: Context) -> str:
    if not text.strip():
        return "empty"
    says = repeated(text.rstrip(), context)
    return f"it repeats {says}" if says else "nothing of it belongs here"


def _tidied(text: str, context: Context, request: InfillRequest) -> str:
    """`tidied`, and "" where the result does not go on from the menu's selection."""
    selected = "".join(part for part in request.middle[:1] if isinstance(part, str))
    text = tidied(text, context, request.max_lines)
    return text if text.startswith(selected) and text != selected else ""


def _judged(
    place: Place | None, context: Context, text: str, score: float, draft: Draft
) -> _Attempt:
    if place is None:
        verdict = Verdict(valid=True, clean=True)
        return _Attempt(text=text, verdict=verdict, score=score, draft=draft)
    verdict = check(place, text)
    if not verdict.clean:
        text, verdict = _closed(place, context, text, verdict)
    return _Attempt(text=text, verdict=verdict, score=score, draft=draft)


def _closed(place: Place, context: Context, text: str, verdict: Verdict) -> tuple[str, Verdict]:
    """The text with the brackets closed that are open on its line, where that makes it right.

    Where closing them right away would have mended the file, but not with the text before them,
    then the text is at fault, though the file is no worse for it.
    """
    before, after = place.before.decode(), place.after.decode()
    closers = missing_closers(before, text, after, place.language_id)
    if not closers:
        return text, verdict
    closed = text.rstrip() + closers
    with_closers = check(place, closed)
    if with_closers.clean and not repeated(closed, context):
        return closed, with_closers
    alone = missing_closers(before, "", after, place.language_id)
    if verdict.valid and alone and check(place, alone).clean and not with_closers.clean:
        spans = with_closers.spans or ((0, len(text)),)
        return text, Verdict(valid=False, clean=False, spans=spans, reason="a new syntax error")
    return text, verdict


def _renoised(
    run: _Run,
    request: InfillRequest,
    context: Context,
    place: Place | None,
    attempt: _Attempt,
) -> _Attempt | None:
    """A valid text after the span that the parser blames was thought over; None where there is
    none. The engine keeps the rest of the text as it is."""
    while place is not None and run.may_renoise():
        start, end = _blamed(attempt)
        selected = request.middle[0] if isinstance(request.middle[0], str) else ""
        start = max(start, len(selected))
        end = max(start, end)
        kept = attempt.text[:start], attempt.text[end:]
        most = run.engine.describe().max_tokens
        hole = Hole(max_tokens=min((end - start) // 2 + 8, most))
        middle = tuple(part for part in (kept[0], hole, kept[1]) if part)
        run.num_renoised += 1
        draft = run.last_draft(
            replace(request, middle=middle, num_candidates=1, seed=request.seed + run.num_renoised),
            _unwatched,
        )
        text = _tidied(draft.text, context, request) if draft is not None else ""
        if draft is None or not text:
            return None
        attempt = _judged(place, context, text, min(attempt.score, confidence(draft)), draft)
        if attempt.verdict.valid:
            return attempt
    return None


def _blamed(attempt: _Attempt) -> tuple[int, int]:
    """The span to think over: from the first to the last wrong place; the whole text where the
    wrong is outside of it."""
    text, spans = attempt.text, attempt.verdict.spans
    if not spans:
        return 0, len(text)
    start, end = min(span[0] for span in spans), max(span[1] for span in spans)
    return widened(text, min(start, len(text)), min(end, len(text)))


def _cut(place: Place | None, context: Context, run: _Run, attempt: _Attempt) -> _Attempt | None:
    """The longest beginning of the text that is right where it stands; None where there is none.

    Half a text that leaves a broken file as broken as it was would help nobody.
    """
    if place is None:
        return None
    text = attempt.text
    ends = [span[1] for span in attempt.verdict.spans] or [len(text)]
    selected = run.options.selected
    num_cuts = _CUT_BYTES // (len(place.before) + len(place.after) + 1)
    num_cuts = max(2, min(num_cuts, _CUTS))
    for kept in islice(shorter(text, min(max(ends) + 1, len(text))), num_cuts):
        if not kept.startswith(selected) or kept == selected or repeated(kept, context):
            continue
        tried = _judged(place, context, kept, attempt.score, attempt.draft)
        if tried.verdict.clean and not repeated(tried.text, context):
            return tried
    return None
