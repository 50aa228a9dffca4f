"""Shards of tokenised documents: as arrays to train from, and packed small enough to carry.

Knows numpy only, so that a machine without tokenizer and grammars can unpack and read.
"""

import json
import lzma
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Two-byte symbols, and no literal context: 4.3 bits a token.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 1, "pb": 1, "dict_size": 1 << 26}]
NAMES = ("tokens", "doc_starts", "doc_language", "span_start", "span_end", "span_kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Documents in a row, without sentinels, and the spans that may be made holes of."""

    tokens: NDArray[np.uint16]  # [n]
    doc_starts: NDArray[np.int64]  # [d + 1]
    doc_language: NDArray[np.uint8]  # [d], an index of the language tags
    span_start: NDArray[np.int32]  # [s], offsets into tokens, sorted
    span_end: NDArray[np.int32]
    span_kind: NDArray[np.uint8]


def shard_of(
    documents: Iterable[tuple[Sequence[int], int, Sequence[tuple[int, int, int]]]],
) -> Shard:
    """A shard of (token ids, language, spans in the document) triples."""
    tokens: list[NDArray[np.uint16]] = []
    spans: list[NDArray[np.int64]] = []
    starts, languages = [0], []
    for ids, language, document_spans in documents:
        tokens.append(np.array(ids, np.uint16))
        table = np.array(document_spans, np.int64).reshape(-1, 3)
        table[:, :2] += starts[-1]
        spans.append(table)
        starts.append(starts[-1] + len(ids))
        languages.append(language)
    table = np.concatenate(spans)
    return Shard(
        tokens=np.concatenate(tokens),
        doc_starts=np.array(starts, np.int64),
        doc_language=np.array(languages, np.uint8),
        span_start=table[:, 0].astype(np.int32),
        span_end=table[:, 1].astype(np.int32),
        span_kind=table[:, 2].astype(np.uint8),
    )


def save(shard: Shard, path: Path) -> None:
    """Write a shard by rename, so that a trainer watching the folder never reads half of it."""
    partial = path.with_name(f".{path.name}")
    with partial.open("wb") as file:
        np.savez(file, **{name: getattr(shard, name) for name in NAMES})
    partial.replace(path)


def load(path: Path) -> Shard:
    """Read what `save` wrote."""
    with np.load(path) as arrays:
        return Shard(**{name: arrays[name] for name in NAMES})


def num_tokens(path: Path) -> int:
    """How many tokens a saved shard has, without reading them."""
    with np.load(path) as arrays:
        return int(arrays["doc_starts"][-1])


def carried(shard: Shard) -> bytes:
    """A shard as xz: what compresses well is stored as differences."""
    order = (
        shard.tokens,
        np.diff(shard.doc_starts).astype(np.uint32),
        shard.doc_language,
        np.diff(shard.span_start, prepend=np.int32(0)).astype(np.uint16),
        (shard.span_end - shard.span_start).astype(np.uint8),
        shard.span_kind,
    )
    assert np.diff(shard.span_start, prepend=np.int32(0)).max(initial=0) < 1 << 16, (
        "a document of 64 Ki tokens has a span"
    )
    head = json.dumps([[str(array.dtype), len(array)] for array in order]).encode() + b"\n"
    packed = [lzma.compress(array.tobytes(), lzma.FORMAT_XZ, filters=FILTERS) for array in order]
    sizes = json.dumps([len(part) for part in packed]).encode() + b"\n"
    return head + sizes + b"".join(packed)


def unpacked(data: bytes) -> Shard:
    """The shard that `carried` packed."""
    head, sizes, rest = data.split(b"\n", 2)
    arrays, at = [], 0
    for (dtype, count), size in zip(json.loads(head), json.loads(sizes), strict=True):
        array = np.frombuffer(lzma.decompress(rest[at : at + size]), dtype)
        assert len(array) == count, "the packed shard is whole"
        arrays.append(array)
        at += size
    tokens, lengths, languages, gaps, widths, kinds = arrays
    start = gaps.astype(np.int32).cumsum(dtype=np.int32)
    return Shard(
        tokens=tokens,
        doc_starts=np.concatenate(([0], lengths.astype(np.int64).cumsum())),
        doc_language=languages,
        span_start=start,
        span_end=(start + widths).astype(np.int32),
        span_kind=kinds,
    )
