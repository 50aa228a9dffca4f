"""Somebody who types what a file says, and takes what is suggested where it says the same.

Knows no server: a `System` is whatever suggests.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.typing.sessions import Session

LEAST = 3  # characters that are worth a Tab
# From a suggestion to the key that takes it: it is read first. (Seconds; faster than most.)
READ_SECONDS = 0.35
READY_MS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is shown behind the cursor, "" where nothing is.

    `how` is where it came from, as the server's log has it; `judged` whether a judge looked at it;
    `fault` what is wrong with the answer itself, "" where nothing is.
    """

    text: str = ""
    ms: float = 0.0
    how: str = ""
    judged: bool = False
    fault: str = ""


COUNTS = (
    *("characters", "keys", "taken", "shown", "right", "wrong", "noise", "judged"),
    *("accepted", "ready"),
)


class System(Protocol):
    """Suggests in one session at a time."""

    def begin(self, session: Session) -> None: ...

    def insert(self, text: str) -> None:
        """At the cursor."""
        ...

    def suggest(self) -> Answer: ...


@dataclass(slots=True)
class Tally:
    """Of one session or of many. `characters` are those that would be keys without suggestions: an
    editor indents by itself. `shown` counts what was shown, each until it changed; `accepted` the
    keys that took something and after which something was left to write, `ready` those of them
    after which the answer was there at once."""

    characters: int = 0
    keys: int = 0
    taken: int = 0
    shown: int = 0
    right: int = 0
    wrong: int = 0
    noise: int = 0
    accepted: int = 0
    ready: int = 0
    ms: list[float] = field(default_factory=list)
    hows: Counter[str] = field(default_factory=Counter)
    judged: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.ms += other.ms
        self.hows += other.hows
        self.faults += other.faults


def type_session(system: System, session: Session, key_seconds: float) -> Tally:
    """With so many seconds from one key to the next, or as long as an answer takes; a suggestion
    is read before it is taken."""
    system.begin(session)
    left, tally = session.goal, Tally(characters=keys_of(session.goal))
    before = ""  # what would still be shown if nothing new were
    take = False
    while left:
        pressed = time.monotonic()
        answer = system.suggest()
        tally.accepted += take
        tally.ready += take and answer.ms <= READY_MS and not answer.fault
        text = answer.text.rstrip()
        _note(tally, answer)
        said = left[: right(text, left)]
        if text and text != before:
            tally.shown += 1
            tally.right += bool(said)
            tally.wrong += not said
            tally.noise += not said and not left.partition("\n")[0].strip()
        take = len(said.strip()) >= LEAST
        typed = said if take else next_key(left)
        if take:
            tally.taken += keys_of(said)
        tally.keys += 1
        before = "" if take else text.removeprefix(typed) if text.startswith(typed) else ""
        pause = max(key_seconds, READ_SECONDS) if take and key_seconds else key_seconds
        time.sleep(max(0.0, pressed + pause - time.monotonic()))
        system.insert(typed)
        left = left[len(typed) :]
    return tally


def _note(tally: Tally, answer: Answer) -> None:
    tally.ms.append(answer.ms)
    tally.hows[answer.how] += 1
    tally.judged += answer.judged
    if answer.fault:
        tally.faults[answer.fault] += 1


def right(shown: str, goal: str) -> int:
    """How many characters of the goal the suggestion says: as many of its lines as are right, none
    where the first is not. The last of them may say the beginning of a line."""
    said = 0
    at = -1
    while shown and at < len(shown):
        at = shown.find("\n", at + 1)
        at = len(shown) if at < 0 else at
        if not goal.startswith(shown[:at]):
            break
        said = at
    return said


def next_key(goal: str) -> str:
    """A character, or a line break with the indentation that the editor puts behind it."""
    if goal[0] != "\n":
        return goal[0]
    rest = goal[1:]
    return goal[: 1 + len(rest) - len(rest.lstrip(" \t"))]


def keys_of(text: str) -> int:
    """How many keys it takes to type it."""
    first, *lines = text.split("\n")
    return len(first) + sum(1 + len(line.lstrip(" \t")) for line in lines)
