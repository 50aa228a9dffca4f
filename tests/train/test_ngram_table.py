"""Counting what follows what: against counting by hand, and what training gets of it."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from infill_engine.models.two_sided.config import TwoSidedConfig
from infill_engine.models.two_sided.network import TwoSidedNetwork, load_network
from infill_engine.models.two_sided.ngram_table import (
    LEVEL_EDGES,
    MAX_ORDER,
    contexts,
    from_arrays,
)
from infill_engine.tokenizer import FIRST_LEARNED
from train import ngram_table
from train.batches import BatchShape
from train.config import TrainConfig
from train.export import DEFAULT_EXTRA, export
from train.ngram_table import DISCOUNT, LEAST_GROUPS, LEAST_SHARE, in_order, part, table
from train.shards import Shard, load, save, shard_of
from train.train import train

VOCAB = 100


def text(rng: np.random.Generator) -> list[int]:
    """Phrases that recur, with something random between them."""
    phrases = [[20, 21, 22, 23, 24, 25], [21, 22, 30, 31], [20, 21, 40], [32, 33, 34, 35]]
    ids: list[int] = []
    while len(ids) < 120:
        ids += phrases[rng.integers(len(phrases))]
        ids += rng.integers(FIRST_LEARNED, FIRST_LEARNED + 12, rng.integers(0, 3)).tolist()
    return ids


def groups(seed: int = 0) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [[np.array(text(rng), np.uint16) for _ in range(3)] for _ in range(8)]


def by_hand(corpus: list[list[np.ndarray]], order: int) -> dict[tuple[int, ...], Counter[int]]:
    found: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for group in corpus:
        seen = set()
        for ids in group:
            row = ids.tolist()
            for i in range(len(row) - order):
                seen.add((tuple(row[i : i + order]), row[i + order]))
        for context, token in seen:
            found[context][token] += 1
    return found


def test_every_context_keeps_the_token_that_most_groups_have() -> None:
    corpus = groups()
    kept = dict(zip(*_pairs(table(corpus, VOCAB, 10**6)), strict=True))
    checked = 0
    for order in range(1, MAX_ORDER + 1):
        for context, counter in by_hand(corpus, order).items():
            most = max(counter.values())
            share = (most - DISCOUNT) / sum(counter.values())
            key = int(contexts(np.array(context), order)[0])
            if key not in kept:
                continue
            token, level = kept[key]
            assert counter[token] == most
            assert level == sum(share >= edge for edge in LEVEL_EDGES)
            assert most >= LEAST_GROUPS
            assert share >= LEAST_SHARE
            checked += 1

    assert checked == len(kept) > 50


def _pairs(found: ngram_table.NgramTable) -> tuple[list[int], list[tuple[int, int]]]:
    values = [(int(value) & 8191, int(value) >> 13) for value in found.values]
    return found.keys.tolist(), values


def test_what_a_shorter_context_says_as_well_is_not_kept() -> None:
    """(32, 33) is always followed by 34, and so is 33 alone."""
    corpus = groups()
    kept = set(table(corpus, VOCAB, 10**6).keys.tolist())

    assert int(contexts(np.array([33]), 1)[0]) in kept
    assert len(by_hand(corpus, 2)[32, 33]) == 1
    worth_more = table(corpus, VOCAB, 40)
    assert len(worth_more.keys) == 40
    assert int(contexts(np.array([32, 33]), 2)[0]) not in worth_more.keys


def shard(count: int) -> Shard:
    rng = np.random.default_rng(count)
    documents = [text(rng) for _ in range(count)]
    order = np.random.default_rng(0).permutation(count)  # as `train.corpus.pack` packs shard 0
    spans = [(10, 14, 0), (40, 50, 1)]
    return shard_of([([FIRST_LEARNED + i, *documents[i]], 0, spans) for i in order])


def test_documents_are_found_in_the_order_they_were_packed_in() -> None:
    packed = shard(12)
    first = [int(ngram_table.document(packed, i)[0]) - FIRST_LEARNED for i in in_order(packed, 0)]

    assert first == list(range(12))


def test_a_part_of_a_shard_keeps_its_spans() -> None:
    whole = shard(6)
    some = part(whole, [4, 1])

    assert some.tokens.tolist() == [
        *ngram_table.document(whole, 4),
        *ngram_table.document(whole, 1),
    ]
    start = int(some.doc_starts[1])
    assert some.span_start.tolist() == [10, 40, start + 10, start + 40]
    assert some.span_end.tolist() == [14, 50, start + 14, start + 50]
    assert some.span_kind.tolist() == [0, 1, 0, 1]


def test_a_network_learns_to_use_the_table_and_ships_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From shards to weights: what is read is not counted, and the table is in the file."""
    data = tmp_path / "shards"
    data.mkdir()
    save(shard(40), data / "train-000.npz")
    save(shard(9), data / "val.npz")
    monkeypatch.setattr(ngram_table, "GROUP", 4)
    out = tmp_path / "ngram_table"
    command = ["ngram_table", "--data", str(data), "--out", str(out), "--vocab-size", str(VOCAB)]
    monkeypatch.setattr("sys.argv", command)
    ngram_table.main()

    read = {
        int(ngram_table.document(load(out / "shards" / "train-000.npz"), i)[0]) for i in range(8)
    }
    assert read == {FIRST_LEARNED + i for i in range(8)}
    config = TwoSidedConfig(
        vocab_size=VOCAB, d_model=32, num_layers=1, num_heads=2, d_ff=64, ngram_table=True
    )
    model = TwoSidedNetwork(config)
    settings = TrainConfig(
        max_steps=12,
        tokens=256,
        shapes=(BatchShape(row=64, canvas=16, share=1.0),),
        compile=False,
        warmup_steps=2,
        val_infills=0,
    )
    train(model, out / "shards", tmp_path / "run", settings)
    assert float(model.ngram.detach().norm()) > 0.01

    export(tmp_path / "run", tmp_path / "shipped", DEFAULT_EXTRA, out / "table.safetensors")
    path = tmp_path / "shipped" / "default.safetensors"
    loaded = load_network(path)
    assert loaded.table is not None
    expected = from_arrays(load_file(out / "table.safetensors"))
    assert loaded.table.after([20, 21]) == expected.after([20, 21]) != [(0, 0)] * 2
    # A run goes on from what shipped, and one with a table from weights that do not.
    train(TwoSidedNetwork(config), out / "shards", tmp_path / "on", settings, weights=path)
    plain = TwoSidedConfig(vocab_size=VOCAB, d_model=32, num_layers=1, num_heads=2, d_ff=64)
    train(TwoSidedNetwork(plain), data, tmp_path / "plain", settings)
    export(tmp_path / "plain", tmp_path / "older", DEFAULT_EXTRA)
    older = tmp_path / "older" / "default.safetensors"
    train(TwoSidedNetwork(config), out / "shards", tmp_path / "new", settings, weights=older)
