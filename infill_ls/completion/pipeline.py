"""From a cursor in a document to what may be shown there: the one pipeline of server, command
line and benchmark.

    context_at -> engine.infill -> trimmed -> attempted (parsed in place) -> renoised -> cut back
                                              (none probable enough: what several begin with)

What comes out adds no syntax error to the file and does not say what follows the cursor. What
could not be checked before the deadline is not shown.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from infill_engine.budget import UNLIMITED, Budget, BudgetSpent
from infill_engine.request import Draft, Engine, Hole, InfillRequest
from infill_ls.completion.attempt import Attempt, attempted, blamed, cut_back, unfit
from infill_ls.completion.candidate import Candidate, confidence
from infill_ls.completion.context import Context, InfillOptions, context_at, opened, request_for
from infill_ls.completion.gate import least_score
from infill_ls.completion.heads import heads
from infill_ls.completion.repetition import repeated
from infill_ls.completion.seam import misfit
from infill_ls.completion.trace import How, Trace
from infill_ls.completion.trim import allowed_lines, trimmed
from infill_ls.documents import Document
from infill_ls.syntax.trees import ParsePoint, Trees

__all__ = ["Candidate", "InfillOptions", "Infilled", "Timings", "Trees", "infill_at"]

# How often a wrong span is renoised.
_RENOISED = 2
# Texts that are checked beside what is shown, for when what is typed next speaks for them.
_HELD = 4
# Beginnings of texts that are checked, longest first.
_HEADS = 3
# Seconds that a run of the engine needs to be worth starting before the deadline.
_WORTH_STARTING = 0.02
# Seconds for the checks after the deadline, or after the engine's last step where that is later.
_CHECKS = 0.02
# Seconds to find out what is open where a long file's window begins.
_OPENING = 0.01
_UNCHECKED = "it cannot be checked in time"


# Checks what else would be right at a place: not the best, or not probable enough to be shown
# unless what is typed next speaks for it. Takes some milliseconds, and holds a tree until it is let
# go: nothing that a run keeps may hold it.
Hold = Callable[[Budget], tuple[Candidate, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Milliseconds. `encode`, `denoise` and `judge` are the engine's own figures, over all its
    runs."""

    total: float
    context: float
    encode: float
    denoise: float
    judge: float
    validate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Infilled:
    """`candidates`, best first; where there are none, `rejected` says why.

    `draft` is the engine's last, None when it offered nothing; `num_renoised` counts how often a
    part of it went back to noise because the parser did not take it. `best` is how sure the engine
    is of its likeliest text that would belong there, shown or not.
    """

    candidates: tuple[Candidate, ...]
    draft: Draft | None
    ms: Timings
    rejected: str = ""
    num_renoised: int = 0
    best: float = 0.0


def infill_at(
    engine: Engine,
    document: Document,
    offset: int,
    options: InfillOptions,
    *,
    trees: Trees,
    budget: Budget = UNLIMITED,
    watch: Callable[[Draft], None] | None = None,
    trace: Trace | None = None,
    later: Callable[[Hold], None] | None = None,
) -> Infilled:
    """`offset` counts code points. `watch` sees every draft as it comes; `trace` is told all that
    happens. `later` is handed what is worth doing once the answer is given."""
    runs = _EngineRuns(engine=engine, budget=budget, trace=trace or Trace())
    with runs.timed("total"):
        with runs.timed("context"):
            context = context_at(document, offset)
            lines = allowed_lines(context, options.max_lines)
            request = request_for(context, replace(options, max_lines=lines))
            runs.trace.context, runs.trace.request = context, request
        draft = runs.last_draft(request, watch)
        shown: tuple[Candidate, ...] = ()
        why, best = "the engine offers nothing", 0.0
        if draft is not None and not budget.cancelled():
            try:
                point = trees.point(document, context.offset, budget=runs.checks)
            except BudgetSpent:
                why = _UNCHECKED
            else:
                parsed = point is not None and not point.broken
                strict = context.language.strictness == "strict"
                context = opened(context, document, budget=runs.checks.within(_OPENING))
                context = replace(context, parsed=parsed and strict)
                site = _Site(request=request, options=options, context=context, point=point)
                proposals = _proposals(runs, site, draft)
                shown, why = _candidates(runs, site, proposals)
                best = _best(runs.trace, proposals)
                if later is not None and site.options.min_confidence:
                    later(partial(_held, site, proposals, shown))
        if budget.cancelled():
            shown, why = (), "cancelled"
    if trace is not None:
        trace.info = engine.describe()
    return Infilled(
        candidates=shown,
        draft=draft,
        ms=runs.timings(),
        rejected="" if shown else why,
        num_renoised=runs.num_renoised,
        best=best,
    )


