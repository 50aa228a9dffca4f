"""The engine in this process: text to canvas, the loop, text again.

request ─► sides ─► memory ─► canvas ─► denoise ─► drafts ─► (hole not closed: commit, again)
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Generic

import torch

from infill_engine.budget import UNLIMITED, Budget
from infill_engine.canvas import PINNED, Canvas, fill_ids, is_open
from infill_engine.denoise import Denoised, denoise
from infill_engine.denoiser import Denoiser, MemoryT, Scored, Sides
from infill_engine.errors import RequestError
from infill_engine.request import Cell, Draft, EngineInfo, Hole, InfillRequest
from infill_engine.template import Template, distinct, template

NUM_MEMORIES = 4
# Below this many reusable tokens another place is being edited: keep the old memory for a return.
WORTH_REUSING = 64
# Nats per token: a block that the model itself finds less likely is not gone on from.
WORTH_CONTINUING = -2.5
# How many tokens the mean of those behind the hole counts for, and nats for leaving it empty.
JOIN, NOTHING = 6.0, -10.0


class LocalEngine(Generic[MemoryT]):
    """Implements `Engine` over any `Denoiser`; owns the memories of the last few places.

    Not thread-safe: one caller at a time.
    """

    def __init__(self, denoiser: Denoiser[MemoryT]) -> None:
        self._denoiser = denoiser
        self._memories: list[MemoryT] = []  # most recently used last

    def describe(self) -> EngineInfo:
        return self._denoiser.describe()

    def warm(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> None:
        self._encode(self._denoiser.sides(template(request).request), budget)

    def infill(self, request: InfillRequest, *, budget: Budget = UNLIMITED) -> Iterator[Draft]:
        asked = template(request)
        if budget.cancelled():
            return
        started = time.perf_counter()
        sides = self._denoiser.sides(asked.request)
        memory = self._encode(sides, budget)
        encode_ms = (time.perf_counter() - started) * 1e3
        if budget.cancelled():
            return
        single = len(asked.middle) == 1
        blocks = self._one_hole if single else self._many_holes
        for draft in blocks(asked, sides, memory, budget):
            yield replace(
                draft,
                text=asked.head + draft.text + asked.tail,
                encode_ms=encode_ms,
                denoise_ms=(time.perf_counter() - started) * 1e3 - encode_ms,
                others=tuple(
                    replace(other, text=asked.head + other.text + asked.tail)
                    for other in draft.others
                ),
            )

    def _encode(self, sides: Sides, budget: Budget) -> MemoryT:
        reusable = [self._denoiser.reusable(memory, sides) for memory in self._memories]
        best = max(reusable, default=0)
        enough = best >= min(WORTH_REUSING, len(sides.prefix_ids) + len(sides.suffix_ids))
        memory: MemoryT | None = None
        if reusable and (enough or len(self._memories) == NUM_MEMORIES):
            memory = self._memories.pop(reusable.index(best) if enough else 0)
        memory = self._denoiser.encode(sides, memory, budget=budget)
        self._memories.append(memory)
        return memory

    def _one_hole(
        self, asked: Template, sides: Sides, memory: MemoryT, budget: Budget
    ) -> Iterator[Draft]:
        """Block after block until the hole is closed, its budget spent, or time is up."""
        request, hole = asked.request, asked.middle[0]
        assert isinstance(hole, Hole)
        tokens_left = hole.max_tokens or self._denoiser.describe().max_tokens
        if sides.healed_prefix:
            tokens_left += 1
        lengths = tuple(
            dict.fromkeys(min(n, tokens_left) for n in self._denoiser.hole_lengths(request))
        )
        committed: list[int] = []
        so_far = 0.0  # the logarithm of how probable what is committed is
        healed_prefix = sides.healed_prefix
        steps, draft = 0, None
        while True:
            # Reading on is for a fresh hole: what goes on or mends a text should not take as long.
            fresh = not (committed or asked.head or asked.tail)
            canvas = self._denoiser.canvas([0], lengths, sides, request)
            proposals = self._denoiser.proposals(
                sides,
                request,
                memory if fresh else None,
                max(lengths),
                budget=budget,
            )
            last: Denoised | None = None
            for last in self._run(canvas, sides, memory, request, steps, budget):
                draft = self._draft(canvas, last, 0, committed, healed_prefix, steps)
                yield draft
            if last is None or draft is None or budget.cancelled():
                return
            steps += last.num_steps
            rows = [fill_ids(last.token_ids, canvas, row)[0] for row in range(len(canvas.hole))]
            denoised = len(rows)
            if (
                not budget.late
            ):  # for they are read as well, and together take as long as some steps
                rows += [
                    list(g) for g in proposals if len(g) <= tokens_left and list(g) not in rows
                ]
            scored = self._score(memory, sides, rows)
            probable = [
                log_probability(
                    each,
                    # What was taken back of the prefix and comes again is no text.
                    0 if self._denoiser.decode(row) == sides.healed_prefix else len(row),
                    proposals.get(tuple(row), -math.inf),
                )
                for each, row in zip(scored, rows, strict=True)
            ]
            order = sorted(range(len(rows)), key=lambda row: -rank(scored[row], probable[row]))
            best = order[0]
            drafts = [
                replace(
                    self._final(canvas, last, row, committed, healed_prefix, steps, scored[row])
                    if row < denoised
                    else self._proposed(rows[row], committed, healed_prefix, steps, scored[row]),
                    log_probability=so_far + probable[row],
                )
                for row in order
            ]
            draft, *others = distinct(drafts)
            open_rows = [is_open(canvas, row) for row in range(denoised)]
            # A shorter row that is full has been told to end there; a guess is whole.
            full = best < denoised and len(rows[best]) == max(lengths) and open_rows[best]
            committed += rows[best]
            so_far += probable[best]
            tokens_left -= len(rows[best])
            lines = draft.text.count("\n")
            enough = request.max_lines is not None and lines >= request.max_lines
            doubtful = scored[best].likelihood < WORTH_CONTINUING
            if not full or tokens_left <= 0 or budget.late or enough or doubtful:
                yield replace(draft, others=tuple(others))
                return
            sides = replace(sides, prefix_ids=(*sides.prefix_ids, *rows[best]), healed_prefix=b"")
            request = replace(asked.request, prefix=asked.request.prefix + draft.text)
            memory = self._denoiser.encode(sides, memory, budget=budget)
            self._memories[-1] = memory
            longer = self._denoiser.hole_lengths(request)
            if all(open_rows):
                # Text that ends by itself needs no shorter rows to choose from.
                longer = (max(longer),)
            lengths = tuple(dict.fromkeys(min(n, tokens_left) for n in longer))

    def _many_holes(
        self, asked: Template, sides: Sides, memory: MemoryT, budget: Budget
    ) -> Iterator[Draft]:
        """All holes and the pins between them on one canvas, denoised jointly."""
        request = asked.request
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
        canvas = self._denoiser.canvas(middle, (share,), sides, request)
        last: Denoised | None = None
        for last in self._run(canvas, sides, memory, request, 0, budget):
            yield self._draft(canvas, last, 0, [], sides.healed_prefix, 0)
        if last is None or budget.cancelled():
            return
        rows = [middle_ids(canvas, last, row) for row in range(len(canvas.token_ids))]
        scored = self._score(memory, sides, rows)
        probable = [log_probability(each, len(row)) for each, row in zip(scored, rows, strict=True)]
        order = sorted(range(len(rows)), key=lambda row: -rank(scored[row], probable[row]))
        best, *others = distinct(
            [
                replace(
                    self._final(
                        canvas, last, row, [], sides.healed_prefix, last.num_steps, scored[row]
                    ),
                    log_probability=probable[row],
                )
                for row in order
            ]
        )
        yield replace(best, others=tuple(others))

    def _run(
        self,
        canvas: Canvas,
        sides: Sides,
        memory: MemoryT,
        request: InfillRequest,
        block: int,
        budget: Budget,
    ) -> Iterator[Denoised]:
        generator = torch.Generator(device=canvas.token_ids.device)
        generator.manual_seed(request.seed + block)
        return denoise(
            canvas,
            self._denoiser,
            memory,
            self._denoiser.config(canvas, request, sides),
            generator=generator,
            budget=budget,
        )

    def _score(self, memory: MemoryT, sides: Sides, rows: Sequence[Sequence[int]]) -> list[Scored]:
        with torch.inference_mode():
            return self._denoiser.score(memory, sides, rows)

    def _final(
        self,
        canvas: Canvas,
        last: Denoised,
        row: int,
        committed: list[int],
        healed_prefix: bytes,
        steps: int,
        scored: Scored,
    ) -> Draft:
        draft = self._draft(canvas, last, row, committed, healed_prefix, steps - last.num_steps)
        return replace(
            draft,
            likelihood=scored.likelihood,
            join=scored.join,
            converged=bool(last.converged[row]),
        )

    def _proposed(
        self, ids: list[int], committed: list[int], healed_prefix: bytes, steps: int, scored: Scored
    ) -> Draft:
        text = self._text(committed + ids).removeprefix(healed_prefix.decode("utf-8"))
        return Draft(
            text=text,
            fills=(text,),
            steps=steps,
            tokens=len(committed) + len(ids),
            mean_entropy=0.0,
            likelihood=scored.likelihood,
            join=scored.join,
            converged=True,
            cells=tuple(Cell(text=self._text([i]), entropy=0.0, state="settled") for i in ids),
        )

    def _draft(
        self,
        canvas: Canvas,
        denoised: Denoised,
        row: int,
        committed: list[int],
        healed_prefix: bytes,
        steps_before: int,
    ) -> Draft:
        fills = fill_ids(denoised.token_ids, canvas, row)
        texts = [self._text(fill) for fill in fills]
        texts[0] = self._text(committed + fills[0]).removeprefix(healed_prefix.decode("utf-8"))
        pieces: list[str] = []
        hole, pins = -1, list[int]()
        for token, number in zip(
            canvas.token_ids[row].tolist(), canvas.hole[row].tolist(), strict=True
        ):
            if number == PINNED:
                pins.append(token)
                continue
            if number != hole:
                hole = number
                pieces += [self._text(pins), texts[number]]
                pins = []
        free = canvas.free[row]
        entropy = denoised.entropy[row]
        return Draft(
            text="".join(pieces),
            fills=tuple(texts),
            steps=steps_before + denoised.num_steps,
            tokens=len(committed) + sum(map(len, fills)),
            mean_entropy=float(entropy[free].mean()) if bool(free.any()) else 0.0,
            cells=self._cells(canvas, denoised, row),
        )

    def _text(self, ids: list[int]) -> str:
        return self._denoiser.decode(ids).decode("utf-8", errors="replace")

    def _cells(self, canvas: Canvas, denoised: Denoised, row: int) -> tuple[Cell, ...]:
        cells = []
        for token, number, entropy, decided in zip(
            denoised.token_ids[row].tolist(),
            canvas.hole[row].tolist(),
            denoised.entropy[row].tolist(),
            denoised.decided[row].tolist(),
            strict=True,
        ):
            text = self._text([token])
            ended = canvas.ends is not None and token == canvas.end_id
            if ended:
                state = "end" if decided else "noise"
            elif number == PINNED:
                state = "pinned"
            else:
                state = "settled" if decided else "noise"
            cells.append(Cell(text="" if ended else text, entropy=entropy, state=state))
        return tuple(cells)


def middle_ids(canvas: Canvas, denoised: Denoised, row: int) -> list[int]:
    """Fills and the pins between them in order, without what stands for "nothing here"."""
    ids, ended, end = [], set[int](), 0
    for token, number in zip(
        denoised.token_ids[row].tolist(), canvas.hole[row].tolist(), strict=True
    ):
        if canvas.ends is not None and token == canvas.end_id:
            ended.add(number)
        if number not in ended:
            ids.append(token)
        if number != PINNED:
            end = len(ids)
    return ids[:end]


def log_probability(scored: Scored, tokens: int, otherwise: float = -math.inf) -> float:
    """Of a middle: that the model would say it or that it is right for another reason
    (`otherwise`, such as that the same stands elsewhere), of which either is enough: p + q - pq."""
    said = scored.likelihood * tokens if tokens else NOTHING
    larger, smaller = max(said, otherwise), min(said, otherwise)
    if smaller == -math.inf:
        return min(larger, 0.0)
    return min(larger + math.log1p(math.exp(smaller - larger) * -math.expm1(min(larger, 0))), 0.0)


def rank(scored: Scored, probable: float) -> float:
    """Orders candidates: how probable the middle is, and what follows after it; choosing by the
    likelihood of the middle with a few suffix tokens after it is PILL's rule."""
    return probable + JOIN * scored.join
