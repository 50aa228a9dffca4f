"""MLX computes what torch does. Its build for CPUs will do: what a GPU adds is speed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("mlx.core")

from infill_engine import EngineConfig, InfillRequest, ModelError, load_engine
from infill_engine.models.masked_qwen2.denoiser import MaskedQwen2, load_masked_qwen2
from tests.engine.masked_qwen2.test_parity import stepping, text
from tests.engine.masked_qwen2.test_stepping import PREFIX, SUFFIX, said
from tests.engine.tiny_qwen import save_dreamon

REQUEST = InfillRequest(prefix="def area(width, height):\n    ret", suffix="\n", max_lines=1)


@pytest.fixture(scope="module", params=["dreamon", "dcoder"])
def pair(request: pytest.FixtureRequest) -> tuple[MaskedQwen2, MaskedQwen2]:
    """One checkpoint in torch and in MLX."""
    folder: Path = request.getfixturevalue(f"{request.param}_folder")
    config = EngineConfig(model=str(folder), threads=1)
    return load_masked_qwen2(config), load_masked_qwen2(replace(config, device="mlx"))


def test_what_is_said_is_what_torch_says(pair: tuple[MaskedQwen2, MaskedQwen2]) -> None:
    for near, cells, filled in ((99, 20, text(9, 3)), (8, 20, text(9, 3)), (8, 3, [])):
        torchs, mlxs = (said(stepping(each, [], 1.0, near=near), cells, filled) for each in pair)
        torch.testing.assert_close(mlxs, torchs, rtol=1e-3, atol=1e-3)


def test_rows_of_several_lengths_and_scores_are_torchs(
    pair: tuple[MaskedQwen2, MaskedQwen2],
) -> None:
    rows = [text(5, 7), text(2, 8), []]

    torchs, mlxs = (
        inner.score(inner.encode(PREFIX, SUFFIX), rows)
        for inner in (stepping(each, [], 1.0, near=8) for each in pair)
    )

    for one, other in zip(torchs, mlxs, strict=True):
        assert other.likelihood == pytest.approx(one.likelihood, abs=1e-2)
        assert other.join == pytest.approx(one.join, abs=1e-2)


def test_an_engine_infills_in_four_bits(dreamon_folder: Path) -> None:
    told: list[float] = []
    config = EngineConfig(
        model=str(dreamon_folder), device="mlx", dtype="int4", max_denoising_steps=4
    )

    engine = load_engine(config, lambda _, done: told.append(done))
    *_, draft = engine.infill(REQUEST)

    assert told[-1] == 1.0
    assert engine.describe().dtype == "float32, weights int4"
    assert draft.steps > 0


def test_four_bits_of_mlx_lose_as_little_as_ours(dreamon_folder: Path) -> None:
    config = EngineConfig(model=str(dreamon_folder), threads=1)
    whole, four, ours = (
        said(stepping(load_masked_qwen2(given), [], 1.0), 20, text(9, 3))
        for given in (
            config,
            replace(config, device="mlx", dtype="int4"),
            replace(config, dtype="int4"),
        )
    )

    assert 0 < float((four - whole).abs().mean()) < 2 * float((ours - whole).abs().mean())


def test_eight_bit_floats_are_none_of_mlxs(dreamon_folder: Path) -> None:
    with pytest.raises(ModelError, match="cannot be had as fp8 in MLX; start from the bf16"):
        load_masked_qwen2(EngineConfig(model=str(dreamon_folder), device="mlx", dtype="fp8"))


def test_a_weight_that_is_missing_is_said(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_dreamon(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors")

    with pytest.raises(ModelError, match=r"lacks 1 weights, model\.norm\.weight for one"):
        load_masked_qwen2(EngineConfig(model=str(folder), device="mlx"))
