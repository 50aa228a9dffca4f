"""Keep benchmark texts out of the training set, by hashes that can be committed.

A file is compared by 10-grams of lexer tokens (comments and docstrings lexed as text), by runs of
consecutive matching 10-grams as long as a 50-token window, and by runs of 10 lines. Only 40-bit
hashes of the benchmark's grams are kept, so the check repeats without the benchmark's text.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LEXEME = re.compile(r"[A-Za-z_]\w*|\d+|[^\s\w]")
GRAM = 10
WINDOW = 50
LINE_RUN = 10
# The names that mark a copy of the benchmarks wherever they stand.
MARKS = ("has_close_elements", "HumanEval", "MBPP")
Hashes = NDArray[np.uint64]


class _HashOf(dict[str, int]):
    """A stable 64-bit hash of a string, remembered."""

    def __missing__(self, key: str) -> int:
        if len(self) > 2_000_000:
            self.clear()
        value = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
        self[key] = value
        return value


_hash_of = _HashOf()


def hashes_of(strings: Iterable[str]) -> Hashes:
    """One stable hash per string."""
    return np.fromiter(map(_hash_of.__getitem__, strings), np.uint64)


def grams(hashes: Hashes, size: int) -> Hashes:
    """The hash of each run of `size` consecutive hashes, well mixed in all bits."""
    count = len(hashes) - size + 1
    if count <= 0:
        return np.empty(0, np.uint64)
    rolled = np.zeros(count, np.uint64)
    for offset in range(size):
        rolled *= np.uint64(0x9E3779B97F4A7C15)
        rolled += hashes[offset : offset + count]
    rolled ^= rolled >> np.uint64(32)
    rolled *= np.uint64(0xD6E8FEB86659FD93)
    rolled ^= rolled >> np.uint64(32)
    return rolled


def lexemes(text: str) -> Hashes:
    """The hashes of a text's lexer tokens."""
    return hashes_of(LEXEME.findall(text))


def lines_of(text: str) -> Hashes:
    """The hashes of the lines that are not blank, without the space around them."""
    return hashes_of(line for line in map(str.strip, text.split("\n")) if line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """40-bit hashes of what must not be trained on, each array sorted."""

    token_grams: Hashes
    line_runs: Hashes


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What a file shares with the benchmarks: gram hashes, the longest run of them, line runs."""

    token_grams: tuple[int, ...]
    longest: int  # consecutive grams
    line_run: bool

    @property
    def window(self) -> bool:
        """Whether 50 consecutive tokens are shared: as many 10-grams in a row as they hold."""
        return self.longest >= WINDOW - GRAM + 1


NO_MATCH = Match(token_grams=(), longest=0, line_run=False)


def short(hashes: Hashes) -> Hashes:
    """The upper 40 bits, which is what is stored and compared."""
    return hashes >> np.uint64(24)


def benchmark_of(texts: Iterable[str]) -> Benchmark:
    """The hashes of benchmark texts."""
    token_grams: list[Hashes] = []
    line_runs: list[Hashes] = []
    for text in texts:
        token_grams.append(short(grams(lexemes(text), GRAM)))
        line_runs.append(short(grams(lines_of(text), LINE_RUN)))
    return Benchmark(
        token_grams=np.unique(np.concatenate(token_grams)),
        line_runs=np.unique(np.concatenate(line_runs)),
    )


def _members(hashes: Hashes, of: Hashes) -> NDArray[np.bool_]:
    if not len(of) or not len(hashes):
        return np.zeros(len(hashes), np.bool_)
    at = np.searchsorted(of, hashes)
    at[at == len(of)] = 0
    found: NDArray[np.bool_] = of[at] == hashes
    return found


def match(tokens: Hashes, text: str, benchmark: Benchmark) -> Match:
    """What a text, whose lexemes are `tokens`, shares with the benchmarks."""
    hashes = short(grams(tokens, GRAM))
    found = _members(hashes, benchmark.token_grams)
    run = bool(_members(short(grams(lines_of(text), LINE_RUN)), benchmark.line_runs).any())
    if not found.any():
        return Match(token_grams=(), longest=0, line_run=True) if run else NO_MATCH
    edges = np.flatnonzero(np.diff(np.concatenate(([0], found.view(np.int8), [0]))))
    longest = int((edges[1::2] - edges[::2]).max())
    shared = tuple(int(h) for h in np.unique(hashes[found]))
    return Match(token_grams=shared, longest=longest, line_run=run)


def benchmark_texts(data: Path) -> Iterator[str]:
    """Every distinct text of the HumanEval-Infilling and HumanEval-X files under a folder."""
    seen: set[str] = set()
    for path in sorted(data.glob("humaneval*/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                case = json.loads(line)
                whole = case["prompt"] + case["canonical_solution"] + case.get("suffix", "")
                for text in (whole, case.get("test", "")):
                    if text and text not in seen:
                        seen.add(text)
                        yield text.replace("\r\n", "\n")


def save(benchmark: Benchmark, path: Path) -> None:
    """Write the hashes, five bytes each."""

    def packed(hashes: Hashes) -> NDArray[np.uint8]:
        return hashes.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :5]

    np.savez_compressed(
        path,
        token_grams=packed(benchmark.token_grams),
        line_runs=packed(benchmark.line_runs),
    )


def load(path: Path) -> Benchmark:
    """Read what `save` wrote; OSError when it is not there."""

    def unpacked(rows: NDArray[np.uint8]) -> Hashes:
        wide = np.zeros((len(rows), 8), np.uint8)
        wide[:, :5] = rows
        return wide.view("<u8").reshape(-1).astype(np.uint64)

    with np.load(path) as arrays:
        return Benchmark(
            token_grams=unpacked(arrays["token_grams"]), line_runs=unpacked(arrays["line_runs"])
        )
