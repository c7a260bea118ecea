"""Puts QUANTIZE behind every integer input and DEQUANTIZE before every integer output: float outside only."""

from __future__ import annotations

from .. import tflite
from ..tflite import OP, TYPE, ModelT
from . import PassError


def float_io(model: ModelT) -> None:
    """Applies the pass to the main graph; the signature follows."""
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
        before.append(tflite.new_operator(model, OP.QUANTIZE, [outer], [index], tflite.schema.QuantizeOptionsT()))
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


def _inside(tensor: tflite.TensorT) -> str:
    return f"{tflite.text(tensor.name)}_{tflite.type_name(tensor)}"
