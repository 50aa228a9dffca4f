"""The compiled blocks compute what plain torch does."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from infill_kernels import blocks, heads, q4
from infill_kernels.bfloat16 import widened
from infill_kernels.native import (
    INT16,
    MOST,
    NORM,
    best_level,
    computes_rightly,
    native,
    packed,
    quantised,
)
from infill_kernels.prebuilt import made_beforehand
from tests.kernels import test_head

LAYERS, KV, GROUP, HEAD, WIDTH, FF, ROOM = 2, 2, 2, 32, 128, 96, 80
# Half a unit in the last place of bfloat16 for each of what is multiplied, a few times over.
ROUNDING = 0.02


def chains(lengths: Sequence[int]) -> NDArray[np.int32]:
    """The parents of rows that have nothing in common but what is shared."""
    parents = np.arange(-1, sum(lengths) - 1, dtype=np.int32)
    starts = np.cumsum([0, *lengths])[:-1]
    parents[starts[starts < len(parents)]] = -1
    return parents


@pytest.fixture(autouse=True)
def compiler() -> None:
    found, reason = native()
    if found is None:
        pytest.skip(reason)


def array(x: Tensor) -> NDArray[Any]:
    """The same memory; of bfloat16 its bits."""
    if x.dtype == torch.bfloat16:
        return x.view(torch.int16).numpy().view(np.uint16)
    return x.numpy()


class Blocks:
    """The routine on tensors."""

    def __init__(self, layers: list[list[Tensor]], split: tuple[int, int, int]) -> None:
        kv, parts, head = split
        matrices = [[heads.Matrix.of(array(weight)) for weight in each] for each in layers]
        self.routine = blocks.Blocks(matrices, blocks.Shape(kv=kv, group=parts - 2, head=head))

    def __call__(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        keys: Tensor,
        values: Tensor,
        at: int,
        seen: int,
        shared: tuple[Tensor, Tensor] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Tensor:
        common = shared and (array(shared[0]), array(shared[1]))
        given = [array(each) for each in (x, cos, sin, keys, values)]
        parents = None if lengths is None else chains(lengths)
        return torch.from_numpy(self.routine(*given, at, seen, common, parents))


def product(weight: Tensor, x: Tensor) -> Tensor:
    return torch.from_numpy(heads.Matrix.of(array(weight))(array(x)))


def norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=1e-6)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def reference(
    layers: list[list[Tensor]],
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    at: int,
    seen: int,
) -> Tensor:
    """A query at a time and in float64."""
    rows, n, _ = x.shape
    for layer, (qkv, out, up, down) in enumerate(layers):
        mixed = (norm(x) @ qkv.T).unflatten(-1, (KV, GROUP + 2, HEAD))
        rotated = rotate(norm(mixed[..., :-1, :]), cos[:, None, None], sin[:, None, None])
        keys[layer, :, :, at : at + n] = rotated[..., -1, :].transpose(1, 2)
        values[layer, :, :, at : at + n] = mixed[..., -1, :].transpose(1, 2)
        read = torch.zeros(rows, n, KV, GROUP, HEAD, dtype=x.dtype)
        for i in range(n):
            sight = slice(0, seen or at + i + 1)
            for head in range(KV):
                k, v = keys[layer, :, head, sight], values[layer, :, head, sight]
                weights = (rotated[:, i, head, :-1] @ k.mT / HEAD**0.5).softmax(-1)
                read[:, i, head] = weights @ v
        x = x + read.flatten(2) @ out.T
        gate, value = (norm(x) @ up.T).chunk(2, -1)
        x = x + (F.silu(gate) * value) @ down.T
    return norm(x)


def weights() -> list[list[Tensor]]:
    shapes = [(KV * (GROUP + 2) * HEAD, WIDTH), (WIDTH, WIDTH), (2 * FF, WIDTH), (WIDTH, FF)]
    return [[torch.randn(shape) * shape[1] ** -0.5 for shape in shapes] for _ in range(LAYERS)]


def rounded(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16).double()


def whole_numbers() -> bool:
    found, reason = native()
    assert found is not None, reason
    return found.format == INT16


def kept(x: Tensor) -> Tensor:
    """What a product keeps of its rows: bfloat16, or whole numbers with a scale for each row."""
    if not whole_numbers():
        return rounded(x)
    scale = torch.maximum(x.norm(dim=-1) / NORM, x.abs().amax(-1) / MOST)[..., None].double()
    return (x.double() / scale).round() * scale


@pytest.mark.parametrize(
    ("rows", "n", "at", "seen"),
    [
        (1, 1, 0, 0),  # the first token of all
        (1, 1, 40, 0),
        (2, 1, 41, 42),  # two rows read on
        (3, 16, 30, 46),  # canvases
        (1, 16, 64, 80),  # up to the last place there is
        (2, 5, 63, 0),  # a push behind what is there
        (1, 70, 0, 0),  # more queries than a tile, from nothing
        (2, 7, 10, 77),  # what lies behind them is seen as well
        (1, 16, 2288, 2304),  # as many keys as the embedded network ever sees
    ],
)
def test_blocks_are_those_of_plain_torch(rows: int, n: int, at: int, seen: int) -> None:
    torch.manual_seed(rows + n + at)
    layers = weights()
    x, angle = torch.randn(rows, n, WIDTH), torch.randn(n, HEAD // 2)
    shape = (LAYERS, rows, KV, room := max(ROOM, seen), HEAD)
    keys, values = (torch.randn(shape).bfloat16() for _ in range(2))
    exact_keys, exact_values = keys.double(), values.double()
    expected = reference(
        [[rounded(weight) for weight in layer] for layer in layers],
        x.double(),
        angle.cos().double(),
        angle.sin().double(),
        exact_keys,
        exact_values,
        at,
        seen,
    )
    given = x.clone()
    before_keys, before_values = keys.clone(), values.clone()

    found = Blocks(layers, (KV, GROUP + 2, HEAD))(
        x, angle.cos(), angle.sin(), keys, values, at, seen
    )

    assert torch.equal(x, given)
    for name, got, wanted in (
        ("hidden", found, expected),
        ("keys", keys, exact_keys),
        ("values", values, exact_values),
    ):
        error = (got.double() - wanted).norm() / wanted.norm()
        assert float(error) < ROUNDING, f"{name}: {error}"
    for shared in (1, 17, at):  # the first ones are the same in all rows, and stand apart
        if not 0 < shared <= at:
            continue
        apart = [cache[:, 0, :, :shared].clone() for cache in (before_keys, before_values)]
        rest = [cache[:, :, :, shared:].clone() for cache in (before_keys, before_values)]
        whole = [
            torch.cat((one[:, None].expand(-1, rows, -1, -1, -1), own), 3)
            for one, own in zip(apart, rest, strict=True)
        ]
        routine = Blocks(layers, (KV, GROUP + 2, HEAD))
        beside = routine(x, angle.cos(), angle.sin(), *whole, at, seen)
        left = max(0, seen - shared)
        parted = routine(
            x, angle.cos(), angle.sin(), *rest, at - shared, left, (apart[0], apart[1])
        )
        assert float((parted - beside).norm() / beside.norm()) < ROUNDING / 4
        # Where sums are parted otherwise, a number may be rounded the other way.
        for part, all_of_it in zip(rest, whole, strict=True):
            lost = (part.double() - all_of_it[:, :, :, shared:].double()).norm()
            assert float(lost / part.double().norm()) < ROUNDING / 10
    untouched = torch.ones(room, dtype=torch.bool)
    untouched[at : at + n] = False
    assert torch.equal(keys[..., untouched, :].double(), exact_keys[..., untouched, :])
    # No place that is not seen has a say, whatever it holds.
    for cache in (keys, values):
        cache[..., max(seen, at + n) :, :] = 1e30
    again = Blocks(layers, (KV, GROUP + 2, HEAD))(
        x, angle.cos(), angle.sin(), keys, values, at, seen
    )
    assert torch.equal(again, found)


def test_a_cache_may_be_part_of_a_larger_one() -> None:
    """As a stack's keys are, which has more room than is looked at."""
    layers = weights()
    routine = Blocks(layers, (KV, GROUP + 2, HEAD))
    x, cos, sin = torch.randn(1, 3, WIDTH), torch.ones(3, HEAD // 2), torch.zeros(3, HEAD // 2)
    keys, values = (torch.randn(LAYERS, 1, KV, ROOM, HEAD).bfloat16() for _ in range(2))
    part = [cache[:, :, :, :20].contiguous() for cache in (keys, values)]

    found = routine(x, cos, sin, keys[:, :, :, :20], values[:, :, :, :20], 17, 0)

    assert torch.equal(found, routine(x, cos, sin, part[0], part[1], 17, 0))


def test_rows_of_different_lengths_are_what_they_are_alone() -> None:
    layers, lengths, before = weights(), (5, 1, 0, 23), 9
    routine = Blocks(layers, (KV, GROUP + 2, HEAD))
    x, angle = torch.randn(1, sum(lengths), WIDTH), torch.randn(max(lengths), HEAD // 2)
    shape = (LAYERS, KV, before, HEAD)
    shared = torch.randn(shape).bfloat16(), torch.randn(shape).bfloat16()

    def caches(rows: int, size: int) -> list[Tensor]:
        shape = (LAYERS, rows, KV, size, HEAD)
        return [torch.zeros(shape, dtype=torch.bfloat16) for _ in range(2)]

    together = caches(1, sum(lengths))
    found = routine(x, angle.cos(), angle.sin(), *together, 0, 0, shared, lengths)

    start = 0
    for alone, got in zip(x.split(lengths, 1), found.split(lengths, 1), strict=True):
        n = alone.shape[1]
        if n:
            own = caches(1, n)
            expected = routine(alone, angle.cos()[:n], angle.sin()[:n], *own, 0, 0, shared)
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
            for whole, part in zip(together, own, strict=True):
                torch.testing.assert_close(
                    whole[:, :, :, start : start + n], part, rtol=0.01, atol=1e-3
                )
        start += n


def test_a_token_of_a_tree_is_what_it_is_behind_those_above_it_alone() -> None:
    layers, before, n = weights(), 9, 21
    routine = Blocks(layers, (KV, GROUP + 2, HEAD))
    generator = np.random.default_rng(0)
    parents = np.array([-1, *(generator.integers(-1, i) for i in range(1, n))], np.int32)
    x, angle = torch.randn(1, n, WIDTH), torch.randn(n, HEAD // 2)
    shape = (LAYERS, KV, before, HEAD)
    shared = torch.randn(shape).bfloat16(), torch.randn(shape).bfloat16()
    keys, values = (torch.zeros(LAYERS, 1, KV, n, HEAD).bfloat16() for _ in range(2))
    common = array(shared[0]), array(shared[1])
    given = [array(each) for each in (x, angle.cos(), angle.sin(), keys, values)]

    found = torch.from_numpy(routine.routine(*given, 0, 0, common, parents))
    # What is read later hangs on what was read before.
    first = 8
    later = [np.zeros_like(part) for part in given[3:]]
    start = routine.routine(given[0][:, :first], *given[1:3], *later, 0, 0, common, parents[:first])
    rest = routine.routine(given[0][:, first:], *given[1:3], *later, first, 0, common, parents)
    in_two = torch.from_numpy(np.concatenate((start, rest), 1))
    torch.testing.assert_close(in_two, found, rtol=0, atol=1e-3)

    for i in range(n):
        path = [i]
        while parents[path[0]] >= 0:
            path.insert(0, int(parents[path[0]]))
        size = len(path)
        own = [torch.zeros(LAYERS, 1, KV, size, HEAD).bfloat16() for _ in range(2)]
        alone = routine(x[:, path], angle.cos()[:size], angle.sin()[:size], *own, 0, 0, shared)
        torch.testing.assert_close(found[0, i], alone[0, -1], rtol=0, atol=1e-3)


@pytest.mark.parametrize(("head", "size"), [(32, 1), (64, 37), (96, 5), (32, 0)])
def test_keys_are_turned_as_one_rotates_them(head: int, size: int) -> None:
    torch.manual_seed(0)
    keys = torch.randn(2, 3, size + 4, head).bfloat16()
    to, angle = torch.zeros(2, 3, size + 9, head).bfloat16(), torch.rand(head // 2)
    before = to.clone()
    a, b = keys[:, :, 1 : 1 + size].float().chunk(2, -1)
    wanted = torch.cat((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()), -1)
    given = array(keys)[:, :, 1 : 1 + size], angle.cos().numpy(), angle.sin().numpy()
    matrices = [[heads.Matrix.of(np.zeros(shape, np.float32)) for shape in shapes_of(head)]]
    routine = blocks.Blocks(matrices, blocks.Shape(kv=1, group=1, head=head))

    routine.turn(*given, array(to)[:, :, 6 : 6 + size])

    found = to[:, :, 6 : 6 + size]
    torch.testing.assert_close(found.float(), wanted, rtol=2**-8, atol=1e-6)
    assert torch.equal(to[:, :, :6], before[:, :, :6])
    assert torch.equal(to[:, :, 6 + size :], before[:, :, 6 + size :])


def shapes_of(head: int) -> list[tuple[int, int]]:
    """Of the smallest block with heads of so many dimensions."""
    return [(3 * head, head), (head, head), (64, head), (head, 32)]


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 9, 33])
@pytest.mark.parametrize(("outputs", "inputs"), [(16, 32), (80, 64), (300, 576)])
def test_products_of_four_bits_are_those_of_what_they_stand_for(
    outputs: int, inputs: int, rows: int
) -> None:
    generator = np.random.default_rng(rows)
    weight = generator.normal(size=(outputs, inputs)).astype(np.float32)
    x = generator.normal(size=(rows, inputs)).astype(np.float32)
    panels = q4.quantise(weight)
    kept = q4.dequantise(panels, outputs)
    matrix = heads.Matrix.of_panels(panels, outputs)
    exact = x @ kept.T

    found = matrix(x)

    # Rows are rounded to 8 bits in groups of 32: half a step of 1/127 of the largest.
    assert np.linalg.norm(found - exact) < 0.01 * np.linalg.norm(exact)
    ids = np.arange(0, outputs, 7)
    np.testing.assert_allclose(matrix.rows(ids), kept[ids], atol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 3, 16, 17, 33])
@pytest.mark.parametrize("outputs", [5, 16, 48, 300])
def test_a_product_is_the_exact_one_up_to_rounding(rows: int, outputs: int) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(outputs, 64), torch.randn(2, rows, 64)
    exact = kept(x) @ kept(weight).T

    found = product(weight, x)

    assert found.shape == (2, rows, outputs)
    # A whole number may be rounded the other way, for norms are summed in another order.
    most = 2e-3 if whole_numbers() else 1e-4
    assert float((found.double() - exact).abs().max()) < most


@pytest.mark.parametrize("missing", ["nothing", "memory", "results"])
def test_a_level_that_multiplies_wrongly_is_not_used(missing: str) -> None:
    found, _ = native()
    assert found is not None

    def product(*given: Any) -> int:
        if missing == "results":
            return 1
        return 0 if missing == "memory" else found.product(*given)

    assert computes_rightly(replace(found, product=product)) == (missing == "nothing")


def test_weights_are_laid_out_in_pairs_of_inputs() -> None:
    weight = torch.arange(32 * 64).view(32, 64).float()
    found = packed(array(weight))

    assert found.shape == (2, 2, 16, 16, 2)
    assert float(widened(found)[1, 0, 3, 5, 1]) == float(weight[16 + 5, 2 * 3 + 1].bfloat16())


def test_whole_numbers_keep_a_tenth_of_what_bfloat16_rounds_away() -> None:
    weight = torch.randn(40, 384)
    weight[7] *= 1e-20
    weight[8] = 0
    found = torch.from_numpy(quantised(array(weight)))

    assert found.shape == (3, 16 * 384 + 32)
    codes = found[:, :-32].reshape(3, 192, 16, 2).transpose(1, 2).reshape(48, 384)[:40]
    scale = found[:, -32:].contiguous().view(torch.float32).flatten()[:40]
    error = (codes * scale[:, None] - weight).norm(dim=1)
    assert bool((error <= (weight.bfloat16().float() - weight).norm(dim=1) / 8).all())
    assert float(codes.float().norm(dim=1).max()) < NORM * 1.001


@pytest.mark.parametrize("inputs", [32, 384, 1536])
def test_no_sum_overflows(inputs: int) -> None:
    """The largest sums there are: a row times itself, spread out or in one place."""
    rows = torch.zeros(4, inputs)
    rows[0], rows[1, 3] = 1.0, 1e6
    rows[2] = torch.where(torch.arange(inputs) % 2 == 0, 3.0, -3.0)
    rows[3] = torch.randn(inputs) ** 5

    found = product(rows, rows)

    exact = rows.double() @ rows.double().T
    assert float(((found - exact).abs() / exact.diagonal().sqrt()).max()) < 1e6 * 0.01
    diagonal = (found.diagonal() - exact.diagonal()).abs() / exact.diagonal()
    assert float(diagonal.max()) < 0.01


def test_what_does_not_fit_is_said() -> None:
    routine = Blocks(weights(), (KV, GROUP + 2, HEAD))
    x, angle = torch.randn(1, 2, WIDTH), torch.ones(2, HEAD // 2)
    keys, values = (torch.zeros(LAYERS, 1, KV, 8, HEAD, dtype=torch.bfloat16) for _ in range(2))

    with pytest.raises(AssertionError, match=r"7 \+ 2 tokens are beyond 8"):
        routine(x, angle, angle, keys, values, 7, 0)
    with pytest.raises(AssertionError, match=r"caches are float32"):
        routine(x, angle, angle, keys.float(), values.float(), 0, 0)


@pytest.mark.parametrize("level", ["avx512vnni", "avx512", "avxvnni", "avx2", "dotprod", "c"])
def test_lesser_levels_compute_the_same(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each level that this CPU has; `test_emulated` is for those that it has not."""
    monkeypatch.setenv("INFILL_KERNELS", level)
    native.cache_clear()
    try:
        found, reason = native()
        if found is None:
            pytest.skip(reason)
        assert found.name == level
        what_every_level_computes()
    finally:
        native.cache_clear()


def what_every_level_computes() -> None:
    """Some of the cases above."""
    test_blocks_are_those_of_plain_torch(1, 1, 40, 0)
    test_blocks_are_those_of_plain_torch(3, 16, 30, 46)
    test_blocks_are_those_of_plain_torch(1, 70, 0, 0)
    test_blocks_are_those_of_plain_torch(2, 5, 63, 0)
    test_a_token_of_a_tree_is_what_it_is_behind_those_above_it_alone()
    test_head.test_statistics_of_a_head_are_those_of_its_logits()
    test_head.test_the_likeliest_of_a_head_are_the_greatest_of_its_logits(8)
    test_keys_are_turned_as_one_rotates_them(64, 37)
    test_a_product_is_the_exact_one_up_to_rounding(33, 300)
    test_a_product_is_the_exact_one_up_to_rounding(3, 48)
    for rows in (1, 2, 9):
        test_products_of_four_bits_are_those_of_what_they_stand_for(80, 64, rows)


def test_a_level_that_this_cpu_has_not_is_said() -> None:
    library, reason = made_beforehand()
    if library is None:
        pytest.skip(reason)

    assert best_level(library, "abacus") == (None, "this CPU has no abacus")


SHORT_OF_MEMORY = """
import resource, numpy
from infill_kernels.heads import Matrix
x = numpy.zeros((50_000, 1024), numpy.float32)
routine = Matrix.of(x[:16])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 40_000_000, resource.RLIM_INFINITY))
try:
    routine(x)
except MemoryError as error:
    print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited as on Linux")
def test_too_little_memory_is_an_error_and_no_abort() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.returncode) == ("no memory for a product of 50000 rows\n", 0), done
