"""Gives FULLY_CONNECTED with a scale for each channel and no bias one of zeros.

Without it tflite-runtime 2.14 ends in a segmentation fault on ARM where inputs or outputs are few.
"""

from __future__ import annotations

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, ModelT


def zero_biases(model: ModelT) -> None:
    """Applies the pass to every int8 FULLY_CONNECTED; those with one scale stay."""
    for graph in model.subgraphs:
        for op in graph.operators:
            if tflite.op_code(model, op) != OP.FULLY_CONNECTED or (len(op.inputs) > 2 and op.inputs[2] >= 0):
                continue
            source, weights = (tflite.grid(graph.tensors[index]) for index in op.inputs[:2])
            if source is None or weights is None or not weights.per_channel:
                continue
            channels = len(weights.scales)
            bias = tflite.add_tensor(graph, "zero_bias", (channels,), TYPE.INT32)
            tflite.set_constant(model, graph.tensors[bias], np.zeros(channels, np.int32))
            tflite.set_grid(graph.tensors[bias], [source.scale * scale for scale in weights.scales])
            op.inputs = [*op.inputs[:2], bias]
