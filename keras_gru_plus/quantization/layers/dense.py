"""Dense, TimeDistributed and the layers that are one activation."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from ... import activations
from ..network import Call, Linear, Network, Pending, Value
from ..operators import MATMUL
from .table import LAYERS, register_layer
from .timing import each_step


def activation_refusal(layer: Any) -> str | None:
    """None, or raises for an activation that cannot be quantized."""
    activations.layer_form(layer.activation)
    return None


@register_layer(keras.layers.Dense, pointwise=True, refusal=activation_refusal)
def dense(q: Network, call: Call, x: Any) -> Value | Pending:
    """Fused with its activation where that is a clip or a relu."""
    layer = call.layer
    kernel, bias = q.weights(lambda: (tf.convert_to_tensor(layer.kernel), layer.bias))
    return q.activate(call.scope, Linear(call.scope, q.settle(x), MATMUL, kernel, bias), layer.activation)


@register_layer(keras.layers.Activation, pointwise=True, refusal=activation_refusal)
def activation(q: Network, call: Call, x: Any) -> Value | Pending:
    """An activation as a layer of its own; fused with the operator before it where it can be."""
    return q.activate(call.scope, x, call.layer.activation)


def _relu_refusal(layer: Any) -> str | None:
    return "a ReLU with a threshold" if layer.threshold else None


@register_layer(keras.layers.ReLU, pointwise=True, refusal=_relu_refusal)
def relu(q: Network, call: Call, x: Any) -> Value | Pending:
    """Fused with the operator before it; with a slope, or another maximum than 6, a table."""
    layer = call.layer
    plain = not layer.negative_slope and layer.max_value in (None, 6)
    named = keras.activations.relu if layer.max_value is None else keras.activations.relu6
    return q.activate(call.scope, x, named if plain else layer)


@register_layer(keras.layers.LeakyReLU, pointwise=True)
@register_layer(keras.layers.ELU, pointwise=True)
def one_table(q: Network, call: Call, x: Any) -> Value | Pending:
    """A function of one number: a look-up table."""
    return q.activate(call.scope, x, call.layer)


def _softmax_refusal(layer: Any) -> str | None:
    return None if layer.axis == -1 else f"axis={layer.axis}; only the last axis is taken"


@register_layer(keras.layers.Softmax, pointwise=True, refusal=_softmax_refusal)
def softmax(q: Network, call: Call, x: Any) -> Value | Pending:
    """Over the last axis."""
    return q.activate(call.scope, x, keras.activations.softmax)


def _inner_refusal(layer: Any) -> str | None:
    inner = layer.layer
    row = LAYERS.get(type(inner))
    if row is None or isinstance(inner, keras.layers.RNN | keras.layers.TimeDistributed | keras.layers.Bidirectional):
        return f"TimeDistributed({type(inner).__name__})"
    return row.refusal(inner)


@register_layer(keras.layers.TimeDistributed, timing=each_step, refusal=_inner_refusal)
def time_distributed(q: Network, call: Call, x: Any) -> Value | Pending:
    """The inner layer, with the time steps in the place of samples where it looks beyond the last axis."""
    inner = Call(call.layer.layer, call.scope, call.mask)
    row = LAYERS[type(inner.layer)]
    if row.pointwise:
        return row.compute(q, inner, x)
    value = q.settle(x)
    steps = value.shape[1] or tf.shape(value.tensor)[1]
    merged = tf.reshape(value.tensor, (-1, *value.shape[2:]))
    merged.set_shape((None if value.shape[1] is None else _product(value.shape[:2]), *value.shape[2:]))

    def apart(tensor: Any) -> Any:
        return tf.reshape(tensor, (-1, steps, *tensor.shape[1:]))

    q.over_time = False
    try:
        result = row.compute(q, inner, q.moved(value, merged))
    finally:
        q.over_time = True
    return q.then(result, apart)


def _product(shape: Any) -> int | None:
    first, second = shape
    return None if first is None or second is None else first * second
