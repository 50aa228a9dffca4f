"""Keeps what the workspace's files say, and gives each place what is of use there.

All of it is done on one thread of low priority, which stands back while the model runs; whoever
asks gets at once what was chosen for the place before. It is forgotten with the session.
"""

import logging
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from infill_ls.completion.surroundings import (
    NOTHING_AROUND,
    Gone,
    Place,
    Surroundings,
    any_gone,
)
from infill_ls.documents import Document
from infill_ls.ignore import IgnorePolicy, is_ignore_file, look_anew
from infill_ls.uris import path_of

if TYPE_CHECKING:  # the thread imports it, not the server's start
    from infill_ls.completion.workspace.reading import WorkspaceReading

logger = logging.getLogger(__name__)

LOWEST = 19  # priority
STAND_BACK = 0.01  # seconds between two looks at whether the model still runs
PATIENCE = 0.3  # seconds that a choice waits for the model
FAR = 40  # lines from where it was chosen, what is near is something else
KEPT, EDITED = 16, 8  # documents that choices are kept for, and that count as edited


Versions = tuple[tuple[str, int], ...]  # by URI


@dataclass(frozen=True, slots=True)
class _Kept:
    """What was chosen at a line of a document, when so much of the workspace had been read, and the
    other documents that were edited had these versions."""

    line: int
    times_read: int
    others: Versions
    surroundings: Surroundings


