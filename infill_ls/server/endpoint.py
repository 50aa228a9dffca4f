"""Where a user's one shared server is found: a socket that nobody else may open.

Its name holds what makes two servers differ, so that a window with another model, or another
release, gets one of its own. Where there are no Unix sockets, the name is that of a file with a
port of the loopback and a token. Both sides first prove that they know it, for the server of an
old file may be gone and its port somebody else's. Imports nothing slow: the second window waits
for this.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import os
import secrets
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import platformdirs
from filelock import FileLock

from infill_engine.errors import InfillError

logger = logging.getLogger(__name__)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Session = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

HAS_SOCKETS = hasattr(socket, "AF_UNIX") and sys.platform != "win32"
MOST_BYTES = 100  # of a socket's path: the kernel takes 104 to 108
START_SECONDS = 20.0
POLL_SECONDS = 0.01
TOKEN_SECONDS = 5.0


class EndpointError(InfillError):
    """The shared server cannot be reached or started."""


def endpoint(identity: Sequence[str]) -> Path:
    """The socket or file of the server that `identity` describes, in a folder of this user's.

    Raises EndpointError when the folder is somebody else's.
    """
    name = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:16]
    folder = platformdirs.user_runtime_path("infill-ls")
    if len(os.fsencode(folder)) + len(name) + 6 > MOST_BYTES:
        folder = Path(tempfile.gettempdir()) / f"infill-ls-{_user()}"
    return _private(folder) / f"{name}.sock"


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")


def _private(folder: Path) -> Path:
    """The folder, made if it is not there, which must be this user's alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise EndpointError(
            f"{folder} cannot be made for the shared server's socket: {error.strerror}. "
            "Set XDG_RUNTIME_DIR to a folder of yours, or start infill-ls without --connect."
        ) from error
    if HAS_SOCKETS:
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise EndpointError(
                f"{folder} belongs to user {found.st_uid}, so no socket of yours is put there. "
                "Remove it, or start infill-ls without --connect."
            )
        if stat.S_IMODE(found.st_mode) != 0o700:
            folder.chmod(0o700)
    return folder


async def listen(path: Path, session: Session) -> asyncio.Server:
    """Serves whoever this user lets connect, until closed. Raises EndpointError where another
    server does."""
    with suppress(OSError):
        _, writer = await connect(path)
        writer.close()
        raise EndpointError(f"Another server listens at {path}.")
    with suppress(FileNotFoundError):
        path.unlink()
    if HAS_SOCKETS:
        before = os.umask(0o177)
        try:
            return await asyncio.start_unix_server(_of_this_user(session), path)
        finally:
            os.umask(before)
    token = secrets.token_hex(32)
    server = await asyncio.start_server(_with_token(session, token), "127.0.0.1", 0)
    written = path.with_suffix(".new")
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump({"port": server.sockets[0].getsockname()[1], "token": token}, file)
    written.replace(path)
    return server


def _of_this_user(session: Session) -> Session:
    async def checked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        who = peer(writer)
        if who is not None and who[1] not in (os.getuid(), 0):
            logger.warning("user %d may not connect", who[1])
            writer.close()
            return
        await session(reader, writer)

    return checked


def _with_token(session: Session, token: str) -> Session:
    async def checked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonce, _, proof = (await _line(reader)).partition(b" ")
        if not hmac.compare_digest(proof, _proof(token, b"client", nonce)):
            logger.warning("a connection without the token was closed")
            writer.close()
            return
        writer.write(_proof(token, b"server", nonce) + b"\n")
        await session(reader, writer)

    return checked


def _proof(token: str, who: bytes, nonce: bytes) -> bytes:
    """That one of both sides knows the token, which itself is not sent."""
    return hmac.new(token.encode(), who + b" " + nonce, "sha256").hexdigest().encode()


async def _line(reader: asyncio.StreamReader) -> bytes:
    """Without its end; empty where none comes."""
    try:
        return (await asyncio.wait_for(reader.readline(), TOKEN_SECONDS)).strip()
    except (TimeoutError, ValueError, ConnectionError):
        return b""


def peer(writer: asyncio.StreamWriter) -> tuple[int, int] | None:
    """Process and user at the other end of a Unix socket; None where the system does not tell."""
    connection = writer.get_extra_info("socket")
    if not hasattr(socket, "SO_PEERCRED") or connection.family != socket.AF_UNIX:
        return None
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", data)
    return pid, uid


async def connect(path: Path) -> Streams:
    """Raises OSError where nobody listens."""
    if HAS_SOCKETS:
        return await asyncio.open_unix_connection(path)
    try:
        known = json.loads(path.read_text(encoding="ascii"))
        port, token = int(known["port"]), str(known["token"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConnectionRefusedError(f"{path} names no server") from error
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    nonce = secrets.token_hex(16).encode()
    writer.write(nonce + b" " + _proof(token, b"client", nonce) + b"\n")
    if not hmac.compare_digest(await _line(reader), _proof(token, b"server", nonce)):
        writer.close()
        raise ConnectionRefusedError(f"at port {port} listens another server than {path} names")
    return reader, writer


async def connect_or_start(path: Path, command: Sequence[str]) -> Streams:
    """Connects; where nobody listens, starts `command`, which must listen at `path`.

    One starts it, whoever comes meanwhile waits. Raises EndpointError when it does not come up.
    """
    with suppress(OSError):
        return await connect(path)
    # Taken on a thread that waits, given back on the loop's.
    lock = FileLock(path.with_suffix(".lock"), thread_local=False)
    await asyncio.to_thread(lock.acquire, START_SECONDS)
    try:
        with suppress(OSError):
            return await connect(path)
        log = path.with_suffix(".log")
        process = _start(command, log)
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and process.poll() is None:
            with suppress(OSError):
                return await connect(path)
            await asyncio.sleep(POLL_SECONDS)
        code = process.poll()
        process.kill()  # it would come up beside the next one
        process.wait()
        raise EndpointError(
            f"The shared server did not come up (exit code {code}): {_last_line(log)} "
            "Start infill-ls without --connect to see what it says."
        )
    finally:
        lock.release()


def _start(command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    """On its own, so that it outlives the window that needed it first."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stderr:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            cwd=log.parent,
            start_new_session=True,
        )


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return "it left no log."
    return lines[-1][-300:] if lines else "it said nothing."


def file_identity(path: Path) -> tuple[int, int] | None:
    """Which file is there now, so that a server removes its own and no other's."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def end(writer: asyncio.StreamWriter) -> None:
    """Kills the server at the other end, which no longer answers; nothing where it is unknown."""
    who = peer(writer)
    if who is not None and who[0] not in (0, os.getpid()):
        with suppress(OSError):
            os.kill(who[0], signal.SIGKILL)
