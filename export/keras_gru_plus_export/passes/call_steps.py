"""Lets one iteration of a counted WHILE do several steps without repeating their operators.

The step becomes a subgraph of its own, which IF operators whose condition is a constant call one after the other:
TFLite has no other call. An IF copies what a step reads and writes, where WHILE copies every variable, the whole
sequence too, three times an iteration.
"""

from __future__ import annotations

import copy

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, ModelT, OperatorT
from .unroll_while import Counted, counted_loop


def call_steps(model: ModelT, steps: int) -> int:
    """Applies the pass to every WHILE whose counter does nothing but choose the rows of sequences; others stay.

    Args:
        model: with int8 loop variables.
        steps: steps of each iteration, 2 or more; loops that it does not divide stay.

    Returns:
        How many loops were changed.
    """
    loops = [
        (graph, op) for graph in model.subgraphs for op in graph.operators if tflite.op_code(model, op) == OP.WHILE
    ]
    changed = 0
    for graph, loop in loops:
        counted = counted_loop(model, graph, loop)
        rows = [] if counted is None else _rows(model, counted)
        if counted is None or not rows:
            continue
        if counted.limit % steps == 0:
            _call(model, counted, rows, steps)
            changed += 1
    return changed


def _rows(model: ModelT, counted: Counted) -> list[OperatorT]:
    """What reads the counter, if all of it gathers a row of a sequence that stays as it is; else nothing."""
    body = counted.body
    found = [op for op in tflite.consumers(body, body.inputs[counted.counter]) if op is not counted.add]
    for op in found:
        source = op.inputs[0]
        if tflite.op_code(model, op) != OP.GATHER or source not in body.inputs or op.builtinOptions.batchDims:
            return []
        shape, axis = list(body.tensors[source].shape), op.builtinOptions.axis
        k = body.inputs.index(source)
        if body.outputs[k] != source or shape[axis] != counted.limit or axis not in range(len(shape)):
            return []
    return found


def _varying(counted: Counted) -> list[int]:
    """Numbers of the loop variables that change, without the counter."""
    body = counted.body
    return [k for k, index in enumerate(body.inputs) if k != counted.counter and body.outputs[k] != index]


def _call(model: ModelT, counted: Counted, rows: list[OperatorT], steps: int) -> None:
    """Moves the step into a subgraph that the body calls `steps` times, each time with other rows."""
    body, varying = counted.body, _varying(counted)
    outside = {id(op) for op in (counted.add, *rows)}
    inner = [op for op in body.operators if id(op) not in outside]
    read = {index for op in inner for index in op.inputs}
    fixed = [
        index for index, after in zip(body.inputs, body.outputs, strict=True) if index == after and index in read
    ]
    results = [body.outputs[k] for k in varying]
    model.subgraphs.append(
        tflite.schema.SubGraphT(
            tensors=[copy.copy(tensor) for tensor in body.tensors],
            operators=inner,
            inputs=[*(op.outputs[0] for op in rows), *fixed, *(body.inputs[k] for k in varying)],
            outputs=list(results),
        )
    )
    options = tflite.schema.IfOptionsT()
    options.thenSubgraphIndex = options.elseSubgraphIndex = len(model.subgraphs) - 1
    always = _constant(model, counted, "always", np.array(True))
    body.operators, chosen = _gathered(model, counted, rows, steps)
    present = [body.inputs[k] for k in varying]
    for number in range(steps):
        inputs = [always, *(own[number] for own in chosen), *fixed, *present]
        present = [_like(counted, index) for index in results]
        body.operators.append(tflite.new_operator(model, OP.IF, inputs, present, options))
    counted.add.inputs = [counted.add.inputs[0], _constant(model, counted, "steps", np.array(steps, np.int32))]
    body.operators.append(counted.add)
    for k, index in zip(varying, present, strict=True):
        body.outputs[k] = index


def _gathered(
    model: ModelT, counted: Counted, rows: list[OperatorT], steps: int
) -> tuple[list[OperatorT], list[list[int]]]:
    """Operators that gather `steps` rows at once and take them apart, and the rows of each sequence."""
    body, counter = counted.body, counted.body.inputs[counted.counter]
    numbers = _constant(model, counted, "numbers", np.arange(steps, dtype=np.int32))
    index = tflite.add_tensor(body, "index", (steps,), TYPE.INT32)
    operators = [tflite.new_operator(model, OP.ADD, [counter, numbers], [index], tflite.schema.AddOptionsT())]
    chosen = []
    for op in rows:
        source, axis = op.inputs[0], op.builtinOptions.axis
        row = body.tensors[op.outputs[0]]
        shape = list(body.tensors[source].shape)
        shape[axis] = steps
        block = tflite.add_tensor(body, "block", shape, row.type, tflite.grid(row))
        own = [_like(counted, op.outputs[0]) for _ in range(steps)]
        take = tflite.new_operator(model, OP.GATHER, [source, index], [block], copy.copy(op.builtinOptions))
        apart = tflite.new_operator(model, OP.UNPACK, [block], own, tflite.schema.UnpackOptionsT(steps, axis))
        operators += [take, apart]
        chosen.append(own)
    return operators, chosen


def _constant(model: ModelT, counted: Counted, name: str, value: np.ndarray) -> int:
    index = tflite.add_tensor(counted.body, name, value.shape, TYPE.INT32)
    tflite.set_constant(model, counted.body.tensors[index], value)
    return index


def _like(counted: Counted, index: int) -> int:
    """A new tensor of the body that is like another."""
    counted.body.tensors.append(copy.copy(counted.body.tensors[index]))
    return len(counted.body.tensors) - 1
