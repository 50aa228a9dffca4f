"""Counts what follows what in the training shards, and keeps what is worth its bytes.

    PYTHONPATH=engine:kernels python -m train.ngram_table --data data/shards --out data/ngram_table

A network that is taught on the documents its table was counted on learns to trust it too much: it
has seen them all. So a fifth of the documents (of other packages, but for one at each border) is
not counted and is what training goes on from: OUT/table.safetensors is the table, OUT/shards the
fifth, with the validation shard beside it.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from infill_engine.models.two_sided.ngram_table import (
    MAX_ORDER,
    NgramTable,
    contexts,
    packed,
    to_arrays,
)
from infill_engine.models.writing import write_whole
from train.shards import Shard, load, save, shard_of

KEPT = 0.2  # of the documents: to read, not to count
GROUP = 96  # documents that count once, about a package
LEAST_GROUPS = 2
LEAST_SHARE = 0.12
DISCOUNT = 0.75  # absolute discounting, as of Kneser and Ney

Keys = NDArray[np.uint64]
Counts = NDArray[np.int64]


def in_order(shard: Shard, number: int) -> NDArray[np.int64]:
    """Indices of a shard's documents, package after package: undoes `OpenShard.write`."""
    order = np.random.default_rng(number).permutation(len(shard.doc_language))
    return np.argsort(order)


def document(shard: Shard, index: int) -> NDArray[np.uint16]:
    return shard.tokens[shard.doc_starts[index] : shard.doc_starts[index + 1]]


def part(shard: Shard, documents: Sequence[int]) -> Shard:
    """A shard of some of the documents of another."""
    taken = []
    for index in documents:
        low, high = int(shard.doc_starts[index]), int(shard.doc_starts[index + 1])
        a, z = shard.span_start.searchsorted(np.array((low, high), shard.span_start.dtype))
        spans = [
            (int(first) - low, int(last) - low, int(kind))
            for first, last, kind in zip(
                shard.span_start[a:z], shard.span_end[a:z], shard.span_kind[a:z], strict=True
            )
            if last <= high
        ]
        taken.append((shard.tokens[low:high].tolist(), int(shard.doc_language[index]), spans))
    return shard_of(taken)


def runs(groups: Sequence[Sequence[NDArray[np.uint16]]], order: int, vocab: int) -> Keys:
    """Every (context, next token) of each group once, sorted: ids as digits, the next one last."""
    assert vocab ** (MAX_ORDER + 1) < 2**63, (
        f"{vocab} tokens are too many for contexts of {MAX_ORDER}"
    )
    found = []
    for group in groups:
        keys = []
        for ids in group:
            count = len(ids) - order
            if count <= 0:
                continue
            key = np.zeros(count, np.uint64)
            for j in range(order + 1):
                key = key * np.uint64(vocab) + ids[j : j + count]
            keys.append(key)
        if keys:
            found.append(np.unique(np.concatenate(keys)))
    everything = np.concatenate(found)
    everything.sort()
    return everything


def counted(
    groups: Sequence[Sequence[NDArray[np.uint16]]], order: int, vocab: int
) -> tuple[Keys, Counts]:
    """Different runs, and in how many groups each is."""
    everything = runs(groups, order, vocab)
    first = np.flatnonzero(np.concatenate(([True], everything[1:] != everything[:-1])))
    return everything[first], np.diff(first, append=len(everything))


def best(keys: Keys, counts: Counts, vocab: int) -> tuple[Keys, Counts, Counts]:
    """Of each context: its likeliest run, how many groups have that, and the sum over all runs."""
    context = keys // np.uint64(vocab)
    first = np.flatnonzero(np.concatenate(([True], context[1:] != context[:-1])))
    sums = np.add.reduceat(counts, first)
    most = np.maximum.reduceat(counts, first)
    owner = np.repeat(np.arange(len(first)), np.diff(first, append=len(keys)))
    winners = np.flatnonzero(counts == most[owner])
    _, one = np.unique(owner[winners], return_index=True)
    return keys[winners[one]], most, sums


