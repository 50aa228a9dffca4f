"""What the loop wants of each row of logits, in one reading of the vocabulary.

    raw [R, V] ──_partial_kernel──► for each row and split: maximum, sums, best, drawn
               ──_combine_kernel──► entropy, best, sample, confidence, log-sum-exp

Softcap, temperature, the online sums, both argmaxes and the random numbers are made on the way. A
short canvas has few rows, so each is split over programs. Every lane keeps sums of its own over
the columns it meets, and lanes are put together once, at the end of a split.
"""

# Triton has no types, and what a kernel is given is typed by its compiler; wrappers are checked.
# mypy: disable-error-code="import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

import torch
import triton
import triton.language as tl
from torch import Tensor

from infill_kernels.reference import HeadStatistics
from infill_kernels.rows import RowStatistics
from infill_kernels.tile import cast

# Of a block of 1024 columns a lane has four, 256 apart: the four words of one random number.
_LANES: tl.constexpr = tl.constexpr(256)
_COLUMNS = 1024
PROGRAMS = 2112  # 16 for each of 132 multiprocessors


@triton.jit
def _scaled(
    raw, allowed_ptr, column, inside, inverse, CAPPED: tl.constexpr, cap, MASKED: tl.constexpr
):
    """raw in float32, capped and divided by the temperature; -inf where it is impossible."""
    z = raw.to(tl.float32)
    if CAPPED:
        # tanh by the exponential of what is negative, which cannot overflow.
        power = tl.exp(-2.0 * tl.abs(z) / cap)
        capped = (1.0 - power) / (1.0 + power) * cap
        z = tl.where(z == float("-inf"), z, tl.where(z < 0, -capped, capped))
    z *= inverse
    if MASKED:
        inside = inside & (tl.load(allowed_ptr + column, mask=inside, other=0) != 0)
    return tl.where(inside, z, float("-inf"))


@triton.jit
def _gumbel(word):
    uniform = tl.minimum((word.to(tl.float32) + 0.5) * 2.3283064365386963e-10, 0.99999994)
    series = uniform + 0.5 * uniform * uniform
    return -tl.log(tl.where(uniform < 1e-3, series, -tl.log(1.0 - uniform)))


@triton.jit
def _better(value, column, best, best_column):
    """Elementwise: the larger value and its column; of equals, the one met first."""
    taken = value > best
    return tl.where(taken, value, best), tl.where(taken, column, best_column)


@triton.jit
def _first_best(value, column):
    """The largest value of all lanes, and the smallest column that has it."""
    best = tl.max(value, 0)
    return best, tl.min(tl.where(value == best, column, 2147483647), 0)


