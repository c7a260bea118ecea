"""The operators with weights: how an input and a kernel combine, and which axis of the kernel is a channel's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tensorflow as tf

Kind = Literal["matmul", "conv", "depthwise"]


@dataclass(frozen=True)
class Operator:
    """A linear operator with a kernel.

    Attributes:
        kind: "matmul" `(inputs, channels)`, "conv" `(height, width, inputs, channels)` or "depthwise"
            `(height, width, inputs, multiplier)`, whose channels are inputs x multiplier.
        function: (x, kernel, name) -> result, whose last axis is that of the channels.
    """

    kind: Kind
    function: Callable[[Any, Any, str | None], Any]

    def channels(self, kernel: Any) -> int:
        """Number of output channels."""
        shape = kernel.shape
        return int(shape[-1] * shape[-2]) if self.kind == "depthwise" else int(shape[-1])

    def scaled(self, kernel: Any, factor: Any) -> Any:
        """The kernel whose result is `factor`, a number or one for each channel, times as large."""
        if self.kind == "depthwise" and factor.shape:
            # numpy's or TensorFlow's own reshape: arrays stay arrays.
            reshape = np.reshape if isinstance(factor, np.ndarray) else tf.reshape
            factor = reshape(factor, kernel.shape[-2:])
        return kernel * factor

    def by_channel(self, kernel: Any) -> Any:
        """The kernel `(inputs of a channel, channels)`."""
        reshape = np.reshape if isinstance(kernel, np.ndarray) else tf.reshape
        return reshape(kernel, (-1, self.channels(kernel)))


def _matmul(x: Any, kernel: Any, name: str | None = None) -> Any:
    return tf.matmul(x, kernel, name=name)


MATMUL = Operator("matmul", _matmul)


def convolution(strides: tuple[int, int], padding: str, dilations: tuple[int, int]) -> Operator:
    """A two-dimensional convolution on `(batch, height, width, inputs)`."""

    def apply(x: Any, kernel: Any, name: str | None) -> Any:
        return tf.nn.conv2d(x, kernel, strides, padding.upper(), dilations=dilations, name=name)

    return Operator("conv", apply)


def depthwise_convolution(strides: tuple[int, int], padding: str, dilations: tuple[int, int]) -> Operator:
    """A depthwise convolution on `(batch, height, width, inputs)`; both strides are equal."""

    def apply(x: Any, kernel: Any, name: str | None) -> Any:
        return tf.nn.depthwise_conv2d(x, kernel, (1, *strides, 1), padding.upper(), dilations=dilations, name=name)

    return Operator("depthwise", apply)


def scaled_bias(bias: Any, slope: float, offset: float, channels: int) -> Any:
    """`slope * bias + offset`, where no bias is one of zeros; None where nothing is left to add."""
    if bias is None:
        return np.full(channels, offset, np.float32) if offset else None
    bias = bias if slope == 1.0 else bias * np.float32(slope)
    return bias + np.float32(offset) if offset else bias
