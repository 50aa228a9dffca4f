"""What stands under the corpus' root between its stages, and where.

fetch/{pypi,npm}/NAME/               the archive as the index gave it
filtered/{pypi,npm}/NAME.jsonl.gz    the files that passed the filters, a JSON object a line
filtered/{pypi,npm}/NAME.json        the package's facts; written last, so that it means done
kept.json                            which of those files are kept, and counts
shards/packages.json                 the packages whose files are in shards
"""

import gzip
import json
import os
import sys
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from train.corpus.packages import Package


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file that passed the filters."""

    path: str
    language: str
    text: str
    digest: str  # sha1 of the text with white space folded
    signature: tuple[int, ...]  # MinHash, empty for a file too short to compare
    grams: tuple[int, ...]  # benchmark 10-grams it holds


def archive_folder(root: Path, package: Package) -> Path:
    """Where a package's archive lies."""
    return root / "fetch" / package.source / package.file_name


def files_path(root: Path, package: Package) -> Path:
    """Where a package's filtered files are."""
    return root / "filtered" / package.source / f"{package.file_name}.jsonl.gz"


def facts_path(root: Path, package: Package) -> Path:
    """Where a package's facts are."""
    return root / "filtered" / package.source / f"{package.file_name}.json"


def source_files(root: Path, package: Package) -> Iterator[SourceFile]:
    """The filtered files of a package, in their order."""
    with gzip.open(files_path(root, package), "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            row["signature"], row["grams"] = tuple(row["signature"]), tuple(row["grams"])
            yield SourceFile(**row)


def kept_files(
    root: Path, without: Container[Package] = ()
) -> Iterator[tuple[Package, SourceFile]]:
    """Everything kept but for some packages, the packages in a mixed order."""
    kept = json.loads((root / "kept.json").read_text(encoding="utf-8"))["kept"]
    for row, numbers in kept:
        package, wanted = Package(*row), set(numbers)
        if package not in without:
            for number, file in enumerate(source_files(root, package)):
                if number in wanted:
                    yield package, file


def packed_packages(root: Path) -> tuple[int, set[Package]]:
    """How many training shards are whole, and the packages whose files they hold."""
    path = root / "shards" / "packages.json"
    if not path.exists():
        return 0, set()
    state = json.loads(path.read_text(encoding="utf-8"))
    return state["shards"], {Package(*row) for row in state["packages"]}


def replace(path: Path, data: bytes) -> None:
    """Write a file by rename, so that a reader never sees half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.replace(path)


def say(*words: object) -> None:
    """One line of progress."""
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)
