"""Checkpoints are found, checked and loaded, or an error says what to do."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from infill_engine import EngineConfig, InfillRequest, ModelError, load_engine
from infill_engine.local import LocalEngine
from infill_engine.models import placement
from infill_engine.models.diffusion_gemma import loading
from infill_engine.models.diffusion_gemma.denoiser import load_diffusion_gemma

pytest.importorskip("transformers")

REQUEST = InfillRequest(prefix="def area(width, height):\n    ret", suffix="\n\n\nclass Point:\n")


def test_a_folder_loads_through_load_engine_and_says_how_far_it_is(folder: Path) -> None:
    told: list[tuple[str, float]] = []

    engine = load_engine(EngineConfig(model=str(folder)), lambda *step: told.append(step))

    info = engine.describe()
    assert info.dtype == "float32"
    assert info.noise == "uniform"
    assert info.source == str(folder)
    assert {stage for stage, _ in told} == {"loading weights"}
    shares = [done for _, done in told]
    assert len(shares) > 10
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_weights_can_be_computed_in_another_type(folder: Path) -> None:
    denoiser = load_diffusion_gemma(EngineConfig(model=str(folder), dtype="bfloat16"))

    assert denoiser.describe().dtype == "bfloat16"
    assert denoiser._network.dtype == torch.bfloat16
    *_, draft = LocalEngine(denoiser).infill(replace(REQUEST, max_lines=1))
    assert draft.tokens > 0


def test_the_checkpoints_own_defaults_are_used(folder: Path, tmp_path: Path) -> None:
    copied = copy(folder, tmp_path)
    told = {
        "max_denoising_steps": 7,
        "t_min": 0.2,
        "t_max": 0.6,
        "confidence_threshold": 0.05,
        "sampler_config": {"entropy_bound": 0.7, "_cls_name": "EntropyBoundSamplerConfig"},
    }
    (copied / "generation_config.json").write_text(json.dumps(told))
    denoiser = load_diffusion_gemma(EngineConfig(model=str(copied)))
    sides = denoiser.sides(REQUEST)
    canvas = denoiser.canvas([0], (8,), sides, REQUEST)

    config = denoiser.config(canvas, REQUEST, sides)

    assert config.max_denoising_steps == 7
    assert config.sampler.bound == 0.7
    assert config.schedule.temperature(1, 7) == pytest.approx(0.6)


def copy(folder: Path, target: Path) -> Path:
    target = target / "copy"
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def describe(folder: Path, **changes: Any) -> None:
    description = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(description | changes))


def rewrite(folder: Path, change: Any) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def shrink(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def spoil(tensors: dict[str, Tensor]) -> None:
    tensors["model.decoder.layers.1.experts.down_proj"][1, 2, 3] = torch.nan


def reshape(tensors: dict[str, Tensor]) -> None:
    tensors["model.decoder.norm.weight"] = torch.ones(7)


def foreign_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"a": 0, "b": 100_000}, unk_token="a")).save(
        str(folder / "tokenizer.json")
    )


def unchatty_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(folder / "tokenizer.json"))


BROKEN = {
    "no config": (lambda f: (f / "config.json").unlink(), "no config.json"),
    "another model": (lambda f: describe(f, model_type="gemma4"), "'gemma4'; only diffusion_gemma"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "download it again"),
    "pickled weights": (pickle_only, "pickled weights are never read"),
    "cut short": (shrink, "is cut short; download it again"),
    "not safetensors": (
        lambda f: (f / "model.safetensors").write_bytes(b"junk" * 99),
        "no safetensors file; download it again",
    ),
    "a weight is NaN": (
        lambda f: rewrite(f, spoil),
        r"layers\.1\.experts\.down_proj in .* holds NaN",
    ),
    "a number for an object": (
        lambda f: describe(f, text_config=3),
        r"config\.json has text_config 3, which is no object",
    ),
    "a word for a number": (
        lambda f: describe(f, text_config={"num_hidden_layers": "many"}),
        "cannot be loaded: Validation error for field 'num_hidden_layers'",
    ),
    "a weight is missing": (
        lambda f: rewrite(f, lambda t: t.pop("model.decoder.layers.1.router.scale")),
        "lacks",
    ),
    "a weight has another shape": (lambda f: rewrite(f, reshape), "cannot be loaded"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer.json"),
    "unreadable tokenizer": (
        lambda f: (f / "tokenizer.json").write_text("{}"),
        "cannot read the tokenizer",
    ),
    "larger tokenizer": (foreign_tokenizer, "ids up to 100000, the model only"),
    "tokenizer without turns": (unchatty_tokenizer, "its chat is not DiffusionGemma's"),
    "quantised elsewhere": (
        lambda f: describe(f, quantization_config={"quant_method": "gptq", "bits": 4}),
        "quantised by 'gptq'",
    ),
    "an odd type": (lambda f: describe(f, dtype="float8_e5m2"), "stored as float8_e5m2; set dtype"),
}


def test_what_is_no_number_is_said_of_fewer_bits_too(folder: Path, tmp_path: Path) -> None:
    copied = copy(folder, tmp_path)
    rewrite(copied, spoil)

    with pytest.raises(ModelError, match=r"layers\.1\.experts\.down_proj in .* holds NaN"):
        load_engine(EngineConfig(model=str(copied), dtype="fp8"))


@pytest.mark.parametrize("what", BROKEN)
def test_what_does_not_fit_is_said_with_the_remedy(folder: Path, tmp_path: Path, what: str) -> None:
    damage, said = BROKEN[what]
    copied = copy(folder, tmp_path)
    damage(copied)

    with pytest.raises(ModelError, match=said.replace("(", r"\(")):
        load_diffusion_gemma(EngineConfig(model=str(copied)))


def test_too_little_memory_is_said_before_anything_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "free_memory", lambda device: 1 << 20)
    monkeypatch.setattr(loading, "_model_class", lambda: pytest.fail("loaded"))

    with pytest.raises(ModelError, match=r"cpu has 0\.0 GiB free; make a smaller"):
        load_diffusion_gemma(EngineConfig(model=str(folder)))


def test_memory_that_cannot_be_told_stops_nobody(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "free_memory", lambda device: None)

    assert load_diffusion_gemma(EngineConfig(model=str(folder))).describe().parameters > 300_000


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there_is_an_error(folder: Path, device: str) -> None:
    with pytest.raises(ModelError, match="use cpu or auto"):
        load_diffusion_gemma(EngineConfig(model=str(folder), device=device))


@pytest.mark.parametrize("capability", [(8, 0), (8, 6)])
def test_fp8_is_refused_where_the_hardware_has_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "an old chip")

    with pytest.raises(ModelError, match=r"an old chip cannot compute with fp8 .* int4"):
        load_diffusion_gemma(EngineConfig(model=str(folder), device="cuda", dtype="fp8"))


def test_an_unknown_device_is_an_error(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"--device abacus \(infill.device\) is none of"):
        load_diffusion_gemma(EngineConfig(model=str(folder), device="abacus"))


@pytest.mark.parametrize("model", ["/no/such/folder", "no/such/folder", "nothing"])
def test_no_folder_is_an_error(model: str) -> None:
    with pytest.raises(ModelError, match=f"^no such folder: {model}; name a folder that .* model$"):
        load_diffusion_gemma(EngineConfig(model=model))


@pytest.mark.parametrize("model", ["models/mine", "google/diffusiongemma-26B-A4B-it"])
def test_a_bare_name_is_a_path_and_never_fetched(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub")
    )

    with pytest.raises(ModelError) as raised:
        load_engine(EngineConfig(model=model))

    assert str(raised.value) == (
        f"no such folder: {model}; name a folder that holds a model, or hub:{model} to download it "
        "from the hub"
    )


@pytest.mark.parametrize("name", ["", "gpt2", "one/two/three", "https://hub/one", "one/"])
def test_what_the_hub_cannot_have_is_an_error(name: str) -> None:
    with pytest.raises(ModelError, match=rf"^hub:{name} names no model .*; write hub:OWNER/NAME$"):
        load_engine(EngineConfig(model=f"hub:{name}"))


def test_a_hub_id_that_cannot_be_had_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(ModelError, match=r"^hub:nobody/nothing cannot be downloaded"):
        load_engine(EngineConfig(model="hub:nobody/nothing"))


def test_a_hub_id_is_loaded_from_what_was_downloaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def download(
        name: str,
        *,
        allow_patterns: list[str],
        ignore_patterns: list[str],
        tqdm_class: Any = None,
    ) -> str:
        assert name == "somebody/something"
        assert ignore_patterns == ["*/*"]
        asked.append(allow_patterns)
        if tqdm_class is not None:
            with tqdm_class(total=0, initial=0, unit="B", disable=True) as bar:
                for total, size in ((100, 25), (200, 25), (200, 50), (200, 100)):
                    bar.total = total
                    bar.update(size)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    told: list[float] = []
    engine = load_engine(
        EngineConfig(model="hub:somebody/something"),
        lambda what, done: told.append(done) if what.startswith("downloading") else None,
    )

    # Of 25, 50, 100 and 200 bytes of what was known to come; it never goes back.
    assert told == [0.0, 0.25, 0.5, 1.0, 1.0]

    assert engine.describe().model == "something"
    assert asked == [
        ["*.json", "*.jinja", "merges.txt"],
        ["*.json", "*.jinja", "merges.txt", "*.safetensors"],
    ]


def test_without_transformers_the_extra_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)

    with pytest.raises(ModelError, match=r"pip install 'infill-ls\[gpu\]'"):
        load_diffusion_gemma(EngineConfig(model=str(folder)))


def test_an_old_transformers_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    monkeypatch.delattr(transformers, "DiffusionGemmaForBlockDiffusion")
    monkeypatch.setattr(transformers, "__version__", "4.50.0")
    monkeypatch.setattr(type(transformers), "__getattr__", missing, raising=False)

    with pytest.raises(ModelError, match=r"transformers 4\.50\.0 does not know DiffusionGemma"):
        load_diffusion_gemma(EngineConfig(model=str(folder)))


def missing(module: Any, name: str) -> Any:
    raise AttributeError(name)


def test_a_checkpoints_own_code_is_never_run(folder: Path, tmp_path: Path) -> None:
    copied = copy(folder, tmp_path)
    ran = tmp_path / "ran"
    (copied / "modeling_evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    (copied / "configuration_evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    names = {"AutoConfig": "configuration_evil.Evil", "AutoModel": "modeling_evil.Evil"}
    describe(copied, auto_map=names)

    load_diffusion_gemma(EngineConfig(model=str(copied)))

    assert not ran.exists()
