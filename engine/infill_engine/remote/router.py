"""One document's requests to several servers that serve the same: sent by what `routing` says.

A request goes to the document's home. It goes to a spare as well where it takes longer than most,
and instead where the home gives no answer of use. What comes first counts; the rest is taken back
as soon as all is answered.
"""

import math
import queue
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from infill_engine.budget import Budget
from infill_engine.remote.client import POLL, RETRIES, HttpClient, Sending
from infill_engine.remote.http import Event, HttpRequest, HttpResponse, RemoteError
from infill_engine.remote.routing import Routes


@dataclass(slots=True, kw_only=True)
class _Asked:
    """How far some requests have come. `sendings` are to the servers in their order; what comes
    from the second of them has a number that is larger by the number of requests, and so on."""

    requests: Sequence[HttpRequest]
    unanswered: set[int]
    came: "queue.SimpleQueue[tuple[int, Event]]" = field(default_factory=queue.SimpleQueue)
    sendings: list[Sending] = field(default_factory=list)
    streams: dict[int, int] = field(default_factory=dict)  # whose lines of a request are read


class Router:
    """Implements `Client`. `order` are the servers to ask, by number, the document's home first."""

    def __init__(
        self, clients: Sequence[HttpClient], order: Sequence[int], routes: Routes, document: str
    ) -> None:
        self._clients = clients
        self._order = order
        self._routes = routes
        self._document = document

    def send(self, request: HttpRequest, budget: Budget) -> HttpResponse:
        """To the home alone."""
        return self._clients[self._order[0]].send(request, budget)

    def events(
        self, requests: Sequence[HttpRequest], budget: Budget
    ) -> Iterator[tuple[int, Event]]:
        """As `HttpClient.events`."""
        started = time.monotonic()
        hedge = started + self._routes.hedge_after()
        asked = _Asked(requests=requests, unanswered=set(range(len(requests))))
        first = self._order[0]
        try:
            self._ask_next(asked)
            while asked.unanswered:
                now = time.monotonic()
                if budget.over:
                    if not budget.cancelled():
                        yield from self._missed(asked, now - started)
                    return
                if now >= hedge:
                    hedge = math.inf
                    if len(asked.sendings) == 1 and self._ask_next(asked):
                        self._routes.hedged()
                try:
                    wait = min(POLL, budget.left(), hedge - now)
                    numbered, event = asked.came.get(timeout=wait)
                except queue.Empty:
                    continue
                by, number = divmod(numbered, len(requests))
                if self._counts(asked, by, number, event):
                    first = self._order[by]
                    yield number, event
            taken = time.monotonic() - started
            self._routes.answered(self._document, self._order[0], first, taken)
        finally:
            for sending in asked.sendings:
                sending.cancel()

    def _ask_next(self, asked: _Asked) -> bool:
        """Sends what is not answered to the next server; False where there is none."""
        at = len(asked.sendings)
        if at == len(self._order):
            return False
        numbered = {
            at * len(asked.requests) + number: asked.requests[number]
            for number in sorted(asked.unanswered)
        }
        # One that is busy is waited for only where no other could be asked.
        retries = RETRIES if at == len(self._order) - 1 else 0
        client = self._clients[self._order[at]]
        asked.sendings.append(client.begin(numbered, asked.came, retries))
        return True

    def _counts(self, asked: _Asked, by: int, number: int, event: Event) -> bool:
        """Whether this is what the request gets; notes what is answered by it."""
        whole = not isinstance(event, bytes)
        if whole:
            del asked.sendings[by].unanswered[by * len(asked.requests) + number]
        if number not in asked.unanswered or asked.streams.get(number, by) != by:
            return False
        if not whole:
            asked.streams[number] = by
            return True
        if _is_fault(event):
            self._routes.failed(self._order[by], time.monotonic())
            if number not in asked.streams and (
                self._is_under_way(asked, number) or self._ask_next(asked)
            ):
                return False
        asked.unanswered.remove(number)
        return True

    def _is_under_way(self, asked: _Asked, number: int) -> bool:
        return any(
            at * len(asked.requests) + number in sending.unanswered
            for at, sending in enumerate(asked.sendings)
        )

    def _missed(self, asked: _Asked, seconds: float) -> Iterator[tuple[int, RemoteError]]:
        """As `HttpClient.missed`, where nobody took the requests."""
        self._routes.unanswered(seconds)
        if asked.sendings[0].unanswered and not asked.sendings[0].connected:
            # Too short a time to be sure, but the next request need not wait for it as well.
            self._routes.failed(self._order[0], time.monotonic())
        if not any(sending.connected for sending in asked.sendings):
            yield from self._clients[self._order[0]].missed(asked.sendings[0])


def _is_fault(event: Event) -> bool:
    """Whether another server may do better."""
    if isinstance(event, HttpResponse):
        return event.status >= 500
    return isinstance(event, RemoteError)
