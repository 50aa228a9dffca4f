"""Attention of a canvas to itself and to a cached context, read from where they lie.

Nothing is concatenated and no head is repeated: the query heads that share a key head are rows of
one tile. A canvas is short, so keys are split over programs too, and a second kernel combines
what the splits found. How much of the cache counts is read on the device.
"""

# Triton has no types, and what a kernel is given is typed by its compiler; wrappers are checked.
# mypy: disable-error-code="import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

import torch
import triton
import triton.language as tl
from torch import Tensor

from infill_kernels.tile import cast, dot, shared_memory

_LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
# Enough programs for two on each of 132 multiprocessors; fewer would leave some idle.
PROGRAMS = 264
MAX_SPLITS = 32


@triton.jit
def _attention_kernel(
    query_ptr,  # [B, T, H, D]
    key_ptr,  # [B, T, G, D]
    value_ptr,
    context_key_ptr,  # [B or 1, G, S, D]
    context_value_ptr,
    length_ptr,
    out_ptr,  # [B, T, H, D], or float32 [SPLITS, B, T, H, D]
    maximum_ptr,  # [SPLITS, B, T, H] float32
    total_ptr,
    num_cells,
    capacity,
    key_batch_stride,
    key_group_stride,
    key_stride,
    value_batch_stride,
    value_group_stride,
    value_stride,
    G: tl.constexpr,
    PER_GROUP: tl.constexpr,
    D: tl.constexpr,
    COUNTED: tl.constexpr,
    SPLITS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    STAGES: tl.constexpr,
):
    batch = (tl.program_id(1) // G).to(tl.int64)
    group = tl.program_id(1) % G
    split = tl.program_id(2)
    heads: tl.constexpr = G * PER_GROUP
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    row_mask = row < num_cells * PER_GROUP
    # Rows are cells times the heads of this group; each is one row of queries, and of the output.
    place = (batch * num_cells + row // PER_GROUP) * heads + group * PER_GROUP + row % PER_GROUP
    at = tl.arange(0, D)
    query = tl.load(query_ptr + place[:, None] * D + at[None, :], mask=row_mask[:, None], other=0.0)

    end = capacity
    if COUNTED:
        end = tl.minimum(tl.load(length_ptr).to(tl.int32), capacity)
    # Blocks of context come first, then those of the canvas; a split has a run of them.
    context_blocks = tl.cdiv(end, BLOCK_KEYS)
    blocks = context_blocks + tl.cdiv(num_cells, BLOCK_KEYS)
    share = tl.cdiv(blocks, SPLITS)
    first = split * share
    last = tl.minimum(first + share, blocks)

    shift = group.to(tl.int64)
    context_key_ptr += batch * key_batch_stride + shift * key_group_stride
    context_value_ptr += batch * value_batch_stride + shift * value_group_stride
    key_ptr += (batch * num_cells * G + group) * D
    value_ptr += (batch * num_cells * G + group) * D
    acc = tl.zeros((ROWS, D), tl.float32)
    # A finite floor: what has seen nothing yet is shrunk by 0, never by NaN.
    maximum = tl.full((ROWS,), -1e30, tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    token = tl.arange(0, BLOCK_KEYS)
    for block in tl.range(first, last, num_stages=STAGES):
        cached = block < context_blocks
        begin = tl.where(cached, block, block - context_blocks) * BLOCK_KEYS
        mask = begin + token < tl.where(cached, end, num_cells)
        line = tl.where(cached, key_stride, G * D)
        keys = tl.where(cached, context_key_ptr, key_ptr) + begin.to(tl.int64) * line
        keys += token[:, None] * line + at[None, :]
        line = tl.where(cached, value_stride, G * D)
        values = tl.where(cached, context_value_ptr, value_ptr) + begin.to(tl.int64) * line
        values += token[:, None] * line + at[None, :]
        key = tl.load(keys, mask=mask[:, None], other=0.0)
        value = tl.load(values, mask=mask[:, None], other=0.0)
        score = dot(query, tl.trans(key), tl.zeros((ROWS, BLOCK_KEYS), tl.float32))
        # The online softmax is in powers of two.
        score = tl.where(mask[None, :], score * _LOG2E, float("-inf"))
        peak = tl.maximum(maximum, tl.max(score, 1))
        weight = tl.exp2(score - peak[:, None])
        shrink = tl.exp2(maximum - peak)
        total = total * shrink + tl.sum(weight, 1)
        acc = dot(cast(weight, value.dtype), value, acc * shrink[:, None])
        maximum = peak

    if SPLITS == 1:
        out = cast(acc / total[:, None], out_ptr.dtype.element_ty)
        tl.store(out_ptr + place[:, None] * D + at[None, :], out, mask=row_mask[:, None])
    else:
        place += split.to(tl.int64) * tl.num_programs(1) * num_cells * PER_GROUP
        tl.store(out_ptr + place[:, None] * D + at[None, :], acc, mask=row_mask[:, None])
        tl.store(maximum_ptr + place, maximum, mask=row_mask)
        tl.store(total_ptr + place, total, mask=row_mask)


@triton.jit
def _combine_kernel(
    parts_ptr,  # [SPLITS, rows, D] float32
    maximum_ptr,
    total_ptr,
    out_ptr,  # [rows, D]
    rows,
    D: tl.constexpr,
    SPLITS: tl.constexpr,
    SIZE: tl.constexpr,  # splits, up to a power of two
):
    row = tl.program_id(0).to(tl.int64)
    split = tl.arange(0, SIZE)
    mask = split < SPLITS
    maximum = tl.load(maximum_ptr + split * rows + row, mask=mask, other=-1e30)
    total = tl.load(total_ptr + split * rows + row, mask=mask, other=0.0)
    weight = tl.exp2(maximum - tl.max(maximum, 0))
    weight = weight / tl.sum(weight * total, 0)
    at = tl.arange(0, D)
    pointers = parts_ptr + (split.to(tl.int64)[:, None] * rows + row) * D + at[None, :]
    parts = tl.load(pointers, mask=mask[:, None], other=0.0)
    out = tl.sum(parts * weight[:, None], 0)
    tl.store(out_ptr + row * D + at, cast(out, out_ptr.dtype.element_ty))


def tile(rows: int, size: int, width: int, shared: int) -> tuple[int, int]:
    """Rows and keys of a program that has so many bytes of shared memory, for numbers of `width`.

    In it are the queries, two rounds of keys and values, and the weights between them.
    """
    keys = 64 if size <= 256 else 32

    def taken() -> int:
        return (rows * size + 2 * 2 * keys * size + rows * keys) * width

    while taken() > shared and keys > 16:
        keys //= 2
    while taken() > shared and rows > 16:
        rows //= 2
    return rows, keys


def canvas_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    context_key: Tensor,
    context_value: Tensor,
    *,
    length: Tensor | None = None,
) -> Tensor:
    batch, num_cells, heads, size = query.shape
    groups, capacity = context_key.shape[1:3]
    assert size >= 16, f"heads of {size}"
    assert size & (size - 1) == 0, f"heads of {size}, but a power of 2 is needed"
    assert heads % groups == 0, f"{heads} heads in {groups} groups"
    assert key.shape == value.shape == (batch, num_cells, groups, size), "one key for each value"
    assert context_key.shape == context_value.shape, "one key for each value"
    assert context_key.shape[0] in (1, batch), f"{context_key.shape[0]} contexts for {batch} rows"
    assert context_key.shape[3] == size, f"cached heads of {context_key.shape[3]}, not {size}"
    for each in (key, value, context_key, context_value):
        assert each.dtype == query.dtype, f"{each.dtype} is not {query.dtype}"
        assert each.stride(3) == 1, "a head is contiguous"
    assert all(each.is_contiguous() for each in (query, key, value)), "the canvas is contiguous"
    if length is not None:
        assert length.dtype == torch.int32, f"length is {length.dtype}"
    out = torch.empty_like(query)
    if not query.numel():
        return out
    per_group = heads // groups
    rows = min(64, max(16, triton.next_power_of_2(num_cells * per_group)))
    rows, block_keys = tile(rows, size, query.element_size(), shared_memory(query.device))
    blocks = triton.cdiv(capacity, block_keys) + triton.cdiv(num_cells, block_keys)
    tiles = triton.cdiv(num_cells * per_group, rows) * batch * groups
    splits = max(1, min(PROGRAMS // tiles, blocks, MAX_SPLITS))
    parts, maximum, total = out, out, out
    if splits > 1:
        parts = query.new_empty(splits, *query.shape, dtype=torch.float32)
        maximum = query.new_empty(splits, batch * num_cells * heads, dtype=torch.float32)
        total = torch.empty_like(maximum)
    shared = 0 if context_key.shape[0] == 1 else 1
    _attention_kernel[(triton.cdiv(num_cells * per_group, rows), batch * groups, splits)](
        query,
        key,
        value,
        context_key,
        context_value,
        query if length is None else length,
        parts,
        maximum,
        total,
        num_cells,
        capacity,
        shared * context_key.stride(0),
        context_key.stride(1),
        context_key.stride(2),
        shared * context_value.stride(0),
        context_value.stride(1),
        context_value.stride(2),
        groups,
        per_group,
        size,
        length is not None,
        splits,
        rows,
        block_keys,
        2,
        num_warps=8 if size * rows >= 16384 else 4,
    )
    if splits > 1:
        _combine_kernel[(batch * num_cells * heads,)](
            parts,
            maximum,
            total,
            out,
            batch * num_cells * heads,
            size,
            splits,
            triton.next_power_of_2(splits),
            num_warps=4 if size >= 256 else 1,
        )
    return out
