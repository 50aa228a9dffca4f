"""HTTP to one server: several requests at a time, sent again only where nothing was done with them.

Works on JSON bytes and knows nothing of models. The caller's side is synchronous; the connections
live on an event loop in a thread of their own, where giving a request up is cancelling its task.

    requests ─► at most `remote_concurrency` at a time ─► responses, in the order they come
                  │ connection refused, 429, 503: waits and sends again
                  │ anything else: an error, once
                  └ cancelled, deadline, time-out: the connection is closed, the server stops

Redirections are not followed, for they would carry the key away. Proxies of the environment are
used with `remote_trust_env` only: what stands there was mostly set with other traffic in mind, and
a proxy reads the text and the key that go to a plain http:// URL.
"""

import asyncio
import json
import logging
import queue
import random
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import httpx

from infill_engine.budget import Budget, BudgetSpent
from infill_engine.config import EngineConfig
from infill_engine.errors import ModelError
from infill_engine.remote import faults
from infill_engine.remote.credentials import authorization, tls_context
from infill_engine.remote.http import Event, HttpRequest, HttpResponse, RemoteError

POLL = 0.02  # seconds between looks at the budget
CONNECT_TIMEOUT = 5.0
# vLLM's front end drops a connection after 5 idle seconds; one that old is not trusted any more.
MAX_IDLE = 4.0
RETRIES = 4
FIRST_BACK_OFF = 0.1
# A canvas of 256 cells with the log-probabilities of 20 tokens each takes less than 1 MB.
MAX_BYTES = 16 << 20

log = logging.getLogger(__name__)
for _library in ("httpx", "httpcore"):  # at INFO they write down every URL
    logging.getLogger(_library).setLevel(logging.WARNING)


