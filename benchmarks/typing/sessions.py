"""What is typed: lines of held-out packages, with the rest of their package in the workspace.

The lines are taken out of their file and typed again. Which ones is decided by a hash of where they
are, the same on every machine. Knows no server.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import holdout
from infill_ls.cli.bench.cases import Source, hashed

LINES = 6  # of a session, at least half of them code
MIN_CHARS, MAX_CHARS = 60, 500
BEYOND_UTF16 = "\U00010000"  # from there on a character is two units of a position


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """`goal` is typed between `before`, which ends with the indentation of its line, and `after`,
    which begins with the goal's own line break. `others` are the package's other files, by path."""

    package: str
    path: str
    line: int
    language_id: str
    before: str
    goal: str
    after: str
    others: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"{self.package}/{self.path}:{self.line}"


def sessions(packages: dict[str, dict[str, Path]], count: int, seed: int) -> list[Session]:
    """At most so many, of every package as evenly as it goes, of other lines with another seed. A
    smaller count gives the head of what a larger one gives."""
    entries = [
        (group, name, path) for group, paths in packages.items() for name, path in paths.items()
    ]
    entries.sort(key=lambda entry: hashed(seed, *entry[:2]))
    going = [_of_package(*entry, seed) for entry in entries]
    found: list[Session] = []
    while going and len(found) < count:
        for each in going[:]:
            session = next(each, None)
            if session is None:
                going.remove(each)
            elif len(found) < count:
                found.append(session)
    return found


def _of_package(group: str, name: str, path: Path, seed: int) -> Iterator[Session]:
    """One of each file."""
    written = holdout.not_compiled(holdout.written(path, group))
    texts = {each: data.decode("utf-8", "replace") for each, data in written.items()}
    for source in sorted(
        holdout.sources(name, path, group), key=lambda each: hashed(seed, each.name)
    ):
        file = source.name.removeprefix(f"{name}/")
        others = {each: text for each, text in texts.items() if each != file}
        if (cut := _cut(source, seed)) is not None:
            row, (start, end) = cut
            goal = source.text[start:end]
            yield Session(
                package=name,
                path=file,
                line=row + 1,
                language_id=source.language_id,
                before=source.text[:start],
                goal=goal,
                after=source.text[end:],
                # A build that copies its sources is no other file.
                others={
                    each: text
                    for each, text in others.items()
                    if unindented(goal) not in unindented(text)
                },
            )


def unindented(text: str) -> str:
    return "\n".join(line.strip() for line in text.split("\n"))


def _cut(source: Source, seed: int) -> tuple[int, tuple[int, int]] | None:
    """The first row and the characters of what is typed in a file."""
    if max(source.text) >= BEYOND_UTF16:
        return None
    rows = {tokens[0].row: tokens[0].start for tokens in source.code_rows}
    for row in sorted(rows, key=lambda row: hashed(seed, source.name, row)):
        last = row + LINES - 1
        if last >= len(source.starts) - 2 or last not in rows:
            continue
        code = sum(each in rows for each in range(row, last + 1))
        start, end = rows[row], source.end_of(last)
        if 2 * code >= LINES and MIN_CHARS <= end - start <= MAX_CHARS:
            return row, (start, end)
    return None
