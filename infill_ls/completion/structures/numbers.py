"""Numbers within bounds, in steps: the nearest one to another, and those that digits begin."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, lcm

from infill_ls.completion.structures.schema import Shape

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_MORE_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """From `low` to `high`, each None where there is no end or itself left out where `open_`; in
    multiples of `step` where there is one."""

    low: Fraction | None = None
    high: Fraction | None = None
    low_open: bool = False
    high_open: bool = False
    step: Fraction | None = None

    def __contains__(self, number: Fraction) -> bool:
        if self.low is not None and (number < self.low or (self.low_open and number == self.low)):
            return False
        if self.high is not None and (
            number > self.high or (self.high_open and number == self.high)
        ):
            return False
        return self.step is None or (number / self.step).denominator == 1

    def near(self, number: Fraction) -> Iterator[Fraction]:
        """Some of its numbers, about the nearest first."""
        low, high, step = self.low, self.high, self.step
        if low is not None and number < low:
            number = low
        if high is not None and number > high:
            number = high
        if step is None:
            inside = (low + high) / 2 if low is not None and high is not None else None
            below = None if low is None else low + 1
            above = None if high is None else high - 1
            tried = [number, Fraction(round(number)), inside, below, above]
        else:
            around = [floor(number / step), ceil(number / step)]
            first = [] if low is None else [ceil(low / step) + at for at in range(3)]
            last = [] if high is None else [floor(high / step) - at for at in range(3)]
            around += [around[0] - 1, around[1] + 1]
            tried = [step * at for at in (*around, *first, *last)]
        yield from (each for each in tried if each is not None and each in self)

    def nth(self, count: int) -> Iterator[Fraction]:
        """Some of its numbers, beginning with another one for every count."""
        for start in self.near(Fraction(0)):
            step = self.step or Fraction(1)
            yield from (n for n in (start + count * step, start - count * step) if n in self)
            if self.step is None and self.low is not None and self.high is not None:
                share = Fraction(count + 1, count + 2)
                yield self.low + (self.high - self.low) * share
            return


def range_of(shape: Shape) -> Range:
    lows = [(_fraction(each), False) for each in shape.all("minimum")]
    highs = [(_fraction(each), False) for each in shape.all("maximum")]
    for each in shape.conjuncts:
        low, high = each.get("exclusiveMinimum"), each.get("exclusiveMaximum")
        if low is True:  # of draft 4
            lows.append((_fraction(each["minimum"]), True))
        elif isinstance(low, int | float) and not isinstance(low, bool):
            lows.append((_fraction(low), True))
        if high is True:
            highs.append((_fraction(each["maximum"]), True))
        elif isinstance(high, int | float) and not isinstance(high, bool):
            highs.append((_fraction(high), True))
    steps = [_fraction(each) for each in shape.all("multipleOf")]
    steps += [Fraction(1)] if shape.integral else []
    low, low_open = max(lows, default=(None, False))
    high, high_open = min(highs, key=lambda each: (each[0], not each[1]), default=(None, False))
    return Range(low=low, high=high, low_open=low_open, high_open=high_open, step=_common(steps))


def _common(steps: list[Fraction]) -> Fraction | None:
    """The smallest number that is a multiple of all of them."""
    if not steps:
        return None
    bottom = lcm(*(step.denominator for step in steps))
    return Fraction(lcm(*(int(step * bottom) for step in steps)), bottom)


def _fraction(number: float) -> Fraction:
    """Of the digits that were written, not of the nearest binary fraction."""
    return Fraction(repr(number)) if isinstance(number, float) else Fraction(number)


def written(number: Fraction) -> str:
    if number.denominator == 1 or abs(number) > sys.float_info.max:
        return str(round(number))
    return repr(float(number))


def beginning_with(digits: str, allowed: Range) -> Iterator[str]:
    """Numbers that begin so and may be in the range, the shortest first."""
    if re.fullmatch(r"-?(0|[1-9][0-9]*)?", digits):
        if NUMBER.fullmatch(digits):
            yield digits
        elif digits == "-":
            yield "-1"
        for count in range(1, _MORE_DIGITS) if digits not in ("0", "-0") else ():
            sign = -1 if digits.startswith("-") else 1
            head = digits.lstrip("-") or "1"
            ends = sorted(sign * Fraction(head + digit * count) for digit in "09")
            inner = Range(low=ends[0], high=ends[1], step=allowed.step)
            for aim in (allowed.low, allowed.high, ends[0]):
                if aim is not None:
                    yield from (written(each) for each in inner.near(aim) if each in allowed)
    for more in (".0", ".5", "0", "1", "5", "00", "25", "+0", "1.5"):
        if NUMBER.fullmatch(digits + more):
            yield digits + more
