"""Takes products off the middle between two integers, which LiteRT rounds to another side on ARM than on x86.

A reset gate's product r * h is on the grid of h, and of x beside it: the integers are multiplied by 2^-8, exactly,
and one in 256 ends on a half. XNNPACK rounds that to the even neighbour on x86 and up on ARM; in a cell such
differences live on. On a grid finer by 2^-22 the half is a little more and goes away from zero everywhere, as the
reference kernels round it.
"""

from __future__ import annotations

import math

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, Grid, ModelT, OperatorT, SubGraphT

FINER = 1 - 2.0**-22


def break_ties(model: ModelT) -> None:
    """Applies the pass to every int8 MUL whose product goes into a CONCATENATION for matmuls and nowhere else.

    What is joined with it is read through a RESHAPE, whose ends may have different grids.
    """
    for graph in model.subgraphs:
        for op in list(graph.operators):
            joined = _joined(model, graph, op) if _has_ties(model, graph, op) else None
            if joined is not None:
                _refine(model, graph, op.outputs[0], joined)


def _has_ties(model: ModelT, graph: SubGraphT, op: OperatorT) -> bool:
    tensors = [graph.tensors[index] for index in (*op.inputs, *op.outputs)]
    if tflite.op_code(model, op) != OP.MUL or any(tensor.type != TYPE.INT8 for tensor in tensors):
        return False
    first, second, product = (tflite.grid(tensor) for tensor in tensors)
    if first is None or second is None or product is None:
        return False
    fraction, exponent = math.frexp(first.scale * second.scale / product.scale)
    return fraction == 0.5 and exponent < 1


def _joined(model: ModelT, graph: SubGraphT, op: OperatorT) -> OperatorT | None:
    """The CONCATENATION that alone reads the product, if only matmuls read its result."""
    (product,) = op.outputs
    readers = tflite.consumers(graph, product)
    if len(readers) != 1 or product in graph.outputs or tflite.op_code(model, readers[0]) != OP.CONCATENATION:
        return None
    (result,) = readers[0].outputs
    last = tflite.consumers(graph, result)
    if result in graph.outputs or any(tflite.op_code(model, op) != OP.FULLY_CONNECTED for op in last):
        return None
    return readers[0]


def _refine(model: ModelT, graph: SubGraphT, product: int, joined: OperatorT) -> None:
    grid = tflite.grid(graph.tensors[product])
    assert grid is not None
    finer = Grid((float(np.float32(grid.scale * FINER)),), grid.zero_points)
    for index in (product, *joined.outputs):
        tflite.set_grid(graph.tensors[index], finer.scales, finer.zero_points)
    for k, index in enumerate(joined.inputs):
        if index != product:
            tensor = graph.tensors[index]
            same = tflite.add_tensor(graph, "same_integers", tensor.shape, tensor.type, finer)
            options = tflite.schema.ReshapeOptionsT(newShape=list(tensor.shape))
            reshape = tflite.new_operator(model, OP.RESHAPE, [index], [same], options)
            graph.operators.insert(graph.operators.index(joined), reshape)
            joined.inputs[k] = same
