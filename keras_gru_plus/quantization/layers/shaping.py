"""Layers that move, repeat or leave values: no arithmetic."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..network import Call, Network, Value
from .convolution import as_image, as_sequence
from .table import register_layer
from .timing import each_step, padding_timing, permute_timing, reshape_timing


@register_layer(keras.layers.Flatten)
@register_layer(keras.layers.Permute, timing=permute_timing)
@register_layer(keras.layers.Cropping1D)
@register_layer(keras.layers.Cropping2D)
def rearranged(q: Network, call: Call, x: Any) -> Value:
    """The layer itself: it moves integers."""
    value = q.settle(x)
    return q.moved(value, call.layer(value.tensor))


@register_layer(keras.layers.Reshape, timing=reshape_timing)
def reshape(q: Network, call: Call, x: Any) -> Value:
    """To the layer's shape; of a hop, which has fewer steps than the window, to that of each step."""
    value = q.settle(x)
    window = call.layer.input.shape[1]
    if value.shape[1] == window or window is None:
        return q.moved(value, call.layer(value.tensor))
    return q.moved(value, tf.reshape(value.tensor, (-1, value.shape[1], *call.layer.output.shape[2:])))


@register_layer(keras.layers.ActivityRegularization, pointwise=True)
@register_layer(keras.layers.Dropout, pointwise=True)
@register_layer(keras.layers.SpatialDropout1D, timing=each_step)
@register_layer(keras.layers.SpatialDropout2D, timing=each_step)
@register_layer(keras.layers.GaussianDropout, pointwise=True)
@register_layer(keras.layers.GaussianNoise, pointwise=True)
@register_layer(keras.layers.AlphaDropout, pointwise=True)
def only_in_training(q: Network, call: Call, x: Any) -> Value:
    """Nothing in inference."""
    value = q.settle(x)
    if not q.training:
        return value
    noisy = call.layer(value.tensor * value.unit, training=True) / value.unit
    return q.moved(value, q.rounded(value, noisy))


@register_layer(keras.layers.RepeatVector)
def repeat_vector(q: Network, call: Call, x: Any) -> Value:
    """BROADCAST_TO."""
    value = q.settle(x)
    batch, features = value.shape
    row = tf.reshape(value.tensor, (-1 if batch is None else batch, 1, features))
    if batch is None:
        shape: Any = (tf.shape(row)[0], call.layer.n, features)
    else:
        shape = np.array((batch, call.layer.n, features), np.int32)
    return q.moved(value, tf.broadcast_to(row, shape))


@register_layer(keras.layers.ZeroPadding1D, timing=padding_timing)
@register_layer(keras.layers.ZeroPadding2D, timing=padding_timing)
def zero_padding(q: Network, call: Call, x: Any) -> Value:
    """PAD with real zeros, which every grid has."""
    image, after = as_image(q, q.settle(x))
    padding = call.layer.padding
    (before, behind), sides = (padding, (0, 0)) if after else padding
    image = q.preceded(call.scope, image, before)
    if behind or any(sides):
        image = q.moved(image, tf.pad(image.tensor, [(0, 0), (0, behind), sides, (0, 0)]))
    return q.moved(image, as_sequence(image.tensor) if after else image.tensor)


def _interpolation(layer: Any) -> str | None:
    kind = getattr(layer, "interpolation", "nearest")
    return None if kind == "nearest" else f"interpolation={kind!r}; only 'nearest' is taken"


@register_layer(keras.layers.UpSampling1D, eight_bits="resizing")
@register_layer(keras.layers.UpSampling2D, refusal=_interpolation, eight_bits="resizing")
def up_sampling(q: Network, call: Call, x: Any) -> Value:
    """RESIZE_NEAREST_NEIGHBOR."""
    image, after = as_image(q, q.settle(x))
    size = call.layer.size
    height, width = (size, 1) if after else size
    shape = image.shape if None not in image.shape[1:3] else tf.shape(image.tensor)
    larger = tf.image.resize(image.tensor, (shape[1] * height, shape[2] * width), "nearest")
    return q.moved(image, as_sequence(larger) if after else larger)
