"""Packed weights: every precision gives what float32 gives, up to the rounding it stands for."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from infill_engine import EngineConfig, InfillRequest, ModelError
from infill_engine.local import LocalEngine
from infill_engine.models.two_sided import loading, packed
from infill_engine.models.two_sided.config import PREFIX, SUFFIX, Precision, TwoSidedConfig
from infill_engine.models.two_sided.inference import InferenceNetwork
from infill_engine.models.two_sided.kv_cache import CanvasContext
from infill_engine.models.two_sided.loading import load_default, load_inference
from infill_engine.models.two_sided.network import TwoSidedNetwork, load_network
from infill_engine.models.two_sided.packed import pack, quantise
from infill_engine.models.two_sided.plain import of_module
from infill_engine.models.two_sided.scoring import score
from infill_kernels.native import multiplies_integers, native
from infill_kernels.rows import RowStatistics

# Relative to the largest product: half a unit in bfloat16's last place for the weight, the row
# and the sum; two roundings to 1/127 of the largest number, averaged over the inputs, for int8.
ROUNDING: dict[Precision, float] = {"float32": 1e-6, "bfloat16": 0.006, "int8": 0.012}
NEEDS = {"float32": (), "bfloat16": (), "int8": ("avx512_vnni", "avx_vnni")}


def here(precision: Precision) -> Precision:
    """Skips what oneDNN computes wrongly on this CPU."""
    if NEEDS[precision] and not any(map(packed.supports, NEEDS[precision])):
        pytest.skip(f"{precision} needs {' or '.join(NEEDS[precision])}")
    return precision


def loadable(precision: Precision) -> Precision:
    """The same where torch computes; the compiled routines have every form on every CPU."""
    return precision if loading.native()[0] is not None else here(precision)


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


def everything(network: InferenceNetwork) -> list[Tensor]:
    """Logits of a canvas of two rows, of both streams, what the head says of them, and scores."""
    torch.manual_seed(1)
    prefix, suffix = torch.randint(9, (40,)).tolist(), torch.randint(9, (30,)).tolist()
    before, after = network.cache(PREFIX), network.cache(SUFFIX)
    forward, backward = network.push(before, prefix), network.push(after, suffix)
    context = network.canvas_context(before, after, 2, 16)
    ids = torch.randint(300, (2, 16)).numpy()
    canvas = network.step(context, ids)
    told = said_of_cells(network, context, ids, canvas)
    states = [network.head.matrix(each) for each in (forward, backward, canvas)]
    bias = network.head.bias(np.arange(300) < 40)
    said = network.head(forward, bias=bias, chosen=np.arange(40, 80))
    scores = np.concatenate(score(network, before, [[1, 2, 3], [], [4]]))
    likeliest = network.head.likeliest(forward, 5, bias=bias)
    assert likeliest.best.min() >= 40, "the others are forbidden"
    heads = [said.most, said.total, said.entropy, said.chosen, likeliest.most, likeliest.total]
    return [
        torch.from_numpy(np.ascontiguousarray(each)) for each in (*states, *heads, *told, scores)
    ]


def said_of_cells(
    network: InferenceNetwork,
    context: CanvasContext,
    ids: NDArray[np.int64],
    hidden: NDArray[np.float32],
) -> list[NDArray[np.float32]]:
    """Entropy and confidence, by `say`: what the head says of the hidden states [B, T, D] that a
    step gives, of each row alone as of both."""
    forbidden = [np.arange(300) < 40, np.arange(300) % 3 == 1]
    biases = np.array([network.head.bias(each) for each in forbidden])
    steps = network.steps(context, biases)
    at = np.array([0, 1, 5, 17, 30])
    which = np.array([0, 1, 0, 1, 0], np.int32)
    found = []
    for row in (slice(None), slice(0, 1), slice(1, 2)):
        among = np.isin(at // 16, np.arange(2)[row])
        first = 16 * (row.start or 0)
        cells = steps.cells(at[among] - first, which[among], at[among])
        told = RowStatistics(*(np.full((2, 16), -1, kind) for kind in ("f4", "i8", "i8", "f4")))
        network.say(context, steps, ids[row], cells, told)
        for number, bias in enumerate(biases):
            wanted = network.head(hidden.reshape(32, -1)[at], bias=bias)
            mine = among & (which == number)
            for whole, part in (
                (told.best, wanted.best),
                (told.entropy, wanted.entropy),
                (told.confidence, np.exp(wanted.most - wanted.total)),
            ):
                np.testing.assert_allclose(whole.reshape(-1)[at[mine]], part[mine], rtol=1e-3)
        for whole in (told.entropy, told.best, told.confidence):
            assert (np.delete(whole.reshape(-1), at[among]) == -1).all(), "others stay"
        found.append(told)
    return [found[0].entropy, found[0].confidence]


@pytest.fixture(params=["compiled", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What computes bfloat16: what was compiled for this CPU, or its reference in torch."""
    found, reason = native()
    if request.param == "torch":
        monkeypatch.setattr(loading, "native", lambda: (None, "the reference"))
    elif found is None:
        pytest.skip(reason)


