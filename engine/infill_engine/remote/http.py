"""HTTP to one server: several requests at a time, given up within a poll, retried never twice.

Works on JSON bytes and knows nothing of models. It is the standard library's client, because what
matters here is the socket itself: closing it is how a request is cancelled, and no client library
lets another thread do that.

    asks ─► at most `concurrency` at a time, a thread each ─► replies, as they come
              │ connection refused, 429, 503: waits and asks again, for nothing has been done yet
              │ anything else: an error, once
              └ cancelled, deadline, time-out: the connection is closed, the server stops working

The key goes into one header and nowhere else: it is in no message, no log line and no `repr`.
Redirections are not followed, for they would carry it away; proxies of the environment are not
used.
"""

import contextlib
import http.client
import json
import logging
import os
import queue
import random
import re
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infill_engine.budget import Budget
from infill_engine.config import EngineConfig
from infill_engine.errors import ModelError

POLL = 0.02  # seconds between looks at `cancelled`
CONNECT_TIMEOUT = 5.0
# vLLM's front end drops a connection after 5 idle seconds; one that old is not trusted any more.
IDLE = 4.0
RETRIES = 4
FIRST_BACK_OFF = 0.1
MOST_BYTES = 64 << 20

log = logging.getLogger(__name__)


class RemoteError(ModelError):
    """The server gave no usable answer; the message says what it did and what to do.

    `status` is that of HTTP, or None when there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Unsupported(RemoteError):
    """The server is well, but cannot do this: asking again would not help."""


class Interrupted(Exception):
    """The user took the request back, or its time was up, while it was waited for."""


class _Closed(Exception):
    """The connection was closed from our side; there is nobody to tell."""


class _NotTaken(Exception):
    """The server did nothing with the request, so it may be asked again."""

    def __init__(self, error: RemoteError, wait: float | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait  # seconds the server asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request. A `body` makes it a POST; `events` asks for server-sent events, line by line."""

    path: str
    body: Mapping[str, Any] | None = None
    events: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer, whatever its status."""

    path: str
    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """The answer as a JSON object. Raises RemoteError when it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise RemoteError(
                f"{self.path} answered {self.status} with what is no JSON object: "
                f"{self.body[:60]!r}; is the URL that of the model server?",
                self.status,
            )
        return found

    def checked(self) -> "Reply":
        """Itself. Raises RemoteError, in the server's words, when the status is not 200."""
        if self.status == 200:
            return self
        raise RemoteError(
            f"{self.path} answered {self.status}: {self.said or 'nothing'}{_remedy(self.status)}",
            self.status,
        )

    @property
    def said(self) -> str:
        """The server's own words about an error, on one line, at most 300 characters."""
        text = self.body.decode("utf-8", "replace")
        with contextlib.suppress(ValueError, AttributeError, TypeError):
            found = json.loads(text)
            error = found.get("error", found)
            told = error.get("message") or error.get("detail") if isinstance(error, dict) else error
            text = told if isinstance(told, str) else text
        return " ".join(text.split())[:300]


def _remedy(status: int) -> str:
    match status:
        case 401 | 403:
            return "; set remote_key_env or remote_key_file to a key that this server takes"
        case 404:
            return "; check the URL and the model's name"
        case 300 | 301 | 302 | 303 | 307 | 308:
            return "; redirections are not followed, set the URL that it leads to"
        case 429 | 503:
            return "; the server is busy"
        case _:
            return ""


def authorization(config: EngineConfig) -> str | None:
    """The Authorization header, read afresh so that a key may be renewed. None without a key.

    Raises ModelError naming the variable or the file, never the key.
    """
    if config.remote_key_env is not None:
        where = f"the environment variable {config.remote_key_env}"
        key = os.environ.get(config.remote_key_env, "")
    elif config.remote_key_file is not None:
        where = f"the key file {config.remote_key_file}"
        try:
            key = Path(config.remote_key_file).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{where} cannot be read: {type(error).__name__}") from None
    else:
        return None
    key = key.strip()
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        # Checked here, because the HTTP library would quote the value in its complaint.
        raise ModelError(f"{where} holds no usable key: it must be one line of printable ASCII")
    return f"Bearer {key}"


def is_plain_to_others(base: str) -> bool:
    """Whether what goes to this URL can be read on the way."""
    parts = urlsplit(base)
    return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


