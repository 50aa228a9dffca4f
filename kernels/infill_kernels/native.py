"""The routines for CPUs: one library, several levels of instructions, the best that runs here.

    made beforehand for this system ── as its digests say ─┐
    compiled for this CPU, once (`compiled`) ──────────────┴─► levels, best first ─► self-test

A network's pass in torch is mostly the time between its products: in each layer dozens of ops of a
few microseconds. `cpu/` is the whole pass, in one thread. Without a library, or under
INFILL_KERNELS=torch, there is none; INFILL_KERNELS=LEVEL, such as avx2, allows that level alone.
"""

import ctypes
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from infill_kernels import q4
from infill_kernels.bfloat16 import BFloat16, rounded
from infill_kernels.compiled import usable_library
from infill_kernels.prebuilt import made_beforehand

Floats = NDArray[np.float32]
N = TypeVar("N", bound=np.generic)

SOURCE = Path(__file__).parent / "cpu" / "host.c"
PARTS = tuple(sorted(path.name for path in SOURCE.parent.glob("*.[ch]") if path != SOURCE))
# The first that a compiler takes and the system lets run: a kernel may forbid the tiles of AMX.
FLAGS: tuple[tuple[str, ...], ...] = (
    ("-march=native",),
    ("-march=native", "-mno-amx-tile"),
    ("-mcpu=native",),
    (),
)
LINE = 64  # bytes of a line of the CPU's cache
BF16, INT16, Q4, INT8 = range(4)  # as in cpu/level.h
PANEL, PAIRS = 16, 32
NORM, MOST = 46_000.0, 32_767.0  # as in cpu/int16.h


class ShapeArgument(ctypes.Structure):
    _fields_ = [
        *[
            (name, ctypes.c_int64)
            for name in ("layers", "width", "kv", "group", "head", "ff", "format", "normed")
        ],
        ("epsilon", ctypes.c_float),
    ]


class CacheArgument(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("keys", "values")] + [
        (name, ctypes.c_int64) for name in ("layer", "row", "kv_head")
    ]


class PassArgument(ctypes.Structure):
    _fields_ = [
        ("rows", ctypes.c_int64),
        ("tokens", ctypes.c_int64),
        ("parents", ctypes.c_void_p),
        ("cosine", ctypes.c_void_p),
        ("sine", ctypes.c_void_p),
        ("shared", ctypes.POINTER(CacheArgument)),
        ("cache", ctypes.POINTER(CacheArgument)),
        ("count", ctypes.c_int64),
        ("at", ctypes.c_int64),
        ("seen", ctypes.c_int64),
    ]


class AskedArgument(ctypes.Structure):
    _fields_ = [
        ("format", ctypes.c_int64),
        ("rows", ctypes.c_int64),
        ("weights", ctypes.c_void_p),
        *[(name, ctypes.c_int64) for name in ("outputs", "inputs", "count")],
        *[
            (name, ctypes.c_void_p)
            for name in ("biases", "which", "at", "chosen", "best", "most", "found")
        ],
    ]


class ToldArgument(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("places", "best", "entropy", "confidence")]


class RulesArgument(ctypes.Structure):
    _fields_ = [
        *[
            (name, ctypes.c_int64)
            for name in ("cells", "mask", "end", "unending", "steps_left", "step")
        ],
        *[(name, ctypes.c_float) for name in ("bound", "correction", "doubt")],
    ]


class RowArgument(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_void_p)
        for name in (
            "hole", "best", "sample", "entropy", "confidence", "token_ids", "read", "shown",
            "decided",
        )
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Native:
    """A level's routines; `name` is the level's. Each says 0 where there is no memory.

    `format` is what weights are kept in that this level multiplies fastest without changing what a
    model says.
    """

    name: str
    format: int
    product: Callable[..., int]
    blocks: Callable[..., int]
    norm: Callable[..., None]
    head: Callable[..., int]
    said: Callable[..., int]
    turn: Callable[..., None]
    rows: Callable[..., None]
    settle: Callable[..., int]
    peak: Callable[[int, int], int]


