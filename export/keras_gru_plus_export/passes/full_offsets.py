"""Gives the int32 ADD of a number to a look-up's index a constant of the index's shape, which has a fast loop.

TFLite Micro takes twice the instructions where it has to repeat the number; the constant takes 4 bytes an element.
"""

from __future__ import annotations

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, ModelT


def full_offsets(model: ModelT) -> None:
    """Applies the pass to every int32 ADD of a constant scalar to a tensor that is none."""
    for graph in model.subgraphs:
        for op in graph.operators:
            if tflite.op_code(model, op) != OP.ADD or graph.tensors[op.outputs[0]].type != TYPE.INT32:
                continue
            shape = list(graph.tensors[op.inputs[0]].shape)
            offset = graph.tensors[op.inputs[1]]
            if not shape or list(offset.shape) or not tflite.is_constant(model, offset):
                continue
            full = tflite.add_tensor(graph, "look_up_offset", shape, TYPE.INT32)
            value = tflite.constant(model, offset).reshape(())
            tflite.set_constant(model, graph.tensors[full], np.full(shape, value, np.int32))
            op.inputs = [op.inputs[0], full]
