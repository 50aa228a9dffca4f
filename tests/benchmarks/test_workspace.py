"""What a large workspace costs: the benchmark on a small one, through the real server."""

import json
from pathlib import Path

import pytest

from benchmarks import workspace
from infill_ls.cli.bench.wire import ServerError


def test_pieces_are_the_library_cut_at_line_ends(tmp_path: Path) -> None:
    size = workspace.written(tmp_path, 250, 2_000)
    files = sorted(tmp_path.rglob("*.py"))
    texts = [file.read_text(encoding="utf-8") for file in files]

    assert len(files) == 250
    assert size == sum(map(len, texts))
    assert max(map(len, texts)) <= 2_000
    assert all(text.endswith("\n") for text in texts)
    assert len(set(texts)) > 240
    assert max(len(list(folder.iterdir())) for folder in tmp_path.iterdir()) == workspace.FOLDER


def test_more_files_than_there_are_is_a_sentence() -> None:
    with pytest.raises(ServerError, match="the standard library makes"):
        for _ in workspace.pieces(1_000_000, 1 << 20):
            pass


@pytest.mark.e2e
@pytest.mark.slow
def test_a_small_workspace_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    workspace.main(["--files", "60", "--answers", "5"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])

    assert result["files"] == 60
    assert result["resident_mb"]["read"] > 50
    assert result["ms"]["quiet"]["answers"] == 10
    assert result["ms"]["reading"]["answers"] >= 1
    assert {goal["name"] for goal in result["goals"]} >= {"memory for the workspace"}


@pytest.mark.parametrize("name", ["--files", "--characters", "--answers"])
def test_none_at_all_is_refused(name: str) -> None:
    with pytest.raises(SystemExit, match="must be at least 1"):
        workspace.main([name, "0"])
