"""Small random checkpoints, made once for all tests and loaded once for each file of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from infill_engine import EngineConfig
from infill_engine.models.masked_qwen2.denoiser import MaskedQwen2, load_masked_qwen2
from tests.engine import tiny_qwen


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads that wait for one another over such small matrices take longer than one alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def dreamon_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return tiny_qwen.save_dreamon(tmp_path_factory.mktemp("dreamon"))


@pytest.fixture(scope="package")
def dcoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return tiny_qwen.save_open_dcoder(tmp_path_factory.mktemp("dcoder"))


@pytest.fixture(scope="module")
def dreamon(dreamon_folder: Path) -> MaskedQwen2:
    return load_masked_qwen2(EngineConfig(model=str(dreamon_folder), threads=1))


@pytest.fixture(scope="module")
def dcoder(dcoder_folder: Path) -> MaskedQwen2:
    return load_masked_qwen2(EngineConfig(model=str(dcoder_folder), threads=1))
