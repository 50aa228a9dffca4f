"""Fine-tuning where it is stopped, misnamed or handed on."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

from infill_engine import EngineConfig, ModelError
from infill_engine.models.adapter import CONFIG, WEIGHTS, Adapter, read_adapter, write_adapter
from infill_engine.models.masked_qwen2.denoiser import load_masked_qwen2
from infill_engine.models.quantise import ShardWriter
from infill_engine.models.writing import write_whole
from tests.engine import tiny_gemma, tiny_qwen
from train import finetune, recipe
from train.gemma_tuning import GemmaTuner
from train.masked_tuning import MaskedTuner
from train.recipe import Recipe, Tuner
from train.repository import Gap, Source
from train.tuning_state import STATE, Run

RECIPE = Recipe(
    steps=2, batch=1, tokens=64, rank=4, alpha=8.0, rate=1e-2, warmup=1, measured=3, every=1
)
TEXT = "def area(self):\n    return self.width * self.height\n\n\n" * 8
FOUND = [Source(path="a.py", language="python", text=TEXT, held_out=False)]
KEY = "model.layers.0.self_attn.q_proj.weight"
Form = tuple[Path, Callable[[Recipe], Tuner]]


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tiny_qwen.save_dreamon(tmp_path_factory.mktemp("qwen"), num_hidden_layers=1)


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tiny_gemma.save(tmp_path_factory.mktemp("gemma"))


@pytest.fixture(params=["qwen", "gemma"])
def form(request: pytest.FixtureRequest) -> Form:
    """A checkpoint, and a tuner of it that begins anew."""
    folder: Path = request.getfixturevalue(request.param)
    config = EngineConfig(model=str(folder), threads=1, max_denoising_steps=4)
    if request.param == "qwen":
        return folder, lambda recipe: MaskedTuner(load_masked_qwen2(config), recipe)
    return folder, lambda recipe: GemmaTuner(config, recipe)


def test_a_stop_while_it_measures_ends_within_one_hole_and_is_gone_on_with(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tuner = form
    filled: list[Gap] = []

    def fill(_: object, measured: list[Gap], __: object) -> int:
        filled.extend(measured)
        return len(filled) % 2

    monkeypatch.setattr(recipe, "exact", fill)

    def run(out: str, holes: int = 1000) -> tuple[Run, list[dict[str, float]]]:
        """Until so many holes are filled."""
        filled.clear()
        found = finetune.finetune(
            *(tuner(RECIPE), FOUND, tmp_path / out, RECIPE, str(folder)),
            say=lambda _: None,
            stopped=lambda: len(filled) >= holes,
        )
        kept = [{name: line[name] for name in line if name != "seconds"} for line in found.log]
        return found, kept

    whole, lines = run("whole")
    stopped = []
    for holes in (1, 3 + 2, 3 + 1):  # before a step, and where steps 1 and 2 are measured
        part, _ = run("parts", holes)
        stopped.append((part.step, len(part.log), len(filled)))
        assert (tmp_path / "parts" / STATE).exists()
        assert read_adapter(tmp_path / "parts").rank == RECIPE.rank
    end, again = run("parts")

    assert stopped == [(0, 0, 1), (1, 1, 5), (2, 2, 4)]
    assert (whole.step, end.step) == (2, 2)
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert [line.get("loss") for line in again] == [line.get("loss") for line in lines]
    assert not (tmp_path / "parts" / STATE).exists()
    one, other = (read_adapter(tmp_path / name).pairs for name in ("whole", "parts"))
    for name, pair in one.items():
        assert all(torch.equal(a, b) for a, b in zip(pair, other[name], strict=True))


def test_a_rank_above_the_matrices_is_a_sentence(form: Form) -> None:
    _, tuner = form
    side = min(min(up.shape[0], down.shape[1]) for down, up in tuner(RECIPE).pairs.values())

    assert tuner(replace(RECIPE, rank=side)).pairs
    for rank in (side + 1, 100_000):
        said = rf"--rank {rank} is more than {side}, the smallest side .*; choose 16, or {side} at"
        with pytest.raises(ModelError, match=said):
            tuner(replace(RECIPE, rank=rank))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"{", r"adapter_config\.json cannot be read as JSON \(.*line 1 column 2"),
        (b"", r"cannot be read as JSON \(.*line 1 column 1"),
        (b"\xff", r"cannot be read as JSON \(.*position 0"),
        (b"[1]", r"cannot be read as JSON \(it is no object\); copy it again"),
        (b"{}", r"holds no LoRA adapter \('r'\)"),
    ],
)
def test_a_config_that_is_no_json_is_said_with_its_place(
    tmp_path: Path, written: bytes, said: str
) -> None:
    pairs = {KEY: (torch.ones(2, 64), torch.ones(64, 2))}
    write_adapter(tmp_path, Adapter(rank=2, scale=1.0, pairs=pairs), "other")
    (tmp_path / CONFIG).write_bytes(written)

    with pytest.raises(ModelError, match=said):
        read_adapter(tmp_path)


@pytest.fixture(params=[0o022, 0o027, 0o077])
def mode(request: pytest.FixtureRequest) -> Iterator[int]:
    """Of a new file, by a umask."""
    former = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(former)


def test_what_is_handed_on_has_the_mode_of_its_neighbours(
    qwen: Path, tmp_path: Path, mode: int
) -> None:
    tuner = MaskedTuner(load_masked_qwen2(EngineConfig(model=str(qwen))), RECIPE)
    out, copy = tmp_path / "adapter", tmp_path / "copy"
    copy.mkdir()

    finetune.finetune(
        *(tuner, FOUND, out, replace(RECIPE, measured=0), "tiny"),
        say=lambda _: None,
        stopped=lambda: True,
    )
    shards = ShardWriter(copy)
    shards.add({"a": torch.ones(2)})
    shards.close()

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [*out.iterdir()]}
    assert {WEIGHTS, STATE, CONFIG} <= modes.keys()
    assert set(modes.values()) == {mode}
    assert {stat.S_IMODE(path.stat().st_mode) for path in copy.iterdir()} == {mode}


def test_a_file_that_cannot_be_written_leaves_the_former_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, lambda partial: partial.write_text("whole"))

    def fail(partial: Path) -> None:
        partial.write_text("ha")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write_whole(path, fail)
    assert path.read_text() == "whole"
    write_whole(path, lambda partial: partial.write_text("next"))
    assert [each.read_text() for each in tmp_path.iterdir()] == ["next"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "nope"}, "no such folder: nope; name a folder that holds a model"),
        ({"model": "hub:nope"}, "hub:nope names no model of the hub"),
        ({"model": "{empty}"}, r"has no config\.json that can be read"),
        ({"device": "cuda"}, "cuda.* is not available here; use cpu or auto"),
        ({"device": "qpu"}, "qpu.* is none of auto, cpu, cuda"),
        ({"model": "hub:someone/something", "device": "qpu"}, "qpu.* is none of auto, cpu, cuda"),
    ],
)
def test_model_and_device_are_looked_at_before_data(
    qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str
) -> None:
    def unread(*_: Any) -> None:
        pytest.fail("data was read")

    monkeypatch.setattr(finetune, "looked_through", unread)
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(is_available=lambda: False))
    (tmp_path / "empty").mkdir()
    options = {"model": str(qwen), "data": str(tmp_path), "out": str(tmp_path / "out")} | given
    options["model"] = options["model"].format(empty=tmp_path / "empty")

    with pytest.raises(ModelError, match=said):
        finetune.main([each for name, value in options.items() for each in (f"--{name}", value)])
