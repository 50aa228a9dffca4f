"""Both Sudoku networks learn from a few puzzles, and a run goes on where it stopped."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.sudoku import puzzles
from benchmarks.sudoku.network import SudokuConfig, load, save
from train.config import TrainConfig
from train.sudoku import NETWORKS, batch, passes_at, train

CONFIG = TrainConfig(minutes=60, warmup_steps=5, muon_lr=0.05, max_steps=50)


@pytest.fixture(scope="module")
def data() -> list[puzzles.Grid]:
    return list(puzzles.make("naked", 4, 5, held_out=False))


def test_a_run_that_is_stopped_keeps_what_it_learned(
    data: list[puzzles.Grid], tmp_path: Path
) -> None:
    network = NETWORKS["canvas"](SudokuConfig(d_model=24, d_ff=24, heads=2, passes=2))
    stops = iter([False, False, True])

    run = train(network, data, tmp_path, CONFIG, size=2, stopped=lambda: next(stops))
    again = train(network, data, tmp_path, CONFIG, size=2, stopped=lambda: True)

    assert (run.counts.step, run.ended, again.counts.step) == (2, False, 2)


def test_a_batch_shows_a_part_of_the_solution_and_some_of_it_wrong(
    data: list[puzzles.Grid],
) -> None:
    found = batch(data, 200, np.random.default_rng(0))
    givens, shown = found.puzzle > 0, (found.canvas > 0) & (found.puzzle == 0)

    assert torch.equal(found.puzzle[givens], found.solution[givens])
    assert torch.equal(found.canvas[givens], found.puzzle[givens])
    assert 0.2 < (found.canvas[~givens] > 0).float().mean() < 0.5
    assert 0.02 < (found.canvas != found.solution)[shown].float().mean() < 0.2
    assert (np.sort(found.solution.numpy()[:, puzzles.UNITS], -1) == np.arange(1, 10)).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_run_learns_resumes_and_is_exported(
    name: str, data: list[puzzles.Grid], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = SudokuConfig(d_model=36, d_ff=72, layers=1, passes=2)
    train(NETWORKS[name](config), data, tmp_path, CONFIG, size=4)
    network = NETWORKS[name](config)
    run = train(network, data, tmp_path, replace(CONFIG, max_steps=100), size=4)
    network.load_state_dict(run.average)
    save(network, tmp_path / "weights.safetensors", {"steps": run.counts.step})

    first, second = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert (first["step"], second["step"]) == (50, 100)
    assert second["last"] < first["last"] < 2.197  # ln 9
    again, facts = load(NETWORKS[name], tmp_path / "weights.safetensors")
    assert facts == {"steps": 100}
    assert again.config == config
    assert torch.equal(again.head.weight, run.average["head.weight"])


def test_passes_become_more() -> None:
    assert [passes_at(share / 10, 4) for share in range(11)] == [2] * 4 + [3] * 3 + [4] * 4
    assert passes_at(1.2, 3) == 3
