"""A run in several commands: what one leaves behind is where the next one goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from infill_engine.models.two_sided.config import TwoSidedConfig
from infill_engine.models.two_sided.network import TwoSidedNetwork
from train import pieces
from train.shards import carried, shard_of

ROOT = Path(__file__).parents[2]
LINE_BREAK = 60
TINY = TwoSidedConfig(
    vocab_size=90, d_model=16, num_layers=2, num_heads=2, num_kv_heads=1, d_ff=24, max_positions=256
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with a checkpoint, as `train.train` leaves it."""
    torch.manual_seed(0)
    model = TwoSidedNetwork(TINY)
    state = dict.fromkeys(pieces.COUNTS, 7) | {
        "config": {"d_model": 16},
        "model": model.state_dict(),
        "average": dict(model.named_parameters()),
        "optimizers": [],
    }
    (tmp_path / "run").mkdir()
    torch.save(state, tmp_path / "run" / "checkpoint.pt")
    return tmp_path / "run"


def test_pieces_hold_the_averaged_weights_and_the_counts(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 4000)
    before = torch.load(run / "checkpoint.pt", weights_only=True)
    paths = pieces.split(run, tmp_path / "out")
    pieces.join(tmp_path / "out", tmp_path / "other")
    after = torch.load(tmp_path / "other" / "checkpoint.pt", weights_only=True)

    assert len(paths) > 2
    assert all(path.stat().st_size <= 4000 for path in paths)
    assert (
        sum(path.stat().st_size for path in paths)
        < 2 * sum(each.numel() for each in before["average"].values()) + 2000
    )
    assert after["config"] == before["config"]
    assert after["step"] == after["seconds"] == 7
    assert after["average"].keys() == before["average"].keys()
    for name, each in before["average"].items():
        assert torch.equal(after["average"][name], each.bfloat16().float())
        assert torch.equal(after["model"][name], after["average"][name])


@pytest.mark.parametrize("harm", ["missing", "foreign", "damaged"])
def test_pieces_that_are_not_whole_are_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 4000)
    first, *_, last = pieces.split(run, tmp_path)
    if harm == "missing":
        first.unlink()
    elif harm == "foreign":
        (tmp_path / "1-of-2.piece").write_bytes(b"")
    else:
        last.write_bytes(last.read_bytes()[:-1] + b"\xff")

    with pytest.raises(ValueError, match="copy"):
        pieces.joined(tmp_path)


@pytest.mark.slow
def test_a_run_goes_on_from_command_to_command_and_ends_distilled(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def document() -> tuple[list[int], int, list[tuple[int, int, int]]]:
        ids: list[int] = []
        spans = []
        for _ in range(26):
            spans.append((len(ids) + 1, len(ids) + 4, 0))
            ids += [*rng.integers(61, 90, 4).tolist(), LINE_BREAK]
        return ids, 0, spans

    def command(machine: str, *options: str) -> list[dict[str, object]]:
        root = tmp_path / machine
        environment = os.environ | {
            "OUT": str(tmp_path / "out"),
            "ROOT": str(root),
            "RUN": str(root / "run"),
            "PYTHON": sys.executable,
            "MODEL": "--vocab-size 90 --d-model 16 --num-layers 2 --num-heads 2 --d-ff 24",
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            ["engine/train/gpu.sh", *options, "--no-compile", "--workers", "1", "--tokens", "256",
             "--shapes", "128x16:1"],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        log = (tmp_path / "out" / "log.jsonl").read_text()
        return [json.loads(line) for line in log.splitlines()]

    def carry(machine: str, *names: str) -> None:
        folder = tmp_path / machine / "carry"
        folder.mkdir(parents=True)
        for name in names:
            packed = carried(shard_of([document() for _ in range(12)]))
            (folder / f"{name}.shard").write_bytes(packed)

    carry("first", "val", "train-000")
    first = command("first", "260", "5", "0", "--max-steps", "3")
    # The machine is lost; what the next one knows was carried.
    carry("second", "val", "train-000", "train-001")
    (tmp_path / "out").rename(tmp_path / "second" / "pieces")
    second = command("second", "260", "5", "5", "--max-steps", "5")

    assert [line["step"] for line in first if "positions_per_s" in line] == [3]
    assert [line["step"] for line in second if "positions_per_s" in line] == [3, 5]
    assert [line["shards"] for line in second if line.get("event") == "start"] == [1, 2]
    distilled = (tmp_path / "out" / "distil.jsonl").read_text().splitlines()
    assert json.loads(distilled[-1])["event"] == "steps"
    assert pieces.joined(tmp_path / "out")["step"] == 5