@triton.jit
def _partial_kernel(
    raw_ptr,  # [R, V]
    allowed_ptr,  # [V] bool
    temperature_ptr,  # [1] float32
    seed_ptr,  # [1] int64
    sums_ptr,  # [R, SPLITS, 4] float32: maximum, sum, sum of (z - maximum), drawn value
    places_ptr,  # [R, SPLITS, 2] int32: best, drawn
    V,
    cap,
    CAPPED: tl.constexpr,
    MASKED: tl.constexpr,
    SPLITS: tl.constexpr,
):
    row = tl.program_id(0)
    split = tl.program_id(1)
    temperature = tl.load(temperature_ptr)
    inverse = 1.0 / tl.where(temperature > 0, temperature, 1.0)
    seed = tl.load(seed_ptr)
    lane = tl.arange(0, _LANES)
    blocks = tl.cdiv(V, 4 * _LANES)
    share = tl.cdiv(blocks, SPLITS)
    raw_ptr += row.to(tl.int64) * V

    # A finite floor: the difference of two of them is 0, not NaN.
    maximum = tl.full((_LANES,), -1e30, tl.float32)
    total = tl.zeros((_LANES,), tl.float32)
    weighted = tl.zeros((_LANES,), tl.float32)
    best = tl.full((_LANES,), float("-inf"), tl.float32)
    drawn = tl.full((_LANES,), float("-inf"), tl.float32)
    best_column = tl.zeros((_LANES,), tl.int32)
    drawn_column = tl.zeros((_LANES,), tl.int32)
    for block in range(split * share, tl.minimum((split + 1) * share, blocks)):
        zero = tl.zeros((_LANES,), tl.uint32)
        counter = (lane + block * _LANES).to(tl.uint32)
        words = tl.philox(seed, counter, zero + row.to(tl.uint32), zero, zero)
        c0 = lane + block * 4 * _LANES
        c1 = c0 + _LANES
        c2 = c1 + _LANES
        c3 = c2 + _LANES
        r0 = tl.load(raw_ptr + c0, mask=c0 < V, other=0.0)
        r1 = tl.load(raw_ptr + c1, mask=c1 < V, other=0.0)
        r2 = tl.load(raw_ptr + c2, mask=c2 < V, other=0.0)
        r3 = tl.load(raw_ptr + c3, mask=c3 < V, other=0.0)
        z0 = _scaled(r0, allowed_ptr, c0, c0 < V, inverse, CAPPED, cap, MASKED)
        z1 = _scaled(r1, allowed_ptr, c1, c1 < V, inverse, CAPPED, cap, MASKED)
        z2 = _scaled(r2, allowed_ptr, c2, c2 < V, inverse, CAPPED, cap, MASKED)
        z3 = _scaled(r3, allowed_ptr, c3, c3 < V, inverse, CAPPED, cap, MASKED)
        best, best_column = _better(z0, c0, best, best_column)
        best, best_column = _better(z1, c1, best, best_column)
        best, best_column = _better(z2, c2, best, best_column)
        best, best_column = _better(z3, c3, best, best_column)
        drawn, drawn_column = _better(z0 + _gumbel(words[0]), c0, drawn, drawn_column)
        drawn, drawn_column = _better(z1 + _gumbel(words[1]), c1, drawn, drawn_column)
        drawn, drawn_column = _better(z2 + _gumbel(words[2]), c2, drawn, drawn_column)
        drawn, drawn_column = _better(z3 + _gumbel(words[3]), c3, drawn, drawn_column)
        peak = tl.maximum(maximum, best)
        shrink = tl.exp(maximum - peak)
        weighted = shrink * (weighted + (maximum - peak) * total)
        total = shrink * total
        # Where z is -inf its exponential is 0, and must be multiplied by a finite number.
        d0 = tl.maximum(z0 - peak, -1e30)
        d1 = tl.maximum(z1 - peak, -1e30)
        d2 = tl.maximum(z2 - peak, -1e30)
        d3 = tl.maximum(z3 - peak, -1e30)
        e0 = tl.exp(d0)
        e1 = tl.exp(d1)
        e2 = tl.exp(d2)
        e3 = tl.exp(d3)
        total += (e0 + e1) + (e2 + e3)
        weighted += (e0 * d0 + e1 * d1) + (e2 * d2 + e3 * d3)
        maximum = peak

    peak = tl.max(maximum, 0)
    shrink = tl.exp(maximum - peak)
    weighted = tl.sum(shrink * (weighted + (maximum - peak) * total), 0)
    total = tl.sum(shrink * total, 0)
    _, best_place = _first_best(best, best_column)
    drawn_value, drawn_place = _first_best(drawn, drawn_column)
    at = (row * SPLITS + split).to(tl.int64)
    tl.store(sums_ptr + at * 4, peak)
    tl.store(sums_ptr + at * 4 + 1, total)
    tl.store(sums_ptr + at * 4 + 2, weighted)
    tl.store(sums_ptr + at * 4 + 3, drawn_value)
    tl.store(places_ptr + at * 2, best_place)
    tl.store(places_ptr + at * 2 + 1, drawn_place)


@triton.jit
def _combine_kernel(
    sums_ptr,
    places_ptr,
    temperature_ptr,
    entropy_ptr,
    best_ptr,
    sample_ptr,
    confidence_ptr,
    log_sum_exp_ptr,
    SPLITS: tl.constexpr,
    SIZE: tl.constexpr,
):
    row = tl.program_id(0)
    split = tl.arange(0, SIZE)
    mask = split < SPLITS
    at = (row * SPLITS + split).to(tl.int64)
    maximum = tl.load(sums_ptr + at * 4, mask=mask, other=-1e30)
    total = tl.load(sums_ptr + at * 4 + 1, mask=mask, other=0.0)
    weighted = tl.load(sums_ptr + at * 4 + 2, mask=mask, other=0.0)
    drawn = tl.load(sums_ptr + at * 4 + 3, mask=mask, other=float("-inf"))
    best_place = tl.load(places_ptr + at * 2, mask=mask, other=2147483647)
    drawn_place = tl.load(places_ptr + at * 2 + 1, mask=mask, other=2147483647)
    peak, best = _first_best(maximum, best_place)
    shrink = tl.exp(maximum - peak)
    weighted = tl.sum(shrink * (weighted + (maximum - peak) * total), 0)
    total = tl.sum(shrink * total, 0)
    _, sample = _first_best(drawn, drawn_place)
    greedy = tl.load(temperature_ptr) <= 0
    # H = log Z - sum p (z - maximum), where Z is of exponentials of z - maximum.
    tl.store(entropy_ptr + row, tl.maximum(tl.log(total) - weighted / total, 0.0))
    tl.store(best_ptr + row, best.to(tl.int64))
    tl.store(sample_ptr + row, tl.where(greedy, best, sample).to(tl.int64))
    tl.store(confidence_ptr + row, 1.0 / total)
    tl.store(log_sum_exp_ptr + row, peak + tl.log(total))


