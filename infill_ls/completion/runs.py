"""What is to be done on the engine's thread, and what somebody waits for: how long, and that it is
no longer wanted."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infill_engine import Budget, EngineInfo, InfillError, ModelError
from infill_ls.completion.next_edit.elsewhere import NOTHING_ELSEWHERE, Elsewhere
from infill_ls.completion.next_edit.history import Edit
from infill_ls.documents import Document

if TYPE_CHECKING:  # it brings the grammars
    from infill_ls.completion.next_edit.offer import Found


class Run:
    """Something that somebody waits for. `owner` is whose documents it is about: those of two
    owners never meet."""

    def __init__(self, owner: object, seconds: float) -> None:
        self.owner = owner
        self.asked = time.monotonic()
        self.deadline = self.asked + seconds
        self._stopped = False

    def stop(self) -> None:
        """The engine asks before every step, so it ends within one."""
        self._stopped = True

    def stopped(self) -> bool:
        return self._stopped

    def budget(self) -> Budget:
        """One object for everything that the run goes through."""
        return Budget(deadline=self.deadline, cancelled=self.stopped)


@dataclass(frozen=True, slots=True, kw_only=True)
class EditQuery:
    """What is to follow the edits of a document, newest last, and those `elsewhere`, which is all
    there is to go by where it was not `touched` yet. `seconds` count from when it is asked."""

    document: Document
    edits: tuple[Edit, ...]
    elsewhere: Elsewhere = NOTHING_ELSEWHERE
    touched: bool = True
    seconds: float


class EditRun(Run):
    """A search for a next edit; `result` None where it was `late`: there was no time for it."""

    def __init__(self, query: EditQuery, owner: object) -> None:
        super().__init__(owner, query.seconds)
        self.query = query
        self.late = False
        self.found: Found | None = None
        self.result: Future[Found | None] = Future()
        self.result.set_running_or_notify_cancel()


@dataclass(frozen=True, slots=True)
class Task:
    """Work for the engine's thread. `fail` answers whoever waits when it ends in an error."""

    name: str
    work: Callable[[], None]
    fail: Callable[[BaseException], None]


def nobody_waits(error: BaseException) -> None:
    """The `fail` of what is done for nobody in particular."""


def no_model(loaded: "Future[EngineInfo]", error: BaseException) -> None:
    """The `fail` of a load."""
    if not isinstance(error, InfillError):
        why = f"{type(error).__name__}: {error}"
        error = ModelError(f"The model could not be loaded ({why}).")
    loaded.set_exception(error)
