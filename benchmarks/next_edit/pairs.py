"""Edits that people made: files that differ a little between two releases of a package.

The packages are held out from training by their names, their releases at fixed versions, fetched
with pip and npm; those without a permissive licence are left out. A hunk is a run of changed lines.
The first one of a file is taken for what the user did, the others for what is due then. Knows no
server.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from itertools import chain, pairwise, zip_longest
from pathlib import Path

from benchmarks.holdout import TESTS, not_compiled, written
from infill_ls.cli.bench.cases import hashed
from infill_ls.syntax.language import language_id_of
from train.corpus.archives import package_facts
from train.corpus.fetch import fetch_one
from train.corpus.packages import Package
from train.corpus.reject import GENERATED_HEAD, GENERATED_NAME
from train.corpus.state import archive_folder

PYTHON = {
    "boltons": "23.0.0 24.0.0 24.1.0 25.0.0 26.0.0 26.1.0 26.2.0",
    "glom": "20.11.0 22.1.0 23.1.1 23.3.0 23.5.0 24.11.0 25.12.0",
    "pydash": "5.1.2 6.0.0 7.0.0 7.0.7 8.0.0 8.0.5 8.1.0",
    "humanize": "4.4.0 4.6.0 4.8.0 4.10.0 4.12.0 4.13.0 4.15.0 4.17.0",
    "more-itertools": "9.1.0 10.0.0 10.2.0 10.4.0 10.6.0 10.8.0 11.0.0 11.2.1",
    "networkx": "2.8.8 3.0 3.1 3.2.1 3.3 3.4.2 3.5 3.6.1",
    "mistune": "3.0.0 3.0.2 3.1.0 3.1.4 3.2.1 3.3.0 3.3.4 3.4.0",
    "cookiecutter": "2.1.1 2.2.3 2.3.0 2.4.0 2.5.0 2.6.0 2.7.1",
    "bandit": "1.7.5 1.7.7 1.7.9 1.8.0 1.8.6 1.9.1 1.9.4",
    "ipython": "9.0.0 9.3.0 9.6.0 9.9.0 9.13.0 9.15.0 9.18.1",
    "referencing": "0.29.1 0.30.2 0.31.1 0.33.0 0.35.1 0.36.2 0.37.0",
    "motor": "3.0.0 3.2.0 3.4.0 3.5.3 3.7.1",
    "sqlfluff": "3.0.0 3.1.0 3.2.0 3.3.0 3.4.0 3.5.0 4.0.0 4.1.0 4.3.0 4.5.0",
}
SCRIPTS = {
    "luxon": "2.5.0 3.0.0 3.2.0 3.3.0 3.4.0 3.5.0 3.7.2",
    "postcss": "8.4.0 8.4.21 8.4.38 8.5.0 8.5.10 8.5.20 8.5.33",
    "sinon": "15.0.0 16.1.3 17.0.0 18.0.0 19.0.0 20.0.0 21.0.0 22.1.0",
    "css-tree": "2.1.0 2.3.0 3.0.0 3.2.1",
    "express": "4.18.0 4.19.0 5.0.0 5.1.0 5.3.0",
}
MAX_HUNKS, MAX_LINES = 8, 3  # of a file, and of a hunk in either version
MAX_BYTES = 100_000
MAX_SPAN = 12  # lines of what is offered at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunk:
    """Lines [start, end) of the old version become `lines`, which have their line ends."""

    start: int
    end: int
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two versions of a file, and what differs."""

    name: str
    language_id: str
    old: str
    new: str
    hunks: tuple[Hunk, ...]

    @cached_property
    def edited(self) -> str:
        """The old version after the user's edit."""
        return applied(self.old, self.hunks[:1])

    @property
    def cursor_line(self) -> int:
        """Where typing the first hunk leaves the cursor."""
        first = self.hunks[0]
        return first.start + max(len(first.lines) - 1, 0)

    def right(self, text: str) -> bool:
        """Whether `text` is what the user made with further edits of theirs made: one place."""
        after = text.splitlines(keepends=True)
        return after != self._lines and self.due(0, len(self._lines), after)

    def due(self, start: int, end: int, lines: Sequence[str]) -> bool:
        """Whether further edits of the user's make lines [start, end), with their line ends, after
        the first edit `lines`, and nothing else: one place."""
        return least(self._lines, Hunk(start=start, end=end, lines=tuple(lines))) in self._further

    @cached_property
    def _lines(self) -> list[str]:
        return self.edited.splitlines(keepends=True)

    @cached_property
    def _further(self) -> frozenset[Hunk]:
        first = self.hunks[0]
        moved = len(first.lines) - (first.end - first.start)
        return frozenset(one_place(self._lines, self.hunks[1:], moved))

    def begun(self, text: str) -> bool:
        """Whether `text` is the older version with edits of the user's made: one place."""
        before, after = (each.splitlines(keepends=True) for each in (self.old, text))
        whole = Hunk(start=0, end=len(before), lines=tuple(after))
        return after != before and least(before, whole) in set(one_place(before, self.hunks))


def one_place(lines: Sequence[str], hunks: Iterable[Hunk], moved: int = 0) -> Iterator[Hunk]:
    """What may be made of `lines` at once: hunks that are near each other, or lines of theirs.
    Those that the hunks stand on are `moved` by so many."""
    due = list(chain.from_iterable(map(single_lines, hunks)))
    for low, begin in enumerate(due):
        new: tuple[str, ...] = ()
        at = begin.start
        for hunk in due[low:]:
            if hunk.end - begin.start > MAX_SPAN:
                break
            new += (*lines[at + moved : hunk.start + moved], *hunk.lines)
            at = hunk.end
            yield least(lines, Hunk(start=begin.start + moved, end=at + moved, lines=new))


