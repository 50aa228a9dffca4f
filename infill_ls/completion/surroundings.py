"""What an engine is told of other files than the one that is typed in."""

from collections.abc import Sequence
from dataclasses import dataclass

from infill_ls.documents import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """As `InfillRequest` has it: snippets to read, best first, and text to copy from; and the paths
    of the `files` that this text is of, in its order. `known` grows with what they were chosen
    from: 0 where nothing was yet, 1 while the files were read, 2 of all of them. They were asked
    for when files had been `lost` so many times."""

    neighbours: tuple[str, ...] = ()
    elsewhere: str = ""
    files: tuple[str, ...] = ()
    known: int = 0
    lost: int = 0


NOTHING_AROUND = Surroundings()

Gone = frozenset[str] | None
"""Files and folders that are no more; None where any of them may have come to be ignored."""


def any_gone(files: Sequence[str], gone: Gone) -> bool:
    """Whether one of the files is, or is in a folder that is."""
    if not gone:
        return gone is None and bool(files)
    return any(each in gone or not gone.isdisjoint(_folders(each)) for each in files)


def _folders(path: str) -> list[str]:
    return [path[:at] for at, character in enumerate(path) if character == "/"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where they are wanted: an offset in a document, among the open ones, of which those of the
    URIs in `edited` were changed lately; asked for at a second of `time.monotonic()`."""

    document: Document
    offset: int
    opened: tuple[Document, ...]
    edited: tuple[str, ...]
    asked: float