@dataclass(slots=True, kw_only=True)
class _EngineRuns:
    """What one infill asks of the engine, and what it costs."""

    engine: Engine
    budget: Budget
    trace: Trace
    num_renoised: int = 0
    ended: float = 0.0  # when the engine stopped last, in seconds of `time.monotonic()`
    seconds: dict[str, float] = field(default_factory=dict)
    encode_ms: float = 0.0
    denoise_ms: float = 0.0
    judge_ms: float = 0.0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started

    def last_draft(
        self, request: InfillRequest, watch: Callable[[Draft], None] | None = None
    ) -> Draft | None:
        last = None
        self.trace.runs.append([])
        with self.timed("engine"):
            for last in self.engine.infill(request, budget=self.budget):
                self.trace.runs[-1].append(last)
                if watch is not None:
                    watch(last)
        self.ended = time.monotonic()
        if last is not None:
            self.encode_ms += last.encode_ms
            self.denoise_ms += last.denoise_ms
            self.judge_ms += last.judge_ms
        return last

    def looked(self, how: How, attempt: Attempt) -> None:
        why = "" if attempt.verdict.valid else attempt.verdict.reason
        self.trace.look(how, attempt.draft, attempt.text, attempt.score, why)

    @property
    def checks(self) -> Budget:
        """The budget of what comes after the engine."""
        return replace(self.budget, deadline=max(self.budget.deadline, self.ended) + _CHECKS)

    @property
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
            judge=self.judge_ms,
            validate=total - engine - context,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """What the texts of one request are held against; without a grammar there is no `point`."""

    request: InfillRequest
    options: InfillOptions
    context: Context
    point: ParsePoint | None

    def trimmed(self, text: str) -> str:
        """`trimmed`, and "" where the result does not go on from the menu's selection."""
        text = trimmed(text, self.context, self.request.max_lines)
        selected = self.options.selected
        return text if text.startswith(selected) and text != selected else ""

    def least(self, text: str) -> float:
        """The score from which a text is shown; all that was asked for is."""
        threshold = self.options.min_confidence
        if not threshold:
            return 0.0
        return least_score(text, self.context, self.options.elsewhere, threshold)

    def attempted(self, text: str, score: float, draft: Draft, budget: Budget) -> Attempt:
        return attempted(text, score, draft, point=self.point, context=self.context, budget=budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proposal:
    """A draft's text as far as it belongs at the cursor, and how sure the engine is of it."""

    text: str
    score: float
    draft: Draft
    least: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proposals:
    """What is left of the engine's texts, in its order: those to show, those of which it is not
    sure enough, and why another one is not among them."""

    sure: list[_Proposal]
    unsure: list[_Proposal]
    why: str


def _candidates(
    runs: _EngineRuns, site: _Site, proposals: _Proposals
) -> tuple[tuple[Candidate, ...], str]:
    """The candidates, best first, or why there are none."""
    why = proposals.why
    if not proposals.sure:
        head = _head(runs, site, proposals.unsure)
        return ((head,) if head else ()), why
    attempts = _attempts(runs.checks, site, proposals.sure, site.options.num_candidates)
    for attempt in attempts:
        runs.looked("checked", attempt)
    if not attempts:
        return (), _UNCHECKED
    good = [attempt for attempt in attempts if attempt.verdict.valid]
    if attempts and not good:
        why = attempts[0].verdict.reason
        mended = _renoised(runs, site, attempts[0]) or _cut_back(runs, site, attempts)
        good = [mended] if mended else []
        if mended and mended.score < (least := site.least(mended.text)):
            return (), _unsure(mended.score, least, site.options)
    return _ranked(good, site)[: max(site.options.num_candidates, 1)], why


def _best(trace: Trace, proposals: _Proposals) -> float:
    """The score of the likeliest text that was not found to be wrong where it stands."""
    refused = {id(look.draft) for look in trace.looks if look.how == "checked" and look.why}
    texts = (*proposals.sure, *proposals.unsure)
    return max((each.score for each in texts if id(each.draft) not in refused), default=0.0)


def _head(runs: _EngineRuns, site: _Site, unsure: list[_Proposal]) -> Candidate | None:
    """The longest beginning of texts of which none is probable enough that is so itself, and right
    where it stands."""
    texts = [(each.text, each.score) for each in unsure]
    selected = site.options.selected
    likely = (
        head
        for head in heads(texts, site.context.language)
        if head.score >= site.least(head.text)
        and head.text.startswith(selected)
        and head.text != selected
    )
    with suppress(BudgetSpent):
        for head in islice(likely, _HEADS):
            attempt = site.attempted(head.text, head.score, unsure[head.of].draft, runs.checks)
            # What closes brackets from before it is not what the texts go on with.
            attempt = replace(attempt, text=head.text)
            runs.looked("head", attempt)
            if attempt.verdict.valid and not unfit(head.text, site.context):
                return _candidate(attempt, site)
    return None


def _held(
    site: _Site, proposals: _Proposals, shown: tuple[Candidate, ...], budget: Budget
) -> tuple[Candidate, ...]:
    """What else would be right."""
    known = {candidate.text for candidate in shown}
    others = [
        each
        for each in (*proposals.sure, *proposals.unsure)
        if each.text not in known and each.least <= 1
    ]
    attempts = _attempts(budget, site, others[:_HELD], _HELD)
    return _ranked([attempt for attempt in attempts if attempt.verdict.clean], site)


def _proposals(runs: _EngineRuns, site: _Site, draft: Draft) -> _Proposals:
    sure, unsure = list[_Proposal](), list[_Proposal]()
    why = "empty"
    for each in (draft, *draft.others):
        if runs.checks.over:
            break
        text, score = site.trimmed(each.text), confidence(each)
        if not text:
            why = _why_not(each.text, site.context)
            runs.trace.look("said", each, text, score, why)
            continue
        proposal = _Proposal(text=text, score=score, draft=each, least=site.least(text))
        if score < proposal.least:
            why = _unsure(score, proposal.least, site.options)
            unsure.append(proposal)
        else:
            sure.append(proposal)
        runs.trace.look("said", each, text, score, why if score < proposal.least else "")
    return _Proposals(sure=sure, unsure=unsure, why=why)


def _why_not(text: str, context: Context) -> str:
    if not text.strip():
        return "empty"
    says = repeated(text.rstrip(), context)
    if says:
        return f"it repeats {says}"
    return misfit(text.rstrip(), context) or "nothing of it belongs here"


def _unsure(score: float, least: float, options: InfillOptions) -> str:
    if least > 1:
        return "in a comment or string only the file's own text is gone on with"
    word = ", which what only ends a word takes" if least > options.min_confidence else ""
    return f"confidence {score:.2f} is below {least:.2f}{word}"


def _attempts(
    budget: Budget, site: _Site, proposals: list[_Proposal], enough: int
) -> list[Attempt]:
    """The proposals checked, until enough are right or the time is over: a check takes
    milliseconds, so the rest is for where one fails."""
    attempts: list[Attempt] = []
    num_valid = 0
    with suppress(BudgetSpent):
        for each in proposals:
            attempts.append(site.attempted(each.text, each.score, each.draft, budget))
            num_valid += attempts[-1].verdict.valid
            if num_valid >= enough:
                break
    return attempts


def _renoised(runs: _EngineRuns, site: _Site, attempt: Attempt) -> Attempt | None:
    """A valid text after the span that the parser blames went back to noise; None where there is
    none. The engine keeps the rest of the text as it is."""
    while site.point is not None and runs.may_renoise:
        draft = runs.last_draft(_renoising(runs, site, attempt))
        text = site.trimmed(draft.text) if draft is not None else ""
        if draft is None or not text:
            return None
        try:
            score = min(attempt.score, confidence(draft))
            attempt = site.attempted(text, score, draft, runs.checks)
            runs.looked("renoised", attempt)
        except BudgetSpent:
            return None
        if attempt.verdict.valid:
            return attempt
    return None


def _renoising(runs: _EngineRuns, site: _Site, attempt: Attempt) -> InfillRequest:
    """The request to fill a hole in place of what the parser blames."""
    start, end = blamed(attempt)
    start = max(start, len(site.options.selected))
    end = max(start, end)
    hole = Hole(max_tokens=min((end - start) // 2 + 8, runs.engine.describe().max_tokens))
    middle = tuple(part for part in (attempt.text[:start], hole, attempt.text[end:]) if part)
    runs.num_renoised += 1
    seed = site.request.seed + runs.num_renoised
    return replace(site.request, middle=middle, num_candidates=1, seed=seed)


def _cut_back(runs: _EngineRuns, site: _Site, attempts: list[Attempt]) -> Attempt | None:
    with suppress(BudgetSpent):
        for attempt in attempts[: site.options.num_candidates]:
            shorter = cut_back(
                attempt,
                selected=site.options.selected,
                point=site.point,
                context=site.context,
                budget=runs.checks,
            )
            if shorter is not None:
                runs.looked("cut back", shorter)
                return shorter
    return None


def _ranked(good: list[Attempt], site: _Site) -> tuple[Candidate, ...]:
    """Each text once: those that leave nothing wrong first, else in the engine's order."""
    texts: dict[str, Candidate] = {}
    for attempt in sorted(good, key=lambda attempt: not attempt.verdict.clean):
        texts.setdefault(attempt.text, _candidate(attempt, site))
    return tuple(texts.values())


def _candidate(attempt: Attempt, site: _Site) -> Candidate:
    return Candidate(
        text=attempt.text,
        score=attempt.score,
        parses=None if site.point is None else True,
        draft=attempt.draft,
        least=site.least(attempt.text),
    )
