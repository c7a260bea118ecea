"""Rescaling and Normalization: right behind an input part of the input's grid."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..network import Call, Linear, Network, Pending, Value
from .convolution import each_channel
from .table import register_layer
from .timing import each_step


def _rescaling(layer: Any) -> tuple[Any, Any]:
    return np.asarray(layer.scale, np.float64), np.asarray(layer.offset, np.float64)


def _normalization(layer: Any) -> tuple[Any, Any]:
    found = (layer.mean, layer.variance) if layer.mean is not None else (layer.adapt_mean, layer.adapt_variance)
    with tf.init_scope():
        mean, variance = (np.asarray(array, np.float64) for array in found)
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    return (deviation, mean) if layer.invert else (1 / deviation, -mean / deviation)


def _refusal(layer: Any) -> str | None:
    axis = getattr(layer, "axis", None)
    rank = layer.input_spec.ndim if layer.input_spec is not None else None
    if axis is None or tuple(axis) in ((), (-1,)) or (rank and tuple(axis) == (rank - 1,)):
        return None
    return f"axis={axis}; only the last axis, or none, is taken"


def _scale(q: Network, scope: str, x: Any, scaling: tuple[Any, Any]) -> Value | Pending:
    value = x if isinstance(x, Linear) else q.settle(x)
    channels = value.operator.channels(value.kernel) if isinstance(value, Linear) else value.shape[-1]

    def wide() -> list[Any]:
        return [tf.constant(np.broadcast_to(np.squeeze(number), (channels,)), tf.float32) for number in scaling]

    return each_channel(q, scope, value, *q.weights(wide))


@register_layer(keras.layers.Rescaling, pointwise=True, scaling=_rescaling)
def rescaling(q: Network, call: Call, x: Any) -> Value | Pending:
    """Behind a layer with a kernel in that, else an operator of its own (in an input's grid: `Network.scalings`)."""
    return _scale(q, call.scope, x, _rescaling(call.layer))


@register_layer(keras.layers.Normalization, timing=each_step, refusal=_refusal, scaling=_normalization)
def normalization(q: Network, call: Call, x: Any) -> Value | Pending:
    """As Rescaling, with numbers for each feature."""
    return _scale(q, call.scope, x, _normalization(call.layer))
