"""What several passes ask of a WHILE that counts."""

from __future__ import annotations

from typing import NamedTuple

from .. import tflite
from ..tflite import ModelT, OperatorT, SubGraphT


class Counted(NamedTuple):
    """A WHILE that counts from 0 to a constant by ones."""

    graph: SubGraphT
    loop: OperatorT
    condition: SubGraphT
    body: SubGraphT
    counter: int  #: number of the loop variable
    add: OperatorT  #: the body's, that counts
    limit: int


def counted_loop(model: ModelT, graph: SubGraphT, loop: OperatorT) -> Counted | None:
    """What there is to know of a WHILE that counts; None of any other."""
    condition, body = tflite.while_parts(model, loop)
    if [tflite.op_name(model, op) for op in condition.operators] != ["LESS"]:
        return None
    tested, limit = condition.operators[0].inputs
    start = graph.tensors[loop.inputs[condition.inputs.index(tested)]] if tested in condition.inputs else None
    if start is None or not tflite.is_constant(model, start) or tflite.constant(model, start).any():
        return None
    if not tflite.is_constant(model, condition.tensors[limit]):
        return None
    counter = condition.inputs.index(tested)
    makers = tflite.producers(body, body.outputs[counter])
    if [tflite.op_name(model, op) for op in makers] != ["ADD"] or makers[0].inputs[0] != body.inputs[counter]:
        return None
    one = body.tensors[makers[0].inputs[1]]
    if not tflite.is_constant(model, one) or tflite.constant(model, one).tolist() not in (1, [1]):
        return None
    last = int(tflite.constant(model, condition.tensors[limit]).reshape(()))
    return Counted(graph, loop, condition, body, counter, makers[0], last)


def collectors(model: ModelT, counted: Counted, k: int) -> list[OperatorT]:
    """STRIDED_SLICE and CONCATENATION by which variable `k` loses its first row and gets a last one; else nothing."""
    body = counted.body
    joins = tflite.producers(body, body.outputs[k])
    if [tflite.op_name(model, op) for op in joins] != ["CONCATENATION"] or len(joins[0].inputs) != 2:
        return []
    join = joins[0]
    cuts = tflite.producers(body, join.inputs[0])
    if [tflite.op_name(model, op) for op in cuts] != ["STRIDED_SLICE"] or cuts[0].inputs[0] != body.inputs[k]:
        return []
    (cut,) = cuts
    constants = [body.tensors[index] for index in cut.inputs[1:]]
    if not all(tflite.is_constant(model, tensor) for tensor in constants):
        return []
    begin, _, strides = (tflite.constant(model, tensor).tolist() for tensor in constants)
    shape, rest = list(body.tensors[body.inputs[k]].shape), list(body.tensors[cut.outputs[0]].shape)
    alone = (
        tflite.consumers(body, body.inputs[k]) == [cut]
        and tflite.consumers(body, cut.outputs[0]) == [join]
        and not tflite.consumers(body, join.outputs[0])
        and body.outputs.count(join.outputs[0]) == 1
        and not tflite.consumers(counted.condition, counted.condition.inputs[k])
    )
    moved = begin[0] == 1 and set(strides) == {1} and not cut.builtinOptions.beginMask & 1
    last = list(body.tensors[join.inputs[1]].shape)
    whole = shape[0] == counted.limit and rest == [shape[0] - 1, *shape[1:]] and last == [1, *shape[1:]]
    return [cut, join] if alone and moved and whole and not join.builtinOptions.axis else []
