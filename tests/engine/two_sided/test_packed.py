"""Packed weights: every precision gives what float32 gives, up to the rounding it stands for."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from infill_engine import EngineConfig, InfillRequest, ModelError
from infill_engine.local import LocalEngine
from infill_engine.models.two_sided import network, packed
from infill_engine.models.two_sided.layers import PREFIX, SUFFIX, TwoSidedConfig
from infill_engine.models.two_sided.loading import load_default
from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.packed import Precision, pack, quantise
from infill_engine.models.two_sided.scoring import score
from infill_engine.models.two_sided.weights import load_network
from infill_kernels.blocks import multiplies_integers, native

# Relative to the largest product: half a unit in bfloat16's last place for the weight, the row
# and the sum; two roundings to 1/127 of the largest number, averaged over the inputs, for int8.
ROUNDING: dict[Precision, float] = {"float32": 1e-6, "bfloat16": 0.006, "int8": 0.012}
NEEDS = {"float32": (), "bfloat16": (), "int8": ("avx512_vnni", "avx_vnni")}


def here(precision: Precision) -> Precision:
    """Skips what oneDNN computes wrongly on this CPU."""
    if NEEDS[precision] and not any(map(packed.supports, NEEDS[precision])):
        pytest.skip(f"{precision} needs {' or '.join(NEEDS[precision])}")
    return precision


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("rows", [(1,), (33,), (2, 16)])
@pytest.mark.parametrize("precision", ROUNDING)
def test_a_product_is_the_exact_one_up_to_rounding(precision: Precision, rows: tuple[int]) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(96, 384), torch.randn(*rows, 384)
    # Rows and outputs of very different size, so that a scale in the wrong place shows.
    weight *= torch.logspace(-2, 1, 96)[:, None]
    x *= torch.logspace(-1, 2, rows[-1])[:, None]
    exact = x.double() @ weight.double().T

    found = pack(weight, here(precision))
    product = found(x) if not isinstance(found, Tensor) else x @ found.T

    assert product.dtype == torch.float32
    size = weight.double().norm(dim=1) * x.double().norm(dim=-1, keepdim=True)
    assert float(((product - exact).abs() / size).max()) < ROUNDING[precision]
    if precision != "float32":  # it is not float32 under another name
        assert float(((product - exact).abs() / size).max()) > 1e-5


def test_codes_use_the_whole_range_and_a_row_of_zeros_stays_zero() -> None:
    codes, scale = quantise(torch.tensor([[0.0, 0.0], [1.0, -2.54]]))

    assert codes.tolist() == [[0, 0], [50, -127]]
    assert scale[1, 0] == pytest.approx(0.02)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a real size, for rounding averages over the width."""
    torch.manual_seed(0)
    config = TwoSidedConfig(vocab_size=300, d_model=256, num_layers=3, d_ff=512)
    made = TwoSidedNetwork(config)
    for name, weight in made.named_parameters():
        torch.nn.init.normal_(weight, std=0.02 if name == "embed" else 256**-0.5)
    path = tmp_path_factory.mktemp("weights") / "default.safetensors"
    tensors = {name: tensor.half() for name, tensor in made.state_dict().items()}
    save_file(tensors, path, {"config": config.to_json()})
    return path


@torch.inference_mode()
def everything(network: TwoSidedNetwork) -> list[Tensor]:
    """Logits of a canvas of two rows, of both streams, and scores."""
    torch.manual_seed(1)
    prefix, suffix = torch.randint(9, (40,)).tolist(), torch.randint(9, (30,)).tolist()
    before, after = network.cache(PREFIX), network.cache(SUFFIX)
    forward, backward = network.push(before, prefix), network.push(after, suffix)
    context = network.canvas_context(before, after, 2, 16)
    canvas = network.step(context, torch.randint(300, (2, 16)))
    states = [network.logits(each) for each in (forward, backward, canvas)]
    return [*states, score(network, before, [[1, 2, 3], [4]])]


