"""Turns SUB, which has no fast kernel on Cortex-M, into ADD of a negated operand.

The negative of integer q with zero point z is ~q = -1 - q with zero point -1 - z: exact, also for q = -128. One
MUL by -1 gives it, also where the operand comes from a table: a second look-up would take more instructions.
"""

from __future__ import annotations

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, Grid, ModelT, OperatorT, SubGraphT


def subtract_by_adding(model: ModelT) -> None:
    """Applies the pass to every int8 SUB of two tensors of one shape; others are not slow in the same way."""
    for graph in model.subgraphs:
        graph.operators = [new for op in graph.operators for new in _added(model, graph, op)]


def _added(model: ModelT, graph: SubGraphT, op: OperatorT) -> list[OperatorT]:
    if tflite.op_code(model, op) != OP.SUB or op.builtinOptions.fusedActivationFunction:
        return [op]
    first, second = (graph.tensors[index] for index in op.inputs)
    grid = tflite.grid(second)
    if second.type != TYPE.INT8 or grid is None or list(first.shape) != list(second.shape):
        return [op]
    opposite = Grid(grid.scales, (-1 - grid.zero_point,))
    negative = tflite.add_tensor(graph, "negative", second.shape, TYPE.INT8, opposite)
    addition = tflite.new_operator(model, OP.ADD, [op.inputs[0], negative], op.outputs, tflite.schema.AddOptionsT())
    return [_negation(model, graph, op.inputs[1], negative, opposite), addition]


def _negation(model: ModelT, graph: SubGraphT, source: int, negative: int, grid: Grid) -> OperatorT:
    """The operator that writes the negative of tensor `source`."""
    # Of the operand's own shape: a kernel that broadcasts would be the slow one again.
    shape = graph.tensors[source].shape
    minus = tflite.add_tensor(graph, "minus_one", shape, TYPE.INT8, Grid((1.0,), (0,)))
    tflite.set_constant(model, graph.tensors[minus], np.full(shape, -1, np.int8))
    return tflite.new_operator(model, OP.MUL, [source, minus], [negative], tflite.schema.MulOptionsT())
