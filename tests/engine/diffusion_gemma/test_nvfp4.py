"""Checkpoints in NVFP4 are made wide, then kept as any other; the hardware need not know it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers")

from infill_engine import EngineConfig, InfillRequest, ModelError, load_engine
from infill_engine.models.diffusion_gemma.checkpoint import inspect_checkpoint
from infill_engine.models.diffusion_gemma.loading import load_model, load_network
from infill_engine.models.masked_qwen2.denoiser import load_masked_qwen2
from infill_engine.models.nvfp4 import unpacked
from infill_engine.models.quantise import quantise_checkpoint
from infill_engine.models.quantised import quantise
from tests.engine import tiny_gemma, tiny_qwen
from tests.engine.diffusion_gemma.test_loading import copy, describe, rewrite

# K must be a multiple of 64 for int4.
SIZES: dict[str, Any] = {"moe_intermediate_size": 64, "hidden_size": 64, "num_experts": 3}
SAID = {"000": 0, "001": 0.5, "010": 1, "011": 1.5, "100": 2, "101": 3, "110": 4, "111": 6}
DENSE = "model.decoder.layers.0.mlp.up_proj"

Made = tuple[Path, dict[str, Tensor]]


def packed(seed: int, rows: int, size: int) -> tuple[Tensor, Tensor, float]:
    """Any codes and scales are a matrix."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(256, (rows, size // 2), generator=generator, dtype=torch.uint8)
    scale = torch.rand(rows, size // 16, generator=generator) + 0.5
    return codes, scale.to(torch.float8_e4m3fn), 0.01 * (1 + seed % 3)


def plainly(codes: Tensor, scale: Tensor, factor: float) -> Tensor:
    """What the format says, number by number."""
    rows = []
    for line, scales in zip(codes.tolist(), scale.float().tolist(), strict=True):
        halves = [f"{byte:08b}"[start : start + 4] for byte in line for start in (4, 0)]
        numbers = [SAID[bits[1:]] * (-1 if bits[0] == "1" else 1) for bits in halves]
        rows.append([each * scales[at // 16] * factor for at, each in enumerate(numbers)])
    return torch.tensor(rows)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide")
    return tiny_gemma.save(folder, dtype=torch.bfloat16, **SIZES)


@pytest.fixture(scope="module", params=["modelopt", "compressed-tensors"])
def made(
    request: pytest.FixtureRequest, wide: Path, tmp_path_factory: pytest.TempPathFactory
) -> Made:
    """A checkpoint in NVFP4, and what its matrices are under transformers' names."""
    folder = copy(wide, tmp_path_factory.mktemp(request.param))
    expected: dict[str, Tensor] = {}
    modelopt = request.param == "modelopt"

    def put(tensors: dict[str, Tensor], name: str, rows: int, size: int) -> Tensor:
        codes, scale, factor = packed(len(tensors), rows, size)
        tensors[f"{name}.weight_scale"] = scale
        if modelopt:
            tensors[f"{name}.weight"] = codes
            tensors[f"{name}.weight_scale_2"] = torch.tensor(factor)
            tensors[f"{name}.input_scale"] = torch.tensor(1.0)
        else:
            tensors[f"{name}.weight_packed"] = codes
            tensors[f"{name}.weight_global_scale"] = torch.tensor([1 / factor])
            tensors[f"{name}.input_global_scale"] = torch.tensor([1.0])
        return plainly(codes, scale, factor)

    def change(tensors: dict[str, Tensor]) -> None:
        rows, size = tensors.pop(f"{DENSE}.weight").shape
        expected[f"{DENSE}.weight"] = put(tensors, DENSE, rows, size)
        for name in [name for name in tensors if ".experts." in name]:
            count, rows, size = tensors.pop(name).shape
            prefix, _, matrix = name.rpartition(".")
            prefix = prefix.replace(".experts", ".moe.experts") if modelopt else prefix
            parts = ("gate", "up") if matrix == "gate_up_proj" else ("down",)
            each = [
                put(tensors, f"{prefix}.{at}.{part}_proj", rows // len(parts), size)
                for at in range(count)
                for part in parts
            ]
            expected[name] = torch.stack(each).view(count, rows, size)

    rewrite(folder, change)
    method = {"quant_method": request.param, "format": "nvfp4-pack-quantized"}
    if modelopt:
        told = {"quantization": {"quant_algo": "NVFP4"}}
        (folder / "hf_quant_config.json").write_text(json.dumps(told))
        method = {"quant_method": "modelopt"}
    describe(folder, quantization_config=method)
    return folder, expected


def test_made_wide_the_weights_are_what_the_format_says(made: Made) -> None:
    folder, expected = made
    config = EngineConfig(model=str(folder), dtype="bfloat16")
    checkpoint = inspect_checkpoint(folder, config)

    found = dict(load_model(checkpoint, config).named_parameters(remove_duplicate=False))

    assert len(expected) == 7
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name].float(), tensor, rtol=2**-8, atol=0)
        other = name.replace("decoder", "encoder.language_model")
        assert found[other].data_ptr() == found[name].data_ptr()
    assert checkpoint.dtype == "bfloat16"


def test_it_loads_in_four_bits_unless_others_are_asked_for(made: Made) -> None:
    folder, expected = made
    told: list[tuple[str, float]] = []

    engine = load_engine(EngineConfig(model=str(folder)), lambda *step: told.append(step))
    network = load_network(EngineConfig(model=str(folder)))

    assert engine.describe().dtype == "bfloat16, experts int4"
    assert ("reading NVFP4", 1.0) in told
    assert [*engine.infill(InfillRequest(prefix="def area(", suffix="\n", max_lines=1))]
    name = "model.decoder.layers.1.experts.down_proj"
    ours, error = quantise(expected[name].to(torch.bfloat16), "int4", torch.device("cpu"))
    assert torch.equal(network.layers[1].experts_down.codes, ours.codes)
    assert 0 < error < 0.15
    eight = load_network(EngineConfig(model=str(folder), dtype="fp8"))
    assert eight.layers[1].experts_down.codes.dtype == torch.float8_e4m3fn


def test_a_copy_in_our_format_is_made_tensor_by_tensor(made: Made, tmp_path: Path) -> None:
    folder, expected = made

    errors = dict(quantise_checkpoint(folder, tmp_path / "int4", "int4"))
    copied = load_network(EngineConfig(model=str(tmp_path / "int4")))

    assert set(errors) == {name for name in expected if "experts" in name}
    direct = load_network(EngineConfig(model=str(folder)))
    for one, other in zip(copied.layers, direct.layers, strict=True):
        assert torch.equal(one.experts_gate_up.codes, other.experts_gate_up.codes)
        assert torch.equal(one.gate_up, other.gate_up)


def without(pattern: str) -> Callable[[dict[str, Tensor]], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if re.search(pattern, name)]:
            del tensors[name]

    return change


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"layers\.1\..*experts\.1\.up_proj\.weight(_packed)?$", "experts lacks matrices of some"),
        (r"experts\.2\.down_proj\.weight_(scale_2|global_scale)$", "the checkpoint lacks .*scale"),
        (r"layers\.1\.router\.scale", r"lacks \d weights"),
    ],
)
def test_what_is_missing_is_said(made: Made, tmp_path: Path, pattern: str, said: str) -> None:
    folder = copy(made[0], tmp_path)
    rewrite(folder, without(pattern))

    with pytest.raises(ModelError, match=said):
        load_network(EngineConfig(model=str(folder)))


def test_scales_of_another_shape_are_said() -> None:
    codes, scale, factor = packed(0, 4, 64)
    with pytest.raises(ModelError, match=r"4 rows of 64 weights and scales \[4, 3\], not \[4, 4\]"):
        unpacked(codes, scale[:, :3], factor)


def test_of_others_it_is_not_read(tmp_path: Path) -> None:
    folder = tiny_qwen.save_dreamon(tmp_path)
    describe(folder, quantization_config={"quant_method": "modelopt", "quant_algo": "NVFP4"})

    with pytest.raises(ModelError, match="which is read of DiffusionGemma alone; take the bf16"):
        load_masked_qwen2(EngineConfig(model=str(folder)))
