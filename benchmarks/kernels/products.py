"""A product of each matrix at each level and form, beside the least time it could take.

The least is the greater of two: its multiply-adds at the rate that the level reaches in registers,
and its bytes at the rate of a read from memory, both measured in the same run. A matrix is
multiplied by once for each of many copies that no cache holds together, as in a pass over a
network's weights.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infill_kernels.native import (
    BF16,
    INT8,
    INT16,
    Q4,
    Native,
    address,
    aligned,
    best_level,
    laid_out_as,
    names_of_levels,
    native,
)
from infill_kernels.prebuilt import made_beforehand

FORMS = {BF16: "bf16", INT16: "int16", INT8: "int8", Q4: "q4"}
# More than the caches of most CPUs.
WEIGHTS_AT_LEAST = 64e6  # bytes
COPIED = 64_000_000  # bytes


@dataclass(frozen=True, slots=True)
class Shape:
    """A weight [outputs, inputs] of a model."""

    model: str
    name: str
    outputs: int
    inputs: int


CANVAS = (
    Shape("canvas", "qkv", 768, 384),
    Shape("canvas", "out", 384, 384),
    Shape("canvas", "up", 2048, 384),
    Shape("canvas", "down", 384, 1024),
    Shape("canvas", "head", 6144, 384),
)
SMOLLM2 = (
    Shape("SmolLM2-135M", "qkv", 960, 576),
    Shape("SmolLM2-135M", "out", 576, 576),
    Shape("SmolLM2-135M", "up", 3072, 576),
    Shape("SmolLM2-135M", "down", 576, 1536),
    Shape("SmolLM2-135M", "head", 25600, 576),
)
SHAPES = (*CANVAS, *SMOLLM2)
ROWS = (1, 4, 16, 64, 120, 512)


@dataclass(frozen=True, slots=True)
class Time:
    """One product of `rows` rows: `bytes` are its weights, rows and results, each once."""

    by: str  # a level, or torch
    form: str
    shape: Shape
    rows: int
    seconds: float
    bytes: int
    least: float  # seconds; NaN where nothing was measured that bounds it

    @property
    def operations(self) -> int:
        return 2 * self.rows * self.shape.outputs * self.shape.inputs

    def figures(self) -> dict[str, Any]:
        return {
            "by": self.by,
            "form": self.form,
            "model": self.shape.model,
            "matrix": self.shape.name,
            "outputs": self.shape.outputs,
            "inputs": self.shape.inputs,
            "rows": self.rows,
            "ms": 1e3 * self.seconds,
            "gflops": self.operations / self.seconds / 1e9,
            "gbs": self.bytes / self.seconds / 1e9,
            "of_bound": self.least / self.seconds,
        }


def levels() -> list[Native]:
    """Those that run on this CPU and compute rightly, best first."""
    library, _ = made_beforehand()
    if library is None:
        found, _ = native()
        return [found] if found else []
    found_levels = [best_level(library, name)[0] for name in names_of_levels(library)]
    return [level for level in found_levels if level is not None]


def best_of(
    run: Callable[[int], object],
    seconds: float,
    clock: Callable[[], float] = time.process_time,
) -> float:
    """The least of the times that `run` takes, which is given a number that counts up: the
    processor's, of all threads, so that waiting for other programs is no part of it."""
    times: list[float] = []
    run(0)  # what is done once, such as asking for memory
    while sum(times) < seconds or len(times) < 3:
        started = clock()
        run(len(times) + 1)
        times.append(clock() - started)
        if times[-1] > seconds:
            break
    return min(times)


def copy_rate(seconds: float) -> float:
    """Bytes a second that are read and written by a copy which no cache holds."""
    source = np.ones(COPIED, np.uint8)
    target = np.empty_like(source)
    return 2 * COPIED / best_of(lambda _: np.copyto(target, source), seconds)


def read_rate(seconds: float) -> float:
    """Bytes a second that are read of what no cache holds."""
    source = np.ones(COPIED, np.uint8)
    return COPIED / best_of(lambda _: source.max(), seconds)


def product_rate(level: Native, form: int, seconds: float) -> float:
    """Multiplications and additions a second of what stands in registers; 0 without that form."""
    rounds = 1000
    operations = level.peak(form, rounds)
    if not operations:
        return 0.0
    once = best_of(lambda _: level.peak(form, rounds), 0.0)
    rounds = max(rounds, round(rounds * seconds / 10 / once))
    return level.peak(form, rounds) / best_of(lambda _: level.peak(form, rounds), seconds)


def copies(kept: NDArray[Any], at_least: float) -> list[NDArray[Any]]:
    return [kept, *(aligned(kept) for _ in range(int(at_least / kept.nbytes)))]


def of_level(
    level: Native,
    shapes: Sequence[Shape],
    rows: Sequence[int],
    read: float,
    weights: float,
    seconds: float,
    forms: Mapping[int, str] = FORMS,
) -> Iterator[Time]:
    """Every product at a level, in each of the forms that it has."""
    generator = np.random.default_rng(0)
    for form, name in forms.items():
        rate = product_rate(level, form, seconds)
        if not rate:
            continue
        for shape in shapes:
            weight = generator.standard_normal((shape.outputs, shape.inputs), np.float32)
            kept = copies(aligned(laid_out_as(form, weight)), weights)
            for count in rows:
                x = aligned(generator.standard_normal((count, shape.inputs), np.float32))
                y = aligned(np.empty((count, shape.outputs), np.float32))
                sizes = (shape.outputs, shape.inputs)

                def run(
                    at: int,
                    x: NDArray[Any] = x,
                    y: NDArray[Any] = y,
                    kept: Sequence[NDArray[Any]] = kept,
                    sizes: tuple[int, int] = sizes,
                    form: int = form,
                ) -> None:
                    given = address(kept[at % len(kept)])
                    level.product(form, address(x), len(x), given, address(y), *sizes)

                moved = kept[0].nbytes + x.nbytes + y.nbytes
                taken = best_of(run, seconds)
                least = max(moved / read, 2 * count * shape.outputs * shape.inputs / rate)
                yield Time(level.name, name, shape, count, taken, moved, least)


def of_torch(
    shapes: Sequence[Shape], rows: Sequence[int], weights: float, seconds: float
) -> Iterator[Time]:
    """The same products by torch, in one thread."""
    torch.set_num_threads(1)
    for dtype, name in ((torch.float32, "float32"), (torch.bfloat16, "bf16")):
        for shape in shapes:
            weight = torch.randn(shape.outputs, shape.inputs).to(dtype)
            size = weight.nbytes
            kept = [weight, *(weight.clone() for _ in range(int(weights / size)))]
            for count in rows:
                x = torch.randn(count, shape.inputs).to(dtype)

                def run(at: int, x: torch.Tensor = x, kept: Any = kept) -> None:
                    torch.nn.functional.linear(x, kept[at % len(kept)])

                with torch.inference_mode():
                    taken = best_of(run, seconds)
                moved = size + x.nbytes + count * shape.outputs * x.element_size()
                yield Time("torch", name, shape, count, taken, moved, float("nan"))
