"""Every op of a denoising step with the shapes of the 26B-A4B checkpoint, to compile or to time."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from infill_kernels import attention, experts, norms, reference, rope, routing, statistics
from infill_kernels.formats import GROUP, ExpertWeights, Fp8, Int4

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
class OpCase:
    """An op, its reference in plain torch, and the bytes that it has to move at least."""

    name: str
    run: Callable[[], object]
    reference: Callable[[], object]
    bytes: float


class _Cases:
    """The cases so far, of a canvas of so many cells."""

    def __init__(self, cells: int, make: Make) -> None:
        self.cells, self.make = cells, make
        self.found: list[OpCase] = []

    def of(self, *shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        return self.make(shape, dtype)

    def rows(self, count: int = 1) -> list[Tensor]:
        return [self.of(self.cells, WIDE) for _ in range(count)]

    def add(
        self,
        name: str,
        op: Any,
        reference: Any,
        *given: Any,
        read: float | None = None,
        **named: Any,
    ) -> None:
        """`read` is how many bytes of what is given the op reads, where that is not all of it."""
        moved = (_size(given) if read is None else read) + self.cells * WIDE * 2
        run, plain = partial(op, *given, **named), partial(reference, *given, **named)
        self.found.append(OpCase(name=name, run=run, reference=plain, bytes=moved))


def cases(cells: int, make: Make) -> list[OpCase]:
    """Every op once, some in several formats."""
    found = _Cases(cells, make)
    for family in (_norms, _attention, _experts, _statistics):
        family(found)
    return found.found


def _norms(cases: _Cases) -> None:
    add, of, rows = cases.add, cases.of, cases.rows
    weight = of(WIDE)
    add("rms_norm", norms.rms_norm, reference.rms_norm, *rows(), weight, eps=EPS)
    add("sum_norms", norms.sum_norms, reference.sum_norms, *rows(2), weight, eps=EPS)
    following = (weight, weight, of(WIDE, dtype=torch.float32))
    add("add_norms", norms.add_norms, reference.add_norms, *rows(2), weight, following, eps=EPS)
    parts = of(cases.cells, CHOSEN, WIDE)
    add(
        *("join_norms", norms.join_norms, reference.join_norms),
        *(*rows(2), parts, *[weight] * 4, of(1)),
        eps=EPS,
    )
    add("gated", norms.gated, reference.gated, of(cases.cells, 2 * MLP))


def _attention(cases: _Cases) -> None:
    add, of, cells = cases.add, cases.of, cases.cells
    for kind, size, groups, made, seen in (
        ("sliding", 256, 8, 32, 1023),
        ("full", 512, 2, 18, 2048),
    ):
        angles = of(1, cells, size), of(1, cells, size)
        add(
            *(f"split_norm_rope, {kind}", rope.split_norm_rope, reference.split_norm_rope),
            *(of(1, cells, made * size), of(size), of(size), *angles),
            heads=HEADS,
            groups=groups,
            eps=EPS,
        )
        # Unscaled scores of random heads would all be of one key.
        query = of(1, cells, HEADS, size) * size**-0.5
        add(
            *(f"canvas_attention, {kind}", attention.canvas_attention, reference.canvas_attention),
            query,
            *(of(1, cells, groups, size) for _ in range(2)),
            *(of(1, groups, seen, size) for _ in range(2)),
            length=torch.full((1,), seen, dtype=torch.int32, device=query.device),
        )


def _experts(cases: _Cases) -> None:
    add, of, cells = cases.add, cases.of, cases.cells
    router = of(EXPERTS, WIDE), of(EXPERTS)
    add("top_experts", routing.top_experts, reference.top_experts, *cases.rows(), *router, k=CHOSEN)
    touched = 1 - (1 - CHOSEN / EXPERTS) ** cells
    ids, shares = of(cells, CHOSEN, dtype=torch.int64), of(cells, CHOSEN, dtype=torch.float32)
    for form, matrix in FORMATS.items():
        matrices = matrix(of, EXPERTS, 2 * HIDDEN, WIDE), matrix(of, EXPERTS, WIDE, HIDDEN)
        add(
            *(f"moe_parts, {form}", experts.moe_parts, reference.moe_parts),
            *(*cases.rows(), ids, shares, *matrices),
            read=touched * _size(matrices),
        )


def _statistics(cases: _Cases) -> None:
    add, of, cells = cases.add, cases.of, cases.cells
    raw, allowed = of(cells, VOCAB), of(VOCAB, dtype=torch.bool)
    temperature = torch.full((1,), 0.6, device=raw.device)
    seed = torch.zeros(1, dtype=torch.int64, device=raw.device)
    known = torch.full((cells,), 20.0, device=raw.device)
    head: dict[str, Any] = {"cap": 30.0, "allowed": allowed}
    add(
        *("head_statistics", statistics.head_statistics, reference.head_statistics),
        *(raw, temperature, seed),
        **head,
    )
    add(
        *("probabilities", statistics.probabilities, reference.probabilities),
        *(raw, temperature, known),
        dtype=torch.bfloat16,
        read=2 * _size(raw),
        **head,
    )


def _fp8(of: Any, number: int, width: int, inputs: int) -> Fp8:
    codes = of(number, width, inputs, dtype=torch.float8_e4m3fn)
    return Fp8(codes=codes, scale=of(number, width, 1, dtype=torch.float32))


def _int4(of: Any, number: int, width: int, inputs: int) -> Int4:
    codes = of(number, width, inputs // 2, dtype=torch.uint8)
    return Int4(codes=codes, scale=of(number, inputs // GROUP, width))


FORMATS: dict[str, Callable[..., ExpertWeights]] = {
    "bf16": lambda of, *shape: of(*shape),
    "fp8": _fp8,
    "int4": _int4,
}


def _size(given: Any) -> float:
    """Bytes of all tensors in it."""
    if isinstance(given, Tensor):
        return given.numel() * given.element_size()
    return sum(map(_size, given)) if isinstance(given, tuple | list) else 0
