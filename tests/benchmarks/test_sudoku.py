"""Puzzles are what they are said to be, the networks see what they may, and the weights solve."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.sudoku import __main__ as command
from benchmarks.sudoku import drawing, puzzles
from benchmarks.sudoku.network import (
    AutoregressiveNetwork,
    CanvasNetwork,
    SudokuConfig,
    SudokuNetwork,
    by_cells,
    by_units,
    load,
)
from benchmarks.sudoku.puzzles import LEVELS, UNITS, UNITS_OF, Grid, Level
from benchmarks.sudoku.solving import (
    SELF_CORRECTING,
    BoundOfEach,
    Consistent,
    by_denoising,
    by_writing,
    canvas_of,
    is_solved,
    side_by_side,
    untrained,
)
from infill_engine import RequestError
from infill_engine.early_stop import Progress
from infill_engine.sampler import EntropyBound
from infill_kernels import row_statistics

SMALL = SudokuConfig(d_model=24, d_ff=24, heads=2, passes=2)
FEW = 12


@pytest.fixture(scope="module")
def held_out() -> tuple[Grid, Grid]:
    found = puzzles.from_text("".join(puzzles.PUZZLES.open(encoding="ascii").readlines()[:FEW]))
    return found, np.stack([next(puzzles.solutions(each)) for each in found])


def randomly(network: SudokuNetwork) -> SudokuNetwork:
    torch.manual_seed(0)
    for each in network.parameters():
        nn.init.normal_(each, std=0.3)
    return network.double()


@pytest.mark.parametrize("level", LEVELS)
def test_a_made_puzzle_has_one_solution_and_no_given_too_many(level: Level) -> None:
    (puzzle,), (solution,) = puzzles.make(level, 1, 3, held_out=False)

    assert all(len(set(solution[unit])) == 9 for unit in UNITS)
    assert puzzles.rectangles(solution[None])[0] % 2 == 0
    assert [each.tolist() for each in puzzles.solutions(puzzle)] == [solution.tolist()]
    for cell in np.flatnonzero(puzzle):
        less = puzzle.copy()
        less[cell] = 0
        assert not puzzles.is_unique(less) or puzzles.level_of(less) != level


def test_the_held_out_puzzles_are_of_their_levels_and_of_no_grid_of_training(
    held_out: tuple[Grid, Grid],
) -> None:
    found, solutions = held_out

    assert len(puzzles.from_text(puzzles.PUZZLES.read_text())) == 3 * puzzles.COUNT
    assert [puzzles.level_of(each) for each in found] == [*LEVELS] * (FEW // 3)
    assert all(map(puzzles.is_unique, found))
    assert (puzzles.rectangles(solutions) % 2 == 1).all()


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_symmetry_keeps_what_a_puzzle_is(held_out: tuple[Grid, Grid], seed: int) -> None:
    found, solutions = held_out
    moved, solved = puzzles.transformed([found, solutions], np.random.default_rng(seed))

    assert (np.sort(solved[:, UNITS], -1) == np.arange(1, 10)).all()
    assert (solved == moved)[moved > 0].all()
    assert ((moved > 0).sum(1) == (found > 0).sum(1)).all()
    assert (puzzles.rectangles(solved) == puzzles.rectangles(solutions)).all()
    assert (puzzles.by_singles(moved) == puzzles.by_singles(found)).all()


def test_units_and_back() -> None:
    x = torch.arange(81).view(1, 81, 1, 1, 1) * 10 + torch.arange(6).view(1, 1, 3, 2, 1)
    units = by_units(x)

    cells = torch.stack([each[0, :, 0, :, 0] // 10 for each in units]).flatten(0, 1)
    assert cells.tolist() == UNITS.tolist()
    assert torch.equal(by_cells(units), x.flatten(2))


@torch.inference_mode()
def test_a_cell_sees_its_units_and_in_the_next_pass_theirs() -> None:
    network = randomly(CanvasNetwork(SudokuConfig(d_model=12, d_ff=12, layers=1, passes=2)))
    ids = torch.randint(0, 10, (1, 81))
    free = torch.ones(1, 81, dtype=torch.bool)
    other = ids.clone()
    other[0, 40] = (ids[0, 40] + 1) % 10

    first, second = (
        (one - two).abs().sum(-1)[0] > 0
        for one, two in zip(network(ids, free), network(other, free), strict=True)
    )

    peers = sorted(set(UNITS[UNITS_OF[40]].ravel()))
    assert first.nonzero().flatten().tolist() == peers
    assert second.all()


@torch.inference_mode()
def test_writing_cell_by_cell_is_what_one_pass_says_and_later_cells_are_not_seen(
    held_out: tuple[Grid, Grid],
) -> None:
    network = randomly(AutoregressiveNetwork(SMALL))
    found = held_out[0][:2]
    written = by_writing(network, found)
    puzzle = torch.from_numpy(found)

    said = network(puzzle, written.digits)[-1]
    blank = puzzle == 0
    assert torch.equal((said.argmax(-1) + 1)[blank], written.digits[blank])
    assert written.steps.tolist() == blank.sum(1).tolist()
    later = written.digits.clone()
    later[:, 50:] = 1
    assert torch.equal(network(puzzle, later)[-1][:, :51], said[:, :51])


def test_the_weights_solve_what_random_ones_do_not(held_out: tuple[Grid, Grid]) -> None:
    found, solutions = held_out
    network, facts = load(CanvasNetwork, command.CANVAS)

    run = by_denoising(network, found)
    right = (run.digits.numpy() == solutions).all(1)
    random = by_denoising(untrained(network), found[:3])

    assert facts["examples"] > 0
    in_few = right & (run.steps.numpy() <= command.FEW)
    assert in_few.sum() >= 9  # of 12; another CPU's products may differ in the last bit
    assert right.tolist() == is_solved(run.digits).tolist()
    assert not (random.digits.numpy() == solutions[:3]).all(1).any()
    givens = found > 0
    assert (run.digits.numpy()[givens] == found[givens]).all()


def test_side_by_side_the_first_canvas_that_breaks_no_rule_is_taken(
    held_out: tuple[Grid, Grid],
) -> None:
    found, solutions = held_out[0][:3], torch.from_numpy(held_out[1][:3])
    network, _ = load(CanvasNetwork, command.CANVAS)

    together = side_by_side(network, found)

    solved = (together.digits == solutions).all(1)
    assert solved.sum() >= 2
    assert (together.steps[solved] <= command.FEW).all()
    # Of three puzzles the second has a canvas that is right, and one that is not.
    read = solutions.repeat_interleave(2, 0).clone()
    read[[0, 1, 2, 4, 5], 0] = read[[0, 1, 2, 4, 5], 0] % 9 + 1
    flags = torch.zeros_like(read, dtype=torch.bool)
    progress = Progress(read=read, previous=None, entropy=flags, free=flags, undecided=flags)
    assert Consistent(canvases=2).done(progress).tolist() == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]


def test_each_canvas_has_a_bound_of_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(6, 81, 10, generator=generator)
    stats = row_statistics(logits, temperature=0.0, generator=None)
    open_cells, quota = torch.rand(6, 81, generator=generator) < 0.7, torch.tensor([1, 2] * 3)

    accepted = BoundOfEach((0.1, 3.0, 20.0)).accept(stats, open_cells, quota)

    for at, bound in enumerate((0.1, 3.0, 20.0) * 2):
        alone = EntropyBound(bound=bound).accept(stats, open_cells, quota)
        assert torch.equal(accepted[at], alone[at])
    counts = accepted.sum(1)
    assert counts[0] < counts[1] < counts[2]


def test_solved_is_what_breaks_no_rule(held_out: tuple[Grid, Grid]) -> None:
    solutions = torch.from_numpy(held_out[1])
    swapped = solutions.clone()
    swapped[:, :2] = solutions[:, [1, 0]]

    assert is_solved(solutions).all()
    assert not is_solved(swapped).any()


def test_frames_say_what_each_cell_is(held_out: tuple[Grid, Grid]) -> None:
    network, _ = load(CanvasNetwork, command.CANVAS)
    puzzle = held_out[0][0]
    run = by_denoising(network, puzzle[None], SELF_CORRECTING)
    frames = drawing.frames_of(puzzle, run.frames)

    assert [frame.step for frame in frames] == [*range(1, int(run.steps[0]) + 1)]
    assert frames[-1].digits == run.digits[0].tolist()
    for frame in frames:
        givens = [at for at, kind in enumerate(frame.kinds) if kind == "given"]
        assert givens == canvas_of(puzzle[None]).free[0].logical_not().nonzero().flatten().tolist()
        assert len(drawing.page(frame).plain.splitlines()) == 12
    picture = drawing.picture(drawing.chosen(frames))
    assert picture.count("step ") == len(drawing.chosen(frames))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("123", "a puzzle is 81 digits in reading order"),
        ("x" * 81, "a puzzle is 81 digits in reading order"),
        ("." * 81, "has more than one solution; give more digits"),
        ("11" + "." * 79, "has no solution; correct its givens"),
    ],
)
def test_what_is_no_puzzle_is_a_sentence(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        command.parsed(text)


def test_what_is_watched_ends_with_whether_it_is_solved(
    held_out: tuple[Grid, Grid], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "grid.svg"

    command.watch(held_out[0][0], path)
    end = capsys.readouterr().out
    assert re.search(r"^solved, \d+ steps?$", end, re.MULTILINE)
    assert str(path) in end
    assert path.read_text(encoding="utf-8").startswith("<svg")

    broken = held_out[1][0].copy()
    broken[:2] = broken[1::-1]
    command.watch(broken, None)
    assert "not solved, a rule is broken" in capsys.readouterr().out


def test_where_no_picture_can_be_written_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "watch", lambda *_: pytest.fail("watched"))
    for target, said in (
        (tmp_path / "none" / "x.svg", f"there is no folder {tmp_path / 'none'}"),
        (tmp_path, f"{tmp_path} is a folder"),
    ):
        monkeypatch.setattr("sys.argv", ["sudoku", "--watch", "--picture", str(target)])
        with pytest.raises(SystemExit) as ended:
            command.main()
        assert ended.value.code == 2
        assert said in capsys.readouterr().err


def test_the_command_reports_what_it_measured(capsys: pytest.CaptureFixture[str]) -> None:
    result = command.measure(3)
    command.show(result)

    assert result["cases"] == 3
    assert set(result["systems"]["untrained"]) == {*LEVELS, "all"}
    assert result["systems"]["untrained"]["all"]["solved"] == 0
    assert "canvas, self-correcting" in capsys.readouterr().out
    assert Path(command.CANVAS).stat().st_size < 2e6
