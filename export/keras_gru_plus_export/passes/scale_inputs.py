"""Puts ADD and MUL behind float inputs that the network reads scaled, with numbers for all values or each feature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, ModelT
from . import PassError


def scale_inputs(model: ModelT, numbers: Mapping[str, tuple[Any, Any]]) -> None:
    """Lets the main graph read `(x + offset) * factor` instead of x; in this order few digits of a far x are lost.

    Args:
        model: with a signature.
        numbers: input name → (offset, factor), each one number or one for each feature, the last axis.
    """
    graph = model.subgraphs[0]
    kinds: tuple[tuple[int, type, str], ...] = (
        (OP.ADD, tflite.schema.AddOptionsT, "centered"),
        (OP.MUL, tflite.schema.MulOptionsT, "scaled"),
    )
    for name, constants in numbers.items():
        source = last = tflite.signature(model).inputs[name]
        outer = graph.tensors[source]
        if outer.type != TYPE.FLOAT32:
            raise PassError(f"Expected {name!r} to be float32, got {tflite.type_name(outer)}")
        added = []
        for (kind, options, result), values in zip(kinds, constants, strict=True):
            constant = tflite.add_tensor(graph, f"{result}_by", (), TYPE.FLOAT32)
            tflite.set_constant(model, graph.tensors[constant], np.atleast_1d(np.asarray(values, np.float32)))
            new = tflite.add_tensor(graph, result, outer.shape, TYPE.FLOAT32)
            added.append(tflite.new_operator(model, kind, [last, constant], [new], options()))
            last = new
        for op in graph.operators:
            op.inputs = [last if index == source else index for index in op.inputs]
        graph.operators = [*added, *graph.operators]
