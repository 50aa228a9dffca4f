"""Fine-tuning pays: what the engine fills exactly rises in a repository of other conventions."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.finetuning import repositories
from benchmarks.finetuning.__main__ import FORMS, measure
from benchmarks.finetuning.pretraining import BASE, weights
from infill_engine.models.masked_qwen2.denoiser import load_masked_qwen2
from infill_engine.models.masked_qwen2.network import Network
from train.repository import sources

MASKED = FORMS["masked_qwen2"]


@pytest.mark.slow
def test_the_loss_falls_and_exact_match_rises(tmp_path: Path) -> None:
    recipe = replace(MASKED.recipe, steps=150, every=50)

    result = measure(MASKED, recipe, 30, tmp_path)

    assert result["cases"] == 30
    assert result["after"] >= 2 * result["before"]
    assert result["after"] >= 0.2
    assert result["losses"][-1] < 0.9 * result["losses"][0]


def test_no_function_of_one_repository_stands_in_the_other(tmp_path: Path) -> None:
    functions = []
    for convention in (repositories.usual, repositories.own):
        folder = tmp_path / convention.__name__
        folder.mkdir()
        found, left_out = sources(repositories.write(folder, convention, seed=1))

        assert len(found) == repositories.FILES
        assert not left_out
        assert 5 < sum(each.held_out for each in found) < 20
        functions.append({part for each in found for part in each.text.split("\n\n\n")})
    assert not functions[0] & functions[1]


def test_the_model_is_written_as_it_was_read() -> None:
    network = load_masked_qwen2(MASKED.config()).network
    assert isinstance(network, Network)

    written, stored = weights(network), load_file(BASE / "model.safetensors")

    assert written.keys() == stored.keys()
    for name, tensor in stored.items():
        torch.testing.assert_close(written[name], tensor, rtol=0, atol=0)
