"""The engine in this process: text to canvas, the loop, text again.

request ─► sides ─► memory ─► canvas ─► denoise ─► candidates ─► (hole not closed: commit, again)
                                                       └─► the judge, where there is one
"""

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Generic, Literal

from infill_engine.arrays import seeded
from infill_engine.budget import UNLIMITED, Budget
from infill_engine.candidates import Candidate, Proposals, Row, as_judged, unjudged, with_lines
from infill_engine.canvas import Canvas, fill_ids, is_open
from infill_engine.copying import copies
from infill_engine.denoise import Denoised, denoise
from infill_engine.denoiser import Denoiser, MemoryT, Scored, Sides
from infill_engine.drafts import (
    Committed,
    denoised_draft,
    middle_ids,
    proposed_draft,
    scored_draft,
)
from infill_engine.errors import ModelError, RequestError
from infill_engine.judge.awaited import AwaitedJudge
from infill_engine.judge.judge import Judge, Reading
from infill_engine.memories import Memories
from infill_engine.ranking import log_probability, ranked
from infill_engine.request import Draft, EngineInfo, Hole, InfillRequest, LeftOut
from infill_engine.template import Template, distinct, template

log = logging.getLogger(__name__)

# Nats per token: a block that the model itself finds less likely is not gone on from.
WORTH_CONTINUING = -2.5
# The part of the time left that the judge may take. As much is right as with twice the part
# (train/LOG.md), and what it has not said by then it says ahead, once nobody waits.
FOR_JUDGE = 0.4
# In which the judge reads ahead what it can, before it reads all; a slow CPU takes half of that.
NEAR_SECONDS = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenHole:
    """A single hole that is filled block by block.

    request, sides  of the next block, with what is committed at the end of their prefix
    lengths         how many cells the rows of its canvas have
    tokens_left     how many tokens the hole may still take
    """

    request: InfillRequest
    sides: Sides
    lengths: tuple[int, ...]
    tokens_left: int
    committed: Committed


