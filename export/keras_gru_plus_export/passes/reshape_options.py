"""Moves the constant shape of a RESHAPE from a tensor into the operator's options: one tensor less."""

from __future__ import annotations

from .. import tflite
from ..tflite import OP, ModelT


def reshape_options(model: ModelT) -> None:
    """Applies the pass to every RESHAPE whose result has a known shape."""
    for graph in model.subgraphs:
        for op in graph.operators:
            if tflite.op_code(model, op) != OP.RESHAPE or len(op.inputs) < 2:
                continue
            shape = graph.tensors[op.outputs[0]].shape
            if tflite.is_constant(model, graph.tensors[op.inputs[1]]) and all(size > 0 for size in shape):
                op.inputs = op.inputs[:1]
                op.builtinOptions = tflite.schema.ReshapeOptionsT(newShape=list(shape))
                op.builtinOptionsType = tflite.schema.BuiltinOptions.ReshapeOptions
