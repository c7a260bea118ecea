"""Fewer operations with the same integers: tables joined, negations and rescalings taken into sums and products."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from . import fit
from .graph import Graph
from .kernels import EVERY, Array, ExactSum, multiplier
from .values import (
    Binary,
    Constant,
    Given,
    Joined,
    Linear,
    Plus,
    Slice,
    Softmax,
    Times,
    Unary,
    Unsupported,
    Value,
    binary,
    part,
    repeated,
    unary,
)


def simplified(graph: Graph) -> Graph:
    """The graph with what is computed element by element rewritten."""
    roots = [value for _, value in (*graph.outputs, *graph.states)]
    rewriter = _Rewriter(roots)
    for value in reachable(roots):
        rewriter.new(value)
    return dataclasses.replace(
        graph,
        outputs=[(end, rewriter.new(value)) for end, value in graph.outputs],
        states=[(end, rewriter.new(value)) for end, value in graph.states],
    )


def reachable(roots: list[Value]) -> list[Value]:
    """Everything that the roots need, what is needed first."""
    found: dict[int, Value] = {}
    todo = list(roots)
    while todo:
        value = todo.pop()
        if id(value) not in found:
            found[id(value)] = value
            todo += value.parents()
    return sorted(found.values(), key=lambda value: value.order)


def arithmetic(value: Unary | Binary) -> fit.Affine | fit.Sum | fit.Product | ExactSum | None:
    """How to compute it, None where only a table will do.

    Raises:
        Unsupported: a table of two values that no arithmetic was found for.
    """
    if isinstance(value, Unary):
        return None if value.slope is None else _affine(value.table.tobytes(), value.slope)
    found = _of_two(value.table.tobytes(), value.kind)
    if found is None and isinstance(value.kind, Plus) and value.kind.exact is not None:
        return value.kind.exact
    if found is None:
        raise Unsupported(
            f"Expected arithmetic with the results of {type(value.kind).__name__.lower()} to be found, got none; "
            "report this"
        )
    return found


def _table(data: bytes) -> Array:
    return np.frombuffer(data, np.int64)


@functools.lru_cache(4096)
def _affine(data: bytes, slope: float) -> fit.Affine | None:
    return fit.affine(_table(data), slope)


@functools.lru_cache(1024)
def _of_two(data: bytes, kind: Plus | Times) -> fit.Sum | fit.Product | None:
    table = _table(data).reshape(256, 256)
    if isinstance(kind, Plus):
        return fit.sum_of_two(table, kind.first, kind.second)
    return fit.product(table, kind.first, kind.second, kind.factor, kind.exact)


class _Rewriter:
    def __init__(self, roots: list[Value]) -> None:
        self.made: dict[int, Value] = {}
        self.kept = roots  # so that no identity is used twice
        self.tables: dict[int, list[Unary]] = {}

    def new(self, value: Value) -> Value:
        if id(value) not in self.made:
            self.made[id(value)] = self._rewritten(value)
        return self.made[id(value)]

    def _rewritten(self, value: Value) -> Value:
        if isinstance(value, Given | Constant):
            return value
        if isinstance(value, Slice):
            source = self.new(value.source)
            if value.step:
                return part(source, value.start, value.size)
            return repeated(part(source, value.start, 1), value.size)
        if isinstance(value, Joined):
            return Joined(value.size, [self.new(one) for one in value.values])
        if isinstance(value, Linear | Softmax):
            return dataclasses.replace(value, source=self.new(value.source))
        if isinstance(value, Unary):
            return self._unary(self.new(value.source), value.table, value.slope)
        assert isinstance(value, Binary)
        return self._binary(self.new(value.a), self.new(value.b), value.table, value.kind)

    def _unary(self, source: Value, table: Array, slope: float | None) -> Value:
        if isinstance(source, Unary):
            outer = slope is not None and _affine(table.tobytes(), slope) is not None
            inner = arithmetic(source) is not None
            # A line behind a table stays apart: a sum or product may take it in.
            if not (outer and not inner):
                slopes = None if slope is None or source.slope is None else slope * source.slope
                return self._unary(source.source, table[source.table + 128], slopes)
        siblings = self.tables.setdefault(id(source), [])
        for other in siblings:
            if np.array_equal(other.table, table):
                return other
            if np.array_equal(~other.table, table):
                return self._unary(other, ~EVERY, -1.0)
        made = unary(source, table, slope)
        if isinstance(made, Unary):
            siblings.append(made)
        return made

    def _binary(self, a: Value, b: Value, table: Array, kind: Plus | Times) -> Value:
        for first in (True, False):
            operand = a if first else b
            taken = self._taken_in(operand, table, kind, first=first)
            if taken is not None and isinstance(operand, Unary):
                table, kind = taken
                a, b = (operand.source, b) if first else (a, operand.source)
        if a is b:
            return self._unary(a, np.diagonal(table).copy(), None)
        return binary(a, b, table, kind)

    def _taken_in(
        self, operand: Value, table: Array, kind: Plus | Times, *, first: bool
    ) -> tuple[Array, Plus | Times] | None:
        """Table and form of two values with a line in front of one of them taken in."""
        if not isinstance(operand, Unary) or operand.slope is None or arithmetic(operand) is None:
            return None
        slope, rows = operand.slope, operand.table + 128
        joined = np.ascontiguousarray(table[rows] if first else table[:, rows])
        new: Plus | Times
        if isinstance(kind, Plus):
            new = Plus(kind.first * slope, kind.second) if first else Plus(kind.first, kind.second * slope)
        else:
            inside = (operand.table > operand.table.min()) & (operand.table < operand.table.max())
            if not inside.any():
                return None
            # operand - zero is slope * (its source - zero of the source).
            middle = float(np.median(operand.table[inside] - slope * EVERY[inside]))
            zero = round(((kind.first if first else kind.second) - middle) / slope)
            factor = kind.factor * slope
            whole, shift = multiplier(abs(factor))
            exact = (whole if factor > 0 else -whole, shift)
            new = Times(zero, kind.second, factor, exact) if first else Times(kind.first, zero, factor, exact)
        return (joined, new) if _of_two(joined.tobytes(), new) is not None else None