@dataclass(slots=True, kw_only=True)
class _Exchange:
    """One request on its way. Lives on the loop's thread; the caller's sees how far it has come."""

    number: int
    request: HttpRequest
    headers: Mapping[str, str] = field(repr=False)  # the key is among them
    events: "queue.SimpleQueue[tuple[int, Event]]"
    retries: int = RETRIES
    started: float = 0.0  # when its turn came; 0 while it waits for that
    connected: bool = False
    answered: bool = False  # the head of the answer is here
    refused: RemoteError | None = None  # nothing listened there, at the last attempt

    def put(self, event: Event) -> None:
        self.events.put((self.number, event))

    async def trace(self, stage: str, details: Mapping[str, Any]) -> None:
        """httpcore tells the stages that it comes to; this one is the first on a connection."""
        self.connected = self.connected or stage == "http11.send_request_headers.started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """Requests on their way; whoever takes the events takes out what is answered."""

    unanswered: dict[int, _Exchange]
    running: "Future[None]"

    @property
    def connected(self) -> bool:
        """Whether a server took one of those that are not answered."""
        return any(each.connected for each in self.unanswered.values())

    def cancel(self) -> None:
        """Closes what is still open."""
        self.running.cancel()


class HttpClient:
    """Implements `Client`; owns the connections to one server. Sends nothing and starts no thread
    before it is used.

    When nobody holds it any more, the connections are closed and the thread ends.
    Raises ModelError for a URL, a certificate or a proxy of the environment that cannot be used.
    """

    def __init__(self, base: str, config: EngineConfig) -> None:
        _check_url(base)
        self.base = base
        self._config = config
        self._timeout = config.remote_timeout
        # Whom a message about connecting is about.
        self._where = base + (" or a proxy of the environment" if config.remote_trust_env else "")
        self._slots = asyncio.Semaphore(config.remote_concurrency)
        self._waited = 0.0  # seconds in vain, up to a deadline, since something came
        self._http = _connections(base, config)
        self._loop: asyncio.AbstractEventLoop | None = None

    def send(self, request: HttpRequest, budget: Budget) -> HttpResponse:
        """The answer to one request. Raises RemoteError, or BudgetSpent."""
        (response,) = self.send_all([request], budget)
        return response

    def send_all(self, requests: Sequence[HttpRequest], budget: Budget) -> list[HttpResponse]:
        """The answers in the requests' order. Raises RemoteError if one failed, or BudgetSpent."""
        found: dict[int, HttpResponse] = {}
        for number, event in self.events(requests, budget):
            if isinstance(event, RemoteError):
                raise event
            if isinstance(event, HttpResponse):
                found[number] = event
        if len(found) < len(requests):
            raise BudgetSpent
        return [found[number] for number in range(len(requests))]

    def events(
        self, requests: Sequence[HttpRequest], budget: Budget
    ) -> Iterator[tuple[int, Event]]:
        """As `Client.events`; but that nobody is there is said even at the deadline.

        Raises ModelError when the key cannot be read.
        """
        events: queue.SimpleQueue[tuple[int, Event]] = queue.SimpleQueue()
        sending = self.begin(dict(enumerate(requests)), events)
        try:
            while sending.unanswered:
                if budget.over:
                    if not budget.cancelled():
                        yield from self.missed(sending)
                    return
                try:
                    number, event = events.get(timeout=min(POLL, budget.left()))
                except queue.Empty:
                    continue
                if not isinstance(event, bytes):
                    del sending.unanswered[number]
                yield number, event
        finally:
            sending.cancel()

    def begin(
        self,
        requests: Mapping[int, HttpRequest],
        events: "queue.SimpleQueue[tuple[int, Event]]",
        retries: int = RETRIES,
    ) -> Sending:
        """Sends requests by number, and puts what becomes of them into `events`.

        Raises ModelError when the key cannot be read.
        """
        key = authorization(self._config)
        exchanges = {
            number: _Exchange(
                number=number,
                request=request,
                headers=_headers(request, key),
                events=events,
                retries=retries,
            )
            for number, request in requests.items()
        }
        running = self._exchange_all([*exchanges.values()])
        future = asyncio.run_coroutine_threadsafe(running, self._running_loop())
        return Sending(unanswered=exchanges, running=future)

    def missed(self, sending: Sending) -> Iterator[tuple[int, RemoteError]]:
        """What is to be said of requests without an answer at the deadline.

        A deadline is mostly shorter than it takes to find out that a machine does not answer, so
        what such requests have waited for is added up.
        """
        begun = [each for each in sending.unanswered.values() if each.started]
        if begun:
            self._waited += time.monotonic() - min(each.started for each in begun)
        for each in begun:
            if each.connected:
                if self._waited > self._timeout:
                    yield each.number, faults.too_slow(self.base, self._timeout)
            elif each.refused is not None:
                yield each.number, each.refused
            elif self._waited > CONNECT_TIMEOUT:
                yield each.number, faults.unreachable(self._where)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
            # The thread must not know this object, or nobody could ever let it go.
            thread = threading.Thread(
                target=_run_loop, args=(self._http, started), name="infill-http", daemon=True
            )
            thread.start()
            self._loop, ended = started.result()
            end = weakref.finalize(self, self._loop.call_soon_threadsafe, ended.set)
            end.atexit = False  # the thread is a daemon and ends with the process
        return self._loop

    # On the loop's thread

    async def _exchange_all(self, exchanges: Sequence[_Exchange]) -> None:
        await asyncio.gather(*map(self._exchange, exchanges))

    async def _exchange(self, exchange: _Exchange) -> None:
        """Puts the answer, or why there is none. Cancelled, it puts nothing."""
        event: HttpResponse | RemoteError
        async with self._slots:
            exchange.started = time.monotonic()
            try:
                async with asyncio.timeout(self._timeout):
                    event = await self._answer(exchange)
                self._waited = 0.0
            except TimeoutError:
                event = self._too_late(exchange)
            except RemoteError as error:
                event = error
            except Exception as error:  # an answer that never came would hang the request
                log.exception("%s %s", self.base, exchange.request.path)
                event = faults.unexpected(exchange.request.path, error)
            taken = (time.monotonic() - exchange.started) * 1e3
        log.debug("%s %s: %s, %.0f ms", self.base, exchange.request.path, event.status, taken)
        exchange.put(event)

    def _too_late(self, exchange: _Exchange) -> RemoteError:
        if exchange.connected:
            return faults.no_answer(self.base, self._timeout, begun=exchange.answered)
        return exchange.refused or faults.unreachable(self._where)

    async def _answer(self, exchange: _Exchange) -> HttpResponse:
        for attempt in range(exchange.retries + 1):
            try:
                return await self._attempt(exchange)
            except RemoteError as error:
                wait = error.again_after
                if wait is None or wait > self._timeout or attempt == exchange.retries:
                    raise
            # Spread out, or all the clients that were turned away come back together.
            await asyncio.sleep(max(FIRST_BACK_OFF * 2**attempt * random.uniform(0.75, 1.25), wait))
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, exchange: _Exchange) -> HttpResponse:
        body = exchange.request.body
        try:
            async with self._http.stream(
                "GET" if body is None else "POST",
                self.base + exchange.request.path,
                content=None if body is None else json.dumps(body).encode(),
                headers=exchange.headers,
                extensions={"trace": exchange.trace},
            ) as response:
                exchange.answered = True
                return await self._received(exchange, response)
        except (httpx.RequestError, OSError) as error:  # TLS of a read comes as it is
            if isinstance(error, httpx.ConnectError) and faults.is_refusal(error):
                exchange.refused = faults.nobody_listens(self._where)
                raise exchange.refused from None
            raise faults.broken(
                error, self.base, where=self._where, answered=exchange.answered
            ) from None

    async def _received(self, exchange: _Exchange, response: httpx.Response) -> HttpResponse:
        path, status, headers = exchange.request.path, response.status_code, response.headers
        chunks = _limited(response, path)
        body = bytearray()
        if headers.get("Content-Type", "").startswith("text/event-stream"):
            async for line in _lines(chunks):
                self._waited = 0.0
                exchange.put(line)
        else:
            async for chunk in chunks:
                body += chunk
        answer = HttpResponse(
            path=path,
            status=status,
            body=bytes(body),
            retry_after=_seconds(headers.get("Retry-After")),
        )
        if answer.is_busy:
            answer.checked()
        return answer