@functools.cache
def native() -> tuple[Native | None, str]:
    """The best level that runs here and computes what numpy does, or None; and the reason in
    words."""
    wanted = os.environ.get("INFILL_KERNELS", "auto")
    if wanted == "torch":
        return None, "INFILL_KERNELS=torch"
    allowed = None if wanted in ("auto", "triton") else wanted
    found, reason = made_beforehand()
    if found is not None:
        level, said = best_level(found, allowed)
        if level is not None:
            return level, f"{level.name}, {reason}{said and f'; {said}'}"
        if allowed:
            return None, said
        reason = said
    levels: list[Native] = []

    def usable(library: ctypes.CDLL) -> bool:
        level, _ = best_level(library, allowed)
        levels.extend([level] if level else [])
        return level is not None

    found, compiled = usable_library(
        SOURCE, [SOURCE.with_name(name) for name in PARTS], FLAGS, usable
    )
    if found is None:
        return None, f"{reason}; {compiled}"
    return levels[-1], f"{levels[-1].name}, {compiled}"


def routines() -> Native:
    """What `native` finds, where it is known that there is one."""
    level, reason = native()
    assert level is not None, reason
    return level


def multiplies_integers() -> bool:
    """Whether weights are kept in whole numbers of 16 bits here, which this CPU multiplies faster
    than bfloat16."""
    level, _ = native()
    return level is not None and level.format == INT16


def best_level(library: ctypes.CDLL, allowed: str | None = None) -> tuple[Native | None, str]:
    """The first level that runs and computes rightly, or None; and, "" or what is wrong with those
    before it."""
    wrong: list[str] = []
    for name in names_of_levels(library):
        if allowed not in (None, name):
            continue
        level = level_of(library, name)
        if level is None:
            wrong.append(f"the system does not let {name} run")
        elif not computes_rightly(level):
            wrong.append(f"{name} computes wrongly here")
        else:
            return level, ", ".join(wrong)
    return None, ", ".join(wrong) or f"this CPU has no {allowed}"


def names_of_levels(library: ctypes.CDLL) -> list[str]:
    """Those in a library that this CPU has, best first."""
    library.infill_levels.restype = ctypes.c_char_p
    names: list[str] = library.infill_levels().decode().split()
    return [name for name in names if hasattr(library, f"infill_{name}_ready")]


def level_of(library: ctypes.CDLL, name: str) -> Native | None:
    """A level's routines with what they take, or None where the system forbids them."""
    if not getattr(library, f"infill_{name}_ready")():
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    arguments = {
        "product": (number, pointer, number, pointer, pointer, number, number),
        "blocks": (
            ctypes.POINTER(ShapeArgument),
            *[pointer] * 2,
            *[number] * 2,
            ctypes.POINTER(PassArgument),
            pointer,
        ),
        "norm": (pointer, number, number, ctypes.c_float, pointer),
        "head": (ctypes.POINTER(AskedArgument), pointer),
        "said": (
            ctypes.POINTER(ShapeArgument),
            *[pointer] * 2,
            ctypes.POINTER(PassArgument),
            *[pointer] * 2,
            ctypes.POINTER(AskedArgument),
            ctypes.POINTER(ToldArgument),
        ),
        "turn": (pointer, *[number] * 4, *[pointer] * 3, number),
        "rows": (pointer, pointer, number, number, pointer),
        "settle": (
            ctypes.POINTER(RulesArgument),
            number,
            ctypes.POINTER(RowArgument),
            *[pointer] * 2,
        ),
        "peak": (number, number),
    }
    given = {"norm": None, "turn": None, "rows": None, "peak": number}
    routines = {}
    for each, taken in arguments.items():
        routine = getattr(library, f"infill_{name}_{each}")
        routine.argtypes = taken
        routine.restype = given.get(each, ctypes.c_int)
        routines[each] = routine
    return Native(name, getattr(library, f"infill_{name}_format")(), **routines)


def computes_rightly(level: Native) -> bool:
    """Whether its products are numpy's: few machines are tried, and emulators have faults."""
    # Numbers without an order; numpy's random ones would be one more thing to import.
    weight, x = (np.sin(np.arange(n * 64, dtype=np.float32) ** 2).reshape(n, 64) for n in (80, 33))
    for form, most in ((level.format, 0.02), (BF16, 0.02), (INT8, 0.03), (Q4, 0.12)):
        laid_out = aligned(laid_out_as(form, weight))
        for rows in (1, 2, 3, 7, 33):
            y = np.zeros((rows, len(weight)), np.float32)
            done = level.product(form, address(x), rows, address(laid_out), address(y), 80, 64)
            expected = x[:rows] @ weight.T
            error = np.linalg.norm(y - expected) / np.linalg.norm(expected)
            if not done or not error < most:
                return False
    return True


