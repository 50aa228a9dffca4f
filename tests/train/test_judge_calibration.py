"""A calibration is what makes evidence a probability, and ships beside the judge."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from infill_engine import InfillRequest
from infill_engine.errors import ModelError
from infill_engine.judge.calibration import FIGURES, Calibration, Evidence, read_calibration
from train.judge_calibration import (
    CARD,
    FILE,
    TITLE,
    Answers,
    Hole,
    chances,
    curve,
    fitted,
    holes,
    in_folds,
    main,
    written,
)

SOURCE = "def area(width, height):\n    total = width * height\n    return total\n\n\n"


def drawn(count: int = 600) -> Answers:
    """Right as often as a known regression says, by the first figure and the third."""
    rng = np.random.default_rng(0)
    evidence = rng.uniform(-8, 8, (count, len(FIGURES)))
    odds = 0.5 * evidence[:, 0] + 0.25 * evidence[:, 2] - 1
    right = rng.random(count) < 1 / (1 + np.exp(-odds))
    return Answers(
        evidence=evidence,
        right=right,
        written=np.arange(count) % 2 == 1,
        files=tuple(str(i // 5) for i in range(count)),
    )


def test_a_regression_finds_what_made_answers_right() -> None:
    answers = drawn(4000)
    found = fitted(answers.evidence, answers.right)
    assert found.weights == pytest.approx((0.5, 0, 0.25, 0, 0), abs=0.06)
    assert found.constant == pytest.approx(-1, abs=0.15)
    chance = chances(found, answers.evidence)
    for low in (0.1, 0.5, 0.8):
        some = (chance >= low) & (chance < low + 0.1)
        assert answers.right[some].mean() == pytest.approx(low + 0.05, abs=0.08)


def test_the_surest_are_right_most_often_in_files_that_were_not_fitted() -> None:
    answers = drawn()
    rows = curve(in_folds(answers), answers.right)
    assert rows[0][2] > rows[2][2] > rows[-1][2] + 20
    assert rows[-1][2] == pytest.approx(100 * answers.right.mean())


def test_figures_count_up_to_where_they_say_no_more() -> None:
    calibration = Calibration(weights=(1, 1, 1, 1, 1), constant=2)
    far = dict.fromkeys(FIGURES, 1e9)
    assert calibration.log_probability(Evidence(**far)) == pytest.approx(0, abs=1e-9)
    far = dict.fromkeys(FIGURES, -np.inf)
    assert calibration.log_probability(Evidence(**far)) == pytest.approx(-38, abs=0.01)


def test_what_is_written_is_read_and_the_card_has_the_curve(tmp_path: Path) -> None:
    card = tmp_path / CARD
    card.write_text(f"# Card\n\n{TITLE}\nNothing yet.\n\n## Limits\nMany.\n")
    calibration = Calibration(
        weights=(0.5, 0.25, 0.125, 1.0, 0.0), constant=-1.5, show_threshold=0.3
    )
    curves = ([(0.1, 0.8, 90.0), (1.0, 0.01, 30.0)], [(0.1, 0.7, 80.0), (1.0, 0.02, 20.0)])
    written(tmp_path, calibration, curves, 600)
    assert read_calibration(tmp_path / FILE) == calibration
    text = card.read_text()
    assert "| 10% | 0.800 | 90.0 % | 0.700 | 80.0 % |" in text
    assert "of 600 holes" in text
    assert text.endswith("## Limits\nMany.\n")
    assert "Nothing yet" not in text


@pytest.mark.parametrize("damage", ["", "[]", '{"weights": {"middle": "x"}}', "{"])
def test_a_damaged_calibration_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / FILE
    path.write_text(damage)
    with pytest.raises(ModelError, match=rf"cannot read the judge's calibration .*{FILE}"):
        read_calibration(path)


def test_without_one_a_middle_is_as_likely_right_as_it_is_said(tmp_path: Path) -> None:
    calibration = read_calibration(tmp_path / FILE)
    assert calibration == Calibration()
    assert calibration.show_threshold == 0


def test_holes_are_the_same_each_time_and_lie_in_their_files(tmp_path: Path) -> None:
    for name in ("a.py", "b.py", "c.txt"):
        (tmp_path / name).write_text(SOURCE.replace("area", name[0] * 4) * 40)
    (tmp_path / "short.py").write_text(SOURCE)
    found = holes(tmp_path, 12)
    assert found == holes(tmp_path, 12)
    assert {hole.file for hole in found} == {"a.py", "b.py"}
    assert [hole.written for hole in found[:6]] == [False, False, True, True, False, False]
    missing = set[int]()
    for hole in found:
        text = (tmp_path / hole.file).read_text()
        before, after = hole.request.prefix + hole.middle, hole.request.suffix
        assert text.startswith(before)
        assert text.endswith(after[1:] if hole.written else after)
        missing.add(text.count("\n") - before.count("\n") - after.count("\n"))
        assert before + after == text or hole.written
        assert hole.middle.strip()
        assert "\n" not in hole.middle
    assert len(missing) > 1
    assert missing <= set(range(9))
    shutil.rmtree(tmp_path)


def test_what_is_right_in_a_finished_file_is_all_that_was_there() -> None:
    request = InfillRequest(prefix="x = ", suffix="\n")
    finished = Hole(file="a", kind="tail", request=request, middle="f(a)")
    being_written = replace(finished, written=True)

    assert [finished.right(text) for text in ("f(a)", " f(a)\n", "f(", "")] == [1, 1, 0, 0]
    assert [being_written.right(text) for text in ("f(a)", "f(", "f(b", "")] == [1, 1, 0, 0]


def test_the_shipped_calibration_is_whole() -> None:
    from infill_engine.judge.loading import WEIGHTS

    described = json.loads((WEIGHTS / FILE).read_text())
    assert set(described) == {"weights", "constant", "show_threshold"}
    assert 0 < read_calibration(WEIGHTS / FILE).show_threshold < 1


def test_too_few_holes_are_said(tmp_path: Path) -> None:
    (tmp_path / "area.py").write_text(SOURCE * 40)

    with pytest.raises(SystemExit, match="gave 1 finished and 1 written holes; give more --cases"):
        main([str(tmp_path), "--cases", "2"])
