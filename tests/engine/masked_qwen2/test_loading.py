"""Both published shapes of checkpoint are found, checked and loaded, or it is said what to do."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file

from infill_engine import EngineConfig, InfillRequest, ModelError, load_engine
from infill_engine.config import Format
from infill_engine.models import placement, quantise
from infill_engine.models.checkpoint import kind_of
from infill_engine.models.masked_qwen2 import loading
from infill_engine.models.masked_qwen2.checkpoint import inspect_checkpoint
from infill_engine.models.masked_qwen2.denoiser import load_masked_qwen2
from infill_kernels import Fp8, Int4, dequantise
from tests.engine import tiny_qwen

REQUEST = InfillRequest(prefix="def area(width, height):\n    ret", suffix="\n", max_lines=1)


@pytest.fixture(params=["dreamon", "dcoder"])
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(f"{request.param}_folder")
    return found


def copy(folder: Path, target: Path) -> Path:
    target = target / "copy"
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def describe(folder: Path, name: str = "config.json", **changes: Any) -> None:
    told = json.loads((folder / name).read_text()) | changes
    (folder / name).write_text(json.dumps(told))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_folder_loads_through_load_engine_and_says_how_far_it_is(folder: Path) -> None:
    told: list[tuple[str, float]] = []

    engine = load_engine(EngineConfig(model=str(folder)), lambda *step: told.append(step))

    info = engine.describe()
    assert (info.dtype, info.noise, info.device) == ("float32", "absorbing", "cpu")
    assert info.source == str(folder)
    assert info.parameters == sum(
        t.numel() for t in load_file(folder / "model.safetensors").values()
    )
    assert {stage for stage, _ in told} == {"loading weights"}
    shares = [done for _, done in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert info.judge == ""


def test_a_hub_name_is_downloaded_and_recognised_by_its_config(
    dreamon_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def download(name: str, *, allow_patterns: list[str], **_: Any) -> str:
        assert name == "Dream-org/DreamOn-v0-7B"
        asked.append(allow_patterns)
        return str(dreamon_folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)

    engine = load_engine(EngineConfig(model="hub:Dream-org/DreamOn-v0-7B"))

    assert engine.describe().model == "DreamOn-v0-7B"
    assert all("merges.txt" in patterns for patterns in asked)
    assert not any(pattern.endswith(".py") for patterns in asked for pattern in patterns)


def test_what_only_writes_from_left_to_right_is_refused_before_its_weights_are_had(
    dcoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = copy(dcoder_folder, tmp_path)
    describe(plain, "tokenizer_config.json", mask_token=None)
    asked: list[list[str]] = []

    def download(name: str, *, allow_patterns: list[str], **_: Any) -> str:
        asked.append(allow_patterns)
        return str(plain)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)

    with pytest.raises(ModelError, match=r"Qwen2 without a mask token, .* as a GGUF file it can"):
        load_engine(EngineConfig(model="hub:Qwen/Qwen2.5-Coder-0.5B"))
    assert len(asked) == 1
    assert kind_of(dcoder_folder) == "masked_qwen2"


def test_a_checkpoints_own_code_is_never_run(dreamon_folder: Path, tmp_path: Path) -> None:
    copied = copy(dreamon_folder, tmp_path)
    ran = tmp_path / "ran"
    for name in ("configuration_dream", "modeling_dream", "tokenization_dream"):
        (copied / f"{name}.py").write_text(f"open({str(ran)!r}, 'w')\n")
    describe(copied, auto_map={"AutoModel": "modeling_dream.DreamModel"})

    load_masked_qwen2(EngineConfig(model=str(copied)))

    assert not ran.exists()


def shrink(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def spoil(number: float, name: str = "model.layers.1.mlp.up_proj.weight") -> Callable[[Path], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name].view(-1)[3] = number

    return lambda folder: rewrite(folder, change)


def reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.norm.weight"] = torch.ones(7)


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another model": (lambda f: describe(f, model_type="llada"), "'llada'; only diffusion_gemma"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "download it again"),
    "cut short": (shrink, "is cut short; download it again"),
    "a weight is missing": (
        lambda f: rewrite(f, lambda t: t.pop("model.layers.1.mlp.up_proj.weight")),
        r"lacks 1 weights, model\.layers\.1\.mlp\.up_proj\.weight",
    ),
    "a weight has another shape": (
        lambda f: rewrite(f, reshape),
        r"model\.norm\.weight in .* is \[7\], config\.json says \[64\]",
    ),
    "two copies of the weights": (
        lambda f: (f / "other.safetensors").write_bytes((f / "model.safetensors").read_bytes()),
        "is in another file of the folder too; keep one copy",
    ),
    "a weight is NaN": (spoil(math.nan), r"layers\.1\.mlp\.up_proj\.weight in .* holds NaN"),
    "a norm is infinite": (spoil(-math.inf, "model.norm.weight"), r"norm\.weight in .* holds NaN"),
    "no heads": (lambda f: describe(f, num_attention_heads=0), "lacks a size of the network"),
    "a list for an object": (
        lambda f: describe(f, rope_parameters=[1]),
        r"config\.json has rope_parameters \[1\], which is no object",
    ),
    "a format of tomorrow": (
        lambda f: describe(f, quantization_config={"quant_method": "infill", "format": "int3"}),
        "stored as 'int3', which this version does not know",
    ),
    "a size is missing": (lambda f: describe(f, hidden_size=None), "lacks a size of the network"),
    "stretched positions": (
        lambda f: describe(f, rope_parameters=None, rope_scaling={"type": "yarn", "factor": 4}),
        "has rope_type 'yarn'; only 'default' is computed here",
    ),
    "windows": (lambda f: describe(f, use_sliding_window=True), "has use_sliding_window True"),
    "another activation": (lambda f: describe(f, hidden_act="gelu"), "has hidden_act 'gelu'"),
    "smaller vocabulary": (lambda f: describe(f, vocab_size=300), "the model only 300 tokens"),
    "no tokenizer": (
        lambda f: [p.unlink() for p in (*f.glob("tokenizer.json"), *f.glob("vocab.json"))],
        r"has neither tokenizer\.json nor vocab\.json",
    ),
    "quantised elsewhere": (
        lambda f: describe(f, quantization_config={"quant_method": "gptq"}),
        r"quantised by 'gptq'.* python -m infill_engine\.models\.quantise",
    ),
    "an odd type": (lambda f: describe(f, dtype="float64"), "stored as float64; set dtype"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_does_not_fit_is_said_with_the_remedy(folder: Path, tmp_path: Path, what: str) -> None:
    damage, said = BROKEN[what]
    copied = copy(folder, tmp_path)
    damage(copied)

    with pytest.raises(ModelError, match=said):
        load_engine(EngineConfig(model=str(copied)))


@pytest.mark.parametrize("dtype", ["int4", "fp8"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t, name: t.update({f"{name}_scale": t[f"{name}_scale"] * math.nan}), "holds NaN"),
        (lambda t, name: t.update({name: t[name][:, 1:].clone()}), "is something else"),
        (lambda t, name: t.update({name: t[name].float()}), "is torch.float32 .* something else"),
    ],
)
def test_a_quantised_copy_that_was_damaged_is_said(
    folder: Path, tmp_path: Path, dtype: Format, change: Callable[..., None], said: str
) -> None:
    made = tmp_path / "made"
    [*quantise.quantise_checkpoint(folder, made, dtype)]
    (path,) = made.glob("*.safetensors")
    tensors = load_file(path)
    change(tensors, "model.layers.1.mlp.up_proj.weight")
    save_file(tensors, path, metadata={"format": "pt"})

    with pytest.raises(ModelError, match=rf"up_proj\.weight.* in .*{said}"):
        load_engine(EngineConfig(model=str(made)))


@pytest.mark.parametrize("dtype", ["int4", "fp8"])
def test_what_is_no_number_is_said_of_fewer_bits_too(
    folder: Path, tmp_path: Path, dtype: Format
) -> None:
    copied = copy(folder, tmp_path)
    spoil(math.nan)(copied)

    with pytest.raises(ModelError, match=r"up_proj\.weight in .* holds NaN"):
        load_engine(EngineConfig(model=str(copied), dtype=dtype))
    with pytest.raises(ModelError, match=r"up_proj\.weight in .* holds NaN"):
        [*quantise.quantise_checkpoint(copied, tmp_path / "made", dtype)]


def test_too_little_memory_is_said_before_anything_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "free_memory", lambda device: 1 << 10)
    monkeypatch.setattr(loading, "_read", lambda *_: pytest.fail("read"))

    with pytest.raises(ModelError, match=r"cpu has 0\.0 GiB free; make a smaller"):
        load_masked_qwen2(EngineConfig(model=str(folder)))


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is an Apple GPU")
def test_a_device_that_is_not_there_is_an_error(dreamon_folder: Path) -> None:
    with pytest.raises(
        ModelError, match=r"--device mps \(.*\) is not available here; use cpu or auto"
    ):
        load_masked_qwen2(EngineConfig(model=str(dreamon_folder), device="mps"))


# Fewer bits


@pytest.mark.parametrize("name", ["fp8", "int4"])
def test_weights_in_fewer_bits_are_the_same_made_beforehand_or_on_the_way(
    folder: Path, tmp_path: Path, name: Any
) -> None:
    told: list[str] = []
    errors = dict(quantise.quantise_checkpoint(folder, tmp_path / "made", name))
    made = load_masked_qwen2(
        EngineConfig(model=str(folder), dtype=name), lambda what, _: told.append(what)
    )
    read = load_masked_qwen2(EngineConfig(model=str(tmp_path / "made")))
    plain = load_masked_qwen2(EngineConfig(model=str(folder)))

    assert f"quantising to {name}" in told
    assert made.describe().dtype == f"float32, weights {name}"
    assert made.describe().parameters == read.describe().parameters == plain.describe().parameters
    matrices = [t for t in load_file(folder / "model.safetensors").values() if t.dim() == 2]
    assert len(errors) == len(matrices)
    low, high = {"fp8": (0.01, 0.04), "int4": (0.01, 0.12)}[name]
    assert all(low < error < high for error in errors.values()), errors
    for one, other, whole in zip(
        made.network.layers, read.network.layers, plain.network.layers, strict=True
    ):
        for matrix in ("query_key_value", "out", "gate_up", "down"):
            left, right = getattr(one, matrix), getattr(other, matrix)
            assert isinstance(left, Fp8 if name == "fp8" else Int4)
            assert torch.equal(left.codes.view(torch.uint8), right.codes.view(torch.uint8))
            assert torch.equal(left.scale, right.scale)
            lost = dequantise(left, torch.float32)[0] - getattr(whole, matrix)
            assert float(lost.norm() / getattr(whole, matrix).norm()) < high
    # The table of tokens and the head keep 8 bits in any case.
    assert isinstance(made.network.head, Fp8)
    assert isinstance(read.network.table, Fp8)


def test_codes_and_their_scales_are_in_one_file_however_many_there_are(
    dreamon_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantise, "SHARD_BYTES", 1)
    made = tmp_path / "made"
    [*quantise.quantise_checkpoint(dreamon_folder, made, "int4")]

    assert len([*made.glob("*.safetensors")]) > 20
    assert load_masked_qwen2(EngineConfig(model=str(made))).describe().dtype.endswith("int4")


@pytest.mark.parametrize("name", ["fp8", "int4"])
def test_a_quantised_model_computes_what_its_dequantised_weights_do(
    dreamon_folder: Path, name: Any
) -> None:
    small = load_masked_qwen2(EngineConfig(model=str(dreamon_folder), dtype=name)).network
    ids, positions = torch.arange(20)[None], torch.arange(20)[None]

    with torch.inference_mode():
        logits = small.logits(small.hidden(ids, positions)[0])
        small.table, small.head = (
            dequantise(each, torch.float32)[0] for each in (small.table, small.head)
        )
        small.layers = [
            type(layer)(
                query_key_value=dequantise(layer.query_key_value, torch.float32)[0],
                query_key_value_bias=layer.query_key_value_bias,
                out=dequantise(layer.out, torch.float32)[0],
                gate_up=dequantise(layer.gate_up, torch.float32)[0],
                down=dequantise(layer.down, torch.float32)[0],
                input_norm=layer.input_norm,
                post_attention_norm=layer.post_attention_norm,
            )
            for layer in small.layers
        ]
        wide = small.logits(small.hidden(ids, positions)[0])

    torch.testing.assert_close(logits, wide, rtol=1e-4, atol=1e-3)


def test_a_large_head_is_made_wide_in_parts(
    dreamon_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infill_engine.models.masked_qwen2 import network

    for name in ("fp8", "int4"):
        small = load_masked_qwen2(EngineConfig(model=str(dreamon_folder), dtype=name)).network
        x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
        for matrix in (small.head, small.layers[0].gate_up):
            whole = network.product(x, matrix)
            with monkeypatch.context() as patch:
                patch.setattr(network, "ROWS_AT_ONCE", 100)
                torch.testing.assert_close(network.product(x, matrix), whole)


def test_the_memory_it_needs_is_known_beforehand(dreamon_folder: Path) -> None:
    whole = inspect_checkpoint(dreamon_folder, EngineConfig())
    four = inspect_checkpoint(dreamon_folder, EngineConfig(dtype="int4"))

    tables = 2 * tiny_qwen.VOCAB * 64
    blocks = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128)
    assert whole.need == whole.parameters * 4
    assert four.need == (whole.parameters - tables - blocks) * 4 + tables + blocks * 4.5 / 8


def test_it_infills_in_four_bits_and_the_command_says_what_they_cost(
    dreamon_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "made"

    assert quantise.main([str(dreamon_folder), str(target), "--format", "int4"]) == 0

    assert "same best token in" in capsys.readouterr().out.splitlines()[-1]
    engine = load_engine(EngineConfig(model=str(target), max_denoising_steps=3))
    assert [*engine.infill(REQUEST)][-1].steps > 0
