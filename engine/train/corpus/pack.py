"""The tokenizer, and shards of tokens and spans, from the files that are kept."""

import json
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from train import shards, spans, tokenizer
from train.corpus.packages import Package, is_validation
from train.corpus.state import SourceFile, kept_files, packed_packages, replace, say
from train.holes import KINDS

CORPUS_DATE = "2026-11-21"


def train_tokenizer(root: Path, target: Path, vocabulary: int, megabytes: float) -> None:
    """Train the BPE on a sample of the training files."""

    def training() -> Iterator[SourceFile]:
        return (file for package, file in kept_files(root) if not is_validation(package.name))

    total = sum(len(file.text) for file in training())
    share = min(1.0, megabytes * 1e6 / max(total, 1))
    say(f"tokenizer: {total * share / 1e6:.0f} MB of {total / 1e6:.0f} MB")
    sample = (file.text for file in training() if int(file.digest[:8], 16) / 2**32 < share)
    tokenizer.save(tokenizer.train(sample, vocabulary), target)


class PieceIds(dict[str, tuple[int, ...]]):
    """The ids of pre-split pieces, remembered: source repeats itself."""

    def __init__(self, path: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(path))

    def __missing__(self, piece: str) -> tuple[int, ...]:
        if len(self) > 1_000_000:
            self.clear()
        self[piece] = ids = tuple(self._tokenizer.encode(piece, add_special_tokens=False).ids)
        return ids


class OpenShard:
    """The documents of a shard that is not written yet."""

    def __init__(self) -> None:
        self.tokens = 0
        self._rows: list[tuple[NDArray[np.uint16], int, list[tuple[int, int, int]]]] = []

    def add(self, packed: spans.Packed, language: str) -> None:
        tokens = np.array(packed.tokens, np.uint16)
        self._rows.append((tokens, tokenizer.LANGUAGES.index(language), packed.spans))
        self.tokens += len(tokens)

    def write(self, path: Path, seed: int) -> bool:
        """Write what there is and be empty again; whether there was anything."""
        if not self._rows:
            return False
        # Neighbours of one package are far apart, so that a batch of windows mixes packages.
        order = np.random.default_rng(seed).permutation(len(self._rows))
        shards.save(shards.shard_of([self._rows[i] for i in order]), path)
        say(f"pack: {path.name}, {self.tokens / 1e6:.1f}M tokens")
        self._rows, self.tokens = [], 0
        return True


def pack(root: Path, tokenizer_path: Path, shard_tokens: int, limit: int) -> None:
    """Write shards/val.npz and shards/train-NNN.npz; `limit` training tokens at most (0: all).

    Packages that shards hold already are skipped and the numbers go on, so that a trainer that
    watches the folder gets what is new. val.npz is written once: its figures stay comparable.
    """
    folder = root / "shards"
    folder.mkdir(exist_ok=True)
    ids = PieceIds(tokenizer_path)
    number, done = packed_packages(root)
    validated = (folder / "val.npz").exists() and bool(done)
    validation, training = OpenShard(), OpenShard()
    counts: Counter[str] = Counter()
    added: set[Package] = set()
    total = 0
    for package, file in kept_files(root, without=done):
        held = is_validation(package.name)
        if held and validated:
            continue
        added.add(package)
        seed = int(file.digest[:12], 16)
        packed = spans.pack(file.text, file.language, file.path, ids.__getitem__, seed)
        counts.update(_counts(packed, f"{'val' if held else 'train'} {file.language} tokens"))
        (validation if held else training).add(packed, file.language)
        if held:
            continue
        validation.write(folder / "val.npz", number)
        total += len(packed.tokens)
        if training.tokens >= shard_tokens:
            number += training.write(folder / f"train-{number:03}.npz", number)
        if limit and total >= limit:
            break
    validation.write(folder / "val.npz", number)
    number += training.write(folder / f"train-{number:03}.npz", number)
    state = {"shards": number, "packages": sorted(done | added)}
    replace(folder / "packages.json", json.dumps(state).encode())
    write_manifest(root, done | added)
    path = root / "packed.json"
    if path.exists():
        counts.update(json.loads(path.read_text(encoding="utf-8")))
    replace(path, json.dumps(dict(sorted(counts.items())), indent=1).encode())
    say(json.dumps(counts, indent=1))


def _counts(packed: spans.Packed, tokens: str) -> Counter[str]:
    counts = Counter(f"spans {KINDS[kind]}" for _, _, kind in packed.spans)
    counts[tokens] = len(packed.tokens)
    counts["spans"] = len(packed.spans)
    counts["spans that cut a piece"] = packed.cuts
    counts["spans that cut a word"] = packed.words_cut
    return counts


def write_manifest(root: Path, packages: Container[Package]) -> None:
    """MANIFEST.tsv: of each package in shards its version, licence, archive hash and index."""
    rows = []
    for path in (root / "filtered").glob("*/*.json"):
        fact = json.loads(path.read_text(encoding="utf-8"))
        if Package(fact["index"], fact["name"]) in packages:
            cells = (fact[key] for key in ("name", "version", "licence", "sha256", "index"))
            rows.append("\t".join(" ".join(str(cell).split()) for cell in cells) + "\n")
    head = f"# corpus of {CORPUS_DATE}; nothing uploaded later is in it\n"
    columns = "package\tversion\tlicence\tsha256\tsource\n"
    replace(root / "MANIFEST.tsv", (head + columns + "".join(sorted(rows))).encode())