@pytest.mark.parametrize(
    ("precision", "way"),
    [
        ("float32", "torch"),
        ("bfloat16", "torch"),
        ("bfloat16", "compiled"),
        ("int8", "torch"),
        ("int8", "compiled"),
    ],
    indirect=["way"],
)
@pytest.mark.usefixtures("way")
def test_the_network_says_the_same_in_every_precision(precision: Precision, path: Path) -> None:
    plain, rounded = of_module(load_network(path)), load_inference(path, loadable(precision))

    # Errors of a few layers add up: ten roundings.
    for found, expected in zip(everything(rounded), everything(plain), strict=True):
        assert found.shape == expected.shape
        assert found.dtype == torch.float32
        assert error(found, expected.double()) < 10 * ROUNDING[precision]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_embedding_stays_in_the_file(precision: Precision, path: Path) -> None:
    network = load_inference(path, precision)

    assert not network._embed.flags.writeable  # mapped
    assert network._embed.dtype == np.float16
    assert network.num_parameters == load_network(path).num_parameters


def said(precision: Precision) -> str:
    """What people are told of weights in it: compiled routines keep whole numbers on some CPUs."""
    return "int16" if precision == "bfloat16" and multiplies_integers() else precision


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_the_shipped_model_says_what_it_is_kept_in(dtype: Precision) -> None:
    engine = LocalEngine(load_default(EngineConfig(dtype=loadable(dtype))))

    *_, draft = engine.infill(InfillRequest(prefix="import os\nimport ", suffix="\n", max_lines=1))

    assert engine.describe().dtype == said(dtype)
    assert draft.likelihood < 0


INFILL = """
import sys
from infill_engine import EngineConfig, InfillRequest, load_engine
engine = load_engine(EngineConfig(dtype=sys.argv[1]))
*_, draft = engine.infill(InfillRequest(prefix="import os; import ", suffix=";", max_lines=1))
assert draft.likelihood < 0
print(*[name for name in ("torch", "sympy") if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("dtype", "kernels", "imported"),
    [
        ("auto", "auto", []),
        ("bfloat16", "auto", []),
        ("int8", "auto", []),
        ("float32", "auto", ["torch"]),  # and no compiler, which takes a second and 140 MB
        ("auto", "torch", ["torch"]),
    ],
)
def test_torch_is_imported_only_where_it_computes(
    dtype: str, kernels: str, imported: list[str]
) -> None:
    found, reason = native()
    if found is None and not imported:
        pytest.skip(reason)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "INFILL_KERNELS": kernels,
    }
    done = subprocess.run(
        [sys.executable, "-c", INFILL, dtype], env=environment, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout.split()) == (0, imported), done.stderr


@pytest.mark.parametrize(
    ("rows", "size"), [(1, 16), (16, 16), (17, 32), (33, 64), (128, 128), (129, 256)]
)
def test_products_of_bfloat16_are_done_in_few_sizes(rows: int, size: int) -> None:
    assert packed.up_to_grain(rows) == size


@pytest.mark.usefixtures("way")
def test_a_cache_of_bfloat16_is_extended_and_read_rightly(path: Path) -> None:
    """Padding of tokens and keys changes nothing, whatever was in the cache before."""
    network = load_inference(path, "bfloat16")
    ids = torch.randint(9, (150,), generator=torch.Generator().manual_seed(0)).tolist()
    typed, whole = network.cache(PREFIX, capacity=8), network.cache(PREFIX)
    network.push(typed, [7] * 90)
    typed.truncate(0)
    states = [network.push(typed, ids[at : at + 7]) for at in range(0, 150, 7)]
    expected = torch.from_numpy(network.push(whole, ids))

    assert len(typed) == len(whole) == 150
    assert (
        error(torch.from_numpy(np.concatenate(states)), expected.double())
        < 10 * ROUNDING["bfloat16"]
    )


@pytest.mark.usefixtures("way")
def test_auto_is_a_precision_that_this_cpu_multiplies_rightly() -> None:
    wanted = "bfloat16" if loading.native()[0] is not None else here(packed.fastest())

    assert load_default(EngineConfig()).describe().dtype in (wanted, said(wanted))


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

    assert packed.fastest() == expected


@pytest.mark.parametrize("dtype", ["fp8", "int4"])
def test_a_form_that_it_is_not_kept_in_is_refused_with_the_remedy(dtype: str) -> None:
    with pytest.raises(ModelError, match=rf"--dtype {dtype} .* leave dtype unset"):
        load_default(replace(EngineConfig(), dtype=dtype))


def test_the_embedded_model_computes_in_one_thread_unless_told_otherwise() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert load_default(EngineConfig()).describe().threads == 1
        assert load_default(EngineConfig(dtype="float32")).describe().threads == 1
        assert load_default(EngineConfig(dtype="float32", threads=2)).describe().threads == 2
    finally:
        torch.set_num_threads(before)
