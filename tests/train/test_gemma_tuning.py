"""Fine-tuning DiffusionGemma for holes, on a small random checkpoint: what it asks, and learns."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from infill_engine import EngineConfig, ModelError, load_engine
from infill_engine.local import LocalEngine
from infill_engine.models.adapter import Adapter, read_adapter, write_adapter
from infill_engine.models.diffusion_gemma.checkpoint import inspect_checkpoint
from infill_engine.models.diffusion_gemma.loading import load_model
from infill_engine.models.diffusion_gemma.network import Network
from tests.engine import tiny_gemma
from train.finetune import finetune
from train.gemma_tuning import GemmaTuner
from train.recipe import Recipe
from train.repository import Gap, Source
from train.tuning_memory import plan

RECIPE = Recipe(
    steps=24, batch=2, tokens=96, rank=16, alpha=32.0, rate=2e-2, warmup=3, measured=2, every=12
)
TEXT = "def area(self):\n    return self.width * self.height\n\n\n" * 3
GAP = Gap(
    prefix="def area(self):\n    return ",
    middle="self.width * self.height",
    suffix="\n",
    language="python",
    path="a.py",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that are sure of little, and so can still be taught."""
    torch.set_num_threads(1)
    return tiny_gemma.save(tmp_path_factory.mktemp("base"), sharpness=4.0, inertia=1.0)


@pytest.fixture
def taught(folder: Path) -> GemmaTuner:
    """Something is beside its matrices, if nothing that was learned."""
    tuner = GemmaTuner(EngineConfig(model=str(folder)), RECIPE)
    with torch.no_grad():
        for _, up in tuner.pairs.values():
            up.normal_(std=0.03)
    return tuner


def saved(tuner: GemmaTuner, to: Path) -> str:
    adapter = Adapter(rank=RECIPE.rank, scale=RECIPE.scale, pairs=tuner.pairs)
    write_adapter(to, adapter, "tiny")
    return str(to)


def test_the_loss_falls_and_what_was_learned_is_loaded(folder: Path, tmp_path: Path) -> None:
    tuner = GemmaTuner(EngineConfig(model=str(folder)), RECIPE)
    found = [Source(path="a.py", language="python", text=TEXT, held_out=False)]

    log = finetune(tuner, found, tmp_path, RECIPE, str(folder), say=lambda _: None).log

    assert [line["step"] for line in log] == [0, 12, 24]
    assert log[2]["loss"] < 0.92 * log[1]["loss"]
    assert all(0 <= line["exact"] <= 1 for line in log)
    assert all(float(up.abs().sum()) > 0 for _, up in read_adapter(tmp_path).pairs.values())
    engine = load_engine(EngineConfig(model=str(folder), adapter=str(tmp_path), dtype="fp8"))
    assert [*engine.infill(GAP.request)]


def test_a_run_that_stopped_goes_on_as_if_it_had_not(folder: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=3, batch=1, warmup=1, measured=0)
    found = [Source(path="a.py", language="python", text=TEXT, held_out=False)]

    def run(out: str, stopped: Callable[[], bool] = lambda: False) -> int:
        tuner = GemmaTuner(EngineConfig(model=str(folder)), recipe)
        return finetune(
            *(tuner, found, tmp_path / out, recipe, str(folder)),
            say=lambda _: None,
            stopped=stopped,
        ).step

    steps = [run("whole"), run("parts", iter([False, True]).__next__), run("parts")]

    assert steps == [3, 1, 3]
    one, other = (read_adapter(tmp_path / name).pairs for name in ("whole", "parts"))
    for name, pair in one.items():
        assert all(torch.equal(a, b) for a, b in zip(pair, other[name], strict=True))


