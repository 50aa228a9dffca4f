"""DiffusionGemma's step with fixed shapes: captured once as CUDA graphs, then replayed.

    canvas, prompt ──copied──► buffers ──► condition ──► decode ──► statistics of the free cells
                                              ▲ what the head gave │
                                              └────────────────────┘

A step launches some five hundred kernels, which takes the host longer than they take the device.
A replay launches them all at once. Nothing in it waits for the host.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

from infill_engine.canvas import Canvas
from infill_engine.models.diffusion_gemma.network import CachedContext, Memory, Network
from infill_engine.models.diffusion_gemma.stepping import FusedStepping, StepState, spread
from infill_kernels import HeadStatistics, head_statistics, probabilities
from infill_kernels.rows import RowStatistics

# Each plan holds the head's output and its probabilities, some 300 MB for 256 cells.
NUM_PLANS = 4
LEAST_CAPACITY = 1024
ROWS_STEP = 64

# Takes the work of a step and gives back what repeats it.
Capture = Callable[[Callable[[], None]], Callable[[], None]]


def direct(work: Callable[[], None]) -> Callable[[], None]:
    """The `Capture` of a device without graphs."""
    return work


def graph(work: Callable[[], None]) -> Callable[[], None]:
    """A CUDA graph of the work."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        # Compiles kernels and grows work spaces, which a capture may not.
        for _ in range(2):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        work()

    def replay() -> None:
        captured.replay()

    return replay


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanShape:
    """What a plan is made for: B canvases of T cells, R rows for the head, S tokens of prompt."""

    batch: int
    cells: int
    rows: int
    capacity: int


