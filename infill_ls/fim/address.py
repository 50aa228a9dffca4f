"""Where servers listen and who may ask. Imports nothing slow: the command line says it."""

import errno
import socket
from dataclasses import dataclass, replace

from infill_engine.errors import InfillError

OPEN_FIM = "infill-ls/fim"  # how a window's relay asks for it, with the fields of `FimAddress`


class PortError(InfillError):
    """Nobody can listen at this address, or somebody else does."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(f"{host}:{port} cannot be served: {_why(host, error)}")


def _why(host: str, error: OSError) -> str:
    """In words of ours: asyncio's differ between releases."""
    if isinstance(error, socket.gaierror):
        return f"there is no host {host}. Name one of this machine's, for example 127.0.0.1."
    match error.errno:
        case errno.EADDRINUSE:
            return "another program has the port. Choose another port, or end what uses it."
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT | None:  # None: of no address of a name
            return "that is no address of this machine. Name one that is, for example 127.0.0.1."
        case errno.EACCES | errno.EPERM:
            return "the system keeps the port for itself. Choose one from 1024 to 65535."
        case _:
            return f"{error.strerror or error}. Choose another address."


class TokenError(InfillError):
    """It is served already, to who knows another token."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"{host}:{port} is served to another window already, which named another token: name "
            "the same --token-file, or choose another port."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FimAddress:
    """`token` is what clients have to send as `Authorization: Bearer`, None where they need none;
    `remote` whether other machines may connect; `deadline_ms` how long the model may take where
    the client does not say it, None for the settings' own time."""

    host: str
    port: int
    token: str | None = None
    remote: bool = False
    deadline_ms: int | None = None

    def with_wish(self, other: "FimAddress") -> "FimAddress":
        """For one that is served already and that somebody else wants as well: who wants a token
        gets it, and who names a deadline. Raises TokenError where each wants another one."""
        if self.token and other.token and self.token != other.token:
            raise TokenError(self.host, self.port)
        return replace(
            self,
            token=self.token or other.token,
            remote=self.remote and other.remote,
            deadline_ms=other.deadline_ms or self.deadline_ms,
        )
