"""How suggestions fare with this user: what was shown, accepted and dismissed, as counts.

Counts alone, by language and by confidence, in one file of this user's data folder that nobody
else may read. No text and no name of a file is in it, and nothing of it leaves the machine.
Several servers of a user count at once: each adds to the file what it has counted itself.
"""

import json
import logging
import math
import os
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

logger = logging.getLogger(__name__)

BUCKETS = 20  # of confidence, alike in width
MAX_LANGUAGES, MAX_NAME = 64, 40  # language ids are the client's words
OTHERS = "other"  # languages, once there are so many
MAX_BYTES, MAX_COUNT = 1_000_000, 2**53  # of a file of ours
LOCK_SECONDS = 1.0
LOOK_SECONDS = 2.0  # between looks at whether another process wrote the file

# (language, what is counted, bucket); what has no confidence is in bucket 0.
_Counts = Counter[tuple[str, str, int]]
_Stamp = tuple[int, int, int]  # by which a file is known to be the same


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageCounts:
    """Of suggestions that came while typing in one language, by bucket: how many were `shown`,
    `accepted` (wholly or in part, each counts once) and `dismissed`.

    `characters` were accepted, however they were asked for; `looked_at` of them have been there for
    30 s, or would have, and `kept` of these still are.
    """

    shown: tuple[int, ...] = (0,) * BUCKETS
    accepted: tuple[int, ...] = (0,) * BUCKETS
    dismissed: tuple[int, ...] = (0,) * BUCKETS
    characters: int = 0
    looked_at: int = 0
    kept: int = 0


# As many suggestions that fared as expected are taken for granted before any was seen; the
# threshold is at most so many times what was measured for the model, and at least its inverse.
GRANTED, MOST_DOUBT = 20, 2.0


def doubt(counts: LanguageCounts) -> float:
    """What the confidence from which is shown is multiplied by: more than 1 where this user accepts
    less of what was there to be read than the confidence said, in steps of a tenth, so that what
    is remembered for a threshold stays so."""
    accepted = expected = 0.0
    for bucket, (took, left) in enumerate(zip(counts.accepted, counts.dismissed, strict=True)):
        accepted += took
        expected += (took + left) * (bucket + 0.5) / BUCKETS
    found = (GRANTED + expected) / (GRANTED + accepted)
    return round(min(max(found, 1 / MOST_DOUBT), MOST_DOUBT), 1)


_BY_BUCKET = ("shown", "accepted", "dismissed")
_PLAIN = ("characters", "looked_at", "kept")


def bucket_of(confidence: float) -> int:
    """Which of the BUCKETS a confidence from 0 to 1 is counted in."""
    return min(max(int(confidence * BUCKETS), 0), BUCKETS - 1)


