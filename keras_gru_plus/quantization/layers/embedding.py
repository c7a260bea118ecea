"""Embedding and masks."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...arithmetic import Grid
from ..network import Call, Indices, Network, Value
from ..operators import MATMUL
from .table import register_layer
from .timing import each_step


@register_layer(keras.layers.Embedding, timing=each_step, reads_indices=True, eight_bits="an 8-bit look-up table")
def embedding(q: Network, call: Call, x: Any) -> Value:
    """The table on the grid of a state, so that its rows can stand beside one; its unit is only a name."""
    layer = call.layer
    if not isinstance(x, Indices):
        raise ValueError(
            f"Expected layer {call.scope!r} (Embedding) to read an input of the model, got another layer's output."
        )

    def unit_table() -> tuple[Any, Any]:
        table = tf.convert_to_tensor(layer.embeddings)
        # Its largest magnitude is 127 steps of the grid.
        unit = tf.maximum(tf.stop_gradient(tf.reduce_max(tf.abs(table))), np.finfo(np.float32).tiny) * (128 / 127)
        return table / unit, unit

    key = f"{call.scope}/output"
    table, unit = q.weights(unit_table)
    indices = x.tensor if x.tensor.dtype == tf.int32 else tf.cast(x.tensor, tf.int32)
    rows = q.tap(key, tf.gather(table, indices), Grid.UNIT)
    if layer.mask_zero:
        some = np.ones((table.shape[0], 1), np.float32)
        some[0] = 0
        call.mask = q.tap(f"{call.scope}/mask", tf.gather(some, indices), Grid.MASK)
    return Value(rows, Grid.UNIT, key, unit)


def _refusal(layer: Any) -> str | None:
    if layer.mask_value == 0:
        return None
    return f"mask_value={layer.mask_value}, which would widen the input's grid; mask with 0"


@register_layer(keras.layers.Masking, timing=each_step, refusal=_refusal, eight_bits="a mask of 8 bits")
def masking(q: Network, call: Call, x: Any) -> Value:
    """A step is masked where all its features are 0 on the input's grid."""
    value = q.settle(x)
    if value.grid is not Grid.UNIT:
        raise ValueError(f"Expected layer {call.scope!r} (Masking) right behind an input, got it elsewhere.")
    # Sums of squares: of integers, so that one that is not 0 is at least 1, and saturates the mask.
    square = q.tap(f"{call.scope}/square", value.tensor * value.tensor, Grid.SQUARE)
    ones = np.full((value.shape[-1], 1), 128.0**2, np.float32)
    total = q.linear(f"{call.scope}/kernel", Value(square, Grid.SQUARE, f"{call.scope}/square"), MATMUL, ones, None)
    call.mask = q.tap(f"{call.scope}/mask", total, Grid.MASK)
    return value