def shape_of(canvas: Canvas, memory: Memory, num_rows: int) -> PlanShape:
    """The smallest plan that a canvas fits; few shapes, so that few are captured."""
    capacity = LEAST_CAPACITY
    while capacity < memory.length:
        capacity *= 2
    batch, cells = canvas.token_ids.shape
    rows = min(batch * cells, -(-num_rows // ROWS_STEP) * ROWS_STEP)
    return PlanShape(batch=batch, cells=cells, rows=rows, capacity=capacity)


class StepPlan:
    """The buffers of one shape, and the two pieces of a step over them."""

    def __init__(self, network: Network, shape: PlanShape, capture: Capture) -> None:
        device, dtype = network.device, network.dtype
        self._network = network
        self.shape = shape
        self.token_ids = torch.zeros(shape.batch, shape.cells, dtype=torch.int64, device=device)
        self.free = torch.ones_like(self.token_ids, dtype=torch.bool)
        self.rows = torch.zeros(shape.rows, dtype=torch.int64, device=device)
        # Where their means go; those of rows that are too many go behind the last cell.
        self.targets = torch.zeros_like(self.rows)
        self.first = torch.zeros(shape.batch, dtype=torch.int64, device=device)
        self.first_allowed = torch.ones(network.vocab_size, dtype=torch.bool, device=device)
        self.allowed = torch.ones_like(self.first_allowed)
        self.temperature = torch.ones(1, dtype=torch.float32, device=device)
        self.last_temperature = torch.ones_like(self.temperature)
        self.seed = torch.zeros(1, dtype=torch.int64, device=device)
        width = network.table.shape[1]
        self.soft = torch.zeros(shape.batch, shape.cells, width, dtype=dtype, device=device)
        self.context = self._context(network, shape)
        self.raw: Tensor | None = None
        self.found: HeadStatistics | None = None
        self.decode = capture(self._decode)
        self.condition = capture(self._condition)

    @staticmethod
    def _context(network: Network, shape: PlanShape) -> CachedContext:
        layers = []
        for layer in network.layers:
            seen = min(shape.capacity, network.window - 1) if layer.sliding else shape.capacity
            # Beyond its length a cache is read and masked, so it may hold anything finite.
            layers.append(
                tuple(
                    network.table.new_zeros(1, layer.groups, seen, layer.head_dim) for _ in range(2)
                )
            )
        made = network.tables(0, shape.cells)
        return CachedContext(
            layers=tuple((key, value) for key, value in layers),
            tables={sliding: (cos.clone(), sin.clone()) for sliding, (cos, sin) in made.items()},
            lengths={
                sliding: torch.zeros(1, dtype=torch.int32, device=network.device)
                for sliding in (True, False)
            },
        )

    def load(
        self, canvas: Canvas, memory: Memory, rows: Tensor, first: Tensor, allowed: Tensor | None
    ) -> None:
        """Takes over what stays the same while a canvas is denoised."""
        self.free.copy_(canvas.free)
        # Rows that are too many compute one of the others again.
        self.rows.copy_(rows[:1].expand(len(self.rows)))
        self.rows[: len(rows)] = rows
        self.targets.fill_(self.token_ids.numel())
        self.targets[: len(rows)] = rows
        self.first.copy_(first)
        for buffer, given in ((self.first_allowed, canvas.first), (self.allowed, allowed)):
            if given is None:
                buffer.fill_(True)
            else:
                buffer.copy_(given)
        fresh = self._network.context(memory, self.shape.cells)
        assert self.context.lengths is not None, "a plan's context has room to grow"
        for layer, buffers, parts in zip(
            self._network.layers, self.context.layers, fresh.layers, strict=True
        ):
            for buffer, part in zip(buffers, parts, strict=True):
                buffer[:, :, : part.shape[2]] = part
            self.context.lengths[layer.sliding].fill_(parts[0].shape[2])
        for sliding, table in fresh.tables.items():
            for buffer, part in zip(self.context.tables[sliding], table, strict=True):
                buffer.copy_(part)
        self.soft.zero_()

    def _decode(self) -> None:
        network = self._network
        hidden = network.decode(self.token_ids, self.soft, self.context)
        raw = linear(hidden.flatten(0, 1)[self.rows], network.head)
        firsts = raw[self.first].masked_fill(~self.first_allowed, -torch.inf)
        raw.index_copy_(0, self.first, firsts)
        self.raw = raw
        self.found = head_statistics(
            raw, self.temperature, self.seed, cap=network.softcap, allowed=self.allowed
        )
        self.last_temperature.copy_(self.temperature)

    def _condition(self) -> None:
        network = self._network
        assert self.raw is not None, "a step comes before its conditioning"
        assert self.found is not None, "a step comes before its conditioning"
        probability = probabilities(
            self.raw,
            self.last_temperature,
            self.found.log_sum_exp,
            dtype=network.dtype,
            cap=network.softcap,
            allowed=self.allowed,
        )
        mean = (probability @ network.table) * network.embed_scale
        own = network.embed(self.token_ids)
        cells = own.flatten(0, 1)
        proposed = torch.cat((cells, cells[:1])).index_copy_(0, self.targets, mean)[:-1]
        self.soft.copy_(torch.where(self.free[..., None], proposed.view_as(own), own))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanState:
    """A canvas that a plan is at work on."""

    plan: StepPlan
    rows: Tensor


class CapturedStepping(FusedStepping):
    """`FusedStepping` by replay. One canvas at a time: a plan's buffers are the canvas's state."""

    def __init__(
        self, network: Network, forbidden: Tensor | None = None, capture: Capture = graph
    ) -> None:
        super().__init__(network, forbidden)
        self._capture = capture
        self._plans: OrderedDict[PlanShape, StepPlan] = OrderedDict()

    def step(
        self,
        canvas: Canvas,
        memory: Memory,
        state: object,
        *,
        temperature: float,
        generator: torch.Generator,
    ) -> tuple[RowStatistics, object]:
        if isinstance(state, StepState) or len(memory.token_ids) > 1:
            return super().step(canvas, memory, state, temperature=temperature, generator=generator)
        begun = isinstance(state, PlanState)
        if not isinstance(state, PlanState):
            state = self._begin(canvas, memory)
        plan = state.plan
        plan.token_ids.copy_(canvas.token_ids)
        if begun:
            plan.condition()
        plan.temperature.fill_(temperature)
        plan.seed.random_(0, 1 << 62, generator=generator)
        plan.decode()
        assert plan.found is not None, "a step finds something"
        count = len(state.rows)
        found = RowStatistics(*(each[:count] for each in plan.found[:4]))
        return spread(found, canvas, state.rows), state

    def _begin(self, canvas: Canvas, memory: Memory) -> PlanState:
        fixed = self.start(canvas, memory)
        shape = shape_of(canvas, memory, len(fixed.rows))
        if shape not in self._plans:
            if len(self._plans) == NUM_PLANS:
                self._plans.popitem(last=False)
            self._plans[shape] = StepPlan(self.network, shape, self._capture)
        self._plans.move_to_end(shape)
        plan = self._plans[shape]
        plan.load(canvas, memory, fixed.rows, fixed.first, self.allowed(canvas))
        return PlanState(plan=plan, rows=fixed.rows)