class WorkspaceMemory:
    """Of one session. Its public methods belong to the event loop and return at once. `busy` says
    whether the model runs; `told` gets a line when all files are read, on the thread."""

    def __init__(self, busy: Callable[[], bool], told: Callable[[str], None]) -> None:
        self._busy, self._told = busy, told
        self._folders: tuple[str, ...] = ()
        self._policy = IgnorePolicy()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._edited: OrderedDict[str, None] = OrderedDict()
        self._times_read = 0
        self._all_read = False
        self._changed = threading.Condition()
        self._begins = False  # the folders are others now
        self._ignores = False  # what is ignored in them is something else now
        self._stale: dict[str, None] = {}  # paths, in their order
        self._gone: frozenset[str] = frozenset()  # those of them where nothing is any more
        self._place: Place | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def follow(self, folders: tuple[str, ...], policy: IgnorePolicy) -> bool:
        """Reads these folders, in place of those before; none turns it off. Whether they are others
        now, or others of their files are ignored."""
        with self._changed:
            same = not (folders or self._folders) or (folders, policy) == (
                self._folders,
                self._policy,
            )
            if self._closed or same:
                return False
            self._folders, self._policy = folders, policy
            self._kept.clear()
            self._stale.clear()
            self._gone = frozenset()
            self._place, self._begins = None, True
            self._wake()
            return True

    def touched(self, *paths: str) -> Gone:
        """Files were written, made or removed. Says what is gone of what may have been chosen."""
        with self._changed:
            if not self._folders:
                return frozenset()
            ignore_files = [path for path in paths if is_ignore_file(path)]
            others = [path for path in paths if path not in ignore_files]
            removed = frozenset(path for path in others if not os.path.lexists(path))
            self._ignores |= bool(ignore_files)
            self._stale |= dict.fromkeys(others)
            self._gone = (self._gone - {*others}) | removed
            gone = None if ignore_files else removed
            for uri, kept in list(self._kept.items()):
                if any_gone(kept.surroundings.files, gone):
                    del self._kept[uri]
            self._wake()
            return gone

    def edited(self, document: Document) -> None:
        self._edited[document.uri] = None
        self._edited.move_to_end(document.uri)
        if len(self._edited) > EDITED:
            self._edited.popitem(last=False)

    def forget(self, uri: str) -> Gone:
        """A document that is closed; what its file says counts from now on, if there is one."""
        self._edited.pop(uri, None)
        with self._changed:
            self._kept.pop(uri, None)
            if self._place is not None and self._place.document.uri == uri:
                self._place = None
        path = path_of(uri)
        return self.touched(path) if path else frozenset()

    def at(self, document: Document, offset: int, opened: Sequence[Document]) -> Surroundings:
        """What was chosen for the place, or for where the cursor was before in this document; if
        that is far, or something else was written since, another choice is made for the next
        time."""
        if not self._folders:
            return NOTHING_AROUND
        kept = self._kept.get(document.uri)
        line = document.lines.line_of(offset)
        current = (self._times_read, _others(document, opened, self._edited))
        old = kept is None or current != (kept.times_read, kept.others)
        if old or (kept is not None and abs(kept.line - line) > FAR):
            with self._changed:
                self._place = Place(
                    document=document,
                    offset=offset,
                    opened=tuple(opened),
                    edited=tuple(self._edited),
                    asked=time.monotonic() if self._place is None else self._place.asked,
                )
                self._wake()
        return NOTHING_AROUND if kept is None else kept.surroundings

    def close(self) -> None:
        """Drops all of it; the thread ends once it has done what it is at."""
        with self._changed:
            self._closed = True
            self._folders = ()
            self._kept.clear()
            self._edited.clear()
            self._stale.clear()
            self._place = None
            self._changed.notify()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="infill-workspace", daemon=True)
            self._thread.start()
        self._changed.notify()

    # -- on its thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        if sys.platform == "linux":  # elsewhere a thread has no priority of its own
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)
        from infill_ls.completion.workspace.reading import WorkspaceReading

        reading = WorkspaceReading((), IgnorePolicy())
        left: Iterator[str] | None = None  # of the reading
        while self._wait(left is None):
            with self._changed:
                begins, self._begins = self._begins, False
                ignores, self._ignores = self._ignores, False
                folders, policy = self._folders, self._policy
            try:
                if begins:
                    reading, self._all_read = WorkspaceReading(folders, policy), False
                if ignores:
                    look_anew()
                if begins or ignores:
                    left = reading.read() if folders else None
                if (place := self._wanted()) is not None:
                    self._choose(reading, place)
                elif self._busy():
                    time.sleep(STAND_BACK)
                elif (path := self._next_stale()) is not None:
                    self._times_read += reading.read_again(path)
                    self._known_again(path)
                elif left is not None and (said := next(left, None)) != "":
                    left = None
                    self._read_to_the_end(said)
            except Exception:  # it is a help and no more: nothing may end with it
                logger.exception("the workspace could not be looked at")
                left = None

    def _wait(self, idle: bool) -> bool:
        """Until there is something to do; False once it is closed."""
        with self._changed:
            while idle and not (self._closed or self._has_work()):
                self._changed.wait()
            return not self._closed

    def _has_work(self) -> bool:
        return bool(self._begins or self._ignores or self._place or self._stale)

    def _wanted(self) -> Place | None:
        """The place to choose for, which has waited for the model for as long as it should."""
        with self._changed:
            place = self._place
            if place is None or (self._busy() and time.monotonic() < place.asked + PATIENCE):
                return None
            self._place = None
            return place

    def _next_stale(self) -> str | None:
        with self._changed:
            path = next(iter(self._stale), None)
            if path is not None:
                del self._stale[path]
            return path

    def _known_again(self, path: str) -> None:
        with self._changed:
            if path not in self._stale:
                self._gone -= {path}

    def _read_to_the_end(self, said: str | None) -> None:
        self._times_read += 1
        self._all_read = True
        if said:
            self._told(said)

    def _choose(self, reading: "WorkspaceReading", place: Place) -> None:
        times_read = self._times_read
        others = _others(place.document, place.opened, place.edited)

        def stand_back() -> None:
            while self._busy() and time.monotonic() < place.asked + PATIENCE and not self._closed:
                time.sleep(STAND_BACK)

        known = 2 if self._all_read else 1
        surroundings = replace(reading.choose(place, stand_back), known=known)
        with self._changed:
            if self._closed or self._begins or self._ignores:
                return
            if any_gone(surroundings.files, self._gone):
                return
            line = place.document.lines.line_of(place.offset)
            self._kept[place.document.uri] = _Kept(line, times_read, others, surroundings)
            self._kept.move_to_end(place.document.uri)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)


def _others(document: Document, opened: Sequence[Document], edited: Collection[str]) -> Versions:
    return tuple(
        (each.uri, each.version)
        for each in opened
        if each.uri != document.uri and each.uri in edited
    )
