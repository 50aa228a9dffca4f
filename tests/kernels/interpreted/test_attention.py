import pytest
import torch
from torch import Tensor

from infill_kernels import attention, reference


def given(
    batch: int,
    contexts: int,
    cells: int,
    heads: int,
    groups: int,
    size: int,
    capacity: int,
    dtype: torch.dtype,
    device: str,
) -> list[Tensor]:
    """Query, key, value, context key and value. Unscaled scores need smaller heads."""
    shapes = [(batch, cells, heads, size)] + [(batch, cells, groups, size)] * 2
    shapes += [(contexts, groups, capacity, size)] * 2
    made = [torch.randn(*shape, device=device) for shape in shapes]
    for at in (0, 1, 3):
        made[at] *= size**-0.25
    return [each.to(dtype) for each in made]


def agree(check, tensors: list[Tensor], **options) -> None:
    check(
        attention.canvas_attention(*tensors, **options),
        reference.canvas_attention(*tensors, **options),
        reference.canvas_attention(*(each.float() for each in tensors), **options),
    )


@pytest.mark.parametrize(
    ("batch", "contexts", "cells", "heads", "groups", "size", "capacity"),
    [
        (1, 1, 37, 4, 2, 16, 123),  # grouped heads, ragged in cells and context
        (2, 1, 5, 4, 1, 32, 70),  # rows of one context
        (2, 2, 5, 2, 2, 16, 33),  # a context for each row
        (1, 1, 9, 2, 1, 16, 0),  # nothing before the canvas
    ],
)
def test_canvas_sees_the_context_and_itself(
    batch, contexts, cells, heads, groups, size, capacity, dtype, device, check
):
    agree(check, given(batch, contexts, cells, heads, groups, size, capacity, dtype, device))


@pytest.mark.parametrize("size", [256, 512])
def test_head_sizes_of_the_model(size, device, check):
    agree(check, given(1, 1, 3, 2, 1, size, 40, torch.bfloat16, device))


@pytest.mark.parametrize("length", [0, 1, 20, 64, 100])
def test_what_lies_beyond_the_length_is_not_seen(length, device, check):
    query, key, value, context_key, context_value = given(
        1, 1, 6, 2, 1, 16, 100, torch.float32, device
    )
    counted = torch.tensor([length], dtype=torch.int32, device=device)
    kept = context_key[:, :, :length], context_value[:, :, :length]
    expected = reference.canvas_attention(query, key, value, *kept)
    context_key, context_value = context_key.clone(), context_value.clone()
    context_key[:, :, length:] = torch.nan
    context_value[:, :, length:] = torch.nan

    actual = attention.canvas_attention(
        query, key, value, context_key, context_value, length=counted
    )

    check(actual, expected, expected)


def test_a_cache_may_be_a_view(device, check):
    tensors = given(1, 1, 6, 2, 2, 16, 70, torch.float32, device)
    for at in (3, 4):
        tensors[at] = torch.randn(1, 90, 2, 16, device=device).transpose(1, 2)[:, :, -50:]

    agree(check, tensors)


def test_one_split_or_many_give_the_same(device, monkeypatch, check):
    tensors = given(1, 1, 40, 2, 1, 16, 200, torch.float32, device)
    many = attention.canvas_attention(*tensors)
    monkeypatch.setattr(attention, "MAX_SPLITS", 1)

    check(attention.canvas_attention(*tensors), many, many)


@pytest.mark.parametrize(
    ("size", "width", "shared", "expected"),
    [
        (256, 2, 227, (64, 64)),
        (512, 2, 227, (64, 32)),
        (512, 2, 163, (64, 16)),
        (256, 2, 99, (64, 16)),
        (512, 2, 99, (32, 16)),
        (512, 4, 227, (32, 16)),
    ],
)
def test_a_tile_takes_what_shared_memory_there_is(size, width, shared, expected):
    assert attention.tile(64, size, width, shared * 1024) == expected


def test_smaller_tiles_give_the_same(device, monkeypatch, check):
    tensors = given(1, 1, 40, 4, 1, 32, 200, torch.float32, device)
    large = attention.canvas_attention(*tensors)
    monkeypatch.setattr(attention, "shared_memory", lambda _: 12 * 1024)
    assert attention.tile(64, 32, 4, 12 * 1024) == (16, 16)

    check(attention.canvas_attention(*tensors), large, large)


def test_large_scores_do_not_overflow(device, check):
    tensors = given(1, 1, 6, 2, 1, 16, 70, torch.float32, device)
    tensors[0] *= 100

    agree(check, tensors)
