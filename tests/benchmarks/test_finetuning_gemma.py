"""Fine-tuning DiffusionGemma pays: what the engine fills exactly rises, on a small model of it."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from safetensors.torch import load_file

from benchmarks.finetuning.__main__ import FORMS, measure
from benchmarks.finetuning.gemma_pretraining import GEMMA_BASE, write_random, write_tokenizer
from benchmarks.finetuning.pretraining import words

GEMMA = FORMS["diffusion_gemma"]


@pytest.mark.slow
def test_the_loss_falls_and_exact_match_rises(tmp_path: Path) -> None:
    recipe = replace(GEMMA.recipe, steps=50, every=25)

    result = measure(GEMMA, recipe, 24, tmp_path)

    assert result["cases"] == 24
    assert result["after"] >= result["before"] + 0.06
    assert result["losses"][-1] < 0.9 * result["losses"][0]


def test_the_model_has_the_files_and_shapes_that_are_made_of_it(tmp_path: Path) -> None:
    write_random(tmp_path, write_tokenizer(tmp_path, words()))

    for name in ("config.json", "tokenizer.json"):
        assert (tmp_path / name).read_text() == (GEMMA_BASE / name).read_text(), name
    made, stored = (load_file(each / "model.safetensors") for each in (tmp_path, GEMMA_BASE))
    assert {name: each.shape for name, each in made.items()} == {
        name: each.shape for name, each in stored.items()
    }
    changed = [name for name, each in made.items() if not each.equal(stored[name])]
    assert any("experts" in name for name in changed), "all weights were trained, experts as well"
