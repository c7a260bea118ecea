"""Values of a step: what is computed element by element, matrices, joins, slices; simplified as they are made."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from . import kernels
from .kernels import EVERY, Array

_order = itertools.count()


class Unsupported(ValueError):  # noqa: N818 (a state of the file, not of the program)
    """The file holds something that there is no C for."""


@dataclasses.dataclass(eq=False)
class Value:
    """`size` int8 numbers."""

    size: int
    order: int = dataclasses.field(default_factory=lambda: next(_order), init=False)

    def parents(self) -> list[Value]:
        """What it is computed from."""
        return []


@dataclasses.dataclass(eq=False)
class Given(Value):
    """An input or an old state, by its name in the signature."""

    name: str
    state: bool


@dataclasses.dataclass(eq=False)
class Constant(Value):
    """Numbers of the file."""

    values: Array


@dataclasses.dataclass(eq=False)
class Slice(Value):
    """Elements of a value from `start` on; `step` 0 repeats the one there."""

    source: Value
    start: int
    step: int = 1

    def parents(self) -> list[Value]:
        return [self.source]


@dataclasses.dataclass(eq=False)
class Unary(Value):
    """A table of an int8 value; `slope` where it is about a straight line."""

    source: Value
    table: Array
    slope: float | None = None

    def parents(self) -> list[Value]:
        return [self.source]


@dataclasses.dataclass(frozen=True)
class Plus:
    """A table of two values is about `first * a + second * b` and a constant; `exact` is the kernel's own way."""

    first: float
    second: float
    exact: kernels.ExactSum | None = None


@dataclasses.dataclass(frozen=True)
class Times:
    """A table of two values is about `(a - first) * (b - second) * factor`; `exact` is the kernel's factor."""

    first: int
    second: int
    factor: float
    exact: tuple[int, int]


@dataclasses.dataclass(eq=False)
class Binary(Value):
    """A table of two int8 values, of the form `kind`."""

    a: Value
    b: Value
    table: Array
    kind: Plus | Times

    def parents(self) -> list[Value]:
        return [self.a, self.b]


@dataclasses.dataclass(eq=False)
class Joined(Value):
    """Values one after the other."""

    values: list[Value]

    def parents(self) -> list[Value]:
        return self.values


@dataclasses.dataclass(eq=False)
class Linear(Value):
    """A matrix product; the input's zero point is in the bias, and `factors` are one or one a row."""

    source: Value
    weights: Array
    bias: Array
    factors: list[tuple[int, int]]
    zero_point: int
    low: int
    high: int

    def parents(self) -> list[Value]:
        return [self.source]


@dataclasses.dataclass(eq=False)
class Softmax(Value):
    """Exponentials of the 256 differences to the greatest, which TFLite Micro normalizes."""

    source: Value
    exponentials: Array

    def parents(self) -> list[Value]:
        return [self.source]


def broadcast(value: Value, size: int) -> Value:
    """A value of one number as one of `size` equal ones."""
    if value.size == size:
        return value
    if value.size != 1:
        raise Unsupported(f"Expected operands of equal size or one number, got {value.size} for {size}")
    if isinstance(value, Constant):
        return Constant(size, np.repeat(value.values, size))
    return repeated(value, size)


def repeated(value: Value, size: int) -> Slice:
    """The first element of a value, `size` times."""
    if isinstance(value, Slice):
        return Slice(size, value.source, value.start, 0)
    return Slice(size, value, 0, 0)


def part(source: Value, start: int, size: int) -> Value:
    """Elements `start` … `start + size` of a value; a table is applied after, so that it can join other loops."""
    if (start, size) == (0, source.size):
        return source
    if isinstance(source, Unary):
        return unary(part(source.source, start, size), source.table, source.slope)
    if isinstance(source, Constant):
        return Constant(size, source.values[start : start + size])
    if isinstance(source, Slice):
        return Slice(size, source.source, source.start + source.step * start, source.step)
    return Slice(size, source, start)


def unary(source: Value, table: Array, slope: float | None = None) -> Value:
    """A table of a value."""
    if isinstance(source, Constant):
        return Constant(source.size, table[source.values + 128])
    return source if np.array_equal(table, EVERY) else Unary(source.size, source, table, slope)


def binary(a: Value, b: Value, table: Array, kind: Plus | Times) -> Value:
    """A table of two values, or of one where the other is the same number throughout."""
    if isinstance(a, Constant) and isinstance(b, Constant):
        return Constant(a.size, table[a.values + 128, b.values + 128])
    for this, other, rows in ((a, b, table), (b, a, table.T)):
        if isinstance(this, Constant) and (this.values == this.values[0]).all():
            number = int(this.values[0])
            if isinstance(kind, Plus):
                slope = kind.second if this is a else kind.first
            else:
                slope = kind.factor * (number - (kind.first if this is a else kind.second))
            return unary(other, rows[number + 128], slope)
    return Binary(a.size, a, b, table, kind)
