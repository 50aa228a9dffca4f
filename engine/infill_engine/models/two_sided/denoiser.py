"""The embedded default as a denoiser: the two-sided network, its tokenizer, its decoding policy.

Both sides are stacks that end at the hole: typing pushes to the prefix, deleting pops, an edit far
away costs what lies between it and the hole, on that side alone.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infill_engine.arrays import Generator
from infill_engine.budget import UNLIMITED, Budget
from infill_engine.canvas import Canvas, lay_out
from infill_engine.config import EngineConfig
from infill_engine.denoise import DenoiseConfig
from infill_engine.denoiser import Scored, Sides
from infill_engine.early_stop import Chained, Decided, TokenStability
from infill_engine.models.two_sided.config import PREFIX, SUFFIX
from infill_engine.models.two_sided.inference import ComputeSteps, InferenceNetwork
from infill_engine.models.two_sided.kv_cache import CanvasContext, SideCache, common_length
from infill_engine.models.two_sided.proposals import goes_on, proposals
from infill_engine.models.two_sided.scoring import score
from infill_engine.models.two_sided.vocabulary import Vocabulary
from infill_engine.noise import Absorbing
from infill_engine.request import EngineInfo, Hole, InfillRequest
from infill_engine.sampler import EntropyBound
from infill_engine.schedule import Constant
from infill_engine.tokenizer import BOS, END, EOS, MASK, Tokenizer
from infill_engine.windows import first_tokens, last_tokens, prefix_window, suffix_window
from infill_kernels.rows import RowStatistics, statistics_of

# Trained on windows of 1,024 tokens; the prefix says more than the suffix.
PREFIX_TOKENS, SUFFIX_TOKENS = 704, 316
NEIGHBOUR_TOKENS = 192
CHARACTERS_PER_TOKEN = 3.5
CANVAS_LENGTHS = (16, 32, 64)
# Steps at most; on the validation packages up to three times as many were no better.
MAX_STEPS = {16: 3, 32: 6, 64: 10}
MAX_TOKENS = 192
# Tokens that are read between two looks at the budget: while somebody waits, and ahead, where who
# comes next waits for it.
ENCODE_CHUNK, AHEAD_CHUNK = 256, 64
JOIN_TOKENS = 6
ENTROPY_BOUND = 0.3
OPENERS = ("(", "[", "{", ":")


@dataclass(frozen=True, slots=True)
class SidesMemory:
    """Keys and values of both sides; the suffix was pushed from its far end."""

    prefix: SideCache
    suffix: SideCache


class _Cells(NamedTuple):
    """Free cells [n] of the rows that go on: among these rows' cells, and among all."""

    going: NDArray[np.bool_]
    among: NDArray[np.integer]
    places: NDArray[np.integer]
    asked: Any


@dataclass(slots=True)
class _State:
    """What the steps of a canvas [B, T] have in common.

    allowed  of some kinds of cells, the tokens [V] bool that may stand in them
    kind     [B * T] int32, of each cell
    told     what was said of the cells; each step says it anew of those of rows that go on
    cells    for rows of which so many are done, which is what a step mostly asks for again
    """

    context: CanvasContext
    steps: ComputeSteps
    allowed: Sequence[NDArray[np.bool_]]
    kind: NDArray[np.int32]
    told: RowStatistics
    cells: dict[int, _Cells]


