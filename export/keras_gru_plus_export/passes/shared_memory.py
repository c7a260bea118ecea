"""Gives the sequence that a WHILE reads one place in TFLite Micro's arena instead of three.

Input, result and variable of the loop hold the same bytes throughout, since the body hands the sequence on unchanged.
The metadata entry "OfflineMemoryAllocation" says so; other runtimes do not read it. What it does not place, TFLite
Micro plans as ever.
"""

from __future__ import annotations

import numpy as np

from .. import tflite
from ..tflite import OP, ModelT, SubGraphT
from .rows_of_input import readers

NAME = "OfflineMemoryAllocation"
_VERSION, _PLANNED_LATER = 1, -1


def shared_memory(model: ModelT) -> None:
    """Applies the pass to a model with one loop, as the last pass: the entry counts on the tensors' numbers.

    Older releases of TFLite Micro read the main graph's entries for every subgraph. So the shared tensors come first
    in each, and a number that would be placed wrongly there goes to a constant, which needs no place.
    """
    tflite.compact(model)
    main = model.subgraphs[0]
    loops = [op for op in main.operators if tflite.op_code(model, op) == OP.WHILE]
    if len(model.subgraphs) != 3 or len(loops) != 1 or any(tflite.text(e.name) == NAME for e in model.metadata or []):
        return
    loop = loops[0]
    condition, body = tflite.while_parts(model, loop)
    fixed = [
        k
        for k in range(len(loop.inputs))
        if readers(model, main, loop, k) and not tflite.is_constant(model, main.tensors[loop.inputs[k]])
    ]
    if not fixed:
        return
    k = max(fixed, key=lambda k: int(np.prod(main.tensors[loop.inputs[k]].shape)))
    counts = [len(graph.tensors) for graph in model.subgraphs]
    shared = [0, 1, counts[0], counts[0] + counts[1]]  # first of each subgraph, and the loop's result
    graphs = {id(main): [loop.inputs[k], loop.outputs[k]]}
    graphs |= {id(graph): [graph.inputs[k]] for graph in (condition, body)}
    for graph in model.subgraphs:
        order = _order(model, graph, graphs[id(graph)], shared)
        if order is None:
            return
        _renumber(model, graph, order)
    offsets = np.full(sum(counts), _PLANNED_LATER, np.int32)
    offsets[shared] = 0
    plan = np.concatenate([np.array([_VERSION, 0, len(offsets)], np.int32), offsets])
    model.buffers.append(tflite.schema.BufferT(data=plan.view(np.uint8)))
    entry = tflite.schema.MetadataT(name=NAME, buffer=len(model.buffers) - 1)
    model.metadata = [*(model.metadata or []), entry]


def _order(model: ModelT, graph: SubGraphT, first: list[int], shared: list[int]) -> list[int] | None:
    """Tensors anew: `first`, and constants at the other numbers in `shared`; None without enough of them."""
    constants = [i for i, tensor in enumerate(graph.tensors) if tflite.is_constant(model, tensor)]
    others = [i for i in range(len(graph.tensors)) if i not in first and i not in constants]
    order = list(first)
    while others or constants:
        wanted = len(order) in shared
        if wanted and not constants:
            return None
        # Others before constants where either will do: the constants may be needed further on.
        order.append(constants.pop(0) if wanted or not others else others.pop(0))
    return order


def _renumber(model: ModelT, graph: SubGraphT, order: list[int]) -> None:
    """Numbers tensors anew."""
    number = {old: new for new, old in enumerate(order)} | {-1: -1}
    graph.tensors = [graph.tensors[i] for i in order]
    graph.inputs, graph.outputs = ([number[i] for i in part] for part in (graph.inputs, graph.outputs))
    for op in graph.operators:
        op.inputs, op.outputs = ([number[i] for i in part] for part in (op.inputs, op.outputs))
        if op.intermediates is not None:
            op.intermediates = [number[int(i)] for i in op.intermediates]
    for definition in model.signatureDefs or []:
        if model.subgraphs[definition.subgraphIndex] is graph:
            for entry in [*(definition.inputs or []), *(definition.outputs or [])]:
                entry.tensorIndex = number[int(entry.tensorIndex)]