def test_what_is_beside_is_what_is_loaded(folder: Path, taught: GemmaTuner, tmp_path: Path) -> None:
    config = EngineConfig(model=str(folder))
    checkpoint = inspect_checkpoint(folder, config)
    plain = load_model(checkpoint, config)
    loaded = load_model(checkpoint, replace(config, adapter=saved(taught, tmp_path)))
    ids = torch.randint(20, 600, (1, 32), generator=torch.Generator().manual_seed(0))

    def said(model: object) -> torch.Tensor:
        taught.model = model
        taught._encoder = model.model.encoder.language_model  # type: ignore[attr-defined]
        with torch.no_grad():
            return taught.logits(ids, 32, taught.encoded(ids, 1))

    beside, merged, before = said(taught.model), said(loaded), said(plain)
    assert float((beside - before).abs().max()) > 0.1
    torch.testing.assert_close(merged, beside, rtol=1e-3, atol=1e-3)
    network = Network(loaded)
    hidden = network.decode(ids, None, network.context(network.encode(ids), 32))
    torch.testing.assert_close(network.logits(hidden[0])[None], merged, rtol=1e-2, atol=1e-2)


def test_the_loss_is_that_of_the_hole_alone_and_pins_are_seen_as_they_are(
    taught: GemmaTuner, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = torch.randint(20, 600, (1, 16), generator=torch.Generator().manual_seed(0))
    clean = torch.arange(100, 132).expand(4, -1)
    hole = torch.arange(32) < 6
    seen: list[torch.Tensor] = []
    real: Callable[..., torch.Tensor] = taught.logits

    def watched(canvas: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(canvas)
        return real(canvas, *rest)

    monkeypatch.setattr(taught, "logits", watched)
    for _ in range(4):
        loss = taught.loss_of(prompt, clean, hole)
    canvas = seen[-1]

    assert all(bool((each[:, ~hole] == clean[:, ~hole]).all()) for each in seen)
    assert any(bool((each[:, hole] != clean[:, hole]).any()) for each in seen)
    assert not set(canvas[:, hole].flatten().tolist()) & set(taught.text.special)
    assert 4 < len(seen) <= 8, "in about half of the cases it is told what it said before"
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(down.grad is not None for down, _ in taught.pairs.values())


def test_only_what_was_there_counts_as_exact(taught: GemmaTuner) -> None:
    said = [*LocalEngine(taught.denoiser()).infill(taught.asked(GAP))][-1].text

    assert taught.exact([replace(GAP, middle=GAP.middle + "x"), GAP]) == 0.0
    assert len(taught.text.encode(said)) <= len(taught.text.encode(GAP.middle)) + 1
    assert taught.exact([]) == 0.0


@pytest.mark.parametrize("taken", ["", "self.wid"])
def test_a_hole_is_as_long_as_its_middle(taught: GemmaTuner, taken: str) -> None:
    gap = replace(GAP, prefix=GAP.prefix + taken, middle=GAP.middle[len(taken) :])
    healed = taught.sides(gap.request).healed_prefix.decode()

    final = [*LocalEngine(taught.denoiser()).infill(taught.asked(gap))][-1]

    longest = max(each.tokens for each in (final, *final.others))
    assert healed
    assert longest == len(taught.text.encode(healed + gap.middle))


def test_what_does_not_fit_is_a_sentence(folder: Path, taught: GemmaTuner, tmp_path: Path) -> None:
    key = "model.decoder.layers.0.mlp.up_proj.weight"
    for pairs, said in (
        ({key: (torch.ones(2, 9), torch.ones(96, 2))}, r"is \[96, 9\], the model's \[96, 64\]"),
        (
            {key.replace("0", "9"): (torch.ones(2, 64), torch.ones(96, 2))},
            "which .* has not; name the model",
        ),
    ):
        write_adapter(tmp_path, Adapter(rank=2, scale=1.0, pairs=pairs), "other")
        with pytest.raises(ModelError, match=said):
            load_engine(EngineConfig(model=str(folder), adapter=str(tmp_path)))
    with pytest.raises(ModelError, match="experts in fp8 pass no gradient on"):
        GemmaTuner(EngineConfig(model=str(folder), dtype="fp8"), RECIPE)


def test_the_plan_is_arithmetic(folder: Path, taught: GemmaTuner) -> None:
    parts = plan(EngineConfig(model=str(folder)), RECIPE)
    learned = sum(each.numel() for pair in taught.pairs.values() for each in pair)

    assert parts["LoRA"] == pytest.approx(16 * learned / 2**30)
    assert parts["all"] == pytest.approx(sum(v for k, v in parts.items() if k != "all"))
