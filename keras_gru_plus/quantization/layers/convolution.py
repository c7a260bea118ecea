"""Convolutions and BatchNormalization, which is folded into the linear operator before it.

Convolutions over time are computed as over an image of width 1, `(batch, timesteps, 1, features)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from ... import activations
from ..network import Call, Linear, Network, Pending, Value
from ..operators import Operator, convolution, depthwise_convolution
from .table import register_layer
from .timing import convolution_timing


def _refusal(layer: Any) -> str | None:
    if layer.data_format != "channels_last":
        return f"data_format={layer.data_format!r}; only 'channels_last' is taken"
    if getattr(layer, "groups", 1) != 1:
        return f"groups={layer.groups}; only 1 is taken (or use a depthwise convolution)"
    if len(set(layer.strides)) > 1 and hasattr(layer, "depthwise_kernel"):
        return f"strides={layer.strides}; those of a depthwise convolution have to be equal"
    activations.layer_form(layer.activation)
    return None


def as_image(q: Network, x: Value) -> tuple[Value, Callable[[Any], Any] | None]:
    """A sequence as an image of width 1, and what makes it a sequence again."""
    if len(x.shape) == 4:
        return x, None
    return q.moved(x, _reshape(x.tensor, (x.shape[1], 1, x.shape[2]))), as_sequence


def as_sequence(tensor: Any) -> Any:
    """`(batch, timesteps, 1, features)` without the 1."""
    return _reshape(tensor, (tensor.shape[1], tensor.shape[3]))


def _reshape(tensor: Any, shape: tuple[int | None, ...]) -> Any:
    """`tensor` with another shape behind the batch, of whose axes one may be open."""
    unknown = [size is None for size in shape]
    batch = tensor.shape[0]
    if not any(unknown):
        return tf.reshape(tensor, (-1 if batch is None else batch, *shape))
    result = tf.reshape(tensor, (tf.shape(tensor)[0], *(-1 if size is None else size for size in shape)))
    result.set_shape((batch, *shape))
    return result


def _over_time(layer: Any) -> tuple[tuple[int, int], str, tuple[int, int], int]:
    """Strides, padding and dilations in two dimensions, and the zeros to put in front of a causal layer."""
    strides, dilations = layer.strides, layer.dilation_rate
    before = 0
    padding = layer.padding
    if padding == "causal":
        padding, before = "valid", (layer.kernel_size[0] - 1) * dilations[0]
    if len(strides) == 1:
        across = strides[0] if hasattr(layer, "depthwise_kernel") else 1  # those of depthwise kernels are equal
        strides, dilations = (strides[0], across), (dilations[0], 1)
    return strides, padding, dilations, before


def _two_dimensional(kernel: Any) -> Any:
    kernel = tf.convert_to_tensor(kernel)
    return kernel if len(kernel.shape) == 4 else tf.expand_dims(kernel, 1)


def _one_operator(q: Network, call: Call, x: Any, make: Callable[..., Operator]) -> Value | Pending:
    """The layer as the one operator that `make` gives for strides, padding and dilations, with its activation."""
    layer = call.layer
    strides, padding, dilations, before = _over_time(layer)
    image, after = as_image(q, q.settle(x))
    image = q.preceded(call.scope, image, before)
    kernel, bias = q.weights(lambda: (_two_dimensional(layer.kernel), layer.bias))
    operator = make(strides, padding, dilations)
    return q.activate(call.scope, Linear(call.scope, image, operator, kernel, bias, after=after), layer.activation)


@register_layer(keras.layers.Conv1D, refusal=_refusal, timing=convolution_timing, eight_bits="a convolution")
@register_layer(keras.layers.Conv2D, refusal=_refusal, timing=convolution_timing, eight_bits="a convolution")
def conv(q: Network, call: Call, x: Any) -> Value | Pending:
    """One CONV_2D, the bias and the activation with it."""
    return _one_operator(q, call, x, convolution)


@register_layer(keras.layers.DepthwiseConv1D, refusal=_refusal, timing=convolution_timing, eight_bits="a convolution")
@register_layer(keras.layers.DepthwiseConv2D, refusal=_refusal, timing=convolution_timing, eight_bits="a convolution")
def depthwise(q: Network, call: Call, x: Any) -> Value | Pending:
    """One DEPTHWISE_CONV_2D."""
    return _one_operator(q, call, x, depthwise_convolution)


@register_layer(keras.layers.SeparableConv1D, refusal=_refusal, timing=convolution_timing, eight_bits="a convolution")
@register_layer(keras.layers.SeparableConv2D, refusal=_refusal, timing=convolution_timing, eight_bits="a convolution")
def separable(q: Network, call: Call, x: Any) -> Value | Pending:
    """A depthwise convolution on a grid of its own, then one of 1x1."""
    layer = call.layer
    strides, padding, dilations, before = _over_time(layer)
    image, after = as_image(q, q.settle(x))
    image = q.preceded(call.scope, image, before)
    spatial = q.weights(lambda: _two_dimensional(layer.depthwise_kernel))
    pointwise, bias = q.weights(lambda: (_two_dimensional(layer.pointwise_kernel), layer.bias))
    operator = depthwise_convolution(strides, padding, dilations)
    between = q.settle(Linear(f"{call.scope}/depthwise", image, operator, spatial, None))
    last = Linear(call.scope, between, ONE_BY_ONE, pointwise, bias, after=after)
    return q.activate(call.scope, last, layer.activation)


ONE_BY_ONE = convolution((1, 1), "valid", (1, 1))
_EACH_CHANNEL = depthwise_convolution((1, 1), "valid", (1, 1))


def _normalization_refusal(layer: Any) -> str | None:
    rank = len(layer.moving_mean.shape) and layer.input_spec.ndim
    return None if layer.axis in (-1, rank - 1) else f"axis={layer.axis}; only the last axis is taken"


@register_layer(keras.layers.BatchNormalization, pointwise=True, refusal=_normalization_refusal)
def batch_normalization(q: Network, call: Call, x: Any) -> Value | Pending:
    """With the moving statistics, in training as well: so that the kernel it is folded into is the file's."""
    layer = call.layer

    def factors() -> tuple[Any, Any]:
        factor = tf.math.rsqrt(tf.convert_to_tensor(layer.moving_variance) + layer.epsilon)
        if layer.scale:
            factor = factor * layer.gamma
        shift = -layer.moving_mean * factor
        return factor, shift + layer.beta if layer.center else shift

    return each_channel(q, call.scope, x, *q.weights(factors))


def each_channel(q: Network, scope: str, x: Any, factor: Any, shift: Any) -> Pending:
    """`factor * x + shift` with numbers for each channel: in the operator that makes x, or one of its own."""
    if isinstance(x, Linear) and not x.shared:
        return x.scaled(factor, shift)
    value = q.settle(x)
    shape = tuple(value.shape[1:])
    places = None if None in shape[:-1] else math.prod(shape[:-1])
    image = _reshape(value.tensor, (places, 1, shape[-1]))
    kernel = q.weights(lambda: tf.reshape(tf.convert_to_tensor(factor), (1, 1, shape[-1], 1)))
    return Linear(scope, q.moved(value, image), _EACH_CHANNEL, kernel, shift, after=lambda t: _reshape(t, shape))
