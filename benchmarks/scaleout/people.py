"""Who types, and how their language servers ask: by the engine's own rules (`remote.routing`).

    key ─► what was asked before is taken back ─► a run of the model? ─► home by document
                                                    │ hedge after the 95 % quantile ─► spare
                                                    └ the deadline: whatever has come

A person types lines of a place with a pause behind each, then goes to another place.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from benchmarks.scaleout.clock import Clock
from benchmarks.scaleout.servers import Job, Server
from infill_engine.remote.routing import Routes

# Of `benchmarks.typing --sessions 16 --deadline-ms 300` (engine/train/LOG.md): 16 sessions of six
# lines, 2,231 characters, 79.1 keys for 100 of them, 21.2 % of the keys answered without a run.
RUNS_A_KEY = 1 - 0.212
KEYS_A_LINE = 2231 * 0.791 / (16 * 6)
LINES_A_PLACE = 6
KEY_SECONDS = 0.15  # as that benchmark types, there evenly
# Not measured by it, and assumed: how uneven keys are, and how long somebody thinks.
KEY_SIGMA = 0.5  # of the logarithm
LINE_PAUSE, PLACE_PAUSE = 2.0, 10.0
PROMPT_TOKENS = 3000  # of at most 5,300: 16,000 characters at three a token
PARTS = ("affinity", "hedging")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """`at` in seconds; `paused` where nothing is typed for long after it, `asks` where what is
    shown has to come from the model."""

    at: float
    place: int
    typed: int  # keys at this place, this one included
    asks: bool
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a language server asks: seconds, and the cells of a suggestion's canvases.

    `delay` is waited for after a key, whether another one follows; `late` is how long it takes from
    a key to taking back what was asked before, `network` the way there and back, `without` what of
    the routing is left out, to see what it is worth.
    """

    deadline: float
    widths: Sequence[int]
    network: float
    delay: float = 0.0
    late: float = 0.0
    without: Sequence[Literal["affinity", "hedging"]] = ()


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Of all people.

    `waits` are seconds from a key after which somebody paused to the whole answer, or to the
    deadline where some of it had come; infinite where none had. `hurried` are those of other keys
    whose answer came before the next key.
    """

    asked: int = 0
    superseded: int = 0
    hedged: int = 0
    waits: list[float] = field(default_factory=list)
    hurried: list[float] = field(default_factory=list)


def keys(source: random.Random, *, place_pause: float = PLACE_PAUSE) -> Iterator[Key]:
    """Without end, from a random moment of a place on."""
    round_ = LINES_A_PLACE * (KEYS_A_LINE * KEY_SECONDS + LINE_PAUSE) + place_pause
    at = -source.uniform(0.0, 2 * round_)
    median = KEY_SECONDS / math.exp(KEY_SIGMA**2 / 2)
    place = 0
    while True:
        typed = 0
        for line in range(LINES_A_PLACE):
            length = max(1, round(source.expovariate(1 / KEYS_A_LINE)))
            for number in range(length):
                typed += 1
                last = number == length - 1
                asks = last or source.random() < RUNS_A_KEY
                if at >= 0:
                    yield Key(at=at, place=place, typed=typed, asks=asks, paused=last)
                at += source.lognormvariate(math.log(median), KEY_SIGMA)
            ended = line == LINES_A_PLACE - 1
            at += source.expovariate(1 / (place_pause if ended else LINE_PAUSE))
        place += 1


@dataclass(slots=True, eq=False)
class _Suggestion:
    """One that is waited for. What comes of it is noted once it has `ended`."""

    started: float
    key: Key
    home: int
    left: set[int]
    jobs: list[tuple[Server, Job]] = field(default_factory=list)
    ended: bool = False


class Person:
    """Types `typed`, and asks `servers`; notes what came of it in `outcome` from `since` on."""

    def __init__(
        self,
        clock: Clock,
        servers: Sequence[Server],
        routes: Routes,
        name: str,
        typed: Iterator[Key],
        asking: Asking,
        outcome: Outcome,
        source: random.Random,
        *,
        since: float = 0.0,
    ) -> None:
        self._clock, self._servers, self._routes = clock, servers, routes
        self._name, self._typed, self._asking = name, typed, asking
        self._outcome, self._random, self._since = outcome, source, since
        self._waiting: _Suggestion | None = None
        self._pressed: Key | None = None
        self._plan()

    def _plan(self) -> None:
        key = next(self._typed, None)
        if key is not None:
            self._clock.after(key.at - self._clock.now, lambda: self._press(key))

    def _press(self, key: Key) -> None:
        if (waiting := self._waiting) is not None and not waiting.ended:
            self._clock.after(self._asking.late, lambda: self._supersede(waiting))
        self._pressed = key
        if key.asks:
            self._clock.after(self._asking.delay, lambda: self._ask(key))
        self._plan()

    def _supersede(self, suggestion: _Suggestion) -> None:
        if not suggestion.ended:
            self._end(suggestion)
            self._outcome.superseded += suggestion.started >= self._since

    def _ask(self, key: Key) -> None:
        if key is not self._pressed:
            return
        now, asking = self._clock.now, self._asking
        document = f"{self._name}/{key.place}"
        order = self._routes.order(document, now)
        if "affinity" in asking.without:
            self._random.shuffle(order)
        suggestion = _Suggestion(now, key, order[0], set(range(len(asking.widths))))
        self._waiting = suggestion
        self._outcome.asked += now >= self._since
        hedge = self._routes.hedge_after()
        self._send(suggestion, document, order[0])
        if hedge < math.inf and len(order) > 1 and "hedging" not in asking.without:
            self._clock.after(hedge, lambda: self._hedge(suggestion, document, order[1]))
        self._clock.after(asking.deadline, lambda: self._late(suggestion))

    def _send(self, suggestion: _Suggestion, document: str, server: int) -> None:
        one_way = self._asking.network / 2
        key = suggestion.key

        def finished(number: int) -> None:
            self._clock.after(one_way, lambda: self._answer(suggestion, document, server, number))

        job = Job(
            document=document,
            place=key.place,
            typed=key.typed,
            prompt_tokens=PROMPT_TOKENS + key.typed // 3,
            widths=self._asking.widths,
            finished=finished,
        )
        suggestion.jobs.append((self._servers[server], job))
        self._clock.after(one_way, lambda: self._servers[server].take(job))

    def _hedge(self, suggestion: _Suggestion, document: str, spare: int) -> None:
        if not suggestion.ended:
            self._routes.hedged()
            self._outcome.hedged += suggestion.started >= self._since
            self._send(suggestion, document, spare)

    def _answer(self, suggestion: _Suggestion, document: str, server: int, number: int) -> None:
        if suggestion.ended or number not in suggestion.left:
            return
        suggestion.left.remove(number)
        if not suggestion.left:
            seconds = self._clock.now - suggestion.started
            self._routes.answered(document, suggestion.home, server, seconds)
            self._note(suggestion, seconds)
            self._end(suggestion)

    def _late(self, suggestion: _Suggestion) -> None:
        if not suggestion.ended:
            self._routes.unanswered(self._asking.deadline)
            some = len(suggestion.left) < len(self._asking.widths)
            self._note(suggestion, self._asking.deadline if some else math.inf)
            self._end(suggestion)

    def _note(self, suggestion: _Suggestion, seconds: float) -> None:
        if suggestion.started >= self._since:
            paused = suggestion.key.paused
            waits = self._outcome.waits if paused else self._outcome.hurried
            waits.append(seconds + self._asking.delay)

    def _end(self, suggestion: _Suggestion) -> None:
        suggestion.ended = True
        for server, job in suggestion.jobs:
            self._clock.after(self._asking.network / 2, partial(server.drop, job))