class Client:
    """Owns the connections to one server. One thread at a time drives it.

    Raises ModelError for a URL or a CA file that cannot be used.
    """

    def __init__(self, base: str, config: EngineConfig) -> None:
        parts = urlsplit(base)
        if parts.username is not None or parts.password is not None or parts.query:
            raise ModelError(
                f"the URL of {parts.hostname} holds a user, a password or a query; "
                "keys go into remote_key_env or remote_key_file"
            )
        try:
            port = parts.port
        except ValueError:
            port = -1
        if not parts.hostname or port == -1:
            raise ModelError(f"{base!r} is no URL of a server, such as http://localhost:8000")
        self.base = base
        self.timeout = config.remote_timeout
        self._config = config
        self._host = parts.hostname
        self._port = port
        self._path = parts.path
        self._tls = None if parts.scheme == "http" else _tls(config.remote_ca_file)
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._lock = threading.Lock()
        self._waited = 0.0  # seconds in vain for a connection, since there was one

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def one(self, ask: Ask, budget: Budget) -> Reply:
        """The answer to one request. Raises RemoteError, or Interrupted."""
        for _, reply in self.gather([ask], budget):
            if isinstance(reply, Reply):
                return reply
            raise reply
        raise Interrupted

    def gather(
        self, asks: Sequence[Ask], budget: Budget
    ) -> Iterator[tuple[int, Reply | RemoteError]]:
        """The answers as they come, each with its number; fewer when the budget ran out."""
        for number, event in self.events(asks, budget):
            if not isinstance(event, bytes):
                yield number, event

    def events(
        self, asks: Sequence[Ask], budget: Budget
    ) -> Iterator[tuple[int, bytes | Reply | RemoteError]]:
        """Lines of event streams as they come, and for each request its answer at last.

        When the deadline has come, no more; but that nobody is there is said even then.
        Leaving the loop, by whatever way, closes what is still open. Raises ModelError when the
        key cannot be read.
        """
        key = authorization(self._config)
        events: queue.SimpleQueue[tuple[int, bytes | Reply | RemoteError]] = queue.SimpleQueue()
        waiting = deque(enumerate(asks))
        running: dict[int, _Exchange] = {}
        try:
            while waiting or running:
                if budget.over:
                    if not budget.cancelled():
                        yield from self._unreached(running)
                    return
                while waiting and len(running) < self._config.remote_concurrency:
                    number, ask = waiting.popleft()
                    running[number] = _Exchange(self, number, ask, key, events)
                    running[number].start()
                for late in [n for n, exchange in running.items() if self._is_late(exchange)]:
                    running.pop(late).close()
                    yield late, self._too_late()
                try:
                    number, event = events.get(timeout=POLL)
                except queue.Empty:
                    continue
                if number not in running:
                    continue  # it was given up, and answered after all
                if not isinstance(event, bytes):
                    del running[number]
                yield number, event
        finally:
            for exchange in running.values():
                exchange.close()

    def _unreached(self, running: "dict[int, _Exchange]") -> Iterator[tuple[int, RemoteError]]:
        """What is known of requests that never came to be connected.

        A deadline is mostly shorter than it takes to find out that a machine does not answer, so
        what such requests have waited for is added up.
        """
        lost = {n: each for n, each in running.items() if not each.connected}
        if lost:
            self._waited += time.monotonic() - min(each.started for each in lost.values())
        for number, each in lost.items():
            if each.refused is not None:
                yield number, each.refused
            elif self._waited > CONNECT_TIMEOUT:
                yield (
                    number,
                    RemoteError(
                        f"{self.base} cannot be reached (no connection in {self._waited:.0f} s); "
                        "check the network and the URL"
                    ),
                )

    def _is_late(self, exchange: "_Exchange") -> bool:
        return time.monotonic() - exchange.started > self.timeout

    def _too_late(self) -> RemoteError:
        return RemoteError(
            f"no answer from {self.base} within {self.timeout:g} s; "
            "raise remote_timeout, or ask the server's owner"
        )

    def take(self) -> http.client.HTTPConnection:
        """A connection that is open, or one yet to be opened."""
        while True:
            with self._lock:
                if not self._idle:
                    break
                since, connection = self._idle.pop()
            if time.monotonic() - since < IDLE and not _has_ended(connection):
                return connection
            connection.close()
        timeout = min(CONNECT_TIMEOUT, self.timeout)
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=timeout, context=self._tls
        )

    def give(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.append((time.monotonic(), connection))

    def send(self, connection: http.client.HTTPConnection, ask: Ask, key: str | None) -> None:
        headers = {"Accept": "text/event-stream" if ask.events else "application/json"}
        if key is not None:
            headers["Authorization"] = key
        body = None
        if ask.body is not None:
            body = json.dumps(ask.body).encode()
            headers["Content-Type"] = "application/json"
        connection.request("GET" if body is None else "POST", self._path + ask.path, body, headers)


class _Exchange(threading.Thread):
    """One request on its way. Puts its answer into the queue, or nothing once it is closed."""

    def __init__(
        self,
        client: Client,
        number: int,
        ask: Ask,
        key: str | None,
        events: "queue.SimpleQueue[tuple[int, bytes | Reply | RemoteError]]",
    ) -> None:
        super().__init__(name=f"infill-http-{number}", daemon=True)
        self.started = time.monotonic()
        self.connected = False
        self.refused: RemoteError | None = None  # nothing listens there, so far
        self._client = client
        self._number = number
        self._ask = ask
        self._key = key
        self._events = events
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """From any thread: the server sees the end of the connection now."""
        self._ended.set()
        with self._lock:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # Not SSLSocket.shutdown, which pulls the session from under the reader.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def run(self) -> None:
        event: Reply | RemoteError
        try:
            event = self._answer()
            outcome = str(event.status)
        except _Closed:
            return
        except RemoteError as error:
            event, outcome = error, "failed"
        except Exception as error:  # a thread that dies in silence would hang the request
            log.exception("%s %s", self._client.base, self._ask.path)
            event, outcome = RemoteError(f"{self._ask.path}: {type(error).__name__}"), "failed"
        taken = (time.monotonic() - self.started) * 1e3
        log.debug("%s %s: %s in %.0f ms", self._client.base, self._ask.path, outcome, taken)
        self._events.put((self._number, event))

    def _answer(self) -> Reply:
        for attempt in range(RETRIES + 1):
            try:
                return self._once()
            except _NotTaken as refused:
                asked_for = refused.wait or 0.0
                if attempt == RETRIES or asked_for > self._client.timeout:
                    raise refused.error from None
                # Spread out, or all the clients that were turned away come back together.
                wait = FIRST_BACK_OFF * 2**attempt * random.uniform(0.75, 1.25)
                if self._ended.wait(max(wait, asked_for)):
                    raise _Closed from None
        raise AssertionError("the last attempt returns or raises")

    def _once(self) -> Reply:
        connection = self._client.take()
        kept = False
        try:
            if connection.sock is None:
                self._connect(connection)
            self.connected, self._client._waited = True, 0.0
            with self._lock:
                if self._ended.is_set():
                    raise _Closed
                self._socket = connection.sock
            # From here on the server may be at work: no second attempt, whatever happens.
            connection.sock.settimeout(None)
            reply, kept = self._exchange(connection)
            return reply
        except (OSError, http.client.HTTPException) as error:
            if self._ended.is_set():
                raise _Closed from None
            raise RemoteError(
                f"the connection to {self._client.base} broke before the answer was complete "
                f"({_said(error)})"
            ) from None
        finally:
            with self._lock:
                self._socket = None
                if kept and not self._ended.is_set():
                    self._client.give(connection)
                else:
                    connection.close()

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        base = self._client.base
        try:
            connection.connect()
        except ConnectionRefusedError:
            error = RemoteError(f"nothing listens at {base}; start the server or correct the URL")
            self.refused = error
            raise _NotTaken(error, None) from None
        except ssl.SSLCertVerificationError as failure:
            raise RemoteError(
                f"the certificate of {base} is not trusted ({failure.verify_message}); "
                "set remote_ca_file to the certificate of its authority"
            ) from None
        except OSError as failure:
            raise RemoteError(
                f"{base} cannot be reached ({_said(failure)}); check the network and the URL"
            ) from None

    def _exchange(self, connection: http.client.HTTPConnection) -> tuple[Reply, bool]:
        """Asks and reads; tells whether the connection can serve again."""
        self._client.send(connection, self._ask, self._key)
        response = connection.getresponse()
        path, status = self._ask.path, response.status
        if response.getheader("Content-Type", "").startswith("text/event-stream"):
            while line := response.readline(MOST_BYTES):
                self._events.put((self._number, line.rstrip(b"\r\n")))
            return Reply(path=path, status=status, body=b""), False
        body = response.read(MOST_BYTES)
        if len(body) == MOST_BYTES:
            raise RemoteError(f"{path} answered with {MOST_BYTES} bytes or more")
        if response.length:  # read(n) says nothing of a body that ended early
            raise http.client.IncompleteRead(b"", response.length)
        reply = Reply(path=path, status=status, body=body)
        if status in (429, 503):
            try:
                reply.checked()
            except RemoteError as error:
                raise _NotTaken(error, _seconds(response.getheader("Retry-After"))) from None
        return reply, not response.will_close


def _tls(ca_file: str | None) -> ssl.SSLContext:
    if ca_file is None:
        return ssl.create_default_context()
    path = Path(ca_file).expanduser()
    try:
        return ssl.create_default_context(cafile=str(path))
    except OSError as error:  # ssl.SSLError is one
        raise ModelError(f"remote_ca_file={ca_file!r} cannot be used: {_said(error)}") from None


def _has_ended(connection: http.client.HTTPConnection) -> bool:
    """Whether the server closed an idle connection: then it is readable, with nothing to read."""
    try:
        return bool(select.select([connection.sock], [], [], 0)[0])
    except (OSError, ValueError):
        return True


def _seconds(header: str | None) -> float | None:
    """Retry-After in seconds; the date form is for pages, not for services, and not read."""
    try:
        return float(header) if header else None
    except ValueError:
        return None


def _said(error: Exception) -> str:
    """What an error says without addresses or bytes of the answer."""
    if isinstance(error, http.client.IncompleteRead):
        return "the body ended early"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__ if isinstance(error, http.client.HTTPException) else str(error)
