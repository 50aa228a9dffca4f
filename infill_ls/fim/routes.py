"""What is answered at which path, to whom: the endpoint itself.

Like llama.cpp's server, but to nobody's web page: a request that names an Origin comes from one,
and so may one to a host name that is not ours (DNS rebinding).
"""

import asyncio
import hmac
import ipaddress
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from infill_engine import EngineConfig, InfillError
from infill_ls.completion.worker import Worker
from infill_ls.fim import answers, asked
from infill_ls.fim.address import FimAddress
from infill_ls.fim.asked import FimRequest
from infill_ls.fim.http import Head, HttpError, Response, serve
from infill_ls.fim.service import Failed, FimService, TooLarge, Unavailable

logger = logging.getLogger(__name__)
MOST_CONNECTIONS = 64
WHY_EMPTY = "Infill-Why"  # the header of an answer without text
_PUBLIC = ("/health", "/v1/health")  # as there, so that what watches a server needs no key


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How a request to fill in is read, and how its answer is written."""

    read: Callable[[object], FimRequest]
    whole: answers.Shape
    streamed: answers.Stream


_DIALECTS = {
    "/v1/completions": _Dialect(
        asked.completion_request, answers.completion, answers.completion_stream
    ),
    "/v1/fim/completions": _Dialect(
        asked.completion_request, answers.mistral, answers.mistral_stream
    ),
    "/infill": _Dialect(asked.infill_request, answers.llama, answers.llama_stream),
    "/completion": _Dialect(asked.llama_completion_request, answers.llama, answers.llama_stream),
}
_LISTED = ("/v1/models", "/models")
# HEAD is GET without the body.
_METHODS = dict.fromkeys(_DIALECTS, ("POST",)) | dict.fromkeys(
    (*_PUBLIC, *_LISTED), ("GET", "HEAD")
)


async def listen(address: FimAddress, worker: Worker, config: EngineConfig) -> "FimServer":
    """Serves until it is closed; the model begins to load. Raises OSError."""
    endpoint = FimEndpoint(address, FimService(worker, config))
    listener = await asyncio.start_server(endpoint.serve, address.host, address.port)
    endpoint.service.load()
    return FimServer(listener, endpoint)


@dataclass(frozen=True, slots=True)
class FimServer:
    """One that listens. What its endpoint's `address` says of clients holds from their next
    request on."""

    listener: asyncio.Server
    endpoint: "FimEndpoint"


class FimEndpoint:
    """The connections of one address."""

    def __init__(self, address: FimAddress, service: FimService) -> None:
        self.service = service
        self.address = address
        self._num_connected = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        full = self._num_connected >= MOST_CONNECTIONS
        self._num_connected += 1
        try:
            await serve(
                reader,
                writer,
                admit=partial(self._admit, full=full),
                answer=self._answer,
                refuse=_refused,
            )
        except asyncio.CancelledError:
            pass  # the process ends
        except Exception:
            logger.exception("a connection failed")
        finally:
            self._num_connected -= 1

    def _admit(self, head: Head, *, full: bool) -> None:
        if full:
            raise HttpError(503, f"{MOST_CONNECTIONS} clients are connected already; try again.")
        if "origin" in head.headers:
            raise HttpError(
                403, f"Web pages are not served, and this one is of {head.headers['origin']!r}."
            )
        if not (self.address.remote or self._is_ours(head.headers.get("host", ""))):
            raise HttpError(
                403,
                f"The host {head.headers['host']!r} is not this server's; "
                f"ask http://{self.address.host}:{self.address.port}.",
            )
        path = _plain(head.path)
        if path not in _METHODS:
            raise HttpError(404, f"There is nothing at {path!r}; ask {', '.join(_METHODS)}.")
        if head.method not in (methods := _METHODS[path]):
            raise HttpError(
                405, f"{path} is asked by {' or '.join(methods)}.", Allow=", ".join(methods)
            )
        if path not in _PUBLIC and not self._knows_token(head.headers.get("authorization", "")):
            raise HttpError(
                401,
                'This infill-ls wants its token as "Authorization: Bearer TOKEN", or as the API '
                "key of your editor's plugin; it named the file that holds it when it started.",
                **{"WWW-Authenticate": "Bearer"},
            )

    def _is_ours(self, host: str) -> bool:
        """A number is no name that somebody else could lead here."""
        name = host.rpartition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
        name = name.strip("[]").lower()
        if name in ("", "localhost", self.address.host.lower()):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _knows_token(self, authorization: str) -> bool:
        if self.address.token is None:
            return True
        kind, _, given = authorization.partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self.address.token.encode())
        return right and kind.lower() == "bearer"

    async def _answer(self, head: Head, body: bytes) -> Response:
        path = _plain(head.path)
        try:
            if path in _DIALECTS:
                return await self._infill(_DIALECTS[path], body)
            if path in _PUBLIC:
                await self.service.loaded(0.0)
                return _response(200, {"status": "ok"})
            info = await self.service.loaded(10.0)
            return _response(200, answers.models(info))
        except Unavailable as error:
            return _response(503, answers.fault(str(error), 503))
        except Failed as error:
            return _response(500, answers.fault(str(error), 500))
        except TooLarge as error:
            return _response(413, answers.fault(str(error), 413))
        except InfillError as error:
            return _response(400, answers.fault(str(error), 400))
        except Exception:
            logger.exception("%s failed", path)
            why = f"infill-ls failed at {path}; its log says why."
            return _response(500, answers.fault(why, 500))

    async def _infill(self, dialect: _Dialect, body: bytes) -> Response:
        request = dialect.read(_parsed(body))
        if (ms := self.address.deadline_ms) and request.seconds is None:
            request = replace(request, seconds=ms / 1000)
        answer = await self.service.infill(request)
        why = ((WHY_EMPTY, answer.why),) if answer.why else ()
        if request.stream:
            data = answers.events(dialect.streamed(request, answer))
            return Response(status=200, body=data, content_type="text/event-stream", headers=why)
        return _response(200, dialect.whole(request, answer), why)


def _plain(path: str) -> str:
    return path.rstrip("/") or "/"


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except RecursionError:
        why = "it is nested too deeply"
    except json.JSONDecodeError as error:
        why = str(error)
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    except ValueError:  # the one limit that Python has for them
        why = "a number in it has too many digits"
    raise asked.RequestBodyError(f"The body is no JSON: {why}.")


def _refused(error: HttpError) -> Response:
    logger.info("refused: %s", error)
    return _response(
        error.status, answers.fault(str(error), error.status), tuple(error.headers.items())
    )


def _response(status: int, value: object, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(status=status, body=answers.encoded(value), headers=headers)
