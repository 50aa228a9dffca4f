"""The benchmark of frozen text ends in a line of JSON, and finds no difference where none is."""

import json
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from benchmarks import frozen
from tests.engine import tiny_qwen


@pytest.mark.parametrize(("near", "differs"), [(32, True), (1_000_000, False)])
def test_ends_in_a_line_of_json(
    tmp_path: Path, near: int, differs: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_qwen.save_dreamon(tmp_path)

    frozen.main(["--model", str(folder), "--limit", "2", "--near", str(near)])

    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["cases"] == 2
    assert 0 <= report["same_best_token"] <= 1
    assert report["ms_frozen"] > 0
    assert (report["divergence"] > 1e-6) == differs
