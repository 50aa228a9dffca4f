"""Shards come back as they were."""

import random
from pathlib import Path

from train import shards


def test_a_shard_comes_back_from_its_carried_form(tmp_path: Path) -> None:
    rng = random.Random(0)
    documents = []
    for _ in range(20):
        ids = [rng.randrange(48, 6144) for _ in range(rng.randrange(1, 400))]
        starts = sorted(rng.randrange(len(ids)) for _ in range(5))
        documents.append((ids, 3, [(s, min(s + 7, len(ids)), 2) for s in starts]))
    shard = shards.shard_of(documents)
    shards.save(shard, tmp_path / "train-000.npz")

    for again in (shards.load(tmp_path / "train-000.npz"), shards.unpacked(shards.carried(shard))):
        for name in shards.NAMES:
            expected, actual = getattr(shard, name), getattr(again, name)
            assert actual.dtype == expected.dtype
            assert (actual == expected).all()
