"""The judge's pilots: what is learned goes into the file exactly, and holes say the text again."""

import gzip
import json
import random
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers")

from infill_engine.judge.loading import read_tensors
from infill_engine.judge.vocabulary import END_OF_TEXT, JudgeVocabulary
from infill_kernels.q4 import OUTPUTS, unpack
from tests.train import tiny_gguf
from train import judge_pilot, judge_reading
from train.corpus.packages import Package, is_validation
from train.corpus.state import SourceFile, files_path
from train.judge import make
from train.judge_examples import (
    MIDDLE,
    Example,
    Text,
    Written,
    before_only,
    holes,
    suffix_first,
    windows,
)
from train.judge_nats import llama
from train.judge_pilot import JudgeLearner, JudgePilot, sums
from train.judge_reading import compared, said
from train.judge_tuning import attach, write
from train.judge_vocabulary import FIRST_MERGED
from train.pilot import Run, train

SIZE = FIRST_MERGED + 61
PILOT = JudgePilot(minutes=1.0, every=1.0, batch=2, tokens=32, rate=1e-2, max_steps=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("judge")
    counts = np.random.default_rng(0).integers(0, 9, len(tiny_gguf.vocabulary()[0]))
    make(tiny_gguf.write_wheel(path), path, counts, SIZE)
    return path


@pytest.fixture(scope="module")
def vocabulary(folder: Path) -> JudgeVocabulary:
    return JudgeVocabulary(folder / "judge_tokenizer.json")


@torch.inference_mode()
def test_what_was_learned_is_what_the_file_says(folder: Path, tmp_path: Path) -> None:
    network, before = llama(folder / "judge.safetensors"), llama(folder / "judge.safetensors")
    generator = torch.Generator().manual_seed(1)
    for name, parameter in attach(network).items():
        assert ("norm" in name) or not parameter.any(), "a fresh run begins with the same network"
        parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    write(folder / "judge.safetensors", tmp_path / "judge.safetensors", network, "for a test")
    after = llama(tmp_path / "judge.safetensors")
    ids = torch.arange(3, 51)[None]
    said, wanted, old = (each(ids).logits for each in (after, network, before))

    assert float((wanted - old).abs().max()) > 0.5, "nothing was learned"
    # Minima are kept in float16.
    assert float((said - wanted).abs().max()) < 0.02 * float((wanted - old).abs().max())


def test_codes_and_scales_stay(folder: Path, tmp_path: Path) -> None:
    network = llama(folder / "judge.safetensors")
    for parameter in attach(network).values():
        parameter.data += 0.1
    write(folder / "judge.safetensors", tmp_path / "judge.safetensors", network, "for a test")
    one, other = (read_tensors(each / "judge.safetensors")[1] for each in (folder, tmp_path))
    assert set(one) == set(other)
    for name in ("blocks.0.qkv", "blocks.1.down"):
        outputs = len(one[name]) * OUTPUTS
        ours, theirs = unpack(one[name], outputs), unpack(other[name], outputs)
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])
    np.testing.assert_array_equal(one["head"], other["head"])
    size = (folder / "judge.safetensors").stat().st_size
    assert abs((tmp_path / "judge.safetensors").stat().st_size - size) < 200, "metadata alone grow"


def test_a_share_of_the_way_lies_between(folder: Path, tmp_path: Path) -> None:
    network = llama(folder / "judge.safetensors")
    for parameter in attach(network).values():
        parameter.data += 0.25
    source = folder / "judge.safetensors"
    for share in (0.0, 0.5, 1.0):
        write(source, tmp_path / f"{share}", network, "for a test", share)
    none, half, all_ = (read_tensors(tmp_path / f"{share}")[1] for share in (0.0, 0.5, 1.0))
    before = read_tensors(source)[1]

    for name in ("norm", "blocks.0.attention_norm", "blocks.0.qkv", "head"):
        np.testing.assert_array_equal(none[name], before[name])
    np.testing.assert_allclose(half["norm"], (none["norm"] + all_["norm"]) / 2, rtol=1e-6)
    size = len(before["blocks.0.qkv"]) * OUTPUTS
    first, middle, last = (unpack(each["blocks.0.qkv"], size)[2] for each in (none, half, all_))
    np.testing.assert_allclose(middle, (first + last) / 2, atol=2e-3)


def learned(vocabulary: JudgeVocabulary, out: Path, folder: Path, steps: int) -> Run:
    texts = [Text(name=f"{n}", text=f"value_{n} = total({n})\n" * 40) for n in range(3)]
    kept = list(islice(windows(texts[:1], vocabulary, 32, random.Random(0)), 2))
    network, config = llama(folder / "judge.safetensors"), replace(PILOT, max_steps=steps)
    learner = JudgeLearner(network, lambda draw: windows(texts, vocabulary, 32, draw), kept, config)
    return train(learner, out, config)


def test_it_learns_and_goes_on_where_it_was_stopped(
    folder: Path, vocabulary: JudgeVocabulary, tmp_path: Path
) -> None:
    whole = learned(vocabulary, tmp_path / "whole", folder, 8)
    learned(vocabulary, tmp_path / "parts", folder, 4)
    parts = learned(vocabulary, tmp_path / "parts", folder, 8)

    assert whole.curve[-1].figures["said"].gain > 0.3
    assert parts.step == whole.step == 8
    # The rate depends on the time, a little.
    assert parts.curve[-1].figures["said"].nats == pytest.approx(
        whole.curve[-1].figures["said"].nats, abs=0.1
    )
    assert [each.step for each in parts.curve] == [0, 4, 8]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), text=st.text("ab =(\n\té", min_size=30, max_size=200))
