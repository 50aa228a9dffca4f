"""How often what a rule proposed was made after all: what a formatter or a new release of a library
asks for is due again and again, and what it does not ask for never is."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from infill_ls.completion.next_edit.changes import LineChange

Lines = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expected:
    """A rule's proposal, by what it says: where it stands is another place after each edit. Lines
    that both begin or end with are left out."""

    rule: str
    old: Lines
    new: Lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """By rule how many proposals were made and how many were not, in so many documents."""

    made: Mapping[str, int] = field(default_factory=dict)
    unmade: Mapping[str, int] = field(default_factory=dict)
    documents: int = 0


NO_RECORD = Record()


def expected(rule: str, old: Sequence[str], new: Sequence[str]) -> Expected:
    head, most = 0, min(len(old), len(new))
    while head < most and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < most - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return Expected(rule, tuple(old[head : len(old) - tail]), tuple(new[head : len(new) - tail]))


def record_of(documents: Iterable[tuple[Collection[Expected], Iterable[LineChange]]]) -> Record:
    """Of each document what was expected of it, and what was changed in it."""
    made, unmade, count = Counter[str](), Counter[str](), 0
    for of_rules, changes in documents:
        count += 1
        done = set[tuple[Lines, Lines]]()
        for change in changes:
            done.add((change.old, change.new))
            if len(change.old) == len(change.new):
                done.update(
                    ((old,), (new,)) for old, new in zip(change.old, change.new, strict=True)
                )
        for each in of_rules:
            (made if (each.old, each.new) in done else unmade)[each.rule] += 1
    return Record(made=made, unmade=unmade, documents=count)
