"""Multiply-accumulates of an operator, and how often a WHILE runs its body where the file says so."""

from __future__ import annotations

import math

from . import tflite
from .tflite import OP

CONVOLUTIONS = {OP.CONV_2D, OP.DEPTHWISE_CONV_2D, OP.TRANSPOSE_CONV, OP.CONV_3D}
RECURRENT = {OP.SVDF, OP.RNN, OP.LSTM, OP.UNIDIRECTIONAL_SEQUENCE_LSTM, OP.UNIDIRECTIONAL_SEQUENCE_RNN}


def operator_macs(code: int, graph: tflite.SubGraphT, op: tflite.OperatorT) -> int:
    """Multiply-accumulates of one operator that multiplies matrices or convolves, 0 for any other."""
    shapes = [tuple(graph.tensors[index].shape) if index >= 0 else () for index in op.inputs]
    results = math.prod(graph.tensors[op.outputs[0]].shape) if op.outputs else 0
    if len(shapes) < 2 or not shapes[0] or not shapes[1]:
        return 0
    if code == OP.FULLY_CONNECTED:
        return int(results * shapes[1][-1])
    if code == OP.BATCH_MATMUL and len(shapes[0]) > 1:
        transposed = getattr(op.builtinOptions, "adjX", False)
        return int(results * shapes[0][-2 if transposed else -1])
    if code == OP.CONV_2D:
        return int(results * math.prod(shapes[1][1:]))
    if code == OP.DEPTHWISE_CONV_2D:
        return int(results * math.prod(shapes[1][1:3]))
    if code == OP.CONV_3D:
        return int(results * math.prod(shapes[1][:4]))
    if code == OP.TRANSPOSE_CONV and len(shapes) > 2:
        return int(math.prod(shapes[2]) * math.prod(shapes[1][:3]))
    if code in RECURRENT:
        # Every weight matrix is used once for every vector of the input.
        vectors = math.prod(shapes[0][:-1])
        return int(vectors * sum(math.prod(shape) for shape in shapes[1:] if len(shape) == 2 and shape[0] > 1))
    return 0


def trip_count(model: tflite.ModelT, caller: tflite.SubGraphT, loop: tflite.OperatorT) -> int | None:
    """Iterations of a WHILE that counts from a constant by a constant up to a constant; None for any other.

    Conditions joined by LOGICAL_AND end the loop with the first that fails.
    """
    condition, _ = tflite.while_parts(model, loop)
    return _iterations(model, caller, loop, condition.outputs[0], frozenset())


def _iterations(
    model: tflite.ModelT, caller: tflite.SubGraphT, loop: tflite.OperatorT, tensor: int, seen: frozenset[int]
) -> int | None:
    condition, _ = tflite.while_parts(model, loop)
    makers = tflite.producers(condition, tensor)
    if len(makers) != 1 or len(makers[0].inputs) != 2 or tensor in seen:
        return None
    code, (left, right) = tflite.op_code(model, makers[0]), makers[0].inputs
    if code == OP.LOGICAL_AND:
        counts = [_iterations(model, caller, loop, part, seen | {tensor}) for part in (left, right)]
        known = [count for count in counts if count is not None]
        return min(known) if len(known) == 2 else None
    if code in (OP.GREATER, OP.GREATER_EQUAL):
        left, right = right, left
    elif code not in (OP.LESS, OP.LESS_EQUAL):
        return None
    if left not in condition.inputs:
        return None
    position = condition.inputs.index(left)
    start = _integer(model, caller, loop.inputs[position])
    step = _increment(model, loop, position)
    limit = _limit(model, caller, loop, right)
    if start is None or step is None or limit is None or step <= 0:
        return None
    last = limit if code in (OP.LESS_EQUAL, OP.GREATER_EQUAL) else limit - 1
    return max(0, (last - start) // step + 1)


def _limit(model: tflite.ModelT, caller: tflite.SubGraphT, loop: tflite.OperatorT, tensor: int) -> int | None:
    """A constant of the condition, or one that the loop carries unchanged."""
    condition, body = tflite.while_parts(model, loop)
    if tensor not in condition.inputs:
        return _integer(model, condition, tensor)
    position = condition.inputs.index(tensor)
    if body.inputs[position] != body.outputs[position]:
        return None
    return _integer(model, caller, loop.inputs[position])


def _increment(model: tflite.ModelT, loop: tflite.OperatorT, position: int) -> int | None:
    """What the body adds to a carried counter, through any number of ADD."""
    _, body = tflite.while_parts(model, loop)
    tensor, total, seen = body.outputs[position], 0, set()
    while tensor != body.inputs[position]:
        makers = tflite.producers(body, tensor)
        if tensor in seen or len(makers) != 1 or tflite.op_code(model, makers[0]) != OP.ADD:
            return None
        seen.add(tensor)
        values = [_integer(model, body, index) for index in makers[0].inputs]
        if len(values) != 2 or (values[0] is None) == (values[1] is None):
            return None
        total += next(value for value in values if value is not None)
        tensor = makers[0].inputs[0 if values[0] is None else 1]
    return total


def _integer(model: tflite.ModelT, graph: tflite.SubGraphT, index: int) -> int | None:
    """Value of a constant integer scalar."""
    if index < 0 or not tflite.is_constant(model, graph.tensors[index]):
        return None
    tensor = graph.tensors[index]
    if tflite.type_name(tensor) not in ("int32", "int64"):
        return None
    value = tflite.constant(model, tensor)
    return int(value.item()) if value.size == 1 else None
