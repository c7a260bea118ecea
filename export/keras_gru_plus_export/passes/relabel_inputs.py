"""Sets each input's real scale: training folded it into the kernels, so the integers stay as they are."""

from __future__ import annotations

import numpy as np

from .. import tflite
from ..tflite import OP, ModelT


def relabel_inputs(model: ModelT, scales: dict[int, float]) -> None:
    """Gives input tensors a new scale; a RESHAPE takes it back to the old one where the graph computes.

    Args:
        model: with int8 inputs.
        scales: tensor index → scale.
    """
    graph = model.subgraphs[0]
    for index, scale in scales.items():
        tensor = graph.tensors[index]
        if any(tflite.op_code(model, op) != OP.RESHAPE for op in tflite.consumers(graph, index)):
            inner = tflite.add_tensor(graph, "relabelled", tensor.shape, tensor.type, tflite.grid(tensor))
            for op in tflite.consumers(graph, index):
                op.inputs = [inner if i == index else i for i in op.inputs]
            shape = tflite.add_tensor(graph, "shape", [len(tensor.shape)], tflite.TYPE.INT32)
            tflite.set_constant(model, graph.tensors[shape], np.asarray(tensor.shape, np.int32))
            options = tflite.schema.ReshapeOptionsT(newShape=list(tensor.shape))
            graph.operators.insert(0, tflite.new_operator(model, OP.RESHAPE, [index, shape], [inner], options))
        tflite.set_grid(tensor, scale, 0)
