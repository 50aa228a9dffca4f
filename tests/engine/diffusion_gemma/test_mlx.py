"""MLX computes what torch does. Its build for CPUs will do: what a GPU adds is speed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("mlx.core")

from infill_engine import EngineConfig, InfillRequest, ModelError, load_engine
from infill_engine.budget import Budget
from infill_engine.canvas import PINNED, Canvas
from infill_engine.models.diffusion_gemma.checkpoint import inspect_checkpoint
from infill_engine.models.diffusion_gemma.denoiser import DiffusionGemma, load_diffusion_gemma
from infill_engine.models.diffusion_gemma.mlx_network import MlxNetwork, load_mlx
from infill_engine.models.diffusion_gemma.mlx_stepping import MlxStepping
from infill_engine.models.diffusion_gemma.network import Network
from infill_engine.models.diffusion_gemma.stepping import Stepping
from tests.engine import tiny_gemma
from tests.engine.diffusion_gemma.passes import WINDOW, decoded, tokens

REQUEST = InfillRequest(prefix="def area(width, height):\n    ret", suffix="\n", max_lines=1)


def mlx(folder: Path, dtype: Any = "auto") -> MlxNetwork:
    config = EngineConfig(model=str(folder), device="mlx", dtype=dtype)
    return load_mlx(inspect_checkpoint(folder, config))


@pytest.fixture(scope="module")
def pair(folder: Path, denoiser: DiffusionGemma) -> tuple[Network, MlxNetwork]:
    """One checkpoint in torch and in MLX."""
    network = denoiser._network
    assert isinstance(network, Network)
    return network, mlx(folder)


@pytest.mark.parametrize("prompt", [1, WINDOW - 1, WINDOW, 150])
@pytest.mark.parametrize("conditioned", [False, True])
def test_what_is_said_is_what_torch_says(
    pair: tuple[Network, MlxNetwork], prompt: int, conditioned: bool
) -> None:
    ids, canvas = tokens(1, prompt), tokens(2, 40, seed=1)
    before = 10 * torch.randn(2, 40, tiny_gemma.VOCAB) if conditioned else None

    torchs, mlxs = (decoded(each, each.encode(ids), canvas, before) for each in pair)

    assert float(torchs.std()) > 1
    torch.testing.assert_close(mlxs, torchs, rtol=1e-3, atol=2e-3)


def test_a_prompt_in_pieces_and_what_is_reused_of_it(pair: tuple[Network, MlxNetwork]) -> None:
    ids, canvas = tokens(1, 150), tokens(1, 16, seed=1)
    changed = torch.cat((ids[:, :100], tokens(1, 60, seed=2)), -1)
    torchs, network = pair
    memory = network.encode(ids, chunk=32)

    again = network.encode(changed, memory, chunk=32)

    assert network.encode(ids, memory, chunk=32) is memory
    for key in (again.layers[0][0], again.layers[2][1]):
        assert key.shape[2] == changed.shape[1]
    expected = decoded(torchs, torchs.encode(changed), canvas, None)
    torch.testing.assert_close(
        decoded(network, again, canvas, None), expected, rtol=1e-3, atol=2e-3
    )
    looked: list[int] = []
    cut = Budget(cancelled=lambda: looked.append(1) or len(looked) > 2)
    assert network.encode(ids, chunk=32, budget=cut).length == 64


def test_statistics_are_those_of_the_reference_and_draws_as_probable(
    pair: tuple[Network, MlxNetwork],
) -> None:
    torchs, network = pair
    ids = tokens(2, 24, seed=3)
    hole = torch.where(torch.arange(24) < 10, 0, PINNED).expand(2, -1)
    allowed = torch.ones(tiny_gemma.VOCAB, dtype=torch.bool)
    allowed[:300] = False
    first = torch.zeros(tiny_gemma.VOCAB, dtype=torch.bool)
    first[[400, 401]] = True
    canvas = Canvas(token_ids=ids, hole=hole, allowed=allowed, first=first)
    found = []
    for stepping in (Stepping(torchs), MlxStepping(network)):
        memory = stepping.network.encode(tokens(1, 30))
        state: object = None
        generator = torch.Generator().manual_seed(1)
        for _ in range(2):
            stats, state = stepping.step(
                canvas, memory, state, temperature=0.7, generator=generator
            )
        found.append(stats)
    reference, ours = found

    torch.testing.assert_close(ours.entropy, reference.entropy, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(ours.confidence, reference.confidence, rtol=1e-2, atol=1e-2)
    assert float((ours.best == reference.best).float().mean()) > 0.95
    assert set(ours.best[:, 0].tolist()) | set(ours.sample[:, 0].tolist()) <= {400, 401}
    assert bool((ours.best[:, :10] >= 300).all())
    assert torch.equal(ours.sample[:, 10:], ids[:, 10:])
    surest = ours.confidence[:, :10] > 0.99
    assert torch.equal(ours.sample[:, :10][surest], ours.best[:, :10][surest])


def test_an_engine_infills_the_same_twice(folder: Path) -> None:
    told: list[float] = []
    config = EngineConfig(model=str(folder), device="mlx", max_denoising_steps=4)

    engine = load_engine(config, lambda _, done: told.append(done))
    (*_, one), (*_, two) = engine.infill(REQUEST), engine.infill(REQUEST)

    assert told[-1] == 1.0
    assert engine.describe().device == "cpu"
    assert one.steps > 0
    assert one.text == two.text


def test_experts_in_four_bits_lose_as_little_as_ours(tmp_path: Path) -> None:
    folder = tiny_gemma.save(tmp_path, moe_intermediate_size=64)
    ids, canvas = tokens(1, 30), tokens(1, 32, seed=1)
    config = EngineConfig(model=str(folder), dtype="int4")
    ours = load_diffusion_gemma(config)._network
    whole = load_diffusion_gemma(replace(config, dtype="auto"))._network

    expected, four, mlxs = (
        decoded(each, each.encode(ids), canvas, None)  # type: ignore[arg-type]
        for each in (whole, ours, mlx(folder, "int4"))
    )

    lost = float((mlxs - expected).abs().mean())
    assert 0 < lost < 2 * float((four - expected).abs().mean())


def test_what_is_not_computed_in_mlx_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    config = EngineConfig(model=str(folder), device="mlx")
    with pytest.raises(ModelError, match="cannot be had as fp8 in MLX; start from the bf16"):
        load_diffusion_gemma(replace(config, dtype="fp8"))
    with pytest.raises(ModelError, match="an adapter is not added in MLX"):
        load_diffusion_gemma(replace(config, adapter=str(tmp_path)))
    checkpoint = inspect_checkpoint(folder, config)
    for change, said in (
        ({"tie_word_embeddings": False}, "keeps the weights of its two passes apart"),
        ({"text_config": {}}, "lacks a size of the network"),
        ({"text_config": {**checkpoint.config["text_config"], "layer_types": ["a"] * 9}}, "lacks"),
        (
            {
                "text_config": {
                    **checkpoint.config["text_config"],
                    "rope_parameters": {"sliding_attention": {"rope_type": "yarn"}},
                }
            },
            "a rotation of type 'yarn' is not computed in MLX",
        ),
    ):
        told = json.loads(json.dumps(checkpoint.config)) | change
        with pytest.raises(ModelError, match=said):
            load_mlx(replace(checkpoint, config=told))
