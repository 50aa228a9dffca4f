"""Servers of a simulation: a GPU with vLLM, and an engine of ours that answers one at a time.

A `Job` is what one of them is asked for about one place: some canvases behind one prompt. Knows
nothing of people and of how jobs are routed.
"""

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

from benchmarks.denoise.shape import REAL, least
from benchmarks.scaleout.clock import Clock

CACHE_BLOCK = 16  # tokens that vLLM caches together


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """`widths` are the cells of its canvases; `finished` is told each of them by its number.

    The prompt at one `place` grows with what is `typed`, characters of it; at another one it is
    another prompt.
    """

    document: str
    place: int
    typed: int = 0
    prompt_tokens: int
    widths: Sequence[int]
    finished: Callable[[int], None]


class Server(Protocol):
    busy_seconds: float

    def take(self, job: Job) -> None: ...

    def drop(self, job: Job) -> None:
        """It is taken back, if it is not done."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A kind of GPU with DiffusionGemma in 8 bits. Rates are its maker's, a second.

    `overhead` is what a forward takes beside the least that it can (`benchmarks.denoise.shape`),
    by the tokens a second that vLLM's makers publish for one request at a time: 256 in 17 forwards,
    16 steps and the one that commits.
    """

    name: str
    bandwidth: float
    operations: float
    memory: float
    published: float

    @property
    def overhead(self) -> float:
        measured = 256 / self.published / 17
        return measured / self.least(256, 1, 2000, 0)

    def seconds(self, cells: int, canvases: int, context: int, prefill: int) -> float:
        """Of one forward of some canvases with `context` tokens before each, and some prefill."""
        return _seconds(self, cells, canvases, -(-context // 256) * 256, -(-prefill // 64) * 64)

    def least(self, cells: int, canvases: int, context: int, prefill: int) -> float:
        tokens = cells + prefill
        touched = REAL.experts * (1 - (1 - REAL.top_k / REAL.experts) ** tokens)
        # Of one canvas; each further one reads a context of its own.
        moved, operations = least(REAL, cells, context, touched, "fp8")
        alone, _ = least(REAL, 0, 0, touched, "fp8")
        again, _ = least(REAL, 0, context, touched, "fp8")
        moved += (canvases - 1) * (again - alone)
        _, of_prompt = least(REAL, prefill, context, touched, "fp8")
        return max(moved / self.bandwidth, (operations + of_prompt) / self.operations)


@cache
def cached_tokens(gpu: Gpu) -> int:
    """Of prompts, where the weights and an eighth of the memory are taken."""
    full = REAL.full_layers
    sliding = REAL.layers - full
    per_token = 4 * (
        sliding * REAL.groups * REAL.head_dim + full * REAL.full_groups * REAL.full_head_dim
    )
    weights, _ = least(REAL, 0, 0, REAL.experts, "fp8")
    return int((gpu.memory * 7 / 8 - weights) / per_token)


@cache
def _seconds(gpu: Gpu, cells: int, canvases: int, context: int, prefill: int) -> float:
    return gpu.overhead * gpu.least(cells, canvases, context, prefill)


# Published for DiffusionGemma in FP8 with one request at a time.
GPUS = {
    "H100": Gpu(name="H100", bandwidth=3.35e12, operations=1.979e15, memory=80e9, published=1008),
    "H200": Gpu(name="H200", bandwidth=4.8e12, operations=1.979e15, memory=141e9, published=1288),
}


@dataclass(slots=True, eq=False)
class _Canvas:
    job: Job
    number: int
    running: bool = False


@dataclass(slots=True, kw_only=True)
class GpuServer:
    """Canvases of all jobs step together, at most `most` of them; whoever came first is first.

    A job's prompt is read in the forward before its canvases begin, as much of it as is not cached.
    Each canvas takes a number of `steps` between those two.
    """

    clock: Clock
    gpu: Gpu
    most: int
    steps: tuple[int, int]
    random: random.Random
    busy_seconds: float = 0.0
    _waiting: deque[_Canvas] = field(default_factory=deque)
    _canvases: dict[Job, list[_Canvas]] = field(default_factory=dict)
    _ending: dict[int, list[_Canvas]] = field(default_factory=dict)  # by their last forward
    _forwards: int = 0
    _running: int = 0
    _cells: int = 0  # of those that run; and the tokens before them
    _context: int = 0
    _idle: bool = True
    _cached: OrderedDict[str, tuple[int, int]] = field(default_factory=OrderedDict)
    _num_cached: int = 0

    def take(self, job: Job) -> None:
        if not job.widths:
            return
        self._canvases[job] = [_Canvas(job, number) for number in range(len(job.widths))]
        self._waiting += self._canvases[job]
        if self._idle:
            self._forward()

    def drop(self, job: Job) -> None:
        for canvas in self._canvases.pop(job, []):
            if canvas.running:
                self._end(canvas)

    def _forward(self) -> None:
        cells = self._cells
        prefill = 0
        while self._waiting and self._running < self.most:
            canvas = self._waiting.popleft()
            if canvas.job in self._canvases:
                prefill += self._read(canvas.job)
                self._begin(canvas)
        self._idle = not self._running
        if self._running:
            self._forwards += 1
            context = self._context // self._running
            seconds = self.gpu.seconds(cells, self._running, context, prefill)
            self.busy_seconds += seconds
            self.clock.after(seconds, self._forwarded)

    def _begin(self, canvas: _Canvas) -> None:
        last = self._forwards + 1 + self.random.randint(*self.steps)
        self._ending.setdefault(last, []).append(canvas)
        canvas.running = True
        self._running += 1
        self._cells += canvas.job.widths[canvas.number]
        self._context += canvas.job.prompt_tokens

    def _end(self, canvas: _Canvas) -> None:
        canvas.running = False
        self._running -= 1
        self._cells -= canvas.job.widths[canvas.number]
        self._context -= canvas.job.prompt_tokens

    def _forwarded(self) -> None:
        for canvas in self._ending.pop(self._forwards, []):
            if canvas.running:
                self._end(canvas)
                canvas.job.finished(canvas.number)
        self._forward()

    def _read(self, job: Job) -> int:
        """Tokens of the prompt that are not cached; they are then."""
        place, known = self._cached.pop(job.document, (-1, 0))
        self._num_cached -= known
        self._cached[job.document] = (job.place, job.prompt_tokens)
        self._num_cached += job.prompt_tokens
        while self._num_cached > cached_tokens(self.gpu):
            _, (_, tokens) = self._cached.popitem(last=False)
            self._num_cached -= tokens
        shared = min(known, job.prompt_tokens) if place == job.place else 0
        return job.prompt_tokens - shared // CACHE_BLOCK * CACHE_BLOCK


@dataclass(slots=True, kw_only=True)
class QueueServer:
    """One job at a time, in the order of arrival. `seconds` are what one takes while nobody else
    asks, where the place was asked about before (True) and where not.

    A job that is taken back while it is answered ends within `step` seconds. What it has read of a
    new place by then is kept, and the rest is left to the next job there.
    """

    clock: Clock
    seconds: Callable[[Job, bool], float]
    step: float = 0.005
    busy_seconds: float = 0.0
    _jobs: OrderedDict[Job, None] = field(default_factory=OrderedDict)  # the first is answered
    _unread: dict[tuple[str, int], float] = field(default_factory=dict)  # seconds, by place
    _answered: Job | None = None
    _began: float = 0.0
    _ends: float = 0.0

    def take(self, job: Job) -> None:
        self._jobs[job] = None
        if self.clock.now >= self._ends and len(self._jobs) == 1:
            self._next()

    def drop(self, job: Job) -> None:
        if job not in self._jobs:
            return
        del self._jobs[job]
        if job is self._answered:
            self._answered = None
            saved = max(self._ends - self.clock.now - self.step, 0.0)
            self.busy_seconds -= saved
            self._ends -= saved
            self._read(job)
            self.clock.after(self._ends - self.clock.now, self._next)

    def _next(self) -> None:
        if not self._jobs or self.clock.now < self._ends:
            return
        job = next(iter(self._jobs))
        place = (job.document, job.place)
        seconds = self.seconds(job, place in self._unread)
        self._unread.setdefault(place, seconds)
        seconds = max(seconds, self._unread[place])
        self.busy_seconds += seconds
        self._answered = job
        self._began, self._ends = self.clock.now, self.clock.now + seconds
        self.clock.after(seconds, lambda: self._done(job))

    def _read(self, job: Job) -> None:
        self._unread[job.document, job.place] -= self._ends - self._began

    def _done(self, job: Job) -> None:
        if job in self._jobs:
            del self._jobs[job]
            self._answered = None
            self._read(job)
            job.finished(0)
            self._next()
