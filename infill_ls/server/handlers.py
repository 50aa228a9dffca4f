"""How a message is handled, as a type: at once, in the background, or in the background on the
document it arrived with.

Several messages are read before the first background handler runs, so what such a handler sees of
a document must be taken on arrival: `OnSnapshot` cannot do without. Whatever goes wrong in any
handler ends here, in one place: it is logged, and the request is answered.
"""

import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from infill_ls.server.fields import Fields, ParamsError
from infill_ls.server.lsp import ErrorCode
from infill_ls.server.session import DocumentSnapshot, Session

logger = logging.getLogger(__name__)

Background = Coroutine[Any, Any, object]


class ResponseError(Exception):
    """What a request is answered by: a code of JSON-RPC or LSP, and words for the client."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class AboutDocument(Protocol):
    """Parameters that name a document; `uri` is "" where they may name none."""

    @property
    def uri(self) -> str: ...


ParamsT = TypeVar("ParamsT")
DocumentParamsT = TypeVar("DocumentParamsT", bound=AboutDocument)


@dataclass(frozen=True, slots=True)
class AtOnce(Generic[ParamsT]):
    """Runs to its end before the next message is read: what changes the session."""

    parse: Callable[[Fields], ParamsT]
    run: Callable[[Session, ParamsT], object]

    def arrived(self, session: Session, fields: Fields) -> Callable[[], object]:
        """The call, with all that it needs of this moment. Raises ParamsError."""
        return partial(self.run, session, self.parse(fields))


@dataclass(frozen=True, slots=True)
class InBackground(Generic[ParamsT]):
    """Runs as a task, and sees the session as it is by then."""

    parse: Callable[[Fields], ParamsT]
    run: Callable[[Session, ParamsT], Background]

    def arrived(self, session: Session, fields: Fields) -> Callable[[], Background]:
        """The call, with all that it needs of this moment. Raises ParamsError."""
        return partial(self.run, session, self.parse(fields))


@dataclass(frozen=True, slots=True)
class OnSnapshot(Generic[DocumentParamsT]):
    """Runs as a task, on the document as it was when the message arrived; None if not open."""

    parse: Callable[[Fields], DocumentParamsT]
    run: Callable[[Session, DocumentSnapshot | None, DocumentParamsT], Background]

    def arrived(self, session: Session, fields: Fields) -> Callable[[], Background]:
        """The call, with all that it needs of this moment. Raises ParamsError."""
        params = self.parse(fields)
        return partial(self.run, session, session.snapshot(params.uri), params)


Handler = AtOnce[Any] | InBackground[Any] | OnSnapshot[Any]
Handlers = Mapping[str, Handler]


@contextmanager
def fault_boundary(name: str) -> Iterator[None]:
    """The one place for what goes wrong in a handler and is nobody's answer: logged, and an error
    without our insides for the client."""
    try:
        yield
    except ParamsError as error:
        raise ResponseError(ErrorCode.INVALID_PARAMS, str(error)) from error
    except Exception as error:
        logger.exception("%s failed", name)
        why = f"infill-ls failed at {name}; its log says why."
        raise ResponseError(ErrorCode.INTERNAL_ERROR, why) from error


def run_at_once(name: str, call: Callable[[], object]) -> object:
    with fault_boundary(name):
        return call()


async def run_in_background(session: Session, name: str, call: Callable[[], Background]) -> object:
    with session.tasks_end_with_it(), fault_boundary(name):
        return await call()
