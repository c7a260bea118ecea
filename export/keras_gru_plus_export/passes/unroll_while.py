"""Repeats the body of a counted WHILE, so that one iteration does several steps: its overhead is shared.

TFLite Micro copies every loop variable three times an iteration, the whole input sequence included. Where the rows of
a sequence are all that is read at the counter, an iteration takes one longer row and splits it, and counts once.
"""

from __future__ import annotations

import copy

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, ModelT
from .loops import Counted, counted_loop


def unroll_while(model: ModelT, steps: int) -> int:
    """Applies the pass to every WHILE that counts from 0 to a multiple of `steps`; others stay.

    Args:
        model: with int8 loop variables.
        steps: steps of each iteration, 2 or more.

    Returns:
        How many loops were changed.
    """
    changed = 0
    for graph in model.subgraphs:
        for loop in [op for op in graph.operators if tflite.op_code(model, op) == OP.WHILE]:
            counted = counted_loop(model, graph, loop)
            if counted is None or counted.limit % steps:
                continue
            changed += 1
            sequences = _sequences(model, counted)
            rows = [] if sequences is None else _long_rows(model, counted, sequences, steps)
            _repeat(counted, steps, rows, count_once=sequences is not None)
    if changed:
        tflite.compact(model)
    return changed


def _sequences(model: ModelT, counted: Counted) -> list[int] | None:
    """The loop variables whose rows are all that is read at the counter; None where it is read otherwise."""
    graph, loop, condition, body = counted[:4]
    found = []
    for op in tflite.consumers(body, body.inputs[counted.counter]):
        if op is counted.add:
            continue
        source = op.inputs[0]
        if tflite.op_code(model, op) != OP.GATHER or source not in body.inputs or op.builtinOptions.axis:
            return None
        k = body.inputs.index(source)
        shape = body.tensors[source].shape
        makers = tflite.producers(graph, loop.inputs[k])
        if not (
            body.outputs[k] == source
            and len(shape) == 3
            and list(body.tensors[op.outputs[0]].shape) == [1, shape[2]]
            and shape[:2] == [counted.limit, 1]
            and len(tflite.consumers(body, source)) == 1
            and not tflite.consumers(condition, condition.inputs[k])
            and not tflite.consumers(graph, loop.outputs[k])
            and loop.outputs[k] not in graph.outputs
            and [tflite.op_name(model, maker) for maker in makers] == ["RESHAPE"]
            and len(tflite.consumers(graph, loop.inputs[k])) == 1
        ):
            return None
        found.append(k)
    return found


def _long_rows(model: ModelT, counted: Counted, sequences: list[int], steps: int) -> list[list[int]]:
    """Lets an iteration gather `steps` rows as one and split it; returns the rows of each sequence."""
    graph, loop, condition, body = counted[:4]
    limit = condition.operators[0].inputs[1]
    tflite.set_constant(model, condition.tensors[limit], np.array(counted.limit // steps, np.int32))
    rows = []
    for k in sequences:
        shape = body.tensors[body.inputs[k]].shape
        longer = [counted.limit // steps, 1, steps * shape[2]]
        parts = ((graph, loop.inputs), (graph, loop.outputs), (condition, condition.inputs), (body, body.inputs))
        for part, indices in parts:
            part.tensors[indices[k]].shape = list(longer)
        reshape = tflite.producers(graph, loop.inputs[k])[0]
        reshape.inputs = reshape.inputs[:1]
        reshape.builtinOptions = tflite.schema.ReshapeOptionsT(newShape=list(longer))
        reshape.builtinOptionsType = tflite.schema.BuiltinOptions.ReshapeOptions
        gather = tflite.consumers(body, body.inputs[k])[0]
        row = body.tensors[gather.outputs[0]]
        name, grid = tflite.text(row.name), tflite.grid(row)
        long = tflite.add_tensor(body, f"{name}_long", longer[1:], row.type, grid)
        own = [gather.outputs[0]]
        own += [tflite.add_tensor(body, f"{name}_{i}", row.shape, row.type, grid) for i in range(1, steps)]
        axis = tflite.add_tensor(body, "axis", (), TYPE.INT32)
        tflite.set_constant(model, body.tensors[axis], np.array(1, np.int32))
        gather.outputs = [long]
        options = tflite.schema.SplitOptionsT(steps)
        split = tflite.new_operator(model, OP.SPLIT, [axis, long], own, options)
        position = next(i for i, op in enumerate(body.operators) if op is gather)
        body.operators.insert(position + 1, split)
        rows.append(own)
    return rows


def _repeat(counted: Counted, steps: int, rows: list[list[int]], count_once: bool) -> None:
    """Appends `steps` - 1 copies of the body to it, each with the results of the one before."""
    body = counted.body
    first = list(body.operators)
    once = {id(counted.add)} if count_once else set()
    for own in rows:  # rows are gathered and split once
        split = tflite.producers(body, own[0])[0]
        once |= {id(split), *(id(op) for op in tflite.producers(body, split.inputs[1]))}
    outputs = list(body.outputs)
    values = list(outputs)
    for step in range(1, steps):
        present = dict(zip(body.inputs, values, strict=True)) | {own[0]: own[step] for own in rows}
        if count_once:
            present[body.inputs[counted.counter]] = body.inputs[counted.counter]
        for op in first:
            if id(op) in once:
                continue
            repeated = copy.copy(op)
            repeated.inputs = [present.get(index, index) for index in op.inputs]
            repeated.outputs = []
            for index in op.outputs:
                body.tensors.append(copy.copy(body.tensors[index]))
                present[index] = len(body.tensors) - 1
                repeated.outputs.append(present[index])
            body.operators.append(repeated)
        values = [present.get(index, index) for index in outputs]
    if count_once:
        values[counted.counter] = outputs[counted.counter]
    body.outputs = values
