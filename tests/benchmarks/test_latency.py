"""What is timed is what it says it is."""

import json
from pathlib import Path

import pytest

from benchmarks import latency
from benchmarks.latency import CANVASES, Keystroke, Sample, keystrokes
from infill_engine import EngineConfig, load_engine
from infill_engine.models.two_sided.loading import WEIGHTS
from infill_engine.tokenizer import Tokenizer
from infill_ls.cli.bench.cases import python_cases


@pytest.fixture(scope="module")
def strokes() -> list[Keystroke]:
    cases = [case for case in python_cases(240) if case.kind in ("tail", "line")]
    return keystrokes(cases, Tokenizer(WEIGHTS / "tokenizer.json"), 2)


def test_a_keystroke_goes_between_512_tokens(strokes: list[Keystroke]) -> None:
    tokenizer = Tokenizer(WEIGHTS / "tokenizer.json")

    assert [each.canvas for each in strokes] == [c for c in CANVASES for _ in range(2)]
    for each in strokes:
        around = len(tokenizer.encode(each.prefix)) + len(tokenizer.encode(each.suffix))

        assert abs(around - 512) < 16
        assert (len(each.typed) == 1) == (each.canvas == 16)
        assert each.canvas == 16 or each.typed.startswith("\n")
        assert each.canvas == 16 or each.prefix.rstrip()[-1] in ":([{"


def test_rows_count() -> None:
    samples = [Sample(canvas=16, ms=10.0 * n, steps=2, tokens=6) for n in range(1, 5)]

    assert latency.row(samples) == {
        "cases": 4,
        "p50": 20.0,
        "p95": 40.0,
        "steps": 2.0,
        "tokens": 6.0,
        "ms_a_step": 12.5,
    }


@pytest.mark.slow
def test_the_embedded_model_takes_the_canvases_that_are_reported(strokes: list[Keystroke]) -> None:
    engine = load_engine(EngineConfig())
    samples = [latency.typed(engine, each) for each in strokes[::2]]

    assert [sample.canvas for sample in samples] == list(CANVASES)
    assert all(sample.ms > 0 and sample.steps > 0 for sample in samples)


@pytest.mark.e2e
@pytest.mark.slow
def test_ends_in_a_line_of_json_that_holds_every_figure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "SERVER_PLACES", 3)
    monkeypatch.setattr(latency, "COLD_PLACES", 1)
    latency.main(["--places", "2"])
    printed = capsys.readouterr().out.splitlines()
    result = json.loads(printed[-1])

    assert result["cold_encode"]["p50"] > 0
    assert result["server_mb"] > 50
    assert result["weights_mb"] == pytest.approx(
        (WEIGHTS / "default.safetensors").stat().st_size / 1e6, abs=0.1
    )
    assert sum(row["cases"] for row in result["keystroke"].values()) == 4
    assert all(any(goal["name"] in line for line in printed) for goal in result["goals"])
    assert max(map(len, printed[:-1])) <= 100


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--places 0 must be at least 1"):
        latency.main(["--places", "0"])
