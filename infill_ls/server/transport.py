"""Bytes to messages, over stdio and TCP alike: a stream reader in front of the protocol.

stdin is read by a thread of its own, so that neither a busy pool nor a busy model keeps a cancel
from being read; stdout is written by another one, and kept clear of everything that prints.
"""

import asyncio
import logging
import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from queue import SimpleQueue
from typing import BinaryIO, Protocol

logger = logging.getLogger(__name__)
MOST_BYTES = 1 << 28  # of a message
MOST_UNREAD = 1 << 26  # bytes that wait for who does not read them
CLOSE_SECONDS = 1.0  # for what waits in the end


class Writer(Protocol):
    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class BoundedWriter(ABC):
    """Whole messages to a peer that may not read, and whom nobody waits for.

    When more than MOST_UNREAD bytes wait beside the longest message, the peer is given up, and the
    connection ends as if it had gone.
    """

    def __init__(self) -> None:
        self._longest = 0
        self._given_up = False

    def write(self, data: bytes) -> None:
        if self._given_up:
            return
        waiting, self._longest = self._num_waiting(), max(self._longest, len(data))
        if waiting > MOST_UNREAD + self._longest:
            logger.warning("%d bytes wait for who reads nothing: the connection ends", waiting)
            self.give_up()
        else:
            self._put(data)

    def give_up(self) -> None:
        self._given_up = True
        self._end()

    @abstractmethod
    def _num_waiting(self) -> int: ...

    @abstractmethod
    def _put(self, data: bytes) -> None: ...

    @abstractmethod
    def _end(self) -> None: ...


class SocketWriter(BoundedWriter):
    """`end` says what giving up the peer is, at the least that `stream` is aborted."""

    def __init__(
        self, stream: asyncio.StreamWriter, end: Callable[[], object] | None = None
    ) -> None:
        super().__init__()
        self._stream = stream
        self._end_peer = end or stream.transport.abort

    def close(self) -> None:
        self._stream.close()

    def _num_waiting(self) -> int:
        return self._stream.transport.get_write_buffer_size()

    def _put(self, data: bytes) -> None:
        self._stream.write(data)

    def _end(self) -> None:
        self._end_peer()


class StdoutWriter(BoundedWriter):
    """Unbuffered, on a thread of its own: a client that reads nothing keeps no cancel from being
    read. Once it is given up, `reader`, its stream, ends."""

    def __init__(self, stdout: BinaryIO, reader: asyncio.StreamReader) -> None:
        super().__init__()
        self._stdout = stdout
        self._reader = reader
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._num_put = self._num_written = 0  # bytes, each counted by one thread alone
        self._thread = threading.Thread(target=self._run, name="infill-stdout", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """What waits is written, unless that takes long."""
        self._queue.put(None)
        self._thread.join(CLOSE_SECONDS)

    def _num_waiting(self) -> int:
        return self._num_put - self._num_written

    def _put(self, data: bytes) -> None:
        self._num_put += len(data)
        self._queue.put(data)

    def _end(self) -> None:
        self._reader.set_exception(ConnectionError("the client reads nothing"))

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            rest = memoryview(data)
            try:
                while rest:
                    rest = rest[self._stdout.write(rest) :]
            except (OSError, ValueError):
                logger.info("the client no longer reads")
            self._num_written += len(data)


class Receiver(Protocol):
    """Who takes messages; `exited` once the client has said exit."""

    @property
    def exited(self) -> bool: ...

    def receive(self, body: bytes) -> None: ...


async def serve(
    receiver: Receiver, reader: asyncio.StreamReader, first: bytes | None = None
) -> None:
    """Hands over message after message until the client says exit or the stream ends; `first` is
    one that was read already."""
    if first is not None:
        receiver.receive(first)
    while not receiver.exited and (body := await read_message(reader)) is not None:
        receiver.receive(body)


def framed(body: bytes) -> bytes:
    """A message as it goes over the wire."""
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


async def read_message(reader: asyncio.StreamReader) -> bytes | None:
    """The next message's body; None at the end of the stream, or where it is no LSP.

    A web page can make a browser send what holds JSON, but not without HTTP's own lines.
    """
    length = -1
    try:
        while (line := await reader.readuntil(b"\n")).strip() or length < 0:
            name, _, value = line.partition(b":")
            match name.strip().lower():
                case b"content-length":
                    length = int(value)
                case b"content-type" | b"":
                    pass
                case other:
                    raise ValueError(f"a line that begins with {other[:20]!r} is no header of it")
        if not 0 <= length <= MOST_BYTES:
            raise ValueError(f"a message of {length} bytes; at most {MOST_BYTES} are read")
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except (ValueError, asyncio.LimitOverrunError) as error:
        logger.error("the stream is no LSP: %s", error)
        return None


def take_stdio() -> tuple[BinaryIO, BinaryIO]:
    """stdin and stdout for the protocol alone: who else prints, prints to stderr."""
    stdin = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    stdout = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    if sys.platform != "win32":
        os.set_blocking(stdout.fileno(), True)  # or a full pipe would be an error
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, sys.stdin.fileno())
    os.close(null)
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return stdin, stdout


def stream_of(stdin: BinaryIO) -> asyncio.StreamReader:
    """Works for pipes, files and terminals on every system, which asyncio's own pipes do not."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()

    def feed() -> None:
        while data := stdin.read(1 << 16):
            loop.call_soon_threadsafe(reader.feed_data, data)
        loop.call_soon_threadsafe(reader.feed_eof)

    def run() -> None:
        try:
            feed()
        except (OSError, RuntimeError, ValueError):  # the loop or the stream is closed: the end
            logger.debug("stdin closed")

    threading.Thread(target=run, name="infill-stdin", daemon=True).start()
    return reader