def laid_out_as(form: int, weight: NDArray[np.floating]) -> NDArray[np.generic]:
    """Weights [O, I] in one of the forms, outputs padded with 0 to a multiple of 16."""
    if form == Q4:
        return q4.quantise(padded(weight))
    if form == INT8:
        return in_bytes(weight)
    return quantised(weight) if form == INT16 else packed(weight)


def packed(weight: NDArray[np.floating]) -> BFloat16:
    """[O, I] -> bfloat16 [O / 16, I / 32, 16, 16, 2], outputs padded with 0."""
    panels = rounded(padded(weight)).reshape(-1, PANEL, weight.shape[1] // PAIRS, PAIRS // 2, 2)
    return np.ascontiguousarray(panels.transpose(0, 2, 3, 1, 4))


def quantised(weight: NDArray[np.floating]) -> NDArray[np.int16]:
    """[O, I] -> int16 [O / 16, 16 * I + 32], outputs padded with 0.

    Whole numbers laid out as `packed` has them, and the 16 scales, float32, that each 16 outputs
    are multiplied by. No output's norm exceeds NORM in whole numbers: see cpu/int16.h.
    """
    exact, inputs = padded(weight), weight.shape[1]
    by_norm, by_size = np.linalg.norm(exact, axis=1) / NORM, np.abs(exact).max(1) / MOST
    scale = np.maximum(np.maximum(by_norm, by_size), np.float32(1e-30))
    codes = np.rint(exact / scale[:, None]).astype(np.int16)
    panels = codes.reshape(-1, PANEL, inputs // 2, 2).swapaxes(1, 2).reshape(-1, PANEL * inputs)
    return np.concatenate((panels, scale.reshape(-1, PANEL).view(np.int16)), 1)


def in_bytes(weight: NDArray[np.floating]) -> NDArray[np.uint8]:
    """[O, I] -> uint8 [O / 16, 16 * I + 64], outputs padded with 0.

    Whole numbers from -127 to 127, and 128 added, as [I / 4, 16, 4], and the 16 scales, float32,
    that each 16 outputs are multiplied by: see cpu/int8.h.
    """
    exact, inputs = padded(weight), weight.shape[1]
    scale = np.maximum(np.abs(exact).max(1) / np.float32(127), np.float32(1e-30))
    codes = (np.rint(exact / scale[:, None]) + 128).astype(np.uint8)
    panels = codes.reshape(-1, PANEL, inputs // 4, 4).swapaxes(1, 2).reshape(-1, PANEL * inputs)
    return np.concatenate((panels, scale.reshape(-1, PANEL).view(np.uint8)), 1)


def padded(weight: NDArray[np.floating]) -> Floats:
    """float32, and as many outputs as whole panels have."""
    outputs, inputs = weight.shape
    assert inputs % PAIRS == 0, f"{inputs} inputs are no multiple of {PAIRS}"
    return np.pad(weight.astype(np.float32), ((0, -outputs % PANEL), (0, 0)))


def checked(x: Floats) -> Floats:
    assert x.dtype == np.float32, f"{x.dtype} is not float32"
    return np.ascontiguousarray(x)


def aligned(x: NDArray[N]) -> NDArray[N]:
    """A copy that begins with a line of the CPU's cache, as numpy's own arrays do not: a vector
    read across two lines takes twice as long."""
    copy = room(x.nbytes).view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def room(size: int) -> NDArray[np.uint8]:
    """So many bytes from the beginning of a line of the CPU's cache on; anything may be in them."""
    memory = np.empty(size + LINE, np.uint8)
    start = -address(memory) % LINE
    return memory[start : start + size]


def address(x: NDArray[np.generic]) -> int:
    """Where its first number is: a routine is told of a dozen arrays, and numpy's own way takes
    four times as long."""
    memory: Any = x  # which some Pythons' types know to be a buffer
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(memory))
    except (TypeError, ValueError):  # it has gaps, is not to be written to, or has nothing in it
        return int(x.__array_interface__["data"][0])