def _check_url(base: str) -> None:
    host = base.partition("://")[2].partition("/")[0].partition("?")[0]
    if "@" in host or "?" in base:  # looked for first, for no message may show it
        raise ModelError(
            f"the URL of {host.rpartition('@')[2]} holds a user, a password or a query; "
            "keys go into remote_key_env or remote_key_file"
        )
    try:
        url = httpx.URL(base)
        usable = bool(url.host) and 0 < (url.port or 80) < 65536
    except httpx.InvalidURL:
        usable = False
    if not usable:
        raise ModelError(f"{base!r} is no URL of a server, such as http://localhost:8000")


def _connections(base: str, config: EngineConfig) -> httpx.AsyncClient:
    try:
        return httpx.AsyncClient(
            verify=tls_context(base, config),
            trust_env=config.remote_trust_env,
            follow_redirects=False,
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT),
            limits=httpx.Limits(keepalive_expiry=MAX_IDLE),
            # A small compressed body may be a large one; answers have but a few kilobytes.
            headers={"User-Agent": "infill-ls", "Accept-Encoding": "identity"},
        )
    except (ValueError, ImportError, httpx.InvalidURL):
        # Not in the library's words, which may hold the password of a proxy.
        raise ModelError(
            "remote_trust_env is set, but a proxy of the environment cannot be used; set "
            "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY to addresses such as http://HOST:PORT"
        ) from None


def _run_loop(
    http: httpx.AsyncClient, started: "Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]"
) -> None:
    async def until_ended() -> None:
        ended = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), ended))
        async with http:
            await ended.wait()

    asyncio.run(until_ended())


def _headers(request: HttpRequest, key: str | None) -> dict[str, str]:
    headers = {"Accept": "text/event-stream" if request.events else "application/json"}
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    if key is not None:
        headers["Authorization"] = key
    return headers


async def _limited(response: httpx.Response, path: str) -> AsyncIterator[bytes]:
    """The body as it comes. Raises RemoteError when it is more than anything could need."""
    size = 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > MAX_BYTES:
            raise faults.too_much(path, MAX_BYTES)
        yield chunk


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    line = bytearray()
    async for chunk in chunks:
        *ends, begun = chunk.split(b"\n")
        for end in ends:
            yield bytes(line + end).rstrip(b"\r")
            line.clear()
        line += begun
    if line:
        yield bytes(line)


def _seconds(retry_after: str | None) -> float:
    """Of Retry-After; its other form, a date, is for pages, not for services, and not read."""
    try:
        return float(retry_after or 0.0)
    except ValueError:
        return 0.0
