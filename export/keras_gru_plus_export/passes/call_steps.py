"""Lets one iteration of a counted WHILE do several steps without repeating their operators.

The step becomes a subgraph of its own, which IF operators whose condition is a constant call one after the other:
TFLite has no other call. An IF copies what a step reads and writes, where WHILE copies every variable, the whole
sequence too, three times an iteration.
"""

from __future__ import annotations

import copy
import itertools
from typing import NamedTuple

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, ModelT, OperatorT
from .loops import Counted, collectors, counted_loop

#: Tensors that a CONCATENATION of TFLite Micro takes.
MOST_JOINED = 10


class _Rows(NamedTuple):
    """A GATHER of a row that the counter chooses, or what a SUB takes the counter from."""

    gather: OperatorT
    backwards: OperatorT | None


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


def _rows(model: ModelT, counted: Counted) -> list[_Rows]:
    """What reads the counter, if all of it chooses rows of sequences that stay as they are; else nothing."""
    body, counter = counted.body, counted.body.inputs[counted.counter]
    found = []
    for op in tflite.consumers(body, counter):
        if op is counted.add:
            continue
        backwards = op if tflite.op_code(model, op) == OP.SUB else None
        if backwards and (op.inputs[1] != counter or not tflite.is_constant(model, body.tensors[op.inputs[0]])):
            return []
        index = op.outputs[0] if backwards else counter
        gathers = tflite.consumers(body, index) if backwards else [op]
        if not gathers or not all(_gathers_a_row(model, counted, gather, index) for gather in gathers):
            return []
        found += [_Rows(gather, backwards) for gather in gathers]
    return found


def _gathers_a_row(model: ModelT, counted: Counted, op: OperatorT, index: int) -> bool:
    body, source = counted.body, op.inputs[0]
    if tflite.op_code(model, op) != OP.GATHER or op.inputs[1] != index or source not in body.inputs:
        return False
    shape, axis = list(body.tensors[source].shape), op.builtinOptions.axis
    stays = body.outputs[body.inputs.index(source)] == source
    return bool(
        stays and not op.builtinOptions.batchDims and axis in range(len(shape)) and shape[axis] == counted.limit
    )


def _call(model: ModelT, counted: Counted, rows: list[_Rows], steps: int) -> None:
    """Moves the step into a subgraph that the body calls `steps` times, each time with other rows."""
    body = counted.body
    varying = [k for k, i in enumerate(body.inputs) if k != counted.counter and body.outputs[k] != i]
    # A sequence that is made row by row stays outside, too: the calls give the rows.
    made = {k: found for k in varying if steps < MOST_JOINED and (found := collectors(model, counted, k))}
    states = [k for k in varying if k not in made]
    choosing = [op for row in rows for op in row if op is not None]
    outside = {id(op) for op in (counted.add, *choosing, *itertools.chain(*made.values()))}
    inner = [op for op in body.operators if id(op) not in outside]
    read = {index for op in inner for index in op.inputs}
    fixed = [
        index for index, after in zip(body.inputs, body.outputs, strict=True) if index == after and index in read
    ]
    rows_made = {k: found[-1].inputs[1] for k, found in made.items()}
    # Each once: LiteRT hands a tensor on to one result of an IF only.
    results = list(dict.fromkeys([*(body.outputs[k] for k in states), *rows_made.values()]))
    model.subgraphs.append(
        tflite.schema.SubGraphT(
            tensors=[copy.copy(tensor) for tensor in body.tensors],
            operators=inner,
            inputs=[*(row.gather.outputs[0] for row in rows), *fixed, *(body.inputs[k] for k in states)],
            outputs=list(results),
        )
    )
    options = tflite.schema.IfOptionsT()
    options.thenSubgraphIndex = options.elseSubgraphIndex = len(model.subgraphs) - 1
    always = _constant(model, counted, "always", np.array(True))
    body.operators, chosen = _gathered(model, counted, rows, steps)
    present = [body.inputs[k] for k in states]
    outputs: list[list[int]] = []
    for number in range(steps):
        inputs = [always, *(own[number] for own in chosen), *fixed, *present]
        outputs.append([_like(counted, index) for index in results])
        body.operators.append(tflite.new_operator(model, OP.IF, inputs, outputs[-1], options))
        present = [outputs[-1][results.index(body.outputs[k])] for k in states]
    for k, found in made.items():
        place = results.index(rows_made[k])
        body.operators += _appended(model, counted, k, found, [own[place] for own in outputs])
    counted.add.inputs = [counted.add.inputs[0], _constant(model, counted, "steps", np.array(steps, np.int32))]
    body.operators.append(counted.add)
    for k, index in zip(states, present, strict=True):
        body.outputs[k] = index


def _appended(model: ModelT, counted: Counted, k: int, found: list[OperatorT], rows: list[int]) -> list[OperatorT]:
    """Operators by which variable `k` loses as many rows in front as it gets behind."""
    cut, join = (copy.copy(op) for op in found)
    body = counted.body
    shape = list(body.tensors[body.inputs[k]].shape)
    begin = np.array([len(rows), *([0] * (len(shape) - 1))], np.int32)
    rest = _like(counted, cut.outputs[0])
    body.tensors[rest].shape = [shape[0] - len(rows), *shape[1:]]
    cut.inputs = [cut.inputs[0], _constant(model, counted, "begin", begin), *cut.inputs[2:]]
    cut.outputs, join.inputs = [rest], [rest, *rows]
    return [cut, join]


def _gathered(
    model: ModelT, counted: Counted, rows: list[_Rows], steps: int
) -> tuple[list[OperatorT], list[list[int]]]:
    """Operators that gather `steps` rows at once and take them apart, and the rows of each sequence."""
    body, counter = counted.body, counted.body.inputs[counted.counter]
    numbers = _constant(model, counted, "numbers", np.arange(steps, dtype=np.int32))
    index = tflite.add_tensor(body, "index", (steps,), TYPE.INT32)
    operators = [tflite.new_operator(model, OP.ADD, [counter, numbers], [index], tflite.schema.AddOptionsT())]
    chosen = []
    for op, backwards in rows:
        source, axis, present = op.inputs[0], op.builtinOptions.axis, index
        if backwards:
            present = tflite.add_tensor(body, "backwards", (steps,), TYPE.INT32)
            options = tflite.schema.SubOptionsT()
            operators.append(tflite.new_operator(model, OP.SUB, [backwards.inputs[0], index], [present], options))
        row = body.tensors[op.outputs[0]]
        shape = list(body.tensors[source].shape)
        shape[axis] = steps
        block = tflite.add_tensor(body, "block", shape, row.type, tflite.grid(row))
        own = [_like(counted, op.outputs[0]) for _ in range(steps)]
        take = tflite.new_operator(model, OP.GATHER, [source, present], [block], copy.copy(op.builtinOptions))
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
