"""Turns DEQUANTIZE → SIN or COS → QUANTIZE, which marks an activation, into a look-up: CAST, ADD 128, GATHER.

An int8 function of one int8 number is a table of 256 entries, whatever the function is. The converter may have moved
a RESHAPE in front of the QUANTIZE.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, Grid, ModelT, OperatorT, SubGraphT
from . import PassError

#: (256 real inputs, grid of the output) → 256 integers.
Tabulate = Callable[[np.ndarray, Grid], np.ndarray]


def table_activations(model: ModelT, functions: dict[str, Tabulate]) -> None:
    """Applies the pass to every SIN and COS.

    Args:
        functions: operation name → what the marked activation gives.
    """
    for graph in model.subgraphs:
        for op in [op for op in graph.operators if tflite.op_code(model, op) in (OP.SIN, OP.COS)]:
            _replace(model, graph, op, functions)
    tflite.remove_dead(model)


def _replace(model: ModelT, graph: SubGraphT, marked: OperatorT, functions: dict[str, Tabulate]) -> None:
    name = tflite.text(graph.tensors[marked.outputs[0]].name)
    function = next((f for key, f in functions.items() if name.endswith(key)), None)
    before, after = tflite.producers(graph, marked.inputs[0]), tflite.consumers(graph, marked.outputs[0])
    reshapes = []
    while [tflite.op_name(model, op) for op in after] == ["RESHAPE"]:
        reshapes += after
        after = tflite.consumers(graph, after[0].outputs[0])
    kinds = [tflite.op_name(model, op) for op in (*before, *after)]
    if function is None or kinds != ["DEQUANTIZE", "QUANTIZE"]:
        raise PassError(f"Expected a marked activation between DEQUANTIZE and QUANTIZE, got {name!r} between {kinds}")
    source, result = before[0].inputs[0], after[0].outputs[0]
    grid, wanted = tflite.grid(graph.tensors[source]), tflite.grid(graph.tensors[result])
    if grid is None or wanted is None:
        raise PassError(f"Expected int8 at both ends of the activation {name!r}")
    inputs = (np.arange(-128, 128) - grid.zero_point) * grid.scale
    for index in {marked.outputs[0], *(op.outputs[0] for op in reshapes)} if reshapes else ():
        graph.tensors[index].type = TYPE.INT8
        tflite.set_grid(graph.tensors[index], wanted.scales, wanted.zero_points)
    if reshapes:
        tflite.replace_tensor(model, graph, result, reshapes[-1].outputs[0])
        result = marked.outputs[0]
    look_up = look_up_operators(model, graph, source, result, function(inputs, wanted))
    graph.tensors[result].name = name
    position = next(i for i, op in enumerate(graph.operators) if op is (reshapes or after)[0])
    kept = [op for op in graph.operators[:position] if op is not marked]
    rest = [op for op in graph.operators[position:] if op is not after[0]]
    graph.operators = [*kept, *look_up, *rest]


def look_up_operators(
    model: ModelT, graph: SubGraphT, source: int, result: int, table: np.ndarray
) -> list[OperatorT]:
    """CAST, ADD 128 and GATHER from tensor `source` to tensor `result`, both int8."""
    shape = graph.tensors[source].shape
    wide, index = (tflite.add_tensor(graph, f"look_up_{step}", shape, TYPE.INT32) for step in ("wide", "index"))
    offset = tflite.add_tensor(graph, "look_up_offset", (), TYPE.INT32)
    tflite.set_constant(model, graph.tensors[offset], np.array(128, np.int32))
    entries = tflite.add_tensor(graph, "look_up_table", (256,), TYPE.INT8, tflite.grid(graph.tensors[result]))
    tflite.set_constant(model, graph.tensors[entries], table)
    options = tflite.schema
    return [
        tflite.new_operator(model, OP.CAST, [source], [wide], options.CastOptionsT(TYPE.INT8, TYPE.INT32)),
        tflite.new_operator(model, OP.ADD, [wide, offset], [index], options.AddOptionsT()),
        tflite.new_operator(model, OP.GATHER, [entries, index], [result], options.GatherOptionsT()),
    ]