class Acceptance:
    """The counts in a file, and what was counted since; without a path they end with it. Its
    methods may be called from any thread; only `load`, `save`, `reset` and `follow` touch the file.

    `complaint` is a sentence for the user about a file that could not be used, "" where all is
    well; `times_reset` how often all was forgotten, whoever wished it.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.complaint = ""
        self.times_reset = 0
        self._stamp: _Stamp | None = None  # of the file as it is known
        self._looked = -math.inf
        self._known: _Counts = Counter()
        self._new: _Counts = Counter()
        self._since = _today()
        self._changed = threading.Lock()
        self._file = threading.Lock()  # is being read and written

    # -- what happens -----------------------------------------------------------------------------

    def shown(self, language: str, confidence: float) -> None:
        self._add(language, "shown", bucket_of(confidence))

    def accepted(self, language: str, confidence: float) -> None:
        """A suggestion of which anything was taken, once."""
        self._add(language, "accepted", bucket_of(confidence))

    def dismissed(self, language: str, confidence: float) -> None:
        self._add(language, "dismissed", bucket_of(confidence))

    def took(self, language: str, characters: int) -> None:
        """So many characters were accepted: of a whole suggestion, or its next word or line."""
        self._add(language, "characters", 0, characters)

    def looked_at(self, language: str, characters: int, kept: int) -> None:
        """Of so many accepted characters so many were still there after 30 s."""
        self._add(language, "looked_at", 0, characters)
        self._add(language, "kept", 0, kept)

    # -- what is known ----------------------------------------------------------------------------

    @property
    def since(self) -> str:
        """The day of the first count, as YYYY-MM-DD."""
        return self._since

    @property
    def unsaved(self) -> bool:
        return bool(self._new) and self.path is not None

    def of(self, language: str) -> LanguageCounts:
        with self._changed:
            return _language_counts(language, self._known, self._new)

    def by_language(self) -> dict[str, LanguageCounts]:
        """Of every language that anything was counted of, by name."""
        with self._changed:
            names = sorted(_languages(self._known) | _languages(self._new))
            return {name: _language_counts(name, self._known, self._new) for name in names}

    # -- the file ---------------------------------------------------------------------------------

    def load(self) -> None:
        """Takes in what the file says. A damaged one is set aside, and `complaint` says so."""
        if self.path is None:
            return
        since, known = _today(), Counter[tuple[str, str, int]]()
        before, self._stamp = self._stamp, _stamp(self.path)
        try:
            since, known = _read(self.path)
        except FileNotFoundError:  # none yet, or another process was told to forget it
            self.times_reset += before is not None
        except OSError as error:
            self._complain(f"{self.path} cannot be read ({error.strerror})")
        except ValueError as why:
            self._set_aside(self.path, why)
            self._stamp = _stamp(self.path)
        with self._changed:
            self._since, self._known = since, known

    def follow(self, after: float = LOOK_SECONDS) -> None:
        """Takes in what other processes made of the file, where it was not looked at for so many
        seconds: one look costs microseconds."""
        now = time.monotonic()
        if self.path is None or now < self._looked + after:
            return
        self._looked = now
        stamp = _stamp(self.path)
        if stamp == self._stamp or not self._file.acquire(blocking=False):
            return
        try:
            if stamp is None:  # what is not saved yet is meant as well
                self._forget()
            self.load()
        finally:
            self._file.release()

    def save(self) -> None:
        """Adds what was counted to the file; where that cannot be, it waits for the next time."""
        if not self.unsaved or self.path is None:
            return
        from filelock import FileLock, Timeout  # not needed for a start

        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock(self.path.with_suffix(".lock"), timeout=LOCK_SECONDS, mode=0o600)
            with self._file, lock:
                self._save(self.path)
        except Timeout:
            return
        except OSError as error:
            self._complain(f"{self.path} cannot be written ({error.strerror})")

    def _save(self, path: Path) -> None:
        self.load()
        with self._changed:
            new = self._new.copy()
        _write(path, self._since, self._known + new)
        self._stamp = _stamp(path)
        with self._changed:
            self._known += new
            self._new -= new

    def reset(self) -> None:
        """Forgets all of it, in the file as well. Raises OSError."""
        if self.path is not None:
            with self._file:
                self.path.unlink(missing_ok=True)
                self._stamp = None
        self._forget()

    def _forget(self) -> None:
        with self._changed:
            self._known.clear()
            self._new.clear()
            self._since = _today()
            self.times_reset += 1

    def _add(self, language: str, what: str, bucket: int, number: int = 1) -> None:
        name = language[:MAX_NAME] or OTHERS
        with self._changed:
            known = _languages(self._known) | _languages(self._new)
            if name not in known and len(known) >= MAX_LANGUAGES:
                name = OTHERS
            self._new[name, what, bucket] += number

    def _set_aside(self, path: Path, why: ValueError) -> None:
        aside = path.with_suffix(".damaged")
        try:
            path.replace(aside)
        except OSError as error:
            self._complain(f"{path} is damaged ({why}) and cannot be moved ({error.strerror})")
        else:
            self._complain(f"The counts in {path} were damaged ({why}) and are in {aside} now")

    def _complain(self, what: str) -> None:
        logger.warning("%s", what)
        self.complaint = f"{what}. Counting goes on from nothing; infill-ls stats shows the counts."


def totals(acceptance: Acceptance) -> dict[str, Any]:
    """For people and `json.dumps`: sums over confidence, of each language and of all."""
    languages = {
        name: {what: sum(getattr(of, what)) for what in _BY_BUCKET}
        | {what: getattr(of, what) for what in _PLAIN}
        for name, of in acceptance.by_language().items()
    }
    return {
        "since": acceptance.since,
        "file": str(acceptance.path) if acceptance.path else None,
        "all": {
            what: sum(of[what] for of in languages.values()) for what in (*_BY_BUCKET, *_PLAIN)
        },
        "languages": languages,
    }


@cache
def _in(path: Path) -> Acceptance:
    acceptance = Acceptance(path)
    acceptance.load()
    return acceptance


def of_user() -> Acceptance:
    """This user's, one for all connections of a process."""
    return _in(platformdirs.user_data_path("infill-ls") / "acceptance.json")


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _languages(counts: _Counts) -> set[str]:
    return {language for language, _, _ in counts}


def _language_counts(language: str, *counts: _Counts) -> LanguageCounts:
    def number(what: str, bucket: int = 0) -> int:
        return sum(each[language, what, bucket] for each in counts)

    def by_bucket(what: str) -> tuple[int, ...]:
        return tuple(number(what, bucket) for bucket in range(BUCKETS))

    return LanguageCounts(
        shown=by_bucket("shown"),
        accepted=by_bucket("accepted"),
        dismissed=by_bucket("dismissed"),
        characters=number("characters"),
        looked_at=number("looked_at"),
        kept=number("kept"),
    )


def _stamp(path: Path) -> _Stamp | None:
    """None where there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError:  # who reads it will say so
        return 0, 0, 0
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path) -> tuple[str, _Counts]:
    """Since when is counted, and the counts. Raises OSError, and ValueError where it is no file of
    ours, or damaged."""
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    try:
        said = json.loads(data)
        datetime.fromisoformat(said["since"])
        languages = said["languages"].items()
        counts: _Counts = Counter()
        for name, of in languages:
            for what in _BY_BUCKET:
                for bucket, number in enumerate(of[what]):
                    counts[name, what, bucket] = _count(number)
            for what in _PLAIN:
                counts[name, what, 0] = _count(of[what])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return said["since"], +counts


def _count(number: Any) -> int:
    if type(number) is not int or not 0 <= number <= MAX_COUNT:
        raise ValueError(f"{str(number)[:40]} is no count")
    return number


def _write(path: Path, since: str, counts: _Counts) -> None:
    """The whole file or nothing, and only for this user to read. Raises OSError."""
    languages: dict[str, dict[str, Any]] = {}
    for name in sorted(_languages(counts)):
        of = _language_counts(name, counts)
        languages[name] = {what: getattr(of, what) for what in (*_BY_BUCKET, *_PLAIN)}
    data = json.dumps({"since": since, "languages": languages}).encode()
    descriptor, made = tempfile.mkstemp(prefix="acceptance-", dir=path.parent)  # mode 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(made, path)
    except OSError:
        with suppress(OSError):
            os.unlink(made)
        raise
