"""Turns LOGISTIC and TANH into look-ups: CAST, ADD 128, GATHER from a table of their 256 results.

TFLite Micro computes both in fixed point, some 400 instructions an element. The table holds the same integers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, ModelT, OperatorT, SubGraphT
from . import PassError
from .table_activations import look_up_operators

_FUNCTIONS: dict[int, Callable[[Any], Any]] = {
    OP.LOGISTIC: lambda values: 1 / (1 + np.exp(-values)),
    OP.TANH: np.tanh,
}


def table_gates(model: ModelT) -> None:
    """Applies the pass to every LOGISTIC and TANH."""
    for graph in model.subgraphs:
        graph.operators = [new for op in graph.operators for new in _looked_up(model, graph, op)]


def _looked_up(model: ModelT, graph: SubGraphT, op: OperatorT) -> list[OperatorT]:
    function = _FUNCTIONS.get(tflite.op_code(model, op))
    if function is None:
        return [op]
    (source,), (result,) = op.inputs, op.outputs
    before, after = tflite.grid(graph.tensors[source]), tflite.grid(graph.tensors[result])
    if before is None or after is None or graph.tensors[source].type != TYPE.INT8:
        raise PassError(
            f"Expected {tflite.op_name(model, op)} to be int8, got {tflite.type_name(graph.tensors[source])}"
        )
    with np.errstate(over="ignore"):  # of an exponential, whose infinity makes 0
        reals = function((np.arange(-128, 128) - before.zero_point) * before.scale)
    table = np.clip(np.round(reals / after.scale) + after.zero_point, -128, 127).astype(np.int8)
    return look_up_operators(model, graph, source, result, table)
