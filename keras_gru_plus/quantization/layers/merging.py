"""Layers of several inputs: element-wise ones and Concatenate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from ...arithmetic import Grid
from ..network import Call, Elementwise, Network, Pending, Value
from .table import register_layer
from .timing import each_step


def combine(q: Network, scope: str, function: Callable[[Any, Any], Any], values: list[Any]) -> Pending:
    """`function` of the first two values, then of the result and the next."""
    tensors = [q.real(f"{scope}/input_{i}", q.settle(value)).tensor for i, value in enumerate(values)]
    total = tensors[0]
    for i, tensor in enumerate(tensors[1:-1]):
        total = q.tap(f"{scope}/partial_{i}", function(total, tensor))
    return Elementwise(scope, function=lambda: function(total, tensors[-1]))


@register_layer(keras.layers.Add, inputs=None, timing=each_step)
def add(q: Network, call: Call, *values: Any) -> Pending:
    """ADD, also of several."""
    return combine(q, call.scope, tf.add, list(values))


@register_layer(keras.layers.Subtract, inputs=2, timing=each_step)
def subtract(q: Network, call: Call, *values: Any) -> Pending:
    """SUB."""
    return combine(q, call.scope, tf.subtract, list(values))


@register_layer(keras.layers.Multiply, inputs=None, timing=each_step)
def multiply(q: Network, call: Call, *values: Any) -> Pending:
    """MUL, also of several."""
    return combine(q, call.scope, tf.multiply, list(values))


@register_layer(keras.layers.Average, inputs=None, timing=each_step)
def average(q: Network, call: Call, *values: Any) -> Value:
    """The sum, then MUL by a constant."""
    key, total = f"{call.scope}/output", q.settle(combine(q, f"{call.scope}/sum", tf.add, list(values)))
    return Value(q.tap(key, total.tensor * q.number(1.0 / len(values))), Grid.LEARNED, key)


@register_layer(keras.layers.Concatenate, inputs=None, timing=each_step)
def concatenate(q: Network, call: Call, *values: Any) -> Value:
    """Along any axis."""
    return side_by_side(q, call.scope, [q.settle(value) for value in values], call.layer.axis)


def side_by_side(q: Network, scope: str, values: list[Value], axis: int) -> Value:
    """Values in one tensor, on their grid if they have one in common, else on one that covers them all."""
    first = values[0]
    fixed = all(v.grid is first.grid and v.grid in (Grid.UNIT, Grid.GATE) for v in values)
    if fixed and all(isinstance(v.unit, float) and v.unit == 1.0 for v in values):
        return q.moved(first, tf.concat([value.tensor for value in values], axis))
    key = f"{scope}/output"
    return Value(q.join(key, values, axis), Grid.LEARNED, key)
