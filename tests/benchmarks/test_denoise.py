"""The benchmark of a denoising step runs on a CPU, with a model small enough."""

import json

import pytest
import torch

pytest.importorskip("transformers")

from benchmarks.denoise import __main__ as command
from benchmarks.denoise import accuracy
from benchmarks.denoise.models import build
from benchmarks.denoise.shape import REAL, SMALL, least


@pytest.mark.slow
def test_ends_in_a_line_of_json_that_holds_every_figure(capsys):
    command.main(["--device", "cpu", "--canvas", "16", "--formats", "bf16", "int4", "--steps", "2"])
    printed = capsys.readouterr().out.splitlines()
    report = json.loads(printed[-1])

    assert [(row["canvas"], row["format"]) for row in report["results"]] == [
        (16, "bf16"),
        (16, "int4"),
    ]
    for row in report["results"]:
        assert row["reference_ms"] > 0
        assert row["ours_ms"] > 0
        assert row["floor_ms"] > 0
        assert 0 < row["experts_touched"] <= report["spec"]["experts"]
    assert report["commit"]
    assert any(line.startswith("canvas format") for line in printed)


@pytest.mark.slow
def test_nothing_is_timed_when_ours_is_wrong(capsys, monkeypatch):
    right = accuracy.our_logits
    monkeypatch.setattr(accuracy, "our_logits", lambda *given: 1.2 * right(*given))

    with pytest.raises(SystemExit, match="bf16: further from the truth"):
        command.main(["--device", "cpu", "--canvas", "16", "--formats", "bf16", "--steps", "2"])

    assert json.loads(capsys.readouterr().out.splitlines()[-1])["results"] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--device", "gpu"], "--device gpu (infill.device) is none of auto, cpu, cuda"),
        (["--canvas", "0"], "'0' is not a whole number from 1"),
        (["--steps", "-2"], "'-2' is not a whole number from 1"),
    ],
)
def test_what_cannot_be_run_is_said_at_once(capsys, given, said):
    with pytest.raises(SystemExit) as ended:
        command.main(given)

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_floor_is_that_of_the_published_shape():
    """Reading every weight once: 53.6 GB for 256 cells, 12.5 ms at 4.3 TB/s (bf16)."""
    moved, operations = least(REAL, 256, 2000, 128.0, "bf16")

    assert moved == pytest.approx(53.6e9, rel=0.03)
    assert operations == pytest.approx(2.58e12, rel=0.1)


def test_weights_are_tied_and_none_is_left_without_memory():
    model = build(SMALL, torch.device("cpu"), torch.float32, seed=0)
    layers = model.model.encoder.language_model.layers, model.model.decoder.layers

    assert model.lm_head.weight is model.model.decoder.embed_tokens.weight
    assert all(a.mlp.up_proj.weight is b.mlp.up_proj.weight for a, b in zip(*layers, strict=True))
    for tensor in (*model.parameters(), *model.buffers()):
        assert not tensor.is_meta
        assert tensor.isfinite().all()
