"""HTTP/1.1 on a connection: requests in, answers out, within bounds of size and time.

h11 knows the protocol; here are the socket, the bounds, and what ends a request early: its client
hangs up. Knows nothing of what is asked.

Who only says that nothing more will be sent looks like who is gone: both end the stream. So the
former is asked: an interim answer, which HTTP lets a server send at any time and every client skip,
is taken by who still reads and refused by the system of who does not.
"""

import asyncio
import logging
import re
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import h11

logger = logging.getLogger(__name__)
MOST_HEAD = 1 << 16  # bytes
MOST_BODY = 1 << 23  # bytes; a text of a million characters, however it is written in JSON
MOST_READ = 1 << 27  # bytes that are still taken from a client whose request is refused
IDLE_SECONDS = 120.0  # until a connection on which nothing is asked is closed
RECEIVE_SECONDS = 20.0  # from the first byte of a request to its last
SEND_SECONDS = 20.0
GONE_SECONDS = 0.05  # between two looks at whether a client that sends nothing more is gone
_CHUNK = 1 << 16
_PYTHON = re.compile(r":? (?:bytearray\(|b['\"])")


class HttpError(Exception):
    """A request is answered by a status and words for the client."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """`path` without what is behind a `?`; the names of `headers` are in lower case."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


# Raises HttpError for what is refused before its body is read.
Admit = Callable[[Head], None]
Answer = Callable[[Head, bytes], Coroutine[Any, Any, Response]]
Refuse = Callable[[HttpError], Response]


async def serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    admit: Admit,
    answer: Answer,
    refuse: Refuse,
) -> None:
    """Until the client leaves or what it sends is no HTTP. What is under way when it leaves is
    cancelled."""
    connection = _Connection(reader, writer)
    try:
        try:
            while (request := await connection.request(admit)) is not None:
                response = await connection.while_there(answer(*request))
                if response is None or not await connection.send(response):
                    break
        except HttpError as error:
            await connection.send(refuse(error), last=True)
            await connection.linger()
    except (ConnectionError, TimeoutError) as error:
        logger.info("a connection ended: %s", error or type(error).__name__)
    finally:
        writer.close()


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD)
        self._ended = False  # the client sends nothing any more
        self._asked_whether = False  # it still reads
        self._is_head = False  # whether the request that is answered is HEAD, which has no body

    async def request(self, admit: Admit) -> tuple[Head, bytes] | None:
        """The next one; None where there is none. Raises HttpError, after which the connection is
        of no use."""
        head: Head | None = None
        self._is_head = False
        body = bytearray()
        begun = bool(self._h11.trailing_data[0])
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RECEIVE_SECONDS if begun else IDLE_SECONDS) as limit:
                while True:
                    match self._next_event():
                        case h11.Request() as event:
                            head = _head(event)
                            self._is_head = head.method == "HEAD"
                            admit(head)
                            _check_length(head.headers.get("content-length", ""))
                            if self._h11.they_are_waiting_for_100_continue:
                                self._write(h11.InformationalResponse(status_code=100, headers=[]))
                        case h11.Data(data=data):
                            body += data
                            if len(body) > MOST_BODY:
                                raise _too_large(f"more than {MOST_BODY}")
                        case h11.EndOfMessage():
                            assert head is not None, "a message begins with its head"
                            return head, bytes(body)
                        case h11.NEED_DATA:
                            data = await self._reader.read(_CHUNK)
                            if not begun and data:
                                begun = True
                                limit.reschedule(loop.time() + RECEIVE_SECONDS)
                            self._receive(data)
                        case _:  # the end
                            return None
        except TimeoutError:
            if not begun:
                return None
            raise HttpError(
                408, f"The request was not complete within {RECEIVE_SECONDS:.0f} seconds."
            ) from None

    def _next_event(self) -> Any:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            if self._ended:  # it may still read
                raise HttpError(
                    400,
                    "The request ended before all of it had come; see whether its Content-Length "
                    "counts the bytes of the body.",
                ) from error
            raise _no_http(error) from error

    def _receive(self, data: bytes) -> None:
        self._ended = self._ended or not data
        self._h11.receive_data(data)

    async def while_there(self, work: Coroutine[Any, Any, Response]) -> Response | None:
        """What comes of it; None where the client hangs up before, and then it is cancelled."""
        task, reading = asyncio.create_task(work), None
        try:
            while not task.done():
                if self._ended:
                    if not self._still_reads():
                        return None
                    await asyncio.wait([task], timeout=GONE_SECONDS)
                    continue
                # Of the next request enough is kept.
                if reading is None and len(self._h11.trailing_data[0]) < MOST_HEAD:
                    reading = asyncio.create_task(self._reader.read(_CHUNK))
                waited = [task] if reading is None else [task, reading]
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                if reading is not None and reading.done():
                    self._receive(reading.result())
                    reading = None
            return task.result()
        finally:
            for each in (task, reading):
                if each is not None and not each.done():
                    each.cancel()
                    with suppress(asyncio.CancelledError):
                        await each

    def _still_reads(self) -> bool:
        """Whether a client that sends nothing more takes answers, as far as can be told yet.

        HTTP/1.0 has no interim answers: its clients are taken to wait.
        """
        if self._writer.is_closing():
            return False
        if not self._asked_whether and self._h11.their_http_version != b"1.0":
            self._asked_whether = True
            self._write(
                h11.InformationalResponse(status_code=102, headers=[], reason=b"Processing")
            )
        # asyncio does not look at a socket any more whose stream has ended.
        error = self._writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return not (error or self._writer.is_closing())

    async def send(self, response: Response, *, last: bool = False) -> bool:
        """Whether another request may come on the connection."""
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return False
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            ("Cache-Control", "no-store"),
            *response.headers,
            *([("Connection", "close")] if last else []),
        ]
        reason = HTTPStatus(response.status).phrase.encode()
        self._write(h11.Response(status_code=response.status, headers=headers, reason=reason))
        if not self._is_head:
            self._write(h11.Data(data=response.body))
        self._write(h11.EndOfMessage())
        await asyncio.wait_for(self._writer.drain(), SEND_SECONDS)
        return self._begin_next()

    def _begin_next(self) -> bool:
        if not self._h11.our_state is self._h11.their_state is h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True

    async def linger(self) -> None:
        """Takes what a refused client still sends: if the connection ended under it, it would not
        read why."""
        with suppress(OSError, TimeoutError):
            self._writer.write_eof()
            async with asyncio.timeout(RECEIVE_SECONDS):
                left = MOST_READ
                while left > 0 and (data := await self._reader.read(_CHUNK)):
                    left -= len(data)

    def _write(self, event: Any) -> None:
        data = self._h11.send(event)
        if data:
            self._writer.write(data)


def _no_http(error: h11.RemoteProtocolError) -> HttpError:
    """What h11 says, less the line itself, which it writes as Python does."""
    why = _PYTHON.split(str(error))[0]
    return HttpError(
        error.error_status_hint, f"This is no HTTP/1.1: {why}. Here HTTP is spoken alone."
    )


def _head(event: h11.Request) -> Head:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
    path = event.target.decode("latin-1").partition("?")[0]
    return Head(method=event.method.decode("latin-1"), path=path, headers=headers)


def _check_length(length: str) -> None:
    if length.isdigit() and int(length) > MOST_BODY:
        raise _too_large(length)


def _too_large(length: str) -> HttpError:
    return HttpError(
        413,
        f"The body has {length} bytes, of which at most {MOST_BODY} are read; send only what is "
        "round the cursor.",
    )