@triton.jit
def _probability_kernel(
    raw_ptr,
    allowed_ptr,
    temperature_ptr,
    log_sum_exp_ptr,
    out_ptr,
    V,
    cap,
    CAPPED: tl.constexpr,
    MASKED: tl.constexpr,
    SIZE: tl.constexpr,
):
    row = tl.program_id(1)
    column = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    inside = column < V
    temperature = tl.load(temperature_ptr)
    inverse = 1.0 / tl.where(temperature > 0, temperature, 1.0)
    at = row.to(tl.int64) * V + column
    raw = tl.load(raw_ptr + at, mask=inside, other=0.0)
    z = _scaled(raw, allowed_ptr, column, inside, inverse, CAPPED, cap, MASKED)
    out = tl.exp(z - tl.load(log_sum_exp_ptr + row))
    tl.store(out_ptr + at, cast(out, out_ptr.dtype.element_ty), mask=inside)


def _check(raw: Tensor, temperature: Tensor, allowed: Tensor | None) -> None:
    assert raw.ndim == 2, f"logits are {tuple(raw.shape)}, not [R, V]"
    assert raw.is_contiguous(), "logits are contiguous"
    assert temperature.shape == (1,), f"temperature is {tuple(temperature.shape)}"
    assert temperature.dtype == torch.float32, f"temperature is {temperature.dtype}"
    if allowed is not None:
        assert allowed.shape == raw.shape[1:], f"allowed is {tuple(allowed.shape)}"
        assert allowed.dtype == torch.bool, f"allowed is {allowed.dtype}"


def head_statistics(
    raw: Tensor,
    temperature: Tensor,
    seed: Tensor,
    *,
    cap: float | None = None,
    allowed: Tensor | None = None,
) -> HeadStatistics:
    _check(raw, temperature, allowed)
    assert seed.shape == (1,), f"seed is {tuple(seed.shape)}"
    assert seed.dtype == torch.int64, f"seed is {seed.dtype}"
    rows, columns = raw.shape
    out = HeadStatistics(
        entropy=raw.new_empty(rows, dtype=torch.float32),
        best=raw.new_empty(rows, dtype=torch.int64),
        sample=raw.new_empty(rows, dtype=torch.int64),
        confidence=raw.new_empty(rows, dtype=torch.float32),
        log_sum_exp=raw.new_empty(rows, dtype=torch.float32),
    )
    if not rows:
        return out
    splits = max(1, min(triton.cdiv(PROGRAMS, rows), triton.cdiv(columns, _COLUMNS), 256))
    sums = raw.new_empty(rows, splits, 4, dtype=torch.float32)
    places = raw.new_empty(rows, splits, 2, dtype=torch.int32)
    _partial_kernel[(rows, splits)](
        raw,
        raw if allowed is None else allowed,
        temperature,
        seed,
        sums,
        places,
        columns,
        cap or 1.0,
        cap is not None,
        allowed is not None,
        splits,
        num_warps=4,
    )
    _combine_kernel[(rows,)](
        sums, places, temperature, *out, splits, triton.next_power_of_2(splits), num_warps=1
    )
    return out


def row_statistics(
    logits: Tensor, *, temperature: float, generator: torch.Generator | None
) -> RowStatistics:
    """`reference.row_statistics` with draws of another stream: the generator gives one seed."""
    flat = logits.reshape(-1, logits.shape[-1])
    device = logits.device if generator is None else generator.device
    seed = torch.randint(2**62, (1,), generator=generator, device=device).to(logits.device)
    scale = torch.full((1,), float(temperature), device=logits.device)
    found = head_statistics(flat.contiguous(), scale, seed)
    return RowStatistics(*(each.view(logits.shape[:-1]) for each in found[:4]))


def probabilities(
    raw: Tensor,
    temperature: Tensor,
    log_sum_exp: Tensor,
    *,
    dtype: torch.dtype,
    cap: float | None = None,
    allowed: Tensor | None = None,
) -> Tensor:
    _check(raw, temperature, allowed)
    rows, columns = raw.shape
    assert log_sum_exp.shape == (rows,), f"log_sum_exp is {tuple(log_sum_exp.shape)}"
    out = torch.empty_like(raw, dtype=dtype)
    if rows:
        size = min(4096, triton.next_power_of_2(columns))
        _probability_kernel[(triton.cdiv(columns, size), rows)](
            raw,
            raw if allowed is None else allowed,
            temperature,
            log_sum_exp,
            out,
            columns,
            cap or 1.0,
            cap is not None,
            allowed is not None,
            size,
            num_warps=8,
        )
    return out
