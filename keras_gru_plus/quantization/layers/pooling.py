"""Pooling, over time and over images."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from ..network import Call, Network, Value
from .convolution import as_image, as_sequence
from .table import register_layer
from .timing import global_pooling_timing, pooling_timing


def _refusal(layer: Any) -> str | None:
    if layer.data_format != "channels_last":
        return f"data_format={layer.data_format!r}; only 'channels_last' is taken"
    return None


def _window(layer: Any) -> tuple[tuple[int, int], tuple[int, int], str]:
    sizes, strides = layer.pool_size, layer.strides
    sizes, strides = ((n,) if isinstance(n, int) else tuple(n) for n in (sizes, strides))
    if len(sizes) == 1:
        sizes, strides = (*sizes, 1), (*strides, 1)
    return sizes, strides, layer.padding.upper()


def _pooled(pool: Any, image: Any, size: tuple[int, int], strides: tuple[int, int], padding: str) -> Any:
    """The pool of each image; of several in a file, of one above the other, since CMSIS-NN pools only the first."""
    batch, height, width, channels = image.shape
    if batch in (None, 1) or padding != "VALID" or size[0] > strides[0] or height % strides[0]:
        return pool(image, size, strides, padding)
    pooled = pool(tf.reshape(image, (1, batch * height, width, channels)), size, strides, padding)
    return tf.reshape(pooled, (batch, height // strides[0], *pooled.shape[2:]))


@register_layer(keras.layers.MaxPooling1D, refusal=_refusal, timing=pooling_timing, eight_bits="pooling")
@register_layer(keras.layers.MaxPooling2D, refusal=_refusal, timing=pooling_timing, eight_bits="pooling")
def max_pooling(q: Network, call: Call, x: Any) -> Value:
    """On the grid of its input."""
    image, after = as_image(q, q.settle(x))
    pooled = q.moved(image, _pooled(tf.nn.max_pool2d, image.tensor, *_window(call.layer)))
    return q.moved(pooled, after(pooled.tensor)) if after else pooled


@register_layer(keras.layers.AveragePooling1D, refusal=_refusal, timing=pooling_timing, eight_bits="pooling")
@register_layer(keras.layers.AveragePooling2D, refusal=_refusal, timing=pooling_timing, eight_bits="pooling")
def average_pooling(q: Network, call: Call, x: Any) -> Value:
    """On the grid of its input, as the kernel wants it."""
    image, after = as_image(q, q.settle(x))
    pooled = q.rounded(image, _pooled(tf.nn.avg_pool2d, image.tensor, *_window(call.layer)))
    return q.moved(image, after(pooled) if after else pooled)


def _global(q: Network, call: Call, x: Any, pool: Any) -> Value:
    """Pools all steps; with a window as large as the image, since the kernels that reduce an axis are slow."""
    if call.mask is not None:
        raise ValueError(
            f"Expected no mask at layer {call.scope!r} ({type(call.layer).__name__}), got one; take the last output "
            "of a recurrent layer instead, or drop the mask."
        )
    image, _ = as_image(q, q.settle(x))
    height, width, channels = image.shape[1:]
    if height is None or width is None:  # only in training, where both are the same
        reduce = tf.reduce_max if pool is tf.nn.max_pool2d else tf.reduce_mean
        pooled = reduce(image.tensor, (1, 2), keepdims=True)
    else:
        pooled = _pooled(pool, image.tensor, (height, width), (height, width), "VALID")
    if pool is tf.nn.avg_pool2d:
        pooled = q.rounded(image, pooled)
    if call.layer.keepdims:
        return q.moved(image, as_sequence(pooled) if len(q.settle(x).shape) == 3 else pooled)
    return q.moved(image, tf.reshape(pooled, (-1 if pooled.shape[0] is None else pooled.shape[0], channels)))


@register_layer(
    keras.layers.GlobalAveragePooling1D, refusal=_refusal, timing=global_pooling_timing, eight_bits="pooling"
)
@register_layer(
    keras.layers.GlobalAveragePooling2D, refusal=_refusal, timing=global_pooling_timing, eight_bits="pooling"
)
def global_average_pooling(q: Network, call: Call, x: Any) -> Value:
    """AVERAGE_POOL_2D over everything, on the grid of its input."""
    return _global(q, call, x, tf.nn.avg_pool2d)


@register_layer(keras.layers.GlobalMaxPooling1D, refusal=_refusal, timing=global_pooling_timing, eight_bits="pooling")
@register_layer(keras.layers.GlobalMaxPooling2D, refusal=_refusal, timing=global_pooling_timing, eight_bits="pooling")
def global_max_pooling(q: Network, call: Call, x: Any) -> Value:
    """MAX_POOL_2D over everything."""
    return _global(q, call, x, tf.nn.max_pool2d)
