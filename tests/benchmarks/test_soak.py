"""Two minutes of editing and faults: a sample of `python -m benchmarks.soak`, in real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.soak.editor import Request, judge
from infill_ls.server import endpoint

ROOT = Path(__file__).parents[2]
MINUTES, EDITORS = 2, 3


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not endpoint.HAS_SOCKETS, reason="the soak's faults are those of Unix")
def test_nothing_is_lost_in_two_minutes_of_faults() -> None:
    path = os.pathsep.join(str(ROOT / part) for part in (".", "engine", "kernels"))
    command = [sys.executable, "-m", "benchmarks.soak"]
    options = ["--minutes", str(MINUTES), "--editors", str(EDITORS)]
    done = subprocess.run(
        [*command, *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["requests"] > 200, result
    assert result["faults"] >= 5, result
    kept = ("unanswered", "wrong_version", "crashes", "keys_lost")
    assert {name: result[name] for name in kept} == dict.fromkeys(kept, 0), result
    memory = result["resident_mb"]
    assert memory["first_alone"] < memory["start"] * 1.1, result
    assert memory["end"] < memory["start"] * 1.05, result


def answer(start: int, end: int, text: str, line: int = 2) -> dict[str, object]:
    at = {"start": {"line": line, "character": start}, "end": {"line": line, "character": end}}
    return {"id": 1, "result": {"items": [{"insertText": text, "range": at}]}}


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        (answer(4, 4, "x"), ""),
        (answer(2, 4, "abx"), ""),
        (answer(2, 4, "xyz"), "does not go on from what is typed"),
        (answer(5, 5, "x"), "for another place"),
        (answer(4, 4, "x", line=3), "for another place"),
        ({"id": 1, "result": {"items": []}}, ""),
        ({"id": 1, "error": {"code": -32800, "message": "cancelled"}}, ""),
        ({"id": 1, "error": {"code": -32603, "message": "a fault"}}, "a fault"),
    ],
)
def test_an_answer_for_another_text_is_noticed(message: dict[str, object], wrong: str) -> None:
    request = Request(0.0, False, 2, 4, "  ab")
    judge(request, message)

    assert request.wrong == wrong
