"""A judge of random weights, made as the real one is."""

from pathlib import Path

import numpy as np
import pytest

from infill_engine.judge.llama import LlamaJudge
from infill_engine.judge.loading import load_llama
from infill_kernels.native import native
from tests.train import tiny_gguf
from train.judge import make
from train.judge_vocabulary import FIRST_MERGED


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    counts = np.random.default_rng(0).integers(0, 9, len(tiny_gguf.vocabulary()[0]))
    make(tiny_gguf.write_wheel(folder), folder, counts, FIRST_MERGED + 61)
    return folder


@pytest.fixture
def judge(weights: Path) -> LlamaJudge:
    if native()[0] is None:
        pytest.skip(native()[1])
    return load_llama(weights)