class TwoSidedDenoiser:
    """Implements `Denoiser`."""

    def __init__(
        self,
        network: InferenceNetwork,
        tokenizer: Tokenizer,
        config: EngineConfig,
        source: str,
        show_threshold: float = 0.0,
    ) -> None:
        self._network = network
        self._show_threshold = show_threshold
        self._tokenizer = tokenizer
        self._config = config
        self._source = source
        self._vocabulary = Vocabulary(tokenizer, network.config.vocab_size)

    def describe(self) -> EngineInfo:
        computing = self._network.computing
        return EngineInfo(
            model="two-sided",
            parameters=self._network.num_parameters,
            device=computing.device,
            dtype=computing.kept_in,
            threads=computing.threads,
            canvas_lengths=CANVAS_LENGTHS,
            max_tokens=MAX_TOKENS,
            prefix_tokens=PREFIX_TOKENS,
            suffix_tokens=SUFFIX_TOKENS,
            noise="absorbing",
            source=self._source,
            show_threshold=self._show_threshold,
            kernels=computing.kernels,
        )

    def decode(self, ids: list[int]) -> bytes:
        return self._tokenizer.decode(ids)

    def tokens(self, text: str) -> list[int]:
        return self._tokenizer.encode(text)

    def middle(self, text: str, sides: Sides) -> list[int]:
        return self._vocabulary.ids(text, sides.healed_prefix)

    def sides(self, request: InfillRequest) -> Sides:
        tokenizer = self._tokenizer
        neighbours: list[int] = []
        for snippet in request.neighbours:
            ids = tokenizer.encode(snippet.rstrip("\n") + "\n\n")
            if len(neighbours) + len(ids) <= NEIGHBOUR_TOKENS:
                neighbours += ids
        room = PREFIX_TOKENS - 2 - len(neighbours)
        window = prefix_window(request.prefix, int(room * CHARACTERS_PER_TOKEN))
        prefix_ids = last_tokens(tokenizer.encode(window), room)
        window = suffix_window(request.suffix, int(SUFFIX_TOKENS * CHARACTERS_PER_TOKEN))
        suffix_ids = first_tokens(tokenizer.encode(window), SUFFIX_TOKENS - 1)
        healed_prefix = b""
        if prefix_ids:
            healed_prefix = tokenizer.token_bytes[prefix_ids[-1]]
            try:
                healed_prefix.decode("utf-8")
            except UnicodeDecodeError:
                healed_prefix = b""
        if healed_prefix:
            prefix_ids = prefix_ids[:-1]
        return Sides(
            prefix_ids=(BOS, tokenizer.tag(request.language_id), *neighbours, *prefix_ids),
            suffix_ids=(*suffix_ids, EOS),
            healed_prefix=healed_prefix,
        )

    def reusable(self, memory: SidesMemory, sides: Sides) -> int:
        return common_length(memory.prefix.ids, sides.prefix_ids) + common_length(
            memory.suffix.ids, sides.suffix_ids[::-1]
        )

    def encode(
        self,
        sides: Sides,
        memory: SidesMemory | None,
        *,
        budget: Budget = UNLIMITED,
    ) -> SidesMemory:
        if memory is None:
            room = MAX_TOKENS + max(CANVAS_LENGTHS)
            memory = SidesMemory(
                self._network.cache(PREFIX, capacity=PREFIX_TOKENS + room),
                self._network.cache(SUFFIX, capacity=SUFFIX_TOKENS + room),
            )
        chunk = ENCODE_CHUNK if budget.deadline < math.inf else AHEAD_CHUNK
        for cache, new in (
            (memory.prefix, sides.prefix_ids),
            (memory.suffix, sides.suffix_ids[::-1]),
        ):
            cache.truncate(common_length(cache.ids, new))
            while len(cache) < len(new) and not budget.over:
                self._network.push(cache, new[len(cache) : len(cache) + chunk])
        if not budget.over:
            memory.prefix.with_room(len(memory.suffix))  # now rather than when a canvas is there
        return memory

    def holds(self, memory: SidesMemory, sides: Sides) -> bool:
        return (memory.prefix.ids, memory.suffix.ids) == (
            list(sides.prefix_ids),
            list(sides.suffix_ids[::-1]),
        )

    def hole_lengths(self, request: InfillRequest) -> tuple[int, ...]:
        """32 cells where a block or a bracket was opened, 16 elsewhere; a full canvas is continued.

        More cells are slower, and at this size of model less often right: engine/train/LOG.md.
        When there shall be several to choose from, shorter holes are denoised beside the longest.
        """
        within = request.max_lines == 1 or goes_on(request.suffix)
        longest = 32 if not within and request.prefix.rstrip().endswith(OPENERS) else 16
        several = max(request.num_candidates, request.num_choices)
        if several == 1:
            return (longest,)
        shorter = (longest // 2, longest // 4, longest // 8)
        return (longest, *shorter[:several])

    def canvas(
        self,
        middle: Sequence[Sequence[int] | int],
        hole_lengths: Sequence[int],
        sides: Sides,
        request: InfillRequest,
    ) -> Canvas:
        templates = [[part or n for part in middle] for n in hole_lengths]
        cells = max(
            sum(part if isinstance(part, int) else len(part) for part in row) for row in templates
        )
        length = next((n for n in CANVAS_LENGTHS if n >= cells), cells)
        rows = [lay_out(row, canvas_length=length, end_id=END) for row in templates]
        one_line = request.max_lines == 1
        initials = dict(self._initials(request, sides))
        first = self._vocabulary.healing_mask(sides.healed_prefix)
        if 0 in initials and initials[0][0]:
            first = self._vocabulary.exactly(sides.healed_prefix)
        return Canvas(
            token_ids=np.array([ids for ids, _ in rows]),
            hole=np.array([hole for _, hole in rows]),
            first=first,
            initials=initials,
            ends=self._vocabulary.ends_or_breaks if one_line else self._vocabulary.ends,
            end_id=END,
        )

    def _initials(
        self, request: InfillRequest, sides: Sides
    ) -> Iterator[tuple[int, tuple[int, NDArray[np.bool_]]]]:
        """Of the holes that may not begin with anything. Where no token says what was taken back of
        the prefix and a right character as well, the second is held to them."""
        for number, hole in enumerate(request.middle):
            if isinstance(hole, Hole) and hole.initials:
                healed = b"" if number else sides.healed_prefix
                allowed = self._vocabulary.initials(hole.initials, healed)
                cell = int(not allowed.any())
                yield (
                    number,
                    (
                        cell,
                        self._vocabulary.initials(hole.initials, b"") if cell else allowed,
                    ),
                )

    def proposals(
        self,
        sides: Sides,
        request: InfillRequest,
        memory: SidesMemory | None,
        most: int,
        *,
        budget: Budget = UNLIMITED,
    ) -> dict[tuple[int, ...], float]:
        """What follows the same text elsewhere, and how the prefix goes on."""
        prefix = memory.prefix if memory else None
        return proposals(self._network, self._vocabulary, sides, request, prefix, most, budget)

    def config(self, canvas: Canvas, request: InfillRequest, sides: Sides) -> DenoiseConfig:
        length = canvas.token_ids.shape[1]
        steps = self._config.max_denoising_steps or MAX_STEPS.get(length, length // 4)
        return DenoiseConfig(
            max_denoising_steps=steps,
            noise=Absorbing(mask_id=MASK),
            sampler=EntropyBound(bound=self._config.entropy_bound or ENTROPY_BOUND),
            schedule=Constant(request.temperature),
            early_stop=Chained((Decided(), TokenStability())),
        )

    def step(
        self,
        canvas: Canvas,
        memory: SidesMemory,
        state: object,
        *,
        temperature: float,
        generator: Generator,
    ) -> tuple[RowStatistics, object]:
        ids = canvas.token_ids
        if not isinstance(state, _State):
            state = self._begun(canvas, memory)
        # Rows that are done leave the batch, and the head is for the free cells of the others.
        num_done = 0 if canvas.done is None else int(canvas.done.sum())
        cells = state.cells.get(num_done)
        if cells is None:  # no row goes on again
            cells = state.cells[num_done] = self._cells(canvas, state)
        going = ids[cells.going] if num_done else ids
        if temperature == 0:
            self._network.say(state.context, state.steps, going, cells.asked, state.told)
            return state.told, state
        hidden = self._network.step(state.context, going)
        hidden = hidden.reshape(-1, hidden.shape[-1])[cells.among]
        kinds = state.kind[cells.places]
        drawn = self._drawn(hidden, state.allowed, kinds, temperature, generator)
        told = state.told._replace(sample=ids.copy())
        for whole, part in zip(told, drawn, strict=True):
            whole.reshape(-1)[cells.places] = part
        return told, state

    def _begun(self, canvas: Canvas, memory: SidesMemory) -> _State:
        shape = canvas.token_ids.shape
        context = self._network.canvas_context(memory.prefix, memory.suffix, *shape)
        allowed, kind = self._kinds(canvas)
        biases = np.array([self._network.head.bias(~these) for these in allowed])
        best = canvas.token_ids.copy()
        told = RowStatistics(np.zeros(shape, np.float32), best, best, np.ones(shape, np.float32))
        return _State(context, self._network.steps(context, biases), allowed, kind, told, {})

    def _cells(self, canvas: Canvas, state: _State) -> _Cells:
        free = canvas.free
        going = np.ones(len(free), np.bool_) if canvas.done is None else ~canvas.done
        among, places = np.flatnonzero(free[going]), np.flatnonzero(free & going[:, None])
        asked = state.steps.cells(among, state.kind[places], places)
        return _Cells(going, among, places, asked)

    def _drawn(
        self,
        hidden: NDArray[Any],
        allowed: Sequence[NDArray[np.bool_]],
        kinds: NDArray[np.int32],
        temperature: float,
        generator: Generator,
    ) -> RowStatistics:
        """What is said of cells [n, D] at a temperature, which needs all logits."""
        logits = self._network.head.matrix(hidden)
        for kind, these in enumerate(allowed):
            logits[np.ix_(kinds == kind, ~these)] = -np.inf
        return statistics_of(logits, temperature=temperature, generator=generator)

    def _kinds(self, canvas: Canvas) -> tuple[list[NDArray[np.bool_]], NDArray[np.int32]]:
        """What may stand in most cells, in those that come first in their row, and in those that
        say what a hole begins with; and which cells these are."""
        hole, anything = canvas.hole, ~self._vocabulary.forbidden
        allowed, kind = [anything], np.zeros(hole.shape, np.int32)
        if canvas.first is not None:
            kind[:, canvas.first_free] = len(allowed)
            allowed.append(anything & canvas.first)
        for number, (cell, initials) in canvas.initials.items():
            of_hole = hole == number
            kind[of_hole & (of_hole.cumsum(1) == 1 + cell)] = len(allowed)
            allowed.append(anything & initials)
        return allowed, kind.reshape(-1)

    def score(
        self, memory: SidesMemory, sides: Sides, rows: Sequence[Sequence[int]]
    ) -> list[Scored]:
        head = list(sides.suffix_ids[:JOIN_TOKENS])
        # What was taken back of the prefix is typed: the first token is one that begins with it.
        first = self._vocabulary.healing_mask(sides.healed_prefix)
        scores = score(self._network, memory.prefix, [[*row, *head] for row in rows], first)
        return [
            Scored(
                likelihood=float(row_scores[: len(row)].mean()) if row else 0.0,
                join=float(row_scores[len(row) :].mean()),
            )
            for row, row_scores in zip(rows, scores, strict=True)
        ]
