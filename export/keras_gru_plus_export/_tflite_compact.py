"""Removal of what a TFLite model does not use: operators, tensors, buffers, codes, subgraphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._tflite_check import CALLERS, OP, called_subgraphs, op_code

# Kept even where nobody reads their outputs.
_SIDE_EFFECTS = {*CALLERS, OP.ASSIGN_VARIABLE, OP.HASHTABLE_IMPORT, OP.CUSTOM}


def remove_dead(model: Any) -> int:
    """Remove operators whose outputs nobody reads, to a fixed point.

    WHILE, IF, CALL, CALL_ONCE, ASSIGN_VARIABLE and custom operators stay: they may have side effects.

    Returns:
        How many operators were removed.
    """
    removed = 0
    for graph in model.subgraphs:
        while True:
            used = set(graph.outputs).union(*(op.inputs for op in graph.operators))
            keep = [
                op
                for op in graph.operators
                if op_code(model, op) in _SIDE_EFFECTS or any(index in used for index in op.outputs)
            ]
            if len(keep) == len(graph.operators):
                break
            removed += len(graph.operators) - len(keep)
            graph.operators = keep
    return removed


def compact(model: Any) -> None:
    """Drop unreachable subgraphs and unreferenced tensors, buffers and operator codes; share equal buffers.

    Everything is renumbered in its old order, in place; results stay the same, and a second call changes
    nothing. Operators are left alone: see `remove_dead`.
    """
    _drop_subgraphs(model)
    for index, graph in enumerate(model.subgraphs):
        _drop_tensors(model, index, graph)
    _drop_buffers(model)
    _drop_operator_codes(model)


def _drop_subgraphs(model: Any) -> None:
    reachable: set[int] = set()
    todo = [0, *(int(signature.subgraphIndex) for signature in model.signatureDefs or [])]
    while todo:
        index = todo.pop()
        if index not in reachable:
            reachable.add(index)
            todo += [t for op in model.subgraphs[index].operators for t in called_subgraphs(model, op)]
    kept = sorted(reachable)
    number = {old: new for new, old in enumerate(kept)}
    model.subgraphs = [model.subgraphs[index] for index in kept]
    # One options object may serve several operators, so new numbers are assigned from the old ones only once.
    done: set[int] = set()
    for graph in model.subgraphs:
        for op in graph.operators:
            code = op_code(model, op)
            if code in CALLERS and id(op.builtinOptions) not in done:
                done.add(id(op.builtinOptions))
                for name in CALLERS[code][1]:
                    setattr(op.builtinOptions, name, number[int(getattr(op.builtinOptions, name))])
    for signature in model.signatureDefs or []:
        signature.subgraphIndex = number[int(signature.subgraphIndex)]


def _drop_tensors(model: Any, graph_index: int, graph: Any) -> None:
    entries = [
        entry
        for signature in model.signatureDefs or []
        if signature.subgraphIndex == graph_index
        for entry in [*(signature.inputs or []), *(signature.outputs or [])]
    ]
    used = {*graph.inputs, *graph.outputs, *(int(entry.tensorIndex) for entry in entries)}
    for op in graph.operators:
        used.update(op.inputs, op.outputs, _intermediates(op))
    used.discard(-1)
    kept = sorted(used)
    number = {old: new for new, old in enumerate(kept)} | {-1: -1}
    graph.tensors = [graph.tensors[index] for index in kept]
    graph.inputs = [number[index] for index in graph.inputs]
    graph.outputs = [number[index] for index in graph.outputs]
    for op in graph.operators:
        op.inputs = [number[index] for index in op.inputs]
        op.outputs = [number[index] for index in op.outputs]
        if op.intermediates is not None:
            op.intermediates = [number[index] for index in _intermediates(op)]
    for entry in entries:
        entry.tensorIndex = number[int(entry.tensorIndex)]


def _intermediates(op: Any) -> list[int]:
    return [] if op.intermediates is None else [int(index) for index in op.intermediates]


def _drop_buffers(model: Any) -> None:
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    metadata = model.metadata or []
    # Variables may be written to and metadata belongs to other tools: neither shares with a constant.
    alone = {tensor.buffer for tensor in tensors if tensor.isVariable} | {entry.buffer for entry in metadata}
    used = {tensor.buffer for tensor in tensors} | {entry.buffer for entry in metadata}

    def identity(index: int) -> Any:
        data = model.buffers[index].data
        # No data is what buffer 0 says; data of length 0 is different: it marks an empty constant.
        if data is None:
            return None
        return index if index in alone else np.asarray(data, np.uint8).tobytes()

    # Buffer 0 always stays: by convention it means "no data".
    kept, number = _first_of_each([0, *sorted(used - {0})], identity)
    model.buffers = [model.buffers[index] for index in kept]
    for holder in [*tensors, *metadata]:
        holder.buffer = number[int(holder.buffer)]
    # A deprecated second way to point at metadata, which nothing reads any more.
    model.metadataBuffer = None


def _drop_operator_codes(model: Any) -> None:
    used = {int(op.opcodeIndex) for graph in model.subgraphs for op in graph.operators}

    def identity(index: int) -> Any:
        code = model.operatorCodes[index]
        return max(code.builtinCode, code.deprecatedBuiltinCode), code.customCode, code.version

    # Without any operator one code stays: readers of the format expect a table that is not empty.
    kept, number = _first_of_each(sorted(used) or [0], identity)
    model.operatorCodes = [model.operatorCodes[index] for index in kept]
    for graph in model.subgraphs:
        for op in graph.operators:
            op.opcodeIndex = number[int(op.opcodeIndex)]


def _first_of_each(indices: list[int], identity: Callable[[int], Any]) -> tuple[list[int], dict[int, int]]:
    """The first index of every identity, and the new number of every index."""
    kept: list[int] = []
    first: dict[Any, int] = {}
    number: dict[int, int] = {}
    for index in indices:
        key = identity(index)
        if key not in first:
            first[key] = len(kept)
            kept.append(index)
        number[index] = first[key]
    return kept, number
