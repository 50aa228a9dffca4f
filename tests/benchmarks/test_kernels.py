"""What is timed is what it says it is, and bounds are bounds."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.kernels import llama, products
from benchmarks.kernels.__main__ import QUICK, main
from benchmarks.kernels.llama import Llama
from infill_kernels import q4
from infill_kernels.native import BF16, INT8, INT16, Q4, native


@pytest.fixture(autouse=True)
def routines() -> None:
    if native()[0] is None:
        pytest.skip(native()[1])


@pytest.mark.slow
def test_ends_in_a_line_of_json_that_holds_every_figure(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main(["--quick", "--json", str(tmp_path / "found.json")])
    printed = capsys.readouterr().out.splitlines()
    result = json.loads(printed[-1])

    assert json.loads((tmp_path / "found.json").read_text())["products"]
    assert max(map(len, printed[:-1])) <= 100
    rows = result["products"]
    for level, rates in result["peak_gflops"].items():
        for form in rates:
            of_form = [each for each in rows if (each["by"], each["form"]) == (level, form)]
            assert len(of_form) == len(QUICK.shapes) * len(QUICK.rows)
            assert all(each["ms"] > 0 and each["of_bound"] > 0 for each in of_form)
    assert {each["form"] for each in rows if each["by"] == "torch"} == {"float32", "bf16"}
    ours = [each for each in result["llama"] if each["by"] == "infill"]
    assert [(each["form"], each["threads"]) for each in ours] == [("q4", 1), ("q4", 2)]
    assert all(min(each["prefill"], each["decode"]) > 0 for each in result["llama"])
    theirs = [each for each in result["llama"] if each["by"] == "llama.cpp"]
    assert bool(theirs) != bool(result["missing"])


def test_one_form_alone_is_measured_without_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--form", "int8"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])

    assert {each["form"] for each in result["products"]} == {"int8"}
    assert (result["llama"], result["missing"]) == ([], "")


def test_more_products_in_registers_take_longer() -> None:
    """As they would not if the compiler had found them to be the same each time."""
    for level in products.levels():
        for form in (BF16, INT16, INT8, Q4):
            done = level.peak(form, 1000)
            assert level.peak(form, 5000) == 5 * done
            if done:
                once, more = (used(partial(level.peak, form, n)) for n in (50_000, 400_000))
                assert more > 4 * once, (level.name, form)


def used(run: Callable[[], object]) -> float:
    """Seconds of this process, whatever runs beside it; the least of some."""
    times = []
    for _ in range(5):
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    return min(times)


def test_bounds_come_from_bytes_or_from_operations() -> None:
    level = products.levels()[0]
    shape = products.Shape("any", "any", 64, 96)
    given = (level, [shape], [3], 1e3, 0.0, 0.0)
    by_form = {each.form: each for each in products.of_level(*given)}

    assert by_form["q4"].bytes == 4 * 3 * 320 + 4 * 3 * (96 + 64)
    assert by_form["q4"].operations == 2 * 3 * 64 * 96
    assert by_form["q4"].least == by_form["q4"].bytes / 1e3


def test_both_read_the_same_weights() -> None:
    gguf = pytest.importorskip("gguf")
    weight = llama.random_weight(np.random.default_rng(0), 40, 96)
    ours = q4.dequantise(weight.matrix().kept, 40)

    for kind, minima in (("Q4_1", True), ("Q4_0", False)):
        kept = weight.blocks(minima)
        theirs = gguf.quants.dequantize(kept, gguf.GGMLQuantizationType[kind])
        shift = 0 if minima else 0.5 * float(weight.scales[0, 0])
        assert np.allclose(ours, theirs + shift, atol=1e-4), kind


def test_a_gguf_has_the_sizes_that_were_asked_for(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    Llama(QUICK.sizes).write(tmp_path / "random.gguf", minima=True)
    tensors = {
        each.name: each.shape.tolist() for each in gguf.GGUFReader(tmp_path / "random.gguf").tensors
    }

    assert tensors["token_embd.weight"] == [128, 512]
    assert tensors["blk.1.attn_k.weight"] == [128, 64]
    assert tensors["blk.0.ffn_down.weight"] == [128, 128]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--quick", "--level", "abacus"], "--level abacus is none of this CPU's"),
        (["--quick", "--json", "no/such/file"], "there is no folder no/such to write file into"),
        (["--quick", "--rows", "4", "0"], "--rows 4 0: each is at least 1"),
    ],
)
def test_bad_input_is_one_sentence(
    given: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(given)

    assert sentence in f"{ended.value} {capsys.readouterr().err}"
