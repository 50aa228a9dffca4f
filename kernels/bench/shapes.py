"""Every op of a denoising step with the shapes of the 26B-A4B checkpoint, to compile or to time."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infill_kernels import attention, experts, matmul, naive, norms, routing, statistics

WIDE, MLP, HIDDEN, HEADS, VOCAB, EXPERTS, CHOSEN = 2816, 2112, 704, 16, 262144, 128, 8
EPS = 1e-6

# Makes a tensor of a shape and a type.
Make = Callable[[tuple[int, ...], torch.dtype], Tensor]


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """On the CPU, where it takes no memory until it is written."""
    return torch.empty(shape, dtype=dtype)


def random(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """On the GPU; expert ids are those that a row may hold."""
    if dtype == torch.int64 and shape[-1] == CHOSEN:
        return torch.rand(shape[0], EXPERTS, device="cuda").topk(CHOSEN)[1]
    if dtype in (torch.uint8, torch.int64):
        return torch.randint(0, 256, shape, device="cuda").to(dtype)
    if dtype == torch.bool:
        return torch.ones(shape, dtype=dtype, device="cuda")
    made = torch.empty(shape, dtype=torch.bfloat16, device="cuda").normal_()
    return made.to(dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An op, its twin, and the bytes that it has to move at least."""

    name: str
    run: Callable[[], object]
    twin: Callable[[], object]
    bytes: float


def cases(cells: int, make: Make) -> list[Case]:
    bf16, fp32 = torch.bfloat16, torch.float32

    def of(*shape: int, dtype: torch.dtype = bf16) -> Tensor:
        return make(shape, dtype)

    found: list[Case] = []

    def add(
        name: str, op: Any, twin: Any, *given: Any, read: float | None = None, **named: Any
    ) -> None:
        out = cells * WIDE * 2
        size = _size(given) if read is None else read
        found.append(
            Case(
                name=name,
                run=lambda: op(*given, **named),
                twin=lambda: twin(*given, **named),
                bytes=size + out,
            )
        )

    def rows(count: int = 1) -> list[Tensor]:
        return [of(cells, WIDE) for _ in range(count)]

    weight = of(WIDE)
    add("rms_norm", norms.rms_norm, naive.rms_norm, *rows(), weight, eps=EPS)
    add("sum_norms", norms.sum_norms, naive.sum_norms, *rows(2), weight, eps=EPS)
    following = (weight, weight, of(WIDE, dtype=fp32))
    add("add_norms", norms.add_norms, naive.add_norms, *rows(2), weight, following, eps=EPS)
    add(
        "join_norms",
        norms.join_norms,
        naive.join_norms,
        *rows(2),
        of(cells, CHOSEN, WIDE),
        *[weight] * 4,
        eps=EPS,
        scale=of(1),
    )
    add("gated", norms.gated, naive.gated, of(cells, 2 * MLP))
    for kind, size, groups, made, seen in (
        ("sliding", 256, 8, 32, 1023),
        ("full", 512, 2, 18, 2048),
    ):
        add(
            f"split_norm_rope, {kind}",
            norms.split_norm_rope,
            naive.split_norm_rope,
            of(1, cells, made * size),
            of(size),
            of(size),
            of(1, cells, size),
            of(1, cells, size),
            heads=HEADS,
            groups=groups,
            eps=EPS,
        )
        # Unscaled scores of random heads would all be of one key.
        query = of(1, cells, HEADS, size) * size**-0.5
        length = torch.full((1,), seen, dtype=torch.int32, device=query.device)
        add(
            f"canvas_attention, {kind}",
            attention.canvas_attention,
            naive.canvas_attention,
            query,
            *(of(1, cells, groups, size) for _ in range(2)),
            *(of(1, groups, seen, size) for _ in range(2)),
            length=length,
        )
    add(
        "top_experts",
        routing.top_experts,
        naive.top_experts,
        *rows(),
        of(EXPERTS, WIDE),
        of(EXPERTS),
        k=CHOSEN,
    )
    touched = 1 - (1 - CHOSEN / EXPERTS) ** cells
    ids, shares = of(cells, CHOSEN, dtype=torch.int64), of(cells, CHOSEN, dtype=fp32)
    for form, matrix in FORMATS.items():
        matrices = matrix(of, EXPERTS, 2 * HIDDEN, WIDE), matrix(of, EXPERTS, WIDE, HIDDEN)
        add(
            f"moe_parts, {form}",
            experts.moe_parts,
            naive.moe_parts,
            *rows(),
            ids,
            shares,
            *matrices,
            read=touched * _size(matrices),
        )
        if form != "fp8 in blocks":
            single = matrix(of, 1, 8192, WIDE)
            single = single[0] if isinstance(single, Tensor) else single
            add(f"linear, {form}", matmul.linear, naive.linear, *rows(), single)
    raw, allowed = of(cells, VOCAB), of(VOCAB, dtype=torch.bool)
    heat = torch.full((1,), 0.6, device=raw.device)
    seed = torch.zeros(1, dtype=torch.int64, device=raw.device)
    known = torch.full((cells,), 20.0, device=raw.device)
    head: dict[str, Any] = {"cap": 30.0, "allowed": allowed}
    add(
        "head_statistics",
        statistics.head_statistics,
        naive.head_statistics,
        raw,
        heat,
        seed,
        **head,
    )
    add(
        "probabilities",
        statistics.probabilities,
        naive.probabilities,
        raw,
        heat,
        known,
        dtype=bf16,
        read=2 * _size(raw),
        **head,
    )
    table = of(VOCAB, WIDE)
    add(
        "top_embedding",
        statistics.top_embedding,
        naive.top_embedding,
        raw,
        heat,
        known,
        table,
        of(1),
        k=64,
        read=2 * _size(raw) + 64 * cells * WIDE * 2,
        **head,
    )
    return found


def _fp8(of: Any, number: int, width: int, inputs: int) -> naive.Fp8:
    codes = of(number, width, inputs, dtype=torch.float8_e4m3fn)
    return naive.Fp8(codes=codes, scale=of(number, width, 1, dtype=torch.float32))


def _fp8_in_blocks(of: Any, number: int, width: int, inputs: int) -> naive.Fp8:
    squares = (math.ceil(width / naive.BLOCK), math.ceil(inputs / naive.BLOCK))
    scale = of(number, *squares, dtype=torch.float32)
    return _fp8(of, number, width, inputs)._replace(scale=scale)


def _int4(of: Any, number: int, width: int, inputs: int) -> naive.Int4:
    codes = of(number, width, inputs // 2, dtype=torch.uint8)
    return naive.Int4(codes=codes, scale=of(number, inputs // naive.GROUP, width))


FORMATS: dict[str, Callable[..., naive.ExpertWeights]] = {
    "bf16": lambda of, *shape: of(*shape),
    "fp8": _fp8,
    "fp8 in blocks": _fp8_in_blocks,
    "int4": _int4,
}


def _size(given: Any) -> float:
    """Bytes of all tensors in it."""
    if isinstance(given, Tensor):
        return given.numel() * given.element_size()
    return sum(map(_size, given)) if isinstance(given, tuple | list) else 0
