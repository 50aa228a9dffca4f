"""Shards packed small enough to copy to another machine, and unpacked there. Needs numpy only."""

from pathlib import Path

from train import shards
from train.corpus.state import replace, say


def carry(root: Path, megabytes: float) -> None:
    """Pack shards in order into carry/, until together they would be over a size in MiB."""
    folder = root / "carry"
    folder.mkdir(exist_ok=True)
    room = int(megabytes * 2**20)
    for path in [root / "shards" / "val.npz", *sorted((root / "shards").glob("train-*.npz"))]:
        data = shards.carried(shards.load(path))
        if len(data) > room:
            break
        room -= len(data)
        replace(folder / f"{path.stem}.shard", data)
        say(f"carry: {path.stem} {len(data) / 2**20:.1f} MiB")


def unpack(source: Path, target: Path) -> None:
    """Turn carried shards back into arrays."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.shard")):
        shards.save(shards.unpacked(path.read_bytes()), target / f"{path.stem}.npz")