class LocalEngine(Generic[MemoryT]):
    """Implements `Engine` over any `Denoiser`; keeps memories of the last few places.

    A judge, where there is one, ranks what may fill a hole and adds what it would say itself.
    `judge` will be it, or None and the reason: used as soon as it is there, and waited for when
    something is read ahead or a request has no deadline. Not thread-safe: one caller at a time.
    """

    def __init__(
        self,
        denoiser: Denoiser[MemoryT],
        judge: Future[tuple[Judge | None, str]] | None = None,
    ) -> None:
        self._denoiser = denoiser
        self._memories = Memories(denoiser)
        self.awaited = AwaitedJudge(judge)
        self._judging = 0.0  # milliseconds that it took of this request
        self._judge_tokens = 0  # that it has read of its prefix
        self._left_out: list[LeftOut] = []  # of this request

    def describe(self) -> EngineInfo:
        info = self._denoiser.describe()
        if self.awaited.judge is None:
            return replace(info, judge=self.awaited.without)
        judge = self.awaited.judge.describe()
        shown = judge.calibration.show_threshold or info.show_threshold
        return replace(
            info,
            judge=judge.sentence,
            judge_parameters=judge.parameters,
            judge_ms=judge.token_ms,
            show_threshold=shown,
        )

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        asked = template(request).request
        self._memories.encode(self._denoiser.sides(asked), budget)
        self.awaited.wait(budget)
        reading = self._read(asked, budget.within(NEAR_SECONDS), ahead=True)
        if budget.deadline == math.inf and not (reading and reading.whole):
            self._read(asked, budget, ahead=True)

    def forget(self) -> None:
        self._memories.kept.clear()
        self.awaited.forget()

    def _read(self, request: InfillRequest, budget: Budget, ahead: bool = False) -> Reading | None:
        """What the judge has read; None where there is no judge, or no time."""
        judge, reading = self.awaited.here(budget), None
        if judge is None:
            return None
        with self._judges():
            reading = None if budget.over else judge.read(request, budget)
            self._judge_tokens = reading.prefix_tokens if reading else 0
            self._left_out += ["reading"] if reading is None else []
            if reading is not None and ahead:
                reading.ahead(budget)
        return reading

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        asked = template(request)
        if budget.cancelled():
            return
        started, self._judging, self._judge_tokens = time.perf_counter(), 0.0, 0
        self._left_out = []
        sides = self._denoiser.sides(asked.request)
        memory = self._memories.encode(sides, budget)
        encode_ms = (time.perf_counter() - started) * 1e3
        # What a deadline cut short is kept for the next request, and no ground for an answer.
        if budget.cancelled() or not self._denoiser.holds(memory, sides):
            return
        single = len(asked.middle) == 1
        blocks = self._one_hole if single else self._many_holes
        for draft in blocks(asked, sides, memory, budget):
            yield replace(
                draft,
                text=asked.head + draft.text + asked.tail,
                encode_ms=encode_ms,
                denoise_ms=(time.perf_counter() - started) * 1e3 - encode_ms - self._judging,
                judge_ms=self._judging,
                read=(len(sides.prefix_ids), len(sides.suffix_ids), self._judge_tokens),
                left_out=tuple(self._left_out),
                others=tuple(
                    replace(other, text=asked.head + other.text + asked.tail)
                    for other in draft.others
                ),
            )

    def _one_hole(
        self, asked: Template, sides: Sides, memory: MemoryT, budget: Budget
    ) -> Iterator[Draft]:
        """Block after block until the hole is closed, its budget spent, or time is up."""
        hole = self._opened(asked, sides)
        while True:
            reading = None if hole.committed.ids else self._read(hole.request, budget)
            canvas = self._denoiser.canvas([0], hole.lengths, hole.sides, hole.request)
            proposals = self._proposals(asked, hole, memory if reading is None else None, budget)
            last: Denoised | None = None
            for last in self._run(
                canvas, hole.sides, memory, hole.request, hole.committed.steps, budget
            ):
                yield denoised_draft(self._denoiser.decode, canvas, last, 0, hole.committed)
            if last is None:
                return
            candidates = self._candidates(hole, canvas, last, proposals, memory, reading, budget)
            if not candidates:
                return
            best, *others = distinct([each.draft for each in candidates])
            final = replace(best, others=tuple(others))
            if budget.late or not _goes_on(hole, candidates[0]):
                self._left_out += ["blocks"] if _goes_on(hole, candidates[0]) else []
                yield final
                return
            # Text that ends by itself needs no shorter rows to choose from.
            ends_itself = all(is_open(canvas, row) for row in range(len(canvas.hole)))
            hole = self._continued(asked, hole, candidates[0], last.num_steps, ends_itself)
            memory = self._memories.extend(hole.sides, budget)
            if budget.late and not self._denoiser.holds(memory, hole.sides):
                self._left_out.append("blocks")
                yield final
                return

    def _opened(self, asked: Template, sides: Sides) -> _OpenHole:
        (hole,) = asked.middle
        assert isinstance(hole, Hole), "a template with one part holds a hole"
        tokens = hole.max_tokens or self._denoiser.describe().max_tokens
        if sides.healed_prefix:
            tokens += 1
        lengths = self._denoiser.hole_lengths(asked.request)
        return _OpenHole(
            request=asked.request,
            sides=sides,
            lengths=_at_most(tokens, lengths),
            tokens_left=tokens,
            committed=Committed(healed_prefix=sides.healed_prefix),
        )

    def _proposals(
        self, asked: Template, hole: _OpenHole, memory: MemoryT | None, budget: Budget
    ) -> Proposals:
        # The prefix is continued for a fresh hole alone: what goes on or mends a text should not
        # take as long. A judge continues it itself, better.
        fresh = not (hole.committed.ids or asked.head or asked.tail)
        return self._denoiser.proposals(
            hole.sides,
            hole.request,
            memory if fresh else None,
            max(hole.lengths),
            budget=budget,
        )

    def _candidates(
        self,
        hole: _OpenHole,
        canvas: Canvas,
        denoised: Denoised,
        proposals: Proposals,
        memory: MemoryT,
        reading: Reading | None,
        budget: Budget,
    ) -> list[Candidate]:
        """What was denoised and what was proposed, best first; none when cancelled."""
        decode, committed = self._denoiser.decode, hole.committed
        rows: list[Row] = []
        for row in range(len(canvas.hole)):
            (ids, *_) = fill_ids(denoised.token_ids, canvas, row)
            draft = denoised_draft(decode, canvas, denoised, row, committed)
            draft = replace(draft, converged=bool(denoised.converged[row]))
            # A shorter row that is full has been told to end there; a proposal is whole.
            full = len(ids) == max(hole.lengths) and is_open(canvas, row)
            rows.append(Row(ids=ids, full=full, draft=draft))
        # Proposals are read as well, and together take as long as some steps.
        if not budget.late:
            rows += self._proposed(hole, proposals, denoised, rows, "proposed")
        else:
            self._left_out += [] if denoised.converged.all() else ["denoising"]
            self._left_out += ["proposals"] if proposals else []
        # Between two looks at the budget some time goes by, and drafts are there to be shown.
        judging = budget.within(budget.left() * FOR_JUDGE)
        rows += self._said(reading, hole, rows, denoised, proposals, memory, judging)
        candidates = self._scored(hole, rows, proposals, memory, budget)
        return self._judged(reading, hole, candidates, proposals, denoised, memory, judging)

    def _proposed(
        self,
        hole: _OpenHole,
        proposals: Iterable[tuple[int, ...]],
        denoised: Denoised,
        known: Sequence[Row],
        origin: Literal["proposed", "written"],
    ) -> list[Row]:
        """Whole middles that are not known yet and have room."""
        seen = {tuple(each.ids) for each in known}
        return [
            Row(
                ids=list(ids),
                full=False,
                draft=proposed_draft(
                    self._denoiser.decode, ids, denoised.num_steps, hole.committed, origin
                ),
            )
            for ids in proposals
            if len(ids) <= hole.tokens_left and ids not in seen
        ]

    def _scored(
        self,
        hole: _OpenHole,
        rows: Sequence[Row],
        proposals: Proposals,
        memory: MemoryT,
        budget: Budget,
    ) -> list[Candidate]:
        """Rows as candidates, best first; none when cancelled."""
        scored = self._score(memory, hole.sides, [row.ids for row in rows], budget)
        if not scored:
            return []
        probable = [
            log_probability(
                each,
                # What was taken back of the prefix and comes again is no text.
                0 if self._denoiser.decode(row.ids) == hole.sides.healed_prefix else len(row.ids),
                proposals.get(tuple(row.ids), -math.inf),
            )
            for each, row in zip(scored, rows, strict=True)
        ]
        before = hole.committed.log_probability
        return [
            Candidate(
                ids=rows[at].ids,
                full=rows[at].full,
                scored=scored[at],
                log_probability=probable[at],
                draft=scored_draft(rows[at].draft, scored[at], before + probable[at]),
            )
            for at in ranked(scored, probable)
        ]

    def _said(
        self,
        reading: Reading | None,
        hole: _OpenHole,
        rows: Sequence[Row],
        denoised: Denoised,
        proposals: Proposals,
        memory: MemoryT,
        budget: Budget,
    ) -> list[Row]:
        """What the judge would say itself and nobody else has."""
        if reading is None:
            return []
        request = hole.request

        @cache
        def drafted() -> list[str]:
            """Best first: who verifies drafts verifies few. Who does not asks for none."""
            scored = self._scored(hole, rows, proposals, memory, budget)
            return [each.draft.text for each in scored]

        def drafts(said: str) -> Iterable[str]:
            if not said:
                return dict.fromkeys(drafted())
            going = (text[len(said) :] for text in drafted() if text.startswith(said))
            copied = copies(
                request.prefix + said,
                request.suffix,
                request.max_lines,
                elsewhere=request.elsewhere,
                budget=budget,
            )
            return dict.fromkeys([*filter(None, going), *copied])

        with self._judges():
            return self._middles(reading.continuations(drafts, budget), hole, rows, denoised)
        return []

    def _judged(
        self,
        reading: Reading | None,
        hole: _OpenHole,
        candidates: list[Candidate],
        proposals: Proposals,
        denoised: Denoised,
        memory: MemoryT,
        budget: Budget,
    ) -> list[Candidate]:
        """As the judge ranks them, the best gone on with where lines may follow; as they are where
        there is no judge, or no time for it."""
        if reading is None or self.awaited.judge is None or not candidates:
            return candidates
        best = candidates
        with self._judges():
            best = as_judged(reading, candidates, proposals, budget)
            best = with_lines(
                reading,
                hole.request,
                best,
                lambda texts: self._middles(texts, hole, best, denoised),
                budget,
            )
            tokens_left = budget.left() * 1e3 / max(self.awaited.judge.describe().token_ms, 1e-3)
            self._left_out += unjudged(hole.request, best, tokens_left)
        return best

    @contextmanager
    def _judges(self) -> Iterator[None]:
        """Counts the judge's time, and leaves it out from here on where it fails."""
        started = time.perf_counter()
        try:
            yield
        except (ModelError, MemoryError) as error:
            log.warning("the judge failed and is left out from here on: %s", error)
            self.awaited.leave(f"off: {error}")
        finally:
            self._judging += (time.perf_counter() - started) * 1e3

    def _middles(
        self, texts: Iterable[str], hole: _OpenHole, known: Sequence[Row], denoised: Denoised
    ) -> list[Row]:
        """Texts as rows, those that are new."""
        middles = [tuple(self._denoiser.middle(text, hole.sides)) for text in texts if text.strip()]
        return self._proposed(hole, dict.fromkeys(middles), denoised, known, "written")

    def _continued(
        self, asked: Template, hole: _OpenHole, best: Candidate, steps: int, ends_itself: bool
    ) -> _OpenHole:
        """The hole behind its next block, which took so many steps."""
        committed = hole.committed
        request = replace(asked.request, prefix=asked.request.prefix + best.draft.text)
        tokens_left = hole.tokens_left - len(best.ids)
        lengths = self._denoiser.hole_lengths(request)
        return _OpenHole(
            request=request,
            sides=replace(
                hole.sides, prefix_ids=(*hole.sides.prefix_ids, *best.ids), healed_prefix=b""
            ),
            lengths=_at_most(tokens_left, [max(lengths)] if ends_itself else lengths),
            tokens_left=tokens_left,
            committed=replace(
                committed,
                ids=(*committed.ids, *best.ids),
                log_probability=committed.log_probability + best.log_probability,
                steps=committed.steps + steps,
            ),
        )

    def _many_holes(
        self, asked: Template, sides: Sides, memory: MemoryT, budget: Budget
    ) -> Iterator[Draft]:
        """All holes and the pins between them on one canvas, denoised jointly."""
        decode = self._denoiser.decode
        middle, share = self._shared_out(asked)
        canvas = self._denoiser.canvas(middle, (share,), sides, asked.request)
        committed = Committed(healed_prefix=sides.healed_prefix)
        last: Denoised | None = None
        for last in self._run(canvas, sides, memory, asked.request, 0, budget):
            yield denoised_draft(decode, canvas, last, 0, committed)
        if last is None:
            return
        rows = [middle_ids(canvas, last, row) for row in range(len(canvas.token_ids))]
        scored = self._score(memory, sides, rows, budget)
        if not scored:
            return
        probable = [log_probability(each, len(row)) for each, row in zip(scored, rows, strict=True)]
        drafts = []
        for row in ranked(scored, probable):
            draft = denoised_draft(decode, canvas, last, row, committed)
            draft = replace(draft, converged=bool(last.converged[row]))
            drafts.append(scored_draft(draft, scored[row], probable[row]))
        best, *others = distinct(drafts)
        yield replace(best, others=tuple(others))

    def _shared_out(self, asked: Template) -> tuple[list[list[int] | int], int]:
        """The middle as `Denoiser.canvas` takes it, each hole with a fair share of the cells."""
        holes = sum(isinstance(part, Hole) for part in asked.middle)
        room = max(self._denoiser.describe().canvas_lengths)
        pinned = sum(
            len(self._denoiser.tokens(part)) for part in asked.middle if isinstance(part, str)
        )
        share = (room - pinned) // holes
        if share < 2:
            raise RequestError(
                f"{holes} holes with {pinned} pinned tokens between them do not fit a canvas of "
                f"{room} tokens; ask for fewer holes at a time"
            )
        middle: list[list[int] | int] = [
            min(part.max_tokens or share, share)
            if isinstance(part, Hole)
            else self._denoiser.tokens(part)
            for part in asked.middle
        ]
        return middle, share

    def _run(
        self,
        canvas: Canvas,
        sides: Sides,
        memory: MemoryT,
        request: InfillRequest,
        steps: int,
        budget: Budget,
    ) -> Iterator[Denoised]:
        """The canvas after each step; `steps` were made for the same request before it."""
        generator = seeded(canvas.token_ids, request.seed + steps)
        return denoise(
            canvas,
            self._denoiser,
            memory,
            self._denoiser.config(canvas, request, sides),
            generator=generator,
            budget=budget,
        )

    def _score(
        self, memory: MemoryT, sides: Sides, rows: Sequence[Sequence[int]], budget: Budget
    ) -> list[Scored]:
        """One pass, late as well, for a draft needs its probability; none when cancelled."""
        if budget.cancelled():
            return []
        return self._denoiser.score(memory, sides, rows)


def _goes_on(hole: _OpenHole, best: Candidate) -> bool:
    """Whether another block is wanted behind the best one."""
    lines, most = best.draft.text.count("\n"), hole.request.max_lines
    enough = most is not None and lines >= most
    doubtful = best.scored.likelihood < WORTH_CONTINUING
    return best.full and len(best.ids) < hole.tokens_left and not enough and not doubtful


def _at_most(tokens: int, lengths: Sequence[int]) -> tuple[int, ...]:
    """Hole lengths that are no longer than that, each once."""
    return tuple(dict.fromkeys(min(n, tokens) for n in lengths))
