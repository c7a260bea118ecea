"""Puts QUANTIZE behind every integer input and DEQUANTIZE before every integer output: float outside only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, Grid, ModelT, OperatorT, SubGraphT
from . import PassError


def float_io(model: ModelT, scaled: Mapping[int, Grid] | None = None) -> None:
    """Applies the pass to the main graph; the signature follows.

    Args:
        model: with integer inputs and outputs.
        scaled: input's tensor index → grid of the real input that its integers have and no QUANTIZE writes; the
            tensor has the one of the graph, and an ADD and a MUL lead from one to the other.
    """
    graph = model.subgraphs[0]
    inputs = [
        index for index in graph.inputs if graph.tensors[index].type != TYPE.INT32
    ]  # indices stay what they are
    for index in (*inputs, *graph.outputs):
        if graph.tensors[index].type not in (TYPE.INT8, TYPE.INT16):
            name = tflite.text(graph.tensors[index].name)
            raise PassError(f"Expected {name!r} to be int8 or int16, got {tflite.type_name(graph.tensors[index])}")
    renamed: dict[int, int] = {}
    before, after = [], []
    for index in inputs:
        outer = tflite.add_tensor(
            graph, tflite.text(graph.tensors[index].name), graph.tensors[index].shape, TYPE.FLOAT32
        )
        graph.tensors[index].name = _inside(graph.tensors[index])
        source = outer
        if scaled and index in scaled:
            operators = _scaling(model, graph, outer, tflite.grid(graph.tensors[index]), scaled[index])
            before += operators
            source = operators[-1].outputs[0]
        before.append(tflite.new_operator(model, OP.QUANTIZE, [source], [index], tflite.schema.QuantizeOptionsT()))
        renamed[index] = outer
    graph.inputs = [renamed.get(index, index) for index in graph.inputs]
    results: dict[int, int] = {}
    for index in graph.outputs:
        if index not in results:
            tensor = graph.tensors[index]
            results[index] = tflite.add_tensor(graph, tflite.text(tensor.name), tensor.shape, TYPE.FLOAT32)
            tensor.name = _inside(tensor)
            after.append(
                tflite.new_operator(
                    model, OP.DEQUANTIZE, [index], [results[index]], tflite.schema.DequantizeOptionsT()
                )
            )
    graph.outputs = [results[index] for index in graph.outputs]
    graph.operators = [*before, *graph.operators, *after]
    for definition in model.signatureDefs or []:
        for entry in definition.inputs:
            entry.tensorIndex = renamed.get(entry.tensorIndex, entry.tensorIndex)
        for entry in definition.outputs:
            entry.tensorIndex = results.get(entry.tensorIndex, entry.tensorIndex)


def _scaling(model: ModelT, graph: SubGraphT, source: int, inner: Grid | None, outer: Grid) -> list[OperatorT]:
    """`(x + offset) * factor` on the inner grid; the other way round far features would lose digits."""
    if inner is None or inner.zero_points != (0,):
        raise PassError(f"Expected an input with zero point 0, got {inner}")
    scales = np.array(outer.scales)
    numbers = (np.array(outer.zero_points) * scales, inner.scale / scales)
    shape = graph.tensors[source].shape
    found: list[OperatorT] = []
    kinds: tuple[tuple[int, Any, str], ...] = (
        (OP.ADD, tflite.schema.AddOptionsT(), "centered"),
        (OP.MUL, tflite.schema.MulOptionsT(), "scaled"),
    )
    for (kind, options, name), number in zip(kinds, numbers):
        constant = tflite.add_tensor(graph, f"{name}_by", number.shape, TYPE.FLOAT32)
        tflite.set_constant(model, graph.tensors[constant], number.astype(np.float32))
        result = tflite.add_tensor(graph, name, shape, TYPE.FLOAT32)
        found.append(tflite.new_operator(model, kind, [source, constant], [result], options))
        source = result
    return found


def _inside(tensor: tflite.TensorT) -> str:
    return f"{tflite.text(tensor.name)}_{tflite.type_name(tensor)}"
