"""Small random checkpoints, loaded once for each file of tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from infill_engine import EngineConfig
from infill_engine.models.diffusion_gemma.denoiser import DiffusionGemma, load_diffusion_gemma
from tests.engine import tiny_gemma


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads that wait for one another over such small matrices take longer than one alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gemma.save(tmp_path_factory.mktemp("gemma"))


@pytest.fixture(scope="module")
def denoiser(folder: Path) -> DiffusionGemma:
    return load_diffusion_gemma(EngineConfig(model=str(folder), max_denoising_steps=6))
