"""The simulation beside a real run: engine processes on this machine, asked by the same rules.

servers ◄── /infill ── people who type the standard library, each with routes of their own
apart   ◄── /infill ── the same people's same keys, one person at a time at each ─► what an answer
   │                   takes while nobody else asks
   ▼
the same keys in a simulation in which each answer takes that ─► p50, p95 beside
"""

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.fim import fim_server
from benchmarks.progress import say
from benchmarks.scaleout.clock import Clock
from benchmarks.scaleout.people import Asking, Key, Outcome, Person, keys
from benchmarks.scaleout.servers import Job, QueueServer
from infill_engine.budget import UNLIMITED, Budget
from infill_engine.config import EngineConfig
from infill_engine.remote.client import POLL, HttpClient
from infill_engine.remote.http import HttpRequest, HttpResponse
from infill_engine.remote.router import Router
from infill_engine.remote.routing import Routes
from infill_ls.cli.bench.cases import Case, python_cases
from infill_ls.cli.bench.latency import PREFIX_CHARS, SUFFIX_CHARS, long_enough
from infill_ls.cli.bench.scores import percentile
from infill_ls.cli.bench.wire import ServerError

PLACE_PAUSE = 2.0  # shorter than people's, for more requests in the time
TYPED_CHARS = 400  # of a place's text are typed at most
DEADLINE = 5.0
LEAD = 1.0  # seconds until the first key
FIRST_SECONDS = 8.0  # of typing before anything is measured: the first answers are slower


# By document and typed characters, seconds from a request to its answer while nobody else asks, and
# whether the server knew the place.
Alone = Mapping[tuple[str, int], tuple[bool, float]]


def body(case: Case, typed: int) -> dict[str, Any]:
    """The request after so many typed characters of a place."""
    text = case.reference + case.suffix
    return {
        "input_prefix": case.prefix[-PREFIX_CHARS:] + text[:typed],
        "input_suffix": text[TYPED_CHARS:][:SUFFIX_CHARS],
        "t_max_predict_ms": int(1e3 * DEADLINE),
    }


def alone(
    clients: Sequence[HttpClient], cases: Sequence[Case], names: Sequence[str], seconds: float
) -> Alone:
    """All servers at once, each asked by one person at a time, who types as fast as ever, for a
    server uses its pauses. Nothing is taken back."""
    found: dict[tuple[str, int], tuple[bool, float]] = {}

    def ask(client: HttpClient, number: int) -> None:
        for name in names[number :: len(clients)]:
            seen, began = set[int](), time.monotonic()
            for key in typing(name, seconds):
                time.sleep(max(0.0, began + key.at - time.monotonic()))
                if not key.asks:
                    continue
                asked = body(case_of(cases, name, key), key.typed)
                started = time.perf_counter()
                client.send(HttpRequest(path="/infill", body=asked), UNLIMITED).checked()
                taken = time.perf_counter() - started
                found[document_of(name, key), key.typed] = key.place in seen, taken
                seen.add(key.place)

    together(partial(ask, client, number) for number, client in enumerate(clients))
    return found


def as_measured(measured: Alone, source: random.Random) -> Callable[[Job, bool], float]:
    """What a job takes: what it took alone, or another where the place was known then and is not
    now, or the other way round."""
    pools: dict[bool, list[float]] = {True: [], False: []}
    for known, taken in measured.values():
        pools[known].append(taken)

    def seconds(job: Job, known: bool) -> float:
        then, taken = measured[job.document, job.typed]
        return taken if then == known or not pools[known] else source.choice(pools[known])

    return seconds


def case_of(cases: Sequence[Case], name: str, key: Key) -> Case:
    return cases[random.Random(document_of(name, key)).randrange(len(cases))]


def document_of(name: str, key: Key) -> str:
    return f"{name}/{key.place}"


def together(works: Iterator[partial[None]]) -> None:
    """Each in a thread. Raises ServerError where one failed."""
    failed: list[Exception] = []

    def run(work: partial[None]) -> None:
        try:
            work()
        except Exception as error:  # said by whoever waits
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise ServerError(f"a request failed: {failed[0]}")


def typing(seed: str, seconds: float) -> list[Key]:
    typed = keys(random.Random(seed), place_pause=PLACE_PAUSE)
    return list(itertools.takewhile(lambda key: key.at < seconds, typed))


