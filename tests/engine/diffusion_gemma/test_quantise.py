"""A checkpoint with experts in 8 or 4 bits: made, loaded, and how far its logits are off."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from infill_engine import EngineConfig, InfillRequest, ModelError, load_engine
from infill_engine.config import Format
from infill_engine.models import placement
from infill_engine.models import quantise as quantise_module
from infill_engine.models import quantised as quantised_module
from infill_engine.models.diffusion_gemma.checkpoint import inspect_checkpoint
from infill_engine.models.diffusion_gemma.loading import load_network
from infill_engine.models.diffusion_gemma.loading import noise_logits as read_logits
from infill_engine.models.diffusion_gemma.quantised import QuantisedExperts
from infill_engine.models.quantise import compare, main, quantise_checkpoint
from infill_engine.models.quantised import QUANTISE, quantise
from infill_kernels import Fp8, Int4, dequantise

pytest.importorskip("transformers")
from tests.engine import tiny_gemma

FORMATS = get_args(Format)
# K must be a multiple of 64 for int4.
SIZES: dict[str, Any] = {"moe_intermediate_size": 64, "hidden_size": 128}
EXPERTS = [
    f"model.decoder.layers.{layer}.experts.{matrix}"
    for layer in range(3)
    for matrix in ("down_proj", "gate_up_proj")
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bf16")
    return tiny_gemma.save(folder, seed=1, dtype=torch.bfloat16, **SIZES)


@pytest.fixture(scope="module", params=FORMATS)
def quantised(
    request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Format, Path, dict[str, float]]:
    target = tmp_path_factory.mktemp(request.param) / "made"
    return request.param, target, dict(quantise_checkpoint(source, target, request.param))


def stored(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            tensors |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    return tensors


# The checkpoint


def test_a_quantised_folder_is_complete(
    source: Path, quantised: tuple[Format, Path, dict[str, float]]
) -> None:
    name, target, errors = quantised
    before, after = stored(source), stored(target)

    assert sorted(errors) == EXPERTS
    assert set(after) == set(before) | {f"{key}_scale" for key in EXPERTS}
    for key, tensor in before.items():
        if key in EXPERTS:
            codes, scale = after[key], after[f"{key}_scale"]
            made = Fp8(codes, scale) if name == "fp8" else Int4(codes, scale)
            expected = QUANTISE[name](tensor)
            assert torch.equal(made.codes.view(torch.uint8), expected.codes.view(torch.uint8))
            assert torch.equal(made.scale, expected.scale)
        else:
            assert torch.equal(after[key], tensor)
            assert after[key].dtype == tensor.dtype
    config = json.loads((target / "config.json").read_text())
    assert config["quantization_config"] == {"quant_method": "infill", "format": name}
    assert (target / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    index = json.loads((target / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(after)
    assert {path.name for path in target.glob("*.safetensors")} == set(index["weight_map"].values())


def test_its_error_is_that_of_the_format(
    quantised: tuple[Format, Path, dict[str, float]],
) -> None:
    name, _, errors = quantised
    low, high = {"fp8": (0.01, 0.04), "int4": (0.04, 0.12)}[name]

    assert all(low < error < high for error in errors.values()), errors


def test_the_loaded_experts_are_those_of_the_file_in_both_passes(
    quantised: tuple[Format, Path, dict[str, float]],
) -> None:
    name, target, _ = quantised
    network = load_network(EngineConfig(model=str(target)))
    files = stored(target)

    for at, layer in enumerate(network.layers):
        key = f"model.decoder.layers.{at}.experts.gate_up_proj"
        weights = layer.experts_gate_up
        assert isinstance(weights, Fp8 if name == "fp8" else Int4)
        assert torch.equal(weights.codes.view(torch.uint8), files[key].view(torch.uint8))
        assert torch.equal(weights.scale, files[f"{key}_scale"])
        theirs = network._encoder.layers[at].experts
        assert isinstance(theirs, QuantisedExperts)
        assert theirs.gate_up.codes.data_ptr() == weights.codes.data_ptr()
    assert network.dtype == torch.bfloat16


def test_a_quantised_model_computes_what_its_dequantised_weights_do(
    source: Path, tmp_path: Path, quantised: tuple[Format, Path, dict[str, float]]
) -> None:
    from safetensors.torch import load_file, save_file

    name, target, _ = quantised
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    for key in EXPERTS:
        tensors[key] = dequantise(QUANTISE[name](tensors[key]), torch.bfloat16)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})

    apart = compare(read_logits(tmp_path, "cpu"), read_logits(target, "cpu"))

    # Each pass rounds to bf16 on its way; how the sums are ordered is the only difference.
    assert apart.relative < 0.02
    original = compare(read_logits(source, "cpu"), read_logits(target, "cpu"))
    assert original.relative > apart.relative


def test_quantising_while_loading_gives_the_same_model(
    source: Path, quantised: tuple[Format, Path, dict[str, float]]
) -> None:
    name, target, _ = quantised
    told: list[str] = []

    made = load_network(
        EngineConfig(model=str(source), dtype=name), lambda what, _: told.append(what)
    )
    read = load_network(EngineConfig(model=str(target)))

    for one, other in zip(made.layers, read.layers, strict=True):
        for left, right in (
            (one.experts_gate_up, other.experts_gate_up),
            (one.experts_down, other.experts_down),
        ):
            assert torch.equal(left[0].view(torch.uint8), right[0].view(torch.uint8))
            assert torch.equal(left[1], right[1])
    assert f"quantising to {name}" in told


def test_a_quantised_checkpoint_infills(
    quantised: tuple[Format, Path, dict[str, float]],
) -> None:
    name, target, _ = quantised
    engine = load_engine(EngineConfig(model=str(target), max_denoising_steps=3))

    *_, draft = engine.infill(InfillRequest(prefix="def f(x):\n    ", suffix="\n", max_lines=1))

    assert draft.tokens > 0
    assert engine.describe().dtype == f"bfloat16, experts {name}"


def test_the_memory_it_needs_is_known_beforehand(
    source: Path, quantised: tuple[Format, Path, dict[str, float]]
) -> None:
    name, target, _ = quantised
    before = inspect_checkpoint(source, EngineConfig())
    after = inspect_checkpoint(target, EngineConfig())
    asked = inspect_checkpoint(source, EngineConfig(dtype=name))

    experts = 3 * 8 * (2 * 64 * 128 + 128 * 64)
    bits = {"fp8": 8.0, "int4": 4.5}[name]
    assert after.need == before.need - experts * 2 + int(experts * bits / 8)
    assert asked.need == after.need
    assert before.parameters == after.parameters == asked.parameters


# What does not work


def test_a_format_does_not_replace_another(
    quantised: tuple[Format, Path, dict[str, float]], tmp_path: Path
) -> None:
    name, target, _ = quantised
    other = "int4" if name == "fp8" else "fp8"

    with pytest.raises(ModelError, match=f"is {name} already; leave dtype unset"):
        load_network(EngineConfig(model=str(target), dtype=other))
    with pytest.raises(ModelError, match="start from the bf16 weights"):
        list(quantise_checkpoint(target, tmp_path / "again", other))


def test_sizes_that_int4_does_not_take_are_told_before_anything_is_written(
    tmp_path: Path,
) -> None:
    odd = tiny_gemma.save(tmp_path / "odd")  # 32 inputs

    with pytest.raises(ModelError, match=r"has 32 inputs, no multiple of the 64 .* fp8"):
        list(quantise_checkpoint(odd, tmp_path / "made", "int4"))
    assert not (tmp_path / "made").exists()
    with pytest.raises(ModelError, match=r"has 32 inputs, no multiple of the 64"):
        load_network(EngineConfig(model=str(odd), dtype="int4"))


def test_large_checkpoints_are_written_in_several_files(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantise_module, "SHARD_BYTES", 200_000)
    target = tmp_path / "made"

    list(quantise_checkpoint(source, target, "int4"))

    names = sorted(path.name for path in target.glob("*.safetensors"))
    assert len(names) > 3
    assert names[0] == f"model-00001-of-{len(names):05}.safetensors"
    assert load_network(EngineConfig(model=str(target))).vocab_size == tiny_gemma.VOCAB


def test_experts_are_quantised_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torch.randn(7, 6, 128, generator=torch.Generator().manual_seed(0))
    whole, error = quantise(weights, "int4", torch.device("cpu"))
    monkeypatch.setattr(quantised_module, "EXPERTS_AT_ONCE", 3)

    parts, same_error = quantise(weights, "int4", torch.device("cpu"))

    assert torch.equal(whole.codes, parts.codes)
    assert torch.equal(whole.scale, parts.scale)
    assert error == pytest.approx(same_error)
    back = dequantise(whole, torch.float32)
    assert error == pytest.approx(float((back - weights).norm() / weights.norm()))


def test_passes_that_are_kept_apart_are_not_quantised(source: Path, tmp_path: Path) -> None:
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))

    with pytest.raises(ModelError, match="keeps the experts of its two passes apart"):
        load_network(EngineConfig(model=str(tmp_path), dtype="fp8"))


def test_quantising_while_loading_wants_main_memory_for_the_original(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def free(device: torch.device) -> int:
        asked.append(device.type)
        return 1 << 40 if len(asked) == 1 else 1000

    monkeypatch.setattr(placement, "free_memory", free)

    with pytest.raises(ModelError, match=r"as stored, and cpu has 0\.0 GiB free"):
        load_network(EngineConfig(model=str(source), dtype="fp8"))


def test_other_peoples_files_are_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(ModelError, match="is not empty; name a new folder"):
        list(quantise_checkpoint(source, tmp_path, "fp8"))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_checkpoint_without_experts_is_an_error(source: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for path in source.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    save_file({"model.norm.weight": torch.ones(3)}, tmp_path / "model.safetensors")

    with pytest.raises(ModelError, match="has no tensors that are quantised"):
        list(quantise_checkpoint(tmp_path, tmp_path / "made", "fp8"))


# The command


def test_one_command_quantises_and_reports(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "made"

    assert main([str(source), str(target), "--format", "int4", "--device", "cpu"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[1] for line in lines[:6]) == EXPERTS
    assert all(0 < float(line.split()[0]) < 0.2 for line in lines[:6])
    assert "mean relative error of 6 tensors" in lines[6]
    assert "GiB ->" in lines[7]
    assert lines[8].startswith("logits: relative error 0.")
    assert "same best token in" in lines[8]


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    given = ["/no/such/model", str(tmp_path / "made"), "--format", "fp8"]

    done = subprocess.run(
        [sys.executable, "-m", "infill_engine.models.quantise", *given],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("no such folder: /no/such/model; name a folder")
    assert "Traceback" not in done.stderr