@pytest.fixture(params=["compiled", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What computes bfloat16: what was compiled for this CPU, or its reference in torch."""
    found, reason = native()
    if request.param == "torch":
        monkeypatch.setattr(network, "native", lambda: (None, "the reference"))
    elif found is None:
        pytest.skip(reason)


@pytest.mark.parametrize(
    ("precision", "way"),
    [("float32", "torch"), ("bfloat16", "torch"), ("bfloat16", "compiled"), ("int8", "torch")],
    indirect=["way"],
)
@pytest.mark.usefixtures("way")
def test_the_network_says_the_same_in_every_precision(precision: Precision, path: Path) -> None:
    plain, rounded = load_network(path), load_network(path, precision=here(precision))

    # Errors of a few layers add up: ten roundings.
    for found, expected in zip(everything(rounded), everything(plain), strict=True):
        assert found.shape == expected.shape
        assert error(found, expected.double()) < 10 * ROUNDING[precision]


def test_the_embedding_of_packed_weights_stays_in_the_file(path: Path) -> None:
    network = load_network(path, precision="float32")

    assert network.embed.dtype == torch.float16
    assert network.dtype == torch.float32
    assert network.num_parameters == load_network(path).num_parameters


def said(precision: Precision) -> str:
    """What people are told of weights in it: compiled routines keep whole numbers on some CPUs."""
    return "int16" if precision == "bfloat16" and multiplies_integers() else precision


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_the_shipped_model_says_what_it_is_kept_in(dtype: Precision) -> None:
    engine = LocalEngine(load_default(EngineConfig(dtype=here(dtype))))

    *_, draft = engine.infill(InfillRequest(prefix="import os\nimport ", suffix="\n", max_lines=1))

    assert engine.describe().dtype == said(dtype)
    assert draft.likelihood < 0


def test_loading_imports_no_compiler() -> None:
    """Creating tensors on the meta device does, and costs a second and 140 MB."""
    program = (
        "import sys, torch; before = set(sys.modules)\n"
        "from infill_engine.config import EngineConfig\n"
        "from infill_engine.models.two_sided.loading import load_default\n"
        "load_default(EngineConfig())\n"
        "print(*[name for name in set(sys.modules) - before if name.startswith(('torch', 'sym'))])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


@pytest.mark.parametrize(
    ("rows", "size"), [(1, 16), (16, 16), (17, 32), (33, 64), (128, 128), (129, 256)]
)
def test_products_of_bfloat16_are_done_in_few_sizes(rows: int, size: int) -> None:
    assert packed.up_to_grain(rows) == size


@pytest.mark.usefixtures("way")
def test_a_cache_of_bfloat16_is_extended_and_read_rightly(path: Path) -> None:
    """Padding of tokens and keys changes nothing, whatever was in the cache before."""
    network = load_network(path, precision="bfloat16")
    ids = torch.randint(9, (150,), generator=torch.Generator().manual_seed(0)).tolist()
    typed, whole = network.cache(PREFIX, capacity=8), network.cache(PREFIX)
    with torch.inference_mode():
        network.push(typed, [7] * 90)
        typed.truncate(0)
        states = [network.push(typed, ids[at : at + 7]) for at in range(0, 150, 7)]
        expected = network.push(whole, ids)

    assert len(typed) == len(whole) == 150
    assert error(torch.cat(states), expected.double()) < 10 * ROUNDING["bfloat16"]


def test_auto_is_a_precision_that_this_cpu_multiplies_rightly() -> None:
    denoiser = load_default(EngineConfig())

    assert denoiser.describe().dtype == said(here(packed.fastest()))


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"amx_bf16", "avx512_vnni"}, "bfloat16"),
        ({"avx512_vnni", "avx512_bf16"}, "int8"),
        ({"avx_vnni"}, "int8"),
        ({"avx2"}, "float32"),
        (set(), "float32"),
    ],
)
def test_auto_goes_by_what_was_measured(
    features: set[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "supports", features.__contains__)
    monkeypatch.setattr(packed, "native", lambda: (None, "no compiler"))
    assert packed.fastest() == expected

    monkeypatch.setattr(packed, "native", lambda: (object(), "compiled"))
    assert packed.fastest() == "bfloat16"


@pytest.mark.parametrize("dtype", ["fp8", "int4"])
def test_a_form_that_it_is_not_kept_in_is_refused_with_the_remedy(dtype: str) -> None:
    with pytest.raises(ModelError, match=rf"dtype='{dtype}' .* leave dtype unset"):
        load_default(replace(EngineConfig(), dtype=dtype))


def test_the_embedded_model_computes_in_one_thread_unless_told_otherwise() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert load_default(EngineConfig()).describe().threads == 1
        assert load_default(EngineConfig(threads=2)).describe().threads == 2
    finally:
        torch.set_num_threads(before)
