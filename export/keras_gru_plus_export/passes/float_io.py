"""Puts QUANTIZE behind every int8 input and DEQUANTIZE before every int8 output: float outside, int8 inside."""

from __future__ import annotations

from .. import tflite
from ..tflite import OP, TYPE, ModelT
from . import PassError


def float_io(model: ModelT) -> None:
    """Applies the pass to the main graph; the signature follows."""
    graph = model.subgraphs[0]
    for index in (*graph.inputs, *graph.outputs):
        if graph.tensors[index].type != TYPE.INT8:
            name = tflite.text(graph.tensors[index].name)
            raise PassError(f"Expected {name!r} to be int8, got {tflite.type_name(graph.tensors[index])}")
    renamed: dict[int, int] = {}
    before, after = [], []
    for index in graph.inputs:
        outer = tflite.add_tensor(
            graph, tflite.text(graph.tensors[index].name), graph.tensors[index].shape, TYPE.FLOAT32
        )
        graph.tensors[index].name = f"{tflite.text(graph.tensors[index].name)}_int8"
        before.append(tflite.new_operator(model, OP.QUANTIZE, [outer], [index], tflite.schema.QuantizeOptionsT()))
        renamed[index] = outer
    graph.inputs = [renamed[index] for index in graph.inputs]
    results: dict[int, int] = {}
    for index in graph.outputs:
        if index not in results:
            tensor = graph.tensors[index]
            results[index] = tflite.add_tensor(graph, tflite.text(tensor.name), tensor.shape, TYPE.FLOAT32)
            tensor.name = f"{tflite.text(tensor.name)}_int8"
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
