"""Short integer arithmetic with exactly the results of a table.

A kernel rounds up to four times on its way from one or two int8 values to one. Mostly a single
`(v + offset) >> shift` of 32 bits gives the same integers. Whether it does is not estimated: every value (or pair)
is tried here, and what cannot be had so is refused.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np

from .kernels import EVERY, Array

_LIMIT = (1 << 31) - 1


@dataclasses.dataclass(frozen=True)
class Rounding:
    """`(v + offset + (v < 0 ? negative : 0)) >> shift`, clamped from `low` to `high` where those are given."""

    shift: int
    offset: int
    negative: int = 0
    low: int | None = None
    high: int | None = None
    wide: bool = False


@dataclasses.dataclass(frozen=True)
class Affine:
    """v = factor * a."""

    factor: int
    rounding: Rounding


@dataclasses.dataclass(frozen=True)
class Sum:
    """v = first * a + second * b."""

    first: int
    second: int
    rounding: Rounding


@dataclasses.dataclass(frozen=True)
class Product:
    """v = (a - first) * (b - second) * factor."""

    first: int
    second: int
    factor: int
    rounding: Rounding


def affine(table: Array, slope: float) -> Affine | None:
    """Arithmetic for a table of 256 results that rise by about `slope` a step, None where there is none."""
    for shift, (factor,) in _factors([slope], 128):
        rounding = _rounding(EVERY * factor, table, shift)
        if rounding:
            return Affine(factor, rounding)
    return None


def sum_of_two(table: Array, first: float, second: float) -> Sum | None:
    """Arithmetic for a table `[a + 128, b + 128]` of about `first * a + second * b` plus a constant."""
    for shift, (left, right) in _factors([first, second], 256):
        rounding = _rounding(left * EVERY[:, None] + right * EVERY[None], table, shift)
        if rounding:
            return Sum(left, right, rounding)
    return None


def product(table: Array, first: int, second: int, factor: float, exact: tuple[int, int]) -> Product | None:
    """Arithmetic for a table `[a + 128, b + 128]` of about `(a - first) * (b - second) * factor`.

    Args:
        exact: the kernel's own factor and shift, which always do, in 64 bits.
    """
    plain = (EVERY - first)[:, None] * (EVERY - second)[None]
    for shift, (whole,) in _factors([factor], int(np.abs(plain).max())):
        rounding = _rounding(plain * whole, table, shift)
        if rounding:
            return Product(first, second, whole, rounding)
    rounding = _rounding(plain * exact[0], table, 31 - exact[1], wide=True) if exact[1] <= 0 else None
    return Product(first, second, exact[0], rounding) if rounding else None


def _factors(reals: list[float], largest: int) -> Iterable[tuple[int, tuple[int, ...]]]:
    """Shifts, the finest first, with integers near `real * 2^shift` whose products with `largest` fit."""
    most = max(map(abs, reals))
    if not 0 < most < 1 << 12:
        return
    finest = int(np.floor(np.log2(_LIMIT * 3 // 4 / largest / most)))
    for shift in range(finest, max(finest - 4, 0), -1):
        near = [round(real * 2.0**shift) for real in reals]
        for change in sorted(itertools.product((0, 1, -1, 2, -2), repeat=len(near)), key=lambda c: sum(map(abs, c))):
            yield shift, tuple(whole + step for whole, step in zip(near, change))


def _rounding(values: Array, results: Array, shift: int, wide: bool = False) -> Rounding | None:
    """The offsets with which all values give their results, if there are any."""
    least, most = int(results.min()), int(results.max())
    lower = (results << shift) - values
    upper = lower + (1 << shift) - 1
    sides = [values >= 0, values < 0]
    for low, high in ((None, None), (least, None), (None, most), (least, most)):
        # At a bound that is clamped to, whatever lies beyond is right as well.
        at_least, at_most = (
            results > (least if low is not None else least - 1),
            results < (most if high is not None else most + 1),
        )
        ends = []
        for side in sides:
            from_, to = lower[side & at_least], upper[side & at_most]
            ends.append((from_.max() if from_.size else None, to.min() if to.size else None))
        for split in (False, True):
            offsets = _offsets(ends, split, (1 << shift) >> 1)
            if offsets is None:
                continue
            offset, negative = offsets
            extreme = int(np.abs(values).max()) + abs(offset) + abs(negative)
            if extreme <= (1 << 62 if wide else _LIMIT):
                return Rounding(shift, offset, negative, low, high, wide)
    return None


def _offsets(ends: list[tuple[int | None, int | None]], split: bool, wanted: int) -> tuple[int, int] | None:
    """One offset for both signs, or one each: the nearest to `wanted` in the intervals."""

    def pick(intervals: list[tuple[int | None, int | None]]) -> int | None:
        lows = [int(low) for low, _ in intervals if low is not None]
        highs = [int(high) for _, high in intervals if high is not None]
        low, high = max(lows, default=wanted), min(highs, default=max([wanted, *lows]))
        low = min(low, high) if not lows else low
        return None if low > high else min(max(wanted, low), high)

    if not split:
        both = pick(ends)
        return None if both is None else (both, 0)
    positive, negative = pick(ends[:1]), pick(ends[1:])
    return None if positive is None or negative is None else (positive, negative - positive)
