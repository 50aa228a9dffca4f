"""Which answers are worth showing: the bound goes into the weights, the curve into the card."""

import shutil
from pathlib import Path

import pytest

from infill_engine import Draft, EngineConfig, load_engine
from infill_engine.models.two_sided.loading import WEIGHTS
from infill_engine.models.two_sided.weights import read_weights
from train.evaluate import FIGURE, ValidationAnswer, ValidationHole, calibrate, precision

HOLE = ValidationHole(kind="tail", language="python", prefix="a", suffix="b", middle="c")


def answered(log_probability: float, right: bool, text: str = "c") -> ValidationAnswer:
    draft = Draft(
        text=text,
        fills=(text,),
        steps=1,
        tokens=1,
        mean_entropy=0.0,
        likelihood=-1.0,
        join=-1.0,
        log_probability=log_probability,
        converged=True,
    )
    return ValidationAnswer(hole=HOLE, draft=draft, right=right, copy_right=False)


# The surest three of ten are right; two have nothing to say.
ANSWERS = [
    *(answered(-0.1 * n, n < 3) for n in range(8)),
    answered(-0.01, False, " "),
    answered(-0.02, False, ""),
]


def test_shares_are_of_all_answers_and_what_is_empty_is_never_shown() -> None:
    curve = precision(ANSWERS, (0.3, 0.6, 1.0))[FIGURE]

    assert curve["30%"] == (100.0, pytest.approx(-0.2))
    assert curve["60%"] == (50.0, pytest.approx(-0.5))
    assert curve["100%"] == (37.5, pytest.approx(-0.7))


def test_the_bound_reaches_the_engine_and_the_curve_the_card(tmp_path: Path) -> None:
    for path in WEIGHTS.iterdir():
        shutil.copy(path, tmp_path)
    weights, card = tmp_path / "default.safetensors", tmp_path / "MODEL_CARD.md"
    _, before, metadata = read_weights(weights)
    titles = [line for line in card.read_text().splitlines() if line.startswith("#")]

    least = calibrate(weights, ANSWERS, 0.3)

    _, after, changed = read_weights(weights)
    assert least == pytest.approx(0.8187, abs=1e-4)  # exp(-0.2)
    assert changed == metadata | {"show_threshold": f"{least:.4f}"}
    assert all((after[name] == before[name]).all() for name in before)
    assert load_engine(EngineConfig(model=str(tmp_path))).describe().show_threshold == 0.8187
    text = card.read_text()
    assert [line for line in text.splitlines() if line.startswith("#")] == titles
    assert "| 30% | 0.8187 | 100.0 % |" in text
    assert "at least a confidence of 0.8187 is shown: the surest 30%" in text
    calibrate(weights, ANSWERS, 0.5)
    assert "the surest 30%" not in card.read_text()


def test_nothing_is_calibrated_by_silence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no hole was answered"):
        calibrate(tmp_path / "default.safetensors", [answered(0.0, False, "")], 0.5)