def real(
    clients: Sequence[HttpClient], cases: Sequence[Case], num_people: int, seconds: float
) -> Outcome:
    outcome, lock = Outcome(), threading.Lock()
    started = time.monotonic() + LEAD

    def person(name: str) -> None:
        routes = Routes([client.base for client in clients], name)
        typed = typing(name, seconds)
        for key, following in itertools.zip_longest(typed, typed[1:]):
            time.sleep(max(0.0, started + key.at - time.monotonic()))
            if not key.asks:
                continue
            asked = body(case_of(cases, name, key), key.typed)
            given_up = started + (following.at if following else seconds)
            answered = _asked(clients, routes, document_of(name, key), asked, given_up)
            with lock:
                outcome.asked += 1
                if answered is None:
                    outcome.superseded += 1
                else:
                    (outcome.waits if key.paused else outcome.hurried).append(answered)

    together(partial(person, name_of(num_people, number)) for number in range(num_people))
    return outcome


def name_of(num_people: int, number: int) -> str:
    """Of people who were at no other place before: servers would remember those."""
    return f"{number} of {num_people}"


def _asked(
    clients: Sequence[HttpClient],
    routes: Routes,
    document: str,
    asked: Mapping[str, Any],
    given_up: float,
) -> float | None:
    """Seconds until the answer; None where the next key came before."""
    begun = time.monotonic()
    router = Router(clients, routes.order(document, begun), routes, document)
    budget = Budget(deadline=begun + DEADLINE, cancelled=lambda: time.monotonic() >= given_up)
    request = HttpRequest(path="/infill", body=asked)
    seconds = None
    for _, event in router.events([request], budget):
        if not isinstance(event, HttpResponse):
            raise ServerError(str(event))
        event.checked()
        seconds = time.monotonic() - begun
    return seconds


def predicted(
    bases: Sequence[str], measured: Alone, num_people: int, seconds: float
) -> tuple[Outcome, float]:
    """The same people's keys at simulated servers, and the share of the time that those work."""
    clock, outcome, source = Clock(), Outcome(), random.Random(0)
    service = as_measured(measured, source)
    servers = [QueueServer(clock=clock, seconds=service) for _ in bases]
    asking = Asking(deadline=DEADLINE, widths=[1], network=0.0, late=POLL / 2)
    for number in range(num_people):
        name = name_of(num_people, number)
        typed = iter(typing(name, seconds))
        Person(clock, servers, Routes(bases, name), name, typed, asking, outcome, source)
    clock.run(seconds)
    return outcome, sum(server.busy_seconds for server in servers) / seconds / len(servers)


def check(
    config: EngineConfig, num_servers: int, loads: Sequence[int], seconds: float
) -> list[dict[str, Any]]:
    """By number of people: what was measured and what was predicted."""
    cases = long_enough(python_cases(4000))
    if len(cases) < max(loads):
        raise ServerError("there are too few places in the standard library")
    found = []
    with ExitStack() as ends:
        ports = [
            ends.enter_context(fim_server(config, int(1e3 * DEADLINE))).port
            for _ in range(2 * num_servers)
        ]
        every = [
            HttpClient(f"http://127.0.0.1:{port}", EngineConfig(remote_concurrency=64))
            for port in ports
        ]
        clients, apart = every[:num_servers], every[num_servers:]
        alone(every, cases, [f"first {number}" for number in range(len(every))], FIRST_SECONDS)
        for num_people in loads:
            say(f"{num_people} people, each alone, for {seconds:g} s")
            names = [name_of(num_people, number) for number in range(num_people)]
            measured = alone(apart, cases, names, seconds)
            say("and together")
            real_outcome = real(clients, cases, num_people, seconds)
            expected, busy = predicted(
                [client.base for client in clients], measured, num_people, seconds
            )
            found.append(
                {
                    "people": num_people,
                    "busy": busy,
                    "service_ms": {
                        name: 1e3
                        * percentile([x for was, x in measured.values() if was == known], 0.5)
                        for name, known in (("known", True), ("new", False))
                    },
                    "measured": summary(real_outcome),
                    "predicted": summary(expected),
                }
            )
    return found


def summary(outcome: Outcome) -> dict[str, float]:
    """Of all answers that came before the next key, and how many did not."""
    waits = [*outcome.waits, *outcome.hurried]
    return {
        "answers": len(waits),
        "superseded": outcome.superseded / max(outcome.asked, 1),
        "p50_ms": 1e3 * percentile(waits, 0.5),
        "p95_ms": 1e3 * percentile(waits, 0.95),
    }