def kept(
    groups: Sequence[Sequence[NDArray[np.uint16]]], vocab: int, size: int
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.uint32], NDArray[np.uint16]]]:
    """Of each order: what each context is worth, its key, and its value.

    Worth is the number of groups it speaks for, times what it says better than a shorter context.
    """
    shorter: tuple[Keys, Counts, Keys, Counts] | None = None
    for order in range(1, MAX_ORDER + 1):
        keys, counts = counted(groups, order, vocab)
        winners, most, sums = best(keys, counts, vocab)
        share = (most - DISCOUNT) / sums
        good = (most >= LEAST_GROUPS) & (share >= LEAST_SHARE)
        winner, groups_of, said = winners[good], most[good], share[good]
        worth = np.full(len(winner), np.inf)
        if shorter is not None:
            before, before_counts, before_contexts, before_sums = shorter
            rest = winner % np.uint64(vocab**order)
            at = before.searchsorted(rest)
            from_context = before_contexts.searchsorted(rest // np.uint64(vocab))
            less = (before_counts[at] - DISCOUNT) / before_sums[from_context]
            worth = groups_of * np.log(said / less).clip(0)
        if len(winner) > size:
            top = np.argpartition(-worth, size)[:size]
            winner, said, worth = winner[top], said[top], worth[top]
        ids = np.stack(
            [
                (winner // np.uint64(vocab**j) % np.uint64(vocab)).astype(np.int64)
                for j in range(order, -1, -1)
            ]
        )
        flat = ids[:-1].T.reshape(-1)
        key = contexts(flat, order)[::order] if len(flat) else np.zeros(0, np.uint32)
        yield worth, key, packed(ids[-1], said)
        context = keys // np.uint64(vocab)
        new = np.flatnonzero(np.concatenate(([True], context[1:] != context[:-1])))
        shorter = keys, counts, context[new], sums
        print(
            json.dumps({"order": order, "runs": len(keys), "contexts": int(good.sum())}), flush=True
        )


def table(groups: Sequence[Sequence[NDArray[np.uint16]]], vocab: int, size: int) -> NgramTable:
    """The `size` contexts that are worth most."""
    worth, keys, values = (
        np.concatenate(each) for each in zip(*kept(groups, vocab, size), strict=True)
    )
    top = np.argsort(-worth, kind="stable")[:size]
    top = top[worth[top] > 0]
    order = np.argsort(keys[top], kind="stable")
    keys, values = keys[top][order], values[top][order]
    alone = np.concatenate(([True], keys[1:] != keys[:-1]))
    return NgramTable(keys[alone], values[alone])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.ngram_table",
        description=(__doc__ or "").partition("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("--data", type=Path, default=Path("data/shards"))
    parser.add_argument("--out", type=Path, default=Path("data/ngram_table"))
    parser.add_argument("--vocab-size", type=int, default=6144)
    parser.add_argument("--size", type=int, default=1_500_000, help="contexts, 6 bytes each")
    args = parser.parse_args()
    (args.out / "shards").mkdir(parents=True, exist_ok=True)
    groups: list[list[NDArray[np.uint16]]] = []
    for number, path in enumerate(sorted(args.data.glob("train-*.npz"))):
        shard = load(path)
        order = in_order(shard, number)
        reading = int(KEPT * len(order))
        save(part(shard, order[:reading].tolist()), args.out / "shards" / path.name)
        counting = order[reading:]
        groups += [
            [document(shard, int(index)) for index in counting[at : at + GROUP]]
            for at in range(0, len(counting), GROUP)
        ]
    val = args.out / "shards" / "val.npz"
    val.unlink(missing_ok=True)
    val.hardlink_to(args.data / "val.npz")
    found = table(groups, args.vocab_size, args.size)
    arrays = to_arrays(found)
    write_whole(args.out / "table.safetensors", lambda partial: save_file(arrays, partial))
    tokens = sum(len(ids) for group in groups for ids in group)
    size = {"contexts": len(found.keys), "bytes": 6 * len(found.keys)}
    print(json.dumps({"tokens": tokens, **size}))


if __name__ == "__main__":
    main()
