"""Sets each input's real scale: training folded it into the kernels, so the integers stay as they are."""

from __future__ import annotations

from .. import tflite
from ..tflite import OP, Grid, ModelT, OperatorT, SubGraphT
from . import PassError
from .rows_of_input import readers


def relabel_inputs(model: ModelT, grids: dict[int, Grid]) -> None:
    """Gives input tensors a new grid; a RESHAPE takes it back to the old one where the graph computes.

    A RESHAPE, unlike the operators that compute, may have different grids at its ends; so may the GATHER of a row in
    a loop that reads nothing else of the input. Either may read one with a scale for each feature.

    Args:
        model: with integer inputs.
        grids: tensor index → grid; several scales are along the last axis.
    """
    graph = model.subgraphs[0]
    for index, wanted in grids.items():
        grid = tflite.grid(graph.tensors[index])
        if grid is None or grid.zero_points != (0,):
            raise PassError(f"Expected an input with zero point 0, got {grid}")
        _through_one_reshape(model, graph, index)
        tensor = graph.tensors[index]
        others = [
            op
            for op in tflite.consumers(graph, index)
            if tflite.op_code(model, op) != OP.RESHAPE and not _in_loop(model, graph, op, index, wanted)
        ]
        if others:
            inner = tflite.add_tensor(graph, "relabelled", tensor.shape, tensor.type, tflite.grid(tensor))
            for op in others:
                op.inputs = [inner if i == index else i for i in op.inputs]
            options = tflite.schema.ReshapeOptionsT(newShape=list(tensor.shape))
            graph.operators.insert(0, tflite.new_operator(model, OP.RESHAPE, [index], [inner], options))
        tflite.set_grid(tensor, wanted.scales, wanted.zero_points, wanted.axis)


def _in_loop(model: ModelT, graph: SubGraphT, op: OperatorT, index: int, wanted: Grid) -> bool:
    """Whether `op` is a WHILE that only gathers of the tensor; its variable gets the new grid."""
    if tflite.op_code(model, op) != OP.WHILE or op.inputs.count(index) != 1:
        return False
    k = op.inputs.index(index)
    users = readers(model, graph, op, k)
    if not users or any(tflite.op_code(model, user) != OP.GATHER for user in users):
        return False
    condition, body = tflite.while_parts(model, op)
    for part, indices in ((graph, op.outputs), (condition, condition.inputs), (body, body.inputs)):
        tflite.set_grid(part.tensors[indices[k]], wanted.scales, wanted.zero_points, wanted.axis)
    return True


def _through_one_reshape(model: ModelT, graph: SubGraphT, index: int) -> None:
    """Lets matmuls read the flat form of the input that another operator reads already, where rows stay rows."""
    flat = next((op for op in tflite.consumers(graph, index) if _flattens(model, graph, op)), None)
    if flat is None:
        return
    for op in tflite.consumers(graph, index):
        if tflite.op_code(model, op) == OP.FULLY_CONNECTED and not op.builtinOptions.keepNumDims:
            op.inputs = [flat.outputs[0] if i == index else i for i in op.inputs]
    graph.operators.remove(flat)
    graph.operators.insert(0, flat)


def _flattens(model: ModelT, graph: SubGraphT, op: OperatorT) -> bool:
    shape = graph.tensors[op.inputs[0]].shape
    return (
        tflite.op_code(model, op) == OP.RESHAPE
        and len(graph.tensors[op.outputs[0]].shape) == 2
        and graph.tensors[op.outputs[0]].shape[-1] == shape[-1]
    )