def test_a_hole_and_its_layouts_say_the_text_again(
    seed: int, text: str, vocabulary: JudgeVocabulary
) -> None:
    if not text.strip():
        return
    hole = next(holes([Text(name="", text=text)], random.Random(seed)))
    assert hole.prefix + hole.goal + hole.suffix == text
    both = suffix_first(hole, vocabulary)
    alone = before_only(hole, vocabulary)
    # A goal may be cut within a character.
    said = vocabulary.decode(alone.ids[1:]).decode(errors="ignore")

    assert text.startswith(said), "what is short is read whole"
    assert sum(w == 1 for w in both.weights) == sum(w == 1 for w in alone.weights) <= MIDDLE
    assert both.ids[both.weights.index(1.0) :] == alone.ids[alone.weights.index(1.0) :]
    after = vocabulary.decode(both.ids[1 : both.ids.index(END_OF_TEXT, 1)]).decode(errors="ignore")
    assert hole.suffix.lstrip("\n").startswith(after)


def test_a_token_across_the_cursor_belongs_to_the_goal(vocabulary: JudgeVocabulary) -> None:
    hole = Written(name="", prefix="wid", goal="th", suffix="")
    alone = before_only(hole, vocabulary)
    goal = [i for i, weight in zip(alone.ids, alone.weights, strict=True) if weight]

    assert vocabulary.decode(goal).endswith(b"th")
    assert vocabulary.decode(alone.ids[1:]) == b"width"


def test_only_tokens_that_count_whole_are_measured(folder: Path) -> None:
    network = llama(folder / "judge.safetensors")
    example = Example(name="", ids=[0, 5, 6, 7], weights=[0, 0.25, 1.0, 1.0])
    (found,) = sums(network, [example])
    with torch.inference_mode():
        said = network(torch.tensor([[0, 5, 6]])).logits[0].log_softmax(-1)

    assert found[1] == 2
    assert found[0] == pytest.approx(-float(said[1, 6] + said[2, 7]), rel=1e-4)


def test_a_line_is_right_where_greedy_text_would_be_it(
    folder: Path, vocabulary: JudgeVocabulary
) -> None:
    network = llama(folder / "judge.safetensors")
    ids = [END_OF_TEXT, *vocabulary.encode("value")]
    start = len(ids)
    with torch.inference_mode():
        for _ in range(6):
            ids.append(int(network(torch.tensor([ids])).logits[0, -1].argmax()))
    weights = [0.0] * start + [1.0] * 6
    nats, tokens, right = said(network, Example(name="", ids=ids, weights=weights), vocabulary)
    (alone,) = sums(network, [Example(name="", ids=ids, weights=weights)])

    assert right
    assert (nats, tokens) == pytest.approx(tuple(alone), rel=1e-4)
    ids[start] = (ids[start] + 1) % SIZE
    assert not said(network, Example(name="", ids=ids, weights=weights), vocabulary)[2]


def test_readings_are_compared_with_the_first() -> None:
    found = compared({"one": [(4.0, 2, True), (2.0, 2, False)], "other": [(3.0, 2, False)] * 2})

    assert found["one"] == {
        "nats": 1.5, "gain": 0.0, "error": 0.0, "right": 50.0, "won": 0, "lost": 0
    }  # fmt: skip
    assert (found["other"]["won"], found["other"]["lost"]) == (0, 1)
    assert found["other"]["gain"] == 0.0
    assert found["other"]["error"] == 0.5


def corpus(root: Path) -> Path:
    """A corpus of two packages: one to learn from, one of validation."""
    text = "".join(f"value_{n} = total({n})\n" for n in range(200))
    packages = [Package("pypi", "cligj"), Package("pypi", "stamina")]
    assert [is_validation(package.name) for package in packages] == [False, True]
    for package in packages:
        file = SourceFile(
            path="a.py", language="python", text=text, digest="", signature=(), grams=()
        )
        path = files_path(root, package)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(json.dumps(asdict(file)).encode()))
    (root / "kept.json").write_text(json.dumps({"kept": [[package, [0]] for package in packages]}))
    return root


def test_what_a_pilot_leaves_is_read_and_compared(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out, fresh = corpus(tmp_path / "data"), tmp_path / "out", tmp_path / "fresh"
    short = ["--max-steps", "1", "--batch", "1", "--measured", "1"]
    judge = ["--judge", str(folder)]
    judge_pilot.main(["holes", "--root", str(root), "--out", str(out), *judge, *short])
    said_of_run = json.loads(capsys.readouterr().out)
    fresh.mkdir()
    (fresh / "b.py").write_text("".join(f"value_{n} = total({n})\n" for n in range(200)))
    judge_reading.main([str(fresh), "--trained", str(out), *judge, "--holes", "1"])
    readings = json.loads(capsys.readouterr().out)

    assert [each["step"] for each in said_of_run["curve"]] == [0, 1]
    assert {"prefix only", "gained over the prefix only"} <= said_of_run.keys()
    assert readings["holes"] == 1
    assert len(readings["readings"]) == 3
