"""From a cursor in a document to what may be shown there: the one pipeline of server, command
line and benchmark.

    context_at -> engine.infill -> trimmed -> as much as is probable enough, where nobody asked
    -> attempted (parsed in place) -> renoised -> cut back

What comes out adds no syntax error to the file and does not say what follows the cursor. What
could not be checked before the deadline is not shown.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from infill_engine.budget import UNLIMITED, Budget, BudgetSpent
from infill_engine.request import Draft, Engine, Hole, InfillRequest
from infill_ls.completion.attempt import Attempt, attempted, blamed, cut_back, unfit
from infill_ls.completion.candidate import Candidate, confidence
from infill_ls.completion.context import Context, InfillOptions, context_at, opened, request_for
from infill_ls.completion.gate import least_score, opens
from infill_ls.completion.heads import begins, heads, nearest, percent, probability
from infill_ls.completion.repetition import repeated
from infill_ls.completion.seam import misfit
from infill_ls.completion.trace import How, Trace, Weighed
from infill_ls.completion.trim import allowed_lines, trimmed
from infill_ls.documents import Document
from infill_ls.syntax.trees import ParsePoint, Trees

__all__ = ["Candidate", "InfillOptions", "Infilled", "Timings", "Trees", "infill_at"]

# How often a wrong span is renoised.
_RENOISED = 2
# Beginnings that are checked, longest first.
_HEADS = 4
# Seconds that a run of the engine needs to be worth starting before the deadline.
_WORTH_STARTING = 0.02
# Seconds for the checks after the deadline, or after the engine's last step where that is later.
_CHECKS = 0.02
# Seconds to find out what is open where a long file's window begins.
_OPENING = 0.01
_UNCHECKED = "it cannot be checked in time"
_UNFIT = "it does not fit"
_UNREAD = "the time was over before the model had read the text"
_ELSEWHERE_ALONE = "in a comment or string only the file's own text is gone on with"


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
    part of it went back to noise because the parser did not take it. `said` is all that would
    belong there and was not found to be wrong, checked or not, as probable as the engine has it. It
    was not `asked` where nothing could have been shown whatever it said. `left_out` is what there
    was no time for: of the engine (`LeftOut`), for it to read the text ("encoding"), for "checks",
    and to fill again what the parser blames ("mending").
    """

    candidates: tuple[Candidate, ...]
    draft: Draft | None
    ms: Timings
    rejected: str = ""
    num_renoised: int = 0
    said: tuple[Candidate, ...] = ()
    asked: bool = True
    left_out: tuple[str, ...] = ()


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
    said: Sequence[Candidate] = (),
) -> Infilled:
    """`offset` counts code points. `watch` sees every draft as it comes; `trace` is told all that
    happens. With what was `said` before, the engine is not asked."""
    runs = _EngineRuns(engine=engine, budget=budget, trace=trace or Trace())
    with runs.timed("total"):
        with runs.timed("context"):
            context = context_at(document, offset)
            lines = allowed_lines(context, options.max_lines)
            request = request_for(context, replace(options, max_lines=lines))
            runs.trace.context, runs.trace.request = context, request
            context = opened(context, document, budget=budget.within(_OPENING))
            asked = not options.min_confidence or opens(context, options.elsewhere)
        draft: Draft | None = None
        if asked:
            draft = said[0].draft if said else runs.last_draft(request, watch)
        shown: tuple[Candidate, ...] = ()
        left: tuple[Candidate, ...] = ()
        why = "the engine offers nothing" if asked else _ELSEWHERE_ALONE
        if asked and draft is None and budget.late:
            why = _UNREAD
            runs.left_out["encoding"] = None
        if draft is not None and not budget.cancelled():
            try:
                point = trees.point(document, context.offset, budget=runs.checks)
            except BudgetSpent:
                why = _UNCHECKED
                runs.left_out["checks"] = None
            else:
                parsed = point is not None and not point.broken
                strict = context.language.strictness == "strict"
                context = replace(context, parsed=parsed and strict)
                site = _Site(request=request, options=options, context=context, point=point)
                texts = [(each.text, each.score, each.draft) for each in said]
                if not said:
                    drafts = (draft, *draft.others)
                    texts = [(each.text, confidence(each), each) for each in drafts]
                proposals, why = _proposals(runs, site, texts)
                if not options.min_confidence:
                    shown, why = _asked_for(runs, site, proposals, why)
                elif proposals:
                    shown, why = _likely(runs, site, proposals, mend=not said)
                left = _not_wrong(runs.trace, site, proposals)
        if budget.cancelled():
            shown, why, left = (), "cancelled", ()
    if trace is not None:
        trace.info = engine.describe()
    return Infilled(
        candidates=shown,
        draft=draft,
        ms=runs.timings(),
        rejected="" if shown else why,
        num_renoised=runs.num_renoised,
        said=left,
        asked=asked,
        left_out=tuple(runs.left_out),
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
    left_out: dict[str, None] = field(default_factory=dict)

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """Of checks: as many as there is time for."""
        try:
            yield
        except BudgetSpent:
            self.left_out["checks"] = None

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
            if len(self.trace.runs) == 1:
                self.left_out |= dict.fromkeys(map(str, last.left_out))
        return last

    def looked(self, how: How, attempt: Attempt) -> None:
        why = "" if attempt.verdict.valid else attempt.verdict.reason
        self.trace.look(how, attempt.draft, attempt.text, attempt.score, why)

    @property
    def checks(self) -> Budget:
        """The budget of what comes after the engine."""
        return replace(self.budget, deadline=max(self.budget.deadline, self.ended) + _CHECKS)

    def may_renoise(self) -> bool:
        if self.num_renoised >= _RENOISED:
            return False
        if self.budget.left() > _WORTH_STARTING:
            return True
        self.left_out["mending"] = None
        return False

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

    def attempted(
        self, text: str, score: float, draft: Draft, budget: Budget, *, close: bool = True
    ) -> Attempt:
        point, context = self.point, self.context
        return attempted(
            text, score, draft, point=point, context=context, budget=budget, close=close
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proposal:
    """A text as far as it belongs at the cursor, how probable it is, and the draft it is of."""

    text: str
    score: float
    draft: Draft


def _proposals(
    runs: _EngineRuns, site: _Site, texts: Sequence[tuple[str, float, Draft]]
) -> tuple[list[_Proposal], str]:
    """What is left of the texts, in their order, and why another one is not among them."""
    found: dict[str, _Proposal] = {}
    why = "empty"
    for said, score, draft in texts:
        if runs.checks.over:
            runs.left_out["checks"] = None
            break
        text = site.trimmed(said)
        if not text:
            why = _why_not(said, site.context)
        else:
            found.setdefault(text, _Proposal(text=text, score=score, draft=draft))
        runs.trace.look("said", draft, text, score, "" if text else why)
    return list(found.values()), why


def _asked_for(
    runs: _EngineRuns, site: _Site, proposals: list[_Proposal], why: str
) -> tuple[tuple[Candidate, ...], str]:
    """The candidates, best first, or why there are none."""
    attempts: list[Attempt] = []
    num_valid, enough = 0, site.options.num_candidates
    with runs.in_time():
        for each in proposals:
            attempt = site.attempted(each.text, each.score, each.draft, runs.checks)
            runs.looked("checked", attempt)
            attempts.append(attempt)
            num_valid += attempt.verdict.valid
            # A check takes milliseconds, so the rest is for where one fails.
            if num_valid >= enough:
                break
    if proposals and not attempts:
        return (), _UNCHECKED
    good = [attempt for attempt in attempts if attempt.verdict.valid]
    if attempts and not good:
        why = attempts[0].verdict.reason
        mended = _renoised(runs, site, attempts[0]) or _cut_back(runs, site, attempts)
        good = [mended] if mended else []
    return _ranked(good, site)[: max(enough, 1)], why


def _likely(
    runs: _EngineRuns, site: _Site, proposals: list[_Proposal], *, mend: bool
) -> tuple[tuple[Candidate, ...], str]:
    """As much of what was said as is probable enough and right where it stands, or why nothing
    is. Of what was said now and is wrong, the best may be mended."""
    texts = [(each.text, each.score) for each in proposals]
    selected = site.options.selected
    likely = [
        head
        for head in heads(texts, site.context.language, site.least)
        if head.text.startswith(selected) and head.text != selected
    ]
    if not likely:
        return (), _unsure(runs.trace, site, proposals)
    attempts: list[Attempt] = []
    with runs.in_time():
        for head in likely[:_HEADS]:
            draft = proposals[head.of].draft
            # What would close brackets is not what the texts go on with.
            attempt = site.attempted(head.text, head.score, draft, runs.checks, close=head.whole)
            runs.looked("checked" if head.whole else "head", attempt)
            attempts.append(attempt)
            why = "" if attempt.verdict.valid else attempt.verdict.reason or _UNFIT
            if not (why or head.whole):
                why = unfit(head.text, site.context)
            runs.trace.weighed.append(_weighed(site, proposals, head.text, head.score, why))
            if not why:
                return _ranked([attempt], site), ""
    if not attempts:
        return (), _UNCHECKED
    mended = _mended(runs, site, attempts) if mend and likely[0].whole else None
    if mended is None:
        return (), _refused(runs.trace, site, proposals, attempts)
    return _ranked([mended], site), ""


def _mended(runs: _EngineRuns, site: _Site, attempts: list[Attempt]) -> Attempt | None:
    mended = _renoised(runs, site, attempts[0]) or _cut_back(runs, site, attempts)
    return mended if mended and mended.score >= site.least(mended.text) else None


def _not_wrong(trace: Trace, site: _Site, proposals: list[_Proposal]) -> tuple[Candidate, ...]:
    """What was not found to be wrong where it stands."""
    wrong = {id(look.draft) for look in trace.looks if look.how == "checked" and look.why}
    return tuple(
        _candidate(each.text, each.score, each.draft, site)
        for each in proposals
        if id(each.draft) not in wrong
    )


def _why_not(text: str, context: Context) -> str:
    if not text.strip():
        return "empty"
    says = repeated(text.rstrip(), context)
    if says:
        return f"it repeats {says}"
    return misfit(text.rstrip(), context) or "nothing of it belongs here"


def _unsure(trace: Trace, site: _Site, proposals: list[_Proposal]) -> str:
    texts = [(each.text, each.score) for each in proposals]
    score, least, text = nearest(texts, site.context.language, site.least)
    if least > 1:
        return _ELSEWHERE_ALONE
    surer = ", which so short a text takes" if least > site.options.min_confidence else ""
    why = f"confidence {percent(score)} is below {percent(least)}{surer}"
    trace.weighed.append(_weighed(site, proposals, text, score, why))
    return why


def _refused(trace: Trace, site: _Site, proposals: list[_Proposal], attempts: list[Attempt]) -> str:
    """Why nothing is shown where beginnings were sure enough and all were wrong: the likeliest text
    was one of them, or is not sure enough as a whole."""
    why = attempts[0].verdict.reason or _UNFIT
    best = max(proposals, key=lambda each: each.score)
    score = probability(best.text, [(each.text, each.score) for each in proposals])
    least = site.least(best.text)
    if score >= least or least > 1:
        return why
    whole = f"the whole text is {percent(score)}, below the {percent(least)} needed"
    trace.weighed.insert(0, _weighed(site, proposals, best.text, score, whole))
    return f"{whole}, and the beginnings above that would be wrong alone: {why}"


def _weighed(site: _Site, proposals: list[_Proposal], text: str, score: float, why: str) -> Weighed:
    drafts = tuple(each.draft for each in proposals if begins(each.text, text))
    return Weighed(text=text, score=score, least=site.least(text), drafts=drafts, why=why)


def _renoised(runs: _EngineRuns, site: _Site, attempt: Attempt) -> Attempt | None:
    """A valid text after the span that the parser blames went back to noise; None where there is
    none. The engine keeps the rest of the text as it is."""
    while site.point is not None and runs.may_renoise():
        draft = runs.last_draft(_renoising(runs, site, attempt))
        text = site.trimmed(draft.text) if draft is not None else ""
        if draft is None or not text:
            return None
        try:
            score = min(attempt.score, confidence(draft))
            attempt = site.attempted(text, score, draft, runs.checks)
            runs.looked("renoised", attempt)
        except BudgetSpent:
            runs.left_out["checks"] = None
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
    with runs.in_time():
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
    for each in sorted(good, key=lambda attempt: not attempt.verdict.clean):
        texts.setdefault(each.text, _candidate(each.text, each.score, each.draft, site))
    return tuple(texts.values())


def _candidate(text: str, score: float, draft: Draft, site: _Site) -> Candidate:
    return Candidate(
        text=text,
        score=score,
        parses=None if site.point is None else True,
        draft=draft,
        least=site.least(text),
    )
