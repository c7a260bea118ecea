"""Replaces float operators that TFLite Micro does not have by ones that every runtime has; the values stay."""

from __future__ import annotations

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, ModelT, OperatorT, SubGraphT


def common_operators(model: ModelT) -> None:
    """Makes every RELU_N1_TO_1 of floats a MAXIMUM and a MINIMUM, every SELECT of one shape a SELECT_V2."""
    for graph in model.subgraphs:
        graph.operators = [new for op in graph.operators for new in _common(model, graph, op)]


def _common(model: ModelT, graph: SubGraphT, op: OperatorT) -> list[OperatorT]:
    code = tflite.op_code(model, op)
    tensors = [graph.tensors[index] for index in op.inputs]
    if code == OP.RELU_N1_TO_1 and tensors[0].type == TYPE.FLOAT32:
        above = tflite.add_tensor(graph, "at_least_minus_one", tensors[0].shape, TYPE.FLOAT32)
        limits = []
        for limit in (-1.0, 1.0):
            limits.append(tflite.add_tensor(graph, "limit", [1], TYPE.FLOAT32))
            tflite.set_constant(model, graph.tensors[limits[-1]], np.array([limit], np.float32))
        options = tflite.schema.MaximumMinimumOptionsT
        return [
            tflite.new_operator(model, OP.MAXIMUM, [op.inputs[0], limits[0]], [above], options()),
            tflite.new_operator(model, OP.MINIMUM, [above, limits[1]], op.outputs, options()),
        ]
    # SELECT also takes one condition a row, SELECT_V2 broadcasts otherwise.
    if code == OP.SELECT and len({tuple(tensor.shape) for tensor in tensors}) == 1:
        return [tflite.new_operator(model, OP.SELECT_V2, op.inputs, op.outputs, tflite.schema.SelectV2OptionsT())]
    return [op]