def by_release(given: Sequence[Pair]) -> dict[str, list[Pair]]:
    """By package and releases, as somebody goes through its files: by their paths."""
    found: dict[str, list[Pair]] = {}
    for pair in sorted(given, key=lambda pair: pair.name):
        found.setdefault(pair.name.partition("/")[0], []).append(pair)
    return found


def least(before: Sequence[str], hunk: Hunk) -> Hunk:
    """What differs, as early as it can stand: of two like lines either may be the new one."""
    start, end, lines = hunk.start, hunk.end, list(hunk.lines)
    while start < end and lines and before[end - 1] == lines[-1]:
        end -= 1
        lines.pop()
    while start < end and lines and before[start] == lines[0]:
        start += 1
        del lines[0]
    while start == end and lines and start and before[start - 1] == lines[-1]:
        start, end, lines = start - 1, end - 1, [lines[-1], *lines[:-1]]
    while not lines and start < end and start and before[start - 1] == before[end - 1]:
        start, end = start - 1, end - 1
    return Hunk(start=start, end=end, lines=tuple(lines))


def single_lines(hunk: Hunk) -> list[Hunk]:
    """A hunk that leaves the number of its lines as it is, line by line; another one as it is."""
    if hunk.end - hunk.start != len(hunk.lines):
        return [hunk]
    return [
        Hunk(start=at, end=at + 1, lines=(line,)) for at, line in enumerate(hunk.lines, hunk.start)
    ]


def applied(old: str, hunks: Sequence[Hunk]) -> str:
    """`hunks` in their order."""
    lines = old.splitlines(keepends=True)
    for hunk in reversed(hunks):
        lines[hunk.start : hunk.end] = hunk.lines
    return "".join(lines)


def hunks_of(old: str, new: str) -> tuple[Hunk, ...]:
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    return tuple(
        Hunk(start=start, end=end, lines=tuple(after[low:high]))
        for what, start, end, low, high in matcher.get_opcodes()
        if what != "equal"
    )


def pair_of(name: str, old: bytes, new: bytes) -> Pair | None:
    """None where the versions differ by more than a little; no hunks where they are the same."""
    if max(len(old), len(new)) > MAX_BYTES:
        return None
    try:
        before, after = (data.decode("utf-8").replace("\r\n", "\n") for data in (old, new))
    except UnicodeDecodeError:
        return None
    if len(before.splitlines()) != before.count("\n") or GENERATED_HEAD.search(before[:600]):
        return None
    if abs(before.count("\n") - after.count("\n")) > MAX_HUNKS * MAX_LINES:
        return None
    hunks = hunks_of(before, after)
    small = all(max(hunk.end - hunk.start, len(hunk.lines)) <= MAX_LINES for hunk in hunks)
    if len(hunks) > MAX_HUNKS or not small:
        return None
    return Pair(name=name, language_id=language_id_of(name), old=before, new=after, hunks=hunks)


def pairs(
    cache: Path,
    limit: int,
    say: Callable[[str], None],
    python: dict[str, str] = PYTHON,
    scripts: dict[str, str] = SCRIPTS,
) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """At most `limit` with more than one hunk, as many with one alone, and as many that are the
    same, of every package as evenly as it goes; a smaller limit gives the head of what a larger one
    gives."""
    found: list[list[Pair]] = []
    for name, releases in {**python, **scripts}.items():
        index = "npm" if name in scripts else "pypi"
        of_package = list(chain.from_iterable(_between(cache, index, name, releases, say)))
        found.append(sorted(of_package, key=lambda pair: hashed("next_edit", pair.name)))
    several = [[pair for pair in each if len(pair.hunks) > 1] for each in found]
    single = [[pair for pair in each if len(pair.hunks) == 1] for each in found]
    same = [[pair for pair in each if not pair.hunks] for each in found]
    return _in_turn(several)[:limit], _in_turn(single)[:limit], _in_turn(same)[:limit]


def _between(
    cache: Path, index: str, name: str, releases: str, say: Callable[[str], None]
) -> Iterator[list[Pair]]:
    """Of each release and the next one."""
    separator, group = ("@", "scripts") if index == "npm" else ("==", "python")
    found: list[tuple[str, dict[str, bytes]]] = []
    for version in releases.split():
        package = Package(index, name + separator + version)
        folder = archive_folder(cache, package)
        reason = "" if folder.exists() else fetch_one(cache, package)
        archive = next((path for path in folder.glob("*") if path.suffix in (".whl", ".tgz")), None)
        if archive is None:
            say(f"{package.name} is left out: {reason or 'no archive'}")
            continue
        facts = package_facts(archive)
        if facts.licence is None:
            say(f"{package.name} is left out: {facts.reason}")
            continue
        files = written(folder, group)
        found.append((version, not_compiled(files) if group == "scripts" else files))
    for (before, old), (after, new) in pairwise(found):
        yield [
            pair
            for path in sorted(old.keys() & new.keys())
            if not GENERATED_NAME.search(path) and not TESTS.search("/" + path)
            if (pair := pair_of(f"{name} {before} {after}/{path}", old[path], new[path]))
        ]


def _in_turn(lists: Sequence[Sequence[Pair]]) -> list[Pair]:
    """The first of each, the second of each, and so on."""
    return [pair for pair in chain.from_iterable(zip_longest(*lists)) if pair is not None]
