"""What is sent to a server and what comes back, and what can be wrong with it. Does no waiting."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from infill_engine.budget import Budget
from infill_engine.errors import ModelError


class RemoteError(ModelError):
    """The server gave no usable answer; the message says what it did and what to do.

    The same fault has the same message each time, so that whoever shows it can show it once.
    `status` is that of HTTP, or None when there was none. `again_after` is the seconds after which
    the request may be sent again; None where the server may have done something with it.
    """

    def __init__(
        self, message: str, status: int | None = None, again_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.again_after = again_after


class Unsupported(RemoteError):
    """The server is well, but cannot do this: asking again would not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A `body` makes it a POST; `events` asks for server-sent events, line by line."""

    path: str
    body: Mapping[str, Any] | None = None
    events: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """A whole answer, whatever its status. Of a stream of events the body is empty."""

    path: str
    status: int
    body: bytes
    retry_after: float = 0.0  # seconds, as the server asks

    @property
    def is_busy(self) -> bool:
        """Whether the server did nothing with the request, but may do it later."""
        return self.status in (429, 503)

    def json(self) -> dict[str, Any]:
        """The answer as a JSON object. Raises RemoteError when it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise RemoteError(
                f"{self.path} answered {self.status} with what is no JSON object: "
                f"{self.body[:60]!r}; is the URL that of the model server?",
                self.status,
            )
        return found

    def checked(self) -> "HttpResponse":
        """Itself. Raises RemoteError, in the server's words, when the status is not 200."""
        if self.status == 200:
            return self
        raise RemoteError(
            f"{self.path} answered {self.status}: {self.said or 'nothing'}{_remedy(self.status)}",
            self.status,
            self.retry_after if self.is_busy else None,
        )

    @property
    def said(self) -> str:
        """The server's own words about an error, on one line, at most 300 characters."""
        text = self.body.decode("utf-8", "replace")
        with contextlib.suppress(ValueError, RecursionError, AttributeError, TypeError):
            found = json.loads(text)
            error = found.get("error", found)
            told = error.get("message") or error.get("detail") if isinstance(error, dict) else error
            text = told if isinstance(told, str) else text
        return " ".join(text.split())[:300]


Event = bytes | HttpResponse | RemoteError


class Client(Protocol):
    """Who sends requests: to one server, or to the one of several that they go to best."""

    def send(self, request: HttpRequest, budget: Budget) -> HttpResponse:
        """The answer to one request. Raises RemoteError, or BudgetSpent."""
        ...

    def events(
        self, requests: Sequence[HttpRequest], budget: Budget
    ) -> Iterator[tuple[int, Event]]:
        """Lines of event streams as they come, and for each request its answer at last.

        When the deadline has come, no more. Leaving the loop, by whatever way, closes what is
        still open.
        """
        ...


def _remedy(status: int) -> str:
    match status:
        case 401 | 403:
            return "; set remote_key_env or remote_key_file to a key that this server takes"
        case 404:
            return "; check the URL and the model's name"
        case 300 | 301 | 302 | 303 | 307 | 308:
            return "; redirections are not followed, set the URL that it leads to"
        case 429 | 503:
            return "; the server is busy, wait or ask its owner"
        case _ if status >= 500:
            return "; the server's log says more"
        case _:
            return ""
