"""Gives the sequence that a WHILE reads one place in TFLite Micro's arena instead of three.

Input, result and variable of the loop hold the same bytes throughout, since the body hands the sequence on unchanged.
A subgraph that the body calls several times gets its places behind it: TFLite Micro takes each of its tensors to live
from the first call to the last, and so would have no place used twice.

The metadata entry "OfflineMemoryAllocation" says so; other runtimes do not read it. What it does not place, TFLite
Micro plans as ever.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from .. import tflite
from ..tflite import OP, ModelT, SubGraphT
from .rows_of_input import readers

NAME = "OfflineMemoryAllocation"
_VERSION, _PLANNED_LATER, _ALIGNMENT = 1, -1, 16


def shared_memory(model: ModelT) -> None:
    """Applies the pass to a model with one loop, as the last pass: the entry counts on the tensors' numbers.

    Older releases of TFLite Micro read the main graph's entries for every subgraph. So the shared tensors come first
    in each, and a number that would be placed wrongly there goes to a constant, which needs no place.
    """
    tflite.compact(model)
    main = model.subgraphs[0]
    loops = [op for op in main.operators if tflite.op_code(model, op) == OP.WHILE]
    if len(loops) != 1 or any(tflite.text(e.name) == NAME for e in model.metadata or []):
        return
    loop = loops[0]
    condition, body = tflite.while_parts(model, loop)
    steps = _called(model, body)
    if [id(graph) for graph in model.subgraphs] != [id(graph) for graph in (main, condition, body, *steps)]:
        return
    fixed = [
        k
        for k in range(len(loop.inputs))
        if readers(model, main, loop, k) and not tflite.is_constant(model, main.tensors[loop.inputs[k]])
    ]
    if not fixed:
        return
    k = max(fixed, key=lambda k: _size(main.tensors[loop.inputs[k]]))
    starts = np.cumsum([0, *(len(graph.tensors) for graph in model.subgraphs)]).tolist()
    plan = dict.fromkeys([0, 1, *starts[1:3]], 0)  # first of each subgraph, and the loop's result
    first = [[loop.inputs[k], loop.outputs[k]], [condition.inputs[k]], [body.inputs[k]], *([] for _ in steps)]
    orders = []
    for graph, own in zip(model.subgraphs, first, strict=True):
        # A step's constants come first, so that the numbers of the rest are beyond most of what any graph has.
        order = _order(model, graph, own, plan, constants_first=not own)
        if order is None:
            return
        orders.append(order)
    size = _size(main.tensors[loop.inputs[k]])
    for graph, order in zip(model.subgraphs, orders, strict=True):
        _renumber(model, graph, order)
    for graph in steps:
        places = _places(model, graph, size)
        plan |= {starts[3] + index: place for index, place in places.items()}
    while disputed := _disputed(model, plan, starts):
        for number in disputed:
            del plan[number]
    offsets = np.full(starts[-1], _PLANNED_LATER, np.int32)
    offsets[list(plan)] = list(plan.values())
    entries = np.concatenate([np.array([_VERSION, 0, len(offsets)], np.int32), offsets])
    model.buffers.append(tflite.schema.BufferT(data=entries.view(np.uint8)))
    entry = tflite.schema.MetadataT(name=NAME, buffer=len(model.buffers) - 1)
    model.metadata = [*(model.metadata or []), entry]


def _size(tensor: tflite.TensorT) -> int:
    return int(np.prod(tensor.shape)) * tflite.dtype(tensor).itemsize


def _called(model: ModelT, body: SubGraphT) -> list[SubGraphT]:
    """The subgraph that a loop's body calls, if there is one and it calls no other."""
    called = {index for op in body.operators for index in tflite.called_subgraphs(model, op)}
    graphs = [model.subgraphs[index] for index in sorted(called)]
    return graphs if len(graphs) == 1 and not any(tflite.parts(model, op) for op in graphs[0].operators) else []


def _places(model: ModelT, graph: SubGraphT, start: int) -> dict[int, int]:
    """Places from `start` on for what a subgraph computes, large tensors first: none is used twice at a time."""
    born = dict.fromkeys(graph.inputs, 0)
    died = dict.fromkeys(graph.outputs, len(graph.operators) + 1)
    for time, op in enumerate(graph.operators, 1):
        for index in op.outputs:
            born.setdefault(index, time)
            died[index] = max(died.get(index, 0), time)
        for index in op.inputs:
            if index >= 0 and not tflite.is_constant(model, graph.tensors[index]):
                died[index] = max(died.get(index, 0), time)
    places: dict[int, int] = {}
    for index in sorted(born, key=lambda index: (-_size(graph.tensors[index]), index)):
        place = _aligned(start)
        others = [i for i in places if born[i] <= died.get(index, 0) and born[index] <= died.get(i, 0)]
        for other in sorted(others, key=lambda i: places[i]):
            if place + _size(graph.tensors[index]) <= places[other]:
                break
            place = max(place, _aligned(places[other] + _size(graph.tensors[other])))
        places[index] = place
    return places


def _aligned(place: int) -> int:
    return -(-place // _ALIGNMENT) * _ALIGNMENT


def _disputed(model: ModelT, plan: dict[int, int], starts: list[int]) -> set[int]:
    """Planned numbers at which older releases would place a tensor that belongs elsewhere or nowhere."""
    return {
        index
        for graph, start in zip(model.subgraphs, starts)
        for index, tensor in enumerate(graph.tensors)
        if index in plan and not tflite.is_constant(model, tensor) and plan[index] != plan.get(start + index)
    }


def _order(
    model: ModelT, graph: SubGraphT, first: list[int], shared: Collection[int], constants_first: bool
) -> list[int] | None:
    """Tensors anew: `first`, and constants at the other numbers in `shared`; None without enough of them."""
    constants = [i for i, tensor in enumerate(graph.tensors) if tflite.is_constant(model, tensor)]
    others = [i for i in range(len(graph.tensors)) if i not in first and i not in constants]
    order = list(first)
    while others or constants:
        wanted = len(order) in shared
        if wanted and not constants:
            return None
        # Others before constants where either will do: the constants may be needed further on.
        spare = constants_first and len(constants) > sum(number > len(order) for number in shared)
        order.append(constants.pop(0) if wanted or spare or not others else others.pop(0))
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
