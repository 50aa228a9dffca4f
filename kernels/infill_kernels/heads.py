"""A product and a head as routines for CPUs (`native`), on numpy's arrays.

Their reference in plain torch is the network that uses them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infill_kernels import q4
from infill_kernels.native import (
    PAIRS,
    PANEL,
    Q4,
    AskedArgument,
    Floats,
    address,
    aligned,
    checked,
    laid_out_as,
    routines,
)


def fits(*sizes: int) -> bool:
    return all(size % PAIRS == 0 for size in sizes)


@dataclass(frozen=True, slots=True)
class Matrix:
    """A weight [outputs, inputs] as a routine reads it.

    `kept` is laid out as `form` says: bfloat16, whole numbers of 16 bits, or 4 bits (`q4`), whose
    bytes may be a part of a file that is mapped into memory.
    """

    form: int
    kept: NDArray[np.generic]
    outputs: int
    inputs: int

    @staticmethod
    def of(weight: NDArray[np.floating], form: int | None = None) -> "Matrix":
        """Of any float type; in the form that this CPU is fastest at where none is named."""
        form = routines().format if form is None else form
        return Matrix(form, aligned(laid_out_as(form, weight)), *weight.shape)

    @staticmethod
    def of_panels(panels: NDArray[np.uint8], outputs: int) -> "Matrix":
        """Of 4 bits, uint8 [O / 16, I / 32, 320], without a copy."""
        count, groups, size = panels.shape
        assert size == q4.PANEL, f"a panel has {q4.PANEL} bytes, these have {size}"
        assert panels.flags.c_contiguous, "panels lie one after the other"
        assert (count - 1) * PANEL < outputs <= count * PANEL, f"{outputs} rows in {count} panels"
        return Matrix(Q4, panels, outputs, groups * q4.GROUP)

    def __call__(self, x: Floats) -> Floats:
        """x [..., I] -> [..., O] float32. Its reference is `torch.nn.functional.linear`."""
        flat = checked(x.reshape(-1, self.inputs))
        rows = -(-self.outputs // PANEL) * PANEL
        y = np.empty((len(flat), rows), np.float32)
        done = routines().product(
            self.form, address(flat), len(flat), address(self.kept), address(y), rows, self.inputs
        )
        if not done:
            raise MemoryError(f"no memory for a product of {len(flat)} rows")
        return y[:, : self.outputs].reshape(*x.shape[:-1], self.outputs)

    def rows(self, ids: NDArray[np.integer]) -> Floats:
        """The weights [n, I] of the outputs `ids` [n], of a matrix of 4 bits."""
        assert self.form == Q4, "other forms are not read back"
        wanted = np.ascontiguousarray(ids, np.int32)
        assert wanted.ndim == 1, f"ids are {wanted.shape}"
        assert not len(wanted) or 0 <= wanted.min() <= wanted.max() < self.outputs, f"{ids=}"
        found = np.empty((len(wanted), self.inputs), np.float32)
        routines().rows(
            address(self.kept), address(wanted), len(wanted), self.inputs, address(found)
        )
        return found


class Statistics(NamedTuple):
    """Of n rows of logits.

    best     [n] int32, the likeliest token
    most     [n] its logit
    total    [n] the logarithm of the sum of exponentials
    entropy  [n] nats
    chosen   [n] the logit of the token that was asked about, or 0
    """

    best: NDArray[np.int32]
    most: Floats
    total: Floats
    entropy: Floats
    chosen: Floats


class Likeliest(NamedTuple):
    """Of n rows of logits, the likeliest tokens.

    best   [n, count] int32, the likeliest first
    most   [n, count] their logits
    total  [n] the logarithm of the sum of all exponentials
    """

    best: NDArray[np.int32]
    most: Floats
    total: Floats


class Head:
    """What is said of logits without keeping them: x [n, I] times a weight [V, I]."""

    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix
        # Outputs that are padding are never the best, and have no share.
        padding = -matrix.outputs % PANEL
        self._none = np.zeros(matrix.outputs + padding, np.float32)
        self._none[matrix.outputs :] = -1e30

    def bias(self, forbidden: NDArray[np.bool_]) -> Floats:
        """What is added to logits so that tokens [V] have no share."""
        found = self._none.copy()
        found[: self.matrix.outputs][forbidden] = -1e30
        return found

    def __call__(
        self,
        x: Floats,
        *,
        bias: Floats | None = None,
        chosen: NDArray[np.integer] | None = None,
    ) -> Statistics:
        """`bias` is what `bias` gave; `chosen` [n] are tokens to ask about."""
        return self._said(x, 1, bias, chosen).statistics

    def likeliest(self, x: Floats, count: int, *, bias: Floats | None = None) -> Likeliest:
        """The `count` best tokens."""
        asked = self._said(x, count, bias, None)
        return Likeliest(asked.best, asked.most, asked.found[:, 0])

    def _said(
        self,
        x: Floats,
        count: int,
        bias: Floats | None,
        chosen: NDArray[np.integer] | None,
    ) -> "Asked":
        assert x.ndim == 2, f"x is {x.shape}"
        assert x.shape[1] == self.matrix.inputs, f"x is {x.shape}, not {self.matrix.inputs} wide"
        rows, asked = checked(x), self.ask(len(x), count, bias, chosen)
        if not routines().head(asked.argument, address(rows)):
            raise MemoryError(f"no memory for a head of {len(rows)} rows")
        return asked

    def ask(
        self,
        rows: int,
        count: int,
        bias: Floats | None = None,
        chosen: NDArray[np.integer] | None = None,
        which: NDArray[np.integer] | None = None,
        at: NDArray[np.integer] | None = None,
    ) -> "Asked":
        """Of so many rows, which [rows] of several biases [., V] each has and, where they are not
        all that there is, `at` [rows] which they are."""
        assert 0 < count <= self.matrix.outputs, f"{count} of {self.matrix.outputs} tokens"
        biases = checked(self._none if bias is None else bias)
        assert biases.shape[-1] == len(self._none), f"a bias of {biases.shape}"
        assert (which is None) == (biases.ndim == 1), "of several biases each row has one"
        numbers = [
            None if each is None else np.ascontiguousarray(each, np.int32)
            for each in (which, at, chosen)
        ]
        for each in numbers:
            assert each is None or each.shape == (rows,), "one number for each row"
        best = np.empty((rows, count), np.int32)
        most = np.empty((rows, count), np.float32)
        found = np.empty((rows, 3), np.float32)
        argument = AskedArgument(
            self.matrix.form,
            rows,
            address(self.matrix.kept),
            len(self._none),
            self.matrix.inputs,
            count,
            address(biases),
            *(None if each is None else address(each) for each in numbers),
            *map(address, (best, most, found)),
        )
        return Asked(argument, best, most, found, (biases, numbers))


class Asked(NamedTuple):
    """What a routine is told to find out, where it puts it, and what it reads, which is kept."""

    argument: AskedArgument
    best: NDArray[np.int32]
    most: Floats
    found: Floats
    read: object

    @property
    def statistics(self) -> Statistics:
        return Statistics(self.best[:, 0], self.most[:, 0], *self.found.T)
