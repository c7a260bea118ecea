"""Lets a WHILE gather the rows of `(1, steps, features)` as it is: the RESHAPE to `(steps, 1, features)` goes."""

from __future__ import annotations

import copy

from .. import tflite
from ..tflite import OP, ModelT, OperatorT, SubGraphT


def rows_of_input(model: ModelT) -> None:
    """Applies the pass to every loop variable that stays as it is and is read by GATHER of a row alone."""
    for graph in model.subgraphs:
        for loop in [op for op in graph.operators if tflite.op_code(model, op) == OP.WHILE]:
            for k in range(len(loop.inputs)):
                _replace(model, graph, loop, k)
    tflite.remove_dead(model)


def readers(model: ModelT, graph: SubGraphT, loop: OperatorT, k: int) -> list[OperatorT]:
    """What reads loop variable `k` in the body, where it is never changed and read nowhere else; else nothing."""
    condition, body = tflite.while_parts(model, loop)
    own = body.outputs[k] == body.inputs[k] and body.outputs.count(body.inputs[k]) == 1
    elsewhere = tflite.consumers(graph, loop.outputs[k]) or tflite.consumers(condition, condition.inputs[k])
    if not own or elsewhere or loop.outputs[k] in graph.outputs:
        return []
    return tflite.consumers(body, body.inputs[k])


def _replace(model: ModelT, graph: SubGraphT, loop: OperatorT, k: int) -> None:
    condition, body = tflite.while_parts(model, loop)
    makers = tflite.producers(graph, loop.inputs[k])
    if [tflite.op_name(model, op) for op in makers] != ["RESHAPE"]:
        return
    source = makers[0].inputs[0]
    shape = list(graph.tensors[source].shape)
    users = readers(model, graph, loop, k)
    if len(shape) != 3 or shape[0] != 1 or list(graph.tensors[loop.inputs[k]].shape) != [shape[1], 1, shape[2]]:
        return
    if not users or any(not _gathers_a_row(model, body, op, body.inputs[k]) for op in users):
        return
    for op in users:
        op.builtinOptions = copy.copy(op.builtinOptions)
        op.builtinOptions.axis = 1
    for part, indices in ((graph, loop.outputs), (condition, condition.inputs), (body, body.inputs)):
        part.tensors[indices[k]].shape = shape
    loop.inputs = [source if i == k else index for i, index in enumerate(loop.inputs)]


def _gathers_a_row(model: ModelT, body: SubGraphT, op: OperatorT, source: int) -> bool:
    return (
        tflite.op_code(model, op) == OP.GATHER
        and op.inputs[0] == source != op.inputs[1]
        and not op.builtinOptions.axis
        and not list(body.tensors[op.inputs[1]].shape)
    )
