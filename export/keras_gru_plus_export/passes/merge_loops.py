"""Makes one WHILE of two that count alike: a layer reads each output of the layer before it in the step that made it.

Of stacked layers the first loop would collect its outputs, row by row, in a variable as long as the sequence, from
which the second gathers them. In one loop there is no such variable. Loops that have nothing to do with each other,
like the two directions of Bidirectional, become one as well.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import NamedTuple

from .. import tflite
from ..tflite import OP, ModelT, OperatorT, SubGraphT
from .loops import Counted, collectors, counted_loop


class _Link(NamedTuple):
    """A sequence that the first loop collects and the second one gathers in the same order."""

    collected: int  #: number of the first loop's variable
    row: int  #: tensor of the first body that it appends
    collectors: list[OperatorT]  #: of the first body
    read: int  #: number of the second loop's variable
    gathers: list[OperatorT]  #: of the second body


def merge_loops(model: ModelT) -> int:
    """Applies the pass to the main graph, as often as it can.

    Returns:
        How many loops became part of another.
    """
    merged = 0
    while any(_merged(model, first, second) for first, second in _pairs(model)):
        tflite.remove_dead(model)
        tflite.compact(model)
        merged += 1
    return merged


def _pairs(model: ModelT) -> list[tuple[Counted, Counted]]:
    main = model.subgraphs[0]
    loops = [op for op in main.operators if tflite.op_code(model, op) == OP.WHILE]
    counted = [found for op in loops if (found := counted_loop(model, main, op)) is not None]
    return [
        (first, second)
        for i, first in enumerate(counted)
        for second in counted[i + 1 :]
        if first.limit == second.limit and not tflite.consumers(main, second.loop.outputs[second.counter])
    ]


def _merged(model: ModelT, first: Counted, second: Counted) -> bool:
    """Makes the second loop part of the first, if that has in time what it needs."""
    main = first.graph
    links = [link for k in range(len(second.body.inputs)) if (link := _link(model, first, second, k)) is not None]
    linked = {link.read for link in links}
    later = _depending(main, first.loop.outputs)
    if any(index in later for k, index in enumerate(second.loop.inputs) if k not in linked):
        return False
    later |= _depending(main, second.loop.outputs)
    after = {id(op) for op in main.operators if later & {*op.inputs}} | {id(first.loop), id(second.loop)}
    _join(model, first, second, links)
    main.operators = [
        *(op for op in main.operators if id(op) not in after),
        first.loop,
        *(op for op in main.operators if id(op) in after - {id(first.loop), id(second.loop)}),
    ]
    return True


def _depending(graph: SubGraphT, tensors: Iterable[int]) -> set[int]:
    """The tensors and all that is computed from them."""
    found = set(tensors)
    for op in graph.operators:
        if found & set(op.inputs):
            found |= set(op.outputs)
    return found


def _link(model: ModelT, first: Counted, second: Counted, read: int) -> _Link | None:
    """The link that ends in variable `read` of the second loop."""
    index = second.loop.inputs[read]
    while index not in first.loop.outputs:
        makers = tflite.producers(first.graph, index)
        if [tflite.op_name(model, op) for op in makers] != ["RESHAPE"] or not _read_once(first.graph, index):
            return None
        index = makers[0].inputs[0]
    collected = first.loop.outputs.index(index)
    collecting = collectors(model, first, collected)
    if not collecting or not _read_once(first.graph, index):
        return None
    row = collecting[-1].inputs[1]
    if row in first.body.inputs:  # the second loop's variables are handed on after it was overwritten
        return None
    own, body = first.body.tensors[row], second.body
    source = body.inputs[read]
    shape, gathers = list(body.tensors[source].shape), tflite.consumers(body, source)
    if body.outputs.count(source) != 1 or body.outputs[read] != source or shape != [first.limit, *own.shape]:
        return None
    if tflite.consumers(second.condition, second.condition.inputs[read]):
        return None
    if tflite.consumers(second.graph, second.loop.outputs[read]) or second.loop.outputs[read] in second.graph.outputs:
        return None
    grid = tflite.grid(own)
    for op in gathers:
        taken = body.tensors[op.outputs[0]]
        same = tflite.grid(taken) is None if grid is None else grid.same(tflite.grid(taken))
        in_order = tflite.op_code(model, op) == OP.GATHER and op.inputs[1] == body.inputs[second.counter]
        if not in_order or op.builtinOptions.axis or not same or list(taken.shape) != list(own.shape):
            return None
    return _Link(collected, row, collecting, read, gathers)


def _read_once(graph: SubGraphT, index: int) -> bool:
    return len(tflite.consumers(graph, index)) == 1 and index not in graph.outputs


def _join(model: ModelT, first: Counted, second: Counted, links: list[_Link]) -> None:
    """Gives the first loop the variables and operators of the second, and takes from it what it collected."""
    removed = {link.collected for link in links}
    gone = {second.counter, *(link.read for link in links)}
    added = [k for k in range(len(second.body.inputs)) if k not in gone]
    body, condition = first.body, first.condition
    dropped = {id(op) for link in links for op in link.collectors}
    body.operators = [op for op in body.operators if id(op) not in dropped]
    number = {index: len(body.tensors) + index for index in range(len(second.body.tensors))} | {-1: -1}
    body.tensors += second.body.tensors
    number[second.body.inputs[second.counter]] = body.inputs[first.counter]
    for link in links:
        number |= {op.outputs[0]: link.row for op in link.gathers}
    skipped = {id(op) for op in (second.add, *(op for link in links for op in link.gathers))}
    for op in second.body.operators:
        if id(op) not in skipped:
            moved = copy.copy(op)
            moved.inputs, moved.outputs = [number[i] for i in op.inputs], [number[i] for i in op.outputs]
            body.operators.append(moved)
    for part, name in (
        (first.loop, "inputs"),
        (first.loop, "outputs"),
        (condition, "inputs"),
        (body, "inputs"),
        (body, "outputs"),
    ):
        setattr(part, name, [index for k, index in enumerate(getattr(part, name)) if k not in removed])
    first.loop.inputs += [second.loop.inputs[k] for k in added]
    first.loop.outputs += [second.loop.outputs[k] for k in added]
    body.inputs += [number[second.body.inputs[k]] for k in added]
    body.outputs += [number[second.body.outputs[k]] for k in added]
    for k in added:
        condition.tensors.append(copy.copy(second.condition.tensors[second.condition.inputs[k]]))
        condition.inputs.append(len(condition.tensors) - 1)
