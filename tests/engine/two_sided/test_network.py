"""The network's promise: cached inference computes exactly what the training pass computes."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from infill_engine.models.two_sided.config import CANVAS, PREFIX, SUFFIX, TwoSidedConfig
from infill_engine.models.two_sided.inference import InferenceNetwork
from infill_engine.models.two_sided.kv_cache import SideCache
from infill_engine.models.two_sided.layers import rotate
from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.plain import of_module
from infill_engine.models.two_sided.training_pass import (
    TrainingOps,
    canvas_attention,
    causal_attention,
    gather_keys,
    gather_values,
    training_pass,
)
from tests.engine.two_sided.networks import CONFIG, model

EXACT = 1e-12


@pytest.fixture(scope="module", autouse=True)
def _no_gradients() -> object:
    with torch.no_grad():
        yield


def stepped(
    made: InferenceNetwork, before: SideCache, after: SideCache, canvas: Tensor
) -> NDArray[Any]:
    return made.step(made.canvas_context(before, after, *canvas.shape), canvas.numpy())


def test_what_is_laid_behind_a_prefix_stands_behind_what_it_is_now() -> None:
    made = of_module(model())
    before = made.cache(PREFIX, capacity=8)
    draw = random.Random(0)
    for _ in range(60):
        before.truncate(draw.randint(0, len(before)))
        made.push(before, [draw.randrange(9) for _ in range(draw.randint(0, 40))])
        more = draw.randint(0, 30)
        size = len(before)
        for copy, whole in zip(before.with_room(more), (before.keys, before.values), strict=True):
            assert copy.shape[2] == size + more
            np.testing.assert_array_equal(copy[:, :, :size], whole[:, :, :size])
            copy[:, :, size:] = 1e9  # and whoever lays something there is in nobody's way


def trained_canvas(made: TwoSidedNetwork, text: Tensor, a: int, b: int, canvas: Tensor) -> Tensor:
    start, end = torch.tensor([[a]]), torch.tensor([[b]])
    return training_pass(made, text[None], start, end, canvas[None, None])[2][0, 0]


def worst_difference(made: TwoSidedNetwork, ops: TrainingOps | None = None) -> float:
    """Training pass against caches: spans per row, empty ones, padding, edits, other lengths."""
    torch.manual_seed(1)
    rows = torch.randint(9, (2, 40))  # few, so that there are induction hints
    lengths = torch.tensor([40, 33])
    # Row 0 has an empty span; row 1 has one at its very end, where only a sentinel follows.
    start = torch.tensor([[6, 17, 30], [1, 12, 32]])
    end = torch.tensor([[9, 22, 30], [6, 29, 32]])
    noisy = torch.randint(100, (2, 3, 8))
    typed = torch.tensor([42])
    prefix_states, suffix_states, canvases = training_pass(
        made, rows, start, end, noisy, lengths, ops=ops or TrainingOps()
    )
    worst = 0.0
    cached = of_module(made)

    def compare(found: NDArray[Any], expected: Tensor) -> None:
        nonlocal worst
        worst = max(worst, float((torch.from_numpy(found) - expected).abs().max()))

    for row in range(2):
        text = rows[row, : lengths[row]]
        for span in range(3):
            a, b = int(start[row, span]), int(end[row, span])
            canvas = noisy[row, span]
            before, after = cached.cache(PREFIX, capacity=8), cached.cache(SUFFIX, capacity=8)
            compare(cached.push(before, text[:a].tolist()), prefix_states[row, :a])
            compare(
                cached.push(after, text[b:].flip(0).tolist()), suffix_states[row, : len(text) - b]
            )
            batch = torch.stack((canvas, canvas.flip(0)))
            hidden = stepped(cached, before, after, batch)
            compare(hidden[0], canvases[row, span])
            compare(hidden[1], trained_canvas(made, text, a, b, canvas.flip(0)))

            cached.push(before, typed.tolist())  # typing: the suffix is not touched
            changed = torch.cat((text[:a], typed, text[a:]))
            expected = trained_canvas(made, changed, a + 1, b + 1, canvas)
            compare(stepped(cached, before, after, canvas[None])[0], expected)

            before.truncate(a)  # deleting
            compare(stepped(cached, before, after, canvas[None])[0], canvases[row, span])

            n = min(2, len(text) - b - 1)  # the cursor moves over the next tokens
            cached.push(before, text[b : b + n].tolist())
            after.truncate(len(after) - n)
            moved = torch.cat((text[:a], text[b : b + n], text[a:b], text[b + n :]))
            expected = trained_canvas(made, moved, a + n, b + n, canvas[:5])
            compare(stepped(cached, before, after, canvas[None, :5])[0], expected)
    return worst


@pytest.mark.parametrize("table", [False, True])
def test_cached_inference_equals_the_training_pass(table: bool) -> None:
    assert worst_difference(model(replace(CONFIG, ngram_table=table))) < EXACT


def test_the_ngram_table_is_an_input() -> None:
    made = of_module(model(replace(CONFIG, ngram_table=True)))
    ids = torch.randint(9, (20,)).tolist()
    knowing = made.push(made.cache(PREFIX), ids)
    made.table = None

    assert not np.allclose(knowing, made.push(made.cache(PREFIX), ids))


def _sees_the_span(
    q: Tensor, k: Tensor, v: Tensor, start: Tensor, end: Tensor, n: Tensor
) -> Tensor:
    return canvas_attention(q, k, v, start, start, n)


def _sees_padding(q: Tensor, k: Tensor, v: Tensor, start: Tensor, end: Tensor, n: Tensor) -> Tensor:
    return canvas_attention(q, k, v, start, end, torch.full_like(n, 40))


def _one_prefix_state_short(
    near: Tensor, far: Tensor, own: Tensor, start: Tensor, cos: Tensor, sin: Tensor
) -> Tensor:
    return gather_keys(near, far, own, start - 1, cos, sin)


def _suffix_counted_from_the_start(
    near: Tensor, far: Tensor, own: Tensor, start: Tensor, cos: Tensor, sin: Tensor
) -> Tensor:
    return gather_keys(near, far, own, start, torch.ones_like(cos), torch.zeros_like(sin))


def _suffix_turned_the_other_way(
    near: Tensor, far: Tensor, own: Tensor, start: Tensor, cos: Tensor, sin: Tensor
) -> Tensor:
    return gather_keys(near, far, own, start, cos, -sin)


def _values_of_the_wrong_stream(near: Tensor, far: Tensor, own: Tensor, start: Tensor) -> Tensor:
    return gather_values(far, near, own, start)


def _not_causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return causal_attention(q.flip(1), k.flip(1), v.flip(1)).flip(1)


MISTAKES: dict[str, TrainingOps] = {
    "the canvas sees its own span": TrainingOps(canvas_attention=_sees_the_span),
    "the canvas sees padding": TrainingOps(canvas_attention=_sees_padding),
    "the prefix ends one state early": TrainingOps(gather_keys=_one_prefix_state_short),
    "suffix keys keep their own positions": TrainingOps(gather_keys=_suffix_counted_from_the_start),
    "suffix keys turn the other way": TrainingOps(gather_keys=_suffix_turned_the_other_way),
    "values come from the other stream": TrainingOps(gather_values=_values_of_the_wrong_stream),
    "the streams read in the other direction": TrainingOps(causal_attention=_not_causal),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_mask_a_position_or_a_direction_is_noticed(mistake: str) -> None:
    difference = worst_difference(model(), MISTAKES[mistake])

    assert not difference < 1e-6  # a softmax over nothing gives NaN, which is noticed as well


def test_nothing_of_the_span_reaches_its_canvas() -> None:
    made = model()
    row = torch.randint(100, (1, 40))
    other = row.clone()
    other[0, 10:15] = (other[0, 10:15] + 1) % 100
    start, end, noisy = torch.tensor([[10]]), torch.tensor([[15]]), torch.randint(100, (1, 1, 8))

    one = training_pass(made, row, start, end, noisy)[2]
    two = training_pass(made, other, start, end, noisy)[2]

    assert torch.equal(one, two)


def test_canvases_of_a_row_do_not_see_one_another() -> None:
    made = model()
    row, noisy = torch.randint(100, (1, 40)), torch.randint(100, (1, 2, 8))
    changed = noisy.clone()
    changed[0, 1] = (changed[0, 1] + 1) % 100
    start, end = torch.tensor([[10, 10]]), torch.tensor([[15, 15]])

    one = training_pass(made, row, start, end, noisy)[2][:, 0]
    two = training_pass(made, row, start, end, changed)[2][:, 0]

    assert torch.equal(one, two)


def test_long_rows_are_read_in_chunks_that_change_nothing() -> None:
    q, k, v = torch.randn(2, 37, 2, 2, 8), torch.randn(2, 37, 2, 8), torch.randn(2, 37, 2, 8)

    torch.testing.assert_close(
        causal_attention(q, k, v, chunk=16),
        causal_attention(q, k, v, chunk=64),
        rtol=0,
        atol=1e-6,
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_cache_after_random_edits_equals_one_encoded_from_scratch(seed: int) -> None:
    made, rng = of_module(model()), random.Random(seed)
    edited = made.cache(PREFIX if seed % 2 else SUFFIX, capacity=4)
    ids: list[int] = []
    for _ in range(20):
        if ids and rng.random() < 0.4:
            ids = ids[: rng.randrange(len(ids))]
            edited.truncate(len(ids))
        new = [rng.randrange(100) for _ in range(rng.randrange(1, 6))]
        made.push(edited, new)
        ids += new
    fresh = made.cache(edited.stream)
    made.push(fresh, ids)

    assert edited.ids == ids
    for one, two in ((edited.keys, fresh.keys), (edited.values, fresh.values)):
        np.testing.assert_allclose(one[:, :, : len(ids)], two[:, :, : len(ids)], rtol=0, atol=EXACT)


def test_within_its_capacity_a_cache_is_never_allocated_again() -> None:
    made = of_module(model())
    cache = made.cache(PREFIX, capacity=32)
    place = cache.keys
    for size in (1, 5, 20):
        made.push(cache, list(range(size)))
    cache.truncate(3)
    made.push(cache, list(range(29)))

    assert cache.keys is place
    assert len(cache) == 32


def test_positions_do_not_depend_on_how_much_stands_on_the_far_sides() -> None:
    """Only distances count: shifting every position of a stream moves no logit."""
    made = model()
    cos, sin = made.angles(torch.float64)
    q, k = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    zero = CONFIG.max_positions

    def product(at: int, to: int) -> float:
        one = rotate(q, cos[zero + at], sin[zero + at])
        return float(one @ rotate(k, cos[zero + to], sin[zero + to]))

    assert product(5, 3) == pytest.approx(product(-7, -9), abs=1e-12)


@pytest.mark.parametrize(
    "build",
    [
        lambda: TwoSidedConfig(d_model=100, num_heads=3),
        lambda: TwoSidedConfig(num_heads=4, num_kv_heads=3),
    ],
)
def test_an_impossible_shape_is_refused_with_its_values(build: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="num_heads="):
        build()


def test_the_canvas_has_no_cache() -> None:
    with pytest.raises(AssertionError, match="no cache"):
        of_module(model()).cache(CANVAS)
