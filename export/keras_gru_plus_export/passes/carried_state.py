"""Makes the float state that a WHILE carries int8: drops the QUANTIZE and DEQUANTIZE of its body.

The converter quantizes what is inside a loop body but leaves the loop's own variables float: the body
starts with QUANTIZE(state) and ends with DEQUANTIZE(state). Where both have one grid, the variable
becomes int8 on that grid in body, condition and caller.
"""

from __future__ import annotations

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, Grid, ModelT, OperatorT, SubGraphT
from . import PassError


def carried_state(model: ModelT) -> None:
    """Applies the pass to every WHILE of every subgraph."""
    for graph in model.subgraphs:
        for loop in [op for op in graph.operators if tflite.op_code(model, op) == OP.WHILE]:
            condition, body = tflite.while_parts(model, loop)
            for k in range(len(body.inputs)):
                if body.tensors[body.inputs[k]].type == TYPE.FLOAT32:
                    if tflite.consumers(condition, condition.inputs[k]):
                        raise PassError(
                            f"Expected float loop variable {k} to be left alone by the condition, got it read"
                        )
                    grid = _quantize_body(model, body, k)
                    _set_int8(condition.tensors[condition.inputs[k]], grid)
                    _quantize_initial(model, graph, loop, k, grid)
                    _quantize_result(model, graph, loop, k, grid)
    tflite.remove_dead(model)


def _set_int8(tensor: tflite.TensorT, grid: Grid) -> None:
    tensor.type = TYPE.INT8
    tflite.set_grid(tensor, grid.scales, grid.zero_points)


def _quantize_body(model: ModelT, body: SubGraphT, k: int) -> Grid:
    """Body input and output k become int8; returns their grid."""
    entry, leave = body.inputs[k], body.outputs[k]
    users, makers = tflite.consumers(body, entry), tflite.producers(body, leave)
    kinds = [tflite.op_name(model, op) for op in users]
    made = [tflite.op_name(model, op) for op in makers]
    if set(kinds) - {"QUANTIZE"} or made != ["DEQUANTIZE"]:
        raise PassError(
            f"Expected loop variable {k} to be read by QUANTIZE and written by DEQUANTIZE, got {kinds} and {made}"
        )
    inner = makers[0].inputs[0]
    grid = tflite.grid(body.tensors[inner])
    assert grid is not None
    for user in users:
        if not grid.same(tflite.grid(body.tensors[user.outputs[0]])):
            raise PassError(f"Expected one grid for loop variable {k} at both ends of the body, got two")
        tflite.replace_tensor(model, body, user.outputs[0], entry)
    body.operators = [op for op in body.operators if not any(op is user for user in users)]
    _set_int8(body.tensors[entry], grid)
    body.outputs = [inner if i == k else index for i, index in enumerate(body.outputs)]
    return grid


def _quantize_initial(model: ModelT, graph: SubGraphT, loop: OperatorT, k: int, grid: Grid) -> None:
    """The value with which the loop starts, int8: a constant is requantized, a QUANTIZE put before others."""
    index = loop.inputs[k]
    tensor = graph.tensors[index]
    if tflite.is_constant(model, tensor):
        values = np.round(tflite.constant(model, tensor) / grid.scale) + grid.zero_point
        new = tflite.add_tensor(graph, tflite.text(tensor.name), tensor.shape, TYPE.INT8, grid)
        tflite.set_constant(model, graph.tensors[new], np.clip(values, -128, 127).astype(np.int8))
    else:
        makers = tflite.producers(graph, index)
        if [tflite.op_name(model, op) for op in makers] != ["DEQUANTIZE"]:
            raise PassError(f"Expected loop variable {k} to start from a constant or an int8 tensor")
        new = makers[0].inputs[0]
        if not grid.same(tflite.grid(graph.tensors[new])):
            raise PassError(f"Expected the start of loop variable {k} to be on the loop's grid")
    loop.inputs = [new if i == k else old for i, old in enumerate(loop.inputs)]


def _quantize_result(model: ModelT, graph: SubGraphT, loop: OperatorT, k: int, grid: Grid) -> None:
    """The loop's result, int8: the QUANTIZE behind it goes, also where the converter moved it past a RESHAPE."""
    pending = [loop.outputs[k]]
    while pending:
        result = pending.pop()
        if result in graph.outputs:
            raise PassError(f"Expected the result of loop variable {k} to be quantized, got it as an output")
        _set_int8(graph.tensors[result], grid)
        for user in tflite.consumers(graph, result):
            kind = tflite.op_name(model, user)
            if kind == "RESHAPE":
                pending.append(user.outputs[0])
            elif kind == "QUANTIZE" and grid.same(tflite.grid(graph.tensors[user.outputs[0]])):
                tflite.replace_tensor(model, graph, user.outputs[0], result)
                graph.operators = [op for op in graph.operators if op is not user]
            else:
                raise PassError(
                    f"Expected the result of loop variable {k} to be quantized to the loop's grid, got {kind}"
                )
