"""The texts of a workspace, their identifiers, and which files are like what is typed at a typed.

Belongs to one thread.
"""

import math
import posixpath
import re
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from infill_ls.completion.workspace.files import language_family
from infill_ls.completion.workspace.imports import Paths, imported
from infill_ls.syntax.language import language_id_of

MAX_FILES, MAX_CHARACTERS = 10_000, 30_000_000
PIECE = 8_000  # characters that are looked at at once: no other thread runs meanwhile
MANY = 32  # files that are compared in a millisecond
IDENTIFIER = re.compile(r"[^\W\d]\w{2,}")
NEAR_BEFORE, NEAR_AFTER = 3_000, 1_000  # characters round the cursor whose identifiers count
# What a file has in common with a place, from 0 to 1, is added to by these.
IMPORTED, EDITED, OPEN, COUNTERPART, SIBLING = 0.5, 0.4, 0.2, 0.3, 0.1
_TEST_NAME = re.compile(r"^(?:test_|spec_)|(?:[._-]?(?:test|tests|spec))$", re.IGNORECASE)


def nothing() -> None:
    """For who need not stand back."""


@dataclass(frozen=True, slots=True)
class File:
    """`identifiers` by their hashes, each once."""

    path: str
    text: str
    language_id: str
    identifiers: "array[int]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """Where somebody types: a file, and the text before and after the cursor."""

    path: str
    language_id: str
    before: str
    after: str


class Index:
    """At most 10,000 files of 30 MB together; what comes first stays."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.characters = 0
        self._paths: Paths | None = None

    def put(self, path: str, text: str | None) -> None:
        """A file as it is now; None where it is no more."""
        old = self.files.pop(path, None)
        if old is not None:
            self.characters -= len(old.text)
        if (old is None) != (text is None):
            self._paths = None
        room = len(self.files) < MAX_FILES
        if text is not None and room and self.characters + len(text) <= MAX_CHARACTERS:
            self.files[path] = file_of(path, text)
            self.characters += len(text)

    @property
    def full(self) -> bool:
        return len(self.files) >= MAX_FILES or self.characters >= MAX_CHARACTERS

    @property
    def paths(self) -> Paths:
        if self._paths is None:
            self._paths = Paths(self.files)
        return self._paths

    def ranked(
        self,
        typed: Typed,
        changed: Mapping[str, File],
        edited: Collection[str],
        stand_back: Callable[[], None] = nothing,
    ) -> Iterator[File]:
        """The files in the place's languages that are likeliest of use, best first. `changed` are
        open documents as they are now, over what was read; `edited` those of them that were.
        `stand_back` is called every millisecond or two."""
        family = language_family(typed.language_id)
        files = {
            path: file
            for path, file in {**self.files, **changed}.items()
            if file.language_id in family and path != typed.path
        }
        near = typed.before[-NEAR_BEFORE:] + typed.after[:NEAR_AFTER]
        common = _common(identifiers(near), files, stand_back)
        imports = set(imported(typed.before, typed.path, typed.language_id, self.paths))
        folder, stem = posixpath.dirname(typed.path), _stem(typed.path)
        worth = {
            path: share
            + IMPORTED * (path in imports)
            + EDITED * (path in edited)
            + OPEN * (path in changed)
            + SIBLING * (posixpath.dirname(path) == folder)
            + COUNTERPART * (_stem(path) == stem)
            for path, share in common.items()
        }
        for path in sorted(worth, key=lambda path: (-worth[path], path)):
            yield files[path]


def file_of(path: str, text: str, language_id: str = "") -> File:
    return File(path, text, language_id or language_id_of(path), array("I", identifiers(text)))


def identifiers(text: str) -> set[int]:
    """The hashes of names of three characters and more, 32 bits of each."""
    names: set[str] = set()
    start = 0
    while start < len(text):
        end = text.find("\n", start + PIECE) + 1 or len(text)
        names.update(IDENTIFIER.findall(text, start, end))
        start = end
    return {hash(name) & 0xFFFF_FFFF for name in names}


def _common(
    near: set[int], files: Mapping[str, File], stand_back: Callable[[], None]
) -> dict[str, float]:
    """Of each file the share of the identifiers that it has; rare ones count for more."""
    shared: dict[str, set[int]] = {}
    for path, file in files.items():
        shared[path] = near.intersection(file.identifiers)
        if len(shared) % MANY == 0:
            stand_back()
    counts = Counter(each for found in shared.values() for each in found)
    weights = {each: math.log((1 + len(files)) / count) for each, count in counts.items()}
    every = sum(weights.values()) or 1.0
    return {path: sum(weights[each] for each in found) / every for path, found in shared.items()}


def _stem(path: str) -> str:
    """A file's name without its ending, and without what makes it a test's."""
    return _TEST_NAME.sub("", posixpath.basename(path).partition(".")[0]).lower()
