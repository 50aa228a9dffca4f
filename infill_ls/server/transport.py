"""Bytes to messages, over stdio and TCP alike: a stream reader in front of the protocol.

stdin is read by a thread of its own, so that neither a busy pool nor a busy model keeps a cancel
from being read, and stdout is kept clear of everything that prints.
"""

import asyncio
import logging
import os
import sys
import threading
from typing import BinaryIO, Protocol

logger = logging.getLogger(__name__)
MOST_BYTES = 1 << 28  # of a message


class Writer(Protocol):
    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class StdoutWriter:
    """Unbuffered and whole: one message a write."""

    def __init__(self, stdout: BinaryIO) -> None:
        self._stdout = stdout

    def write(self, data: bytes) -> None:
        try:
            self._stdout.write(data)
            self._stdout.flush()
        except (BrokenPipeError, ValueError):
            logger.info("the client no longer reads")

    def close(self) -> None:
        pass


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
    stdout = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
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
