"""The judge's benchmark on one case, with a GGUF of random weights."""

import gzip
import json
from pathlib import Path

import pytest

from benchmarks import humaneval, judge
from benchmarks.holdout import Task
from infill_engine.config import EngineConfig
from infill_engine.errors import RequestError
from infill_engine.judge.gguf.loading import load_gguf
from infill_engine.judge.gguf.reading import GgufReading
from infill_ls.cli.bench.cases import Case
from tests.benchmarks.test_quality import TASK
from tests.train import tiny_gguf

pytest.importorskip("xllamacpp", reason="no llama.cpp here: pip install 'infill-ls[gguf]'")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    numbers = {f"tokenizer.ggml.{name}_token_id": 0 for name in ("bos", "eos")}
    tiny_gguf.write_gguf(tmp_path / "tiny.gguf", exactly=True, numbers=numbers)
    return tmp_path / "tiny.gguf"


@pytest.fixture
def asked(weights: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the command is given, for one case."""
    # Random weights come to no end by themselves.
    monkeypatch.setattr(GgufReading, "_ends", lambda reading, text: len(text) > 8)
    with gzip.open(weights.parent / humaneval.SETS["single-line"][0], "wt") as lines:
        lines.write(json.dumps(TASK) + "\n")
    return [str(weights), "--data", str(weights.parent), "--limit", "1", "--threads", "1"]


def test_a_case_goes_through_every_system(
    weights: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    judge.main(asked)

    *_, drawn, last = capsys.readouterr().out.strip().split("\n")
    assert drawn.startswith("ranked")
    result = json.loads(last)
    systems = result["systems"]
    assert [*systems] == ["greedy", "prompt lookup", "drafted", "drafted as pays", "ranked"]
    assert result["different"] == []
    assert systems["greedy"]["passes"] == systems["greedy"]["tokens"] - 1 > 0
    for name in ("prompt lookup", "drafted", "drafted as pays"):
        assert systems[name]["tokens"] == systems["greedy"]["tokens"], name
        assert systems[name]["passes"] <= systems["greedy"]["passes"], name
        low, high = systems[name]["tokens_per_pass_interval"]
        assert low <= systems[name]["tokens_per_pass"] <= high, name
    assert systems["greedy"]["alike"] == 1
    assert result["judge"]["source"] == str(weights)


def test_what_a_file_has_is_not_asked_again(
    tmp_path: Path,
    asked: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = tmp_path / "answers.jsonl"
    judge.main([*asked, "--answers", str(answers)])
    first = json.loads(capsys.readouterr().out.strip().rpartition("\n")[2])
    written = answers.read_text()
    monkeypatch.setattr(judge, "answer", lambda *_: pytest.fail("asked again"))

    judge.main([*asked, "--answers", str(answers)])

    again = json.loads(capsys.readouterr().out.strip().rpartition("\n")[2])
    assert again["systems"] == first["systems"]
    assert answers.read_text() == written
    name = json.loads(written.partition("\n")[0])["judge"]
    with pytest.raises(RequestError, match=rf"has the answers of {name}, .* name another file"):
        judge.read_answers(answers, "another")
    answers.write_text(written[:-9])
    with pytest.raises(RequestError, match=r"answers.jsonl:5 holds no answer"):
        judge.read_answers(answers, name)


def test_what_is_looked_up_followed_the_same_last_tokens(weights: Path) -> None:
    model = load_gguf(EngineConfig(judge=str(weights), device="cpu", threads=1))
    case = Case(
        name="a", kind="line", language_id="python", reference="",
        prefix="height = width * 2\nheight", suffix="\nwidth = 3 * 4\n",
    )  # fmt: skip
    drafts = judge.lookup(model)(Task(group="", kind="", unit="", case=case))
    (found,) = drafts("")
    assert found.startswith(" = width * 2\n")
    (found,) = drafts(" = width * 2\nheight = 3 *")
    assert found.startswith(" 4"), "behind the hole too"
    assert [*drafts(" é")] == []


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no HumanEval-Single.*in "):
        judge.main(["a.gguf", "--data", str(tmp_path)])
