"""Bytes to a checked TFLite object tree and back."""

from __future__ import annotations

import copy
import os
import pathlib
import struct
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.schema_py_generated import ModelT

from ._tflite_check import InvalidModel, check
from ._tflite_share import Shared, SharingBuilder, shareable

# What reading damaged bytes through the generated code raises.
_READ_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
    struct.error,
)


class _AlignedBuffer(schema.BufferT):
    """A buffer with data at a multiple of 16, which the schema asks for and the generated packer forgets."""

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 (the generated code calls it)
        if self.data is not None:
            data = np.ascontiguousarray(np.asarray(self.data, np.uint8)).tobytes()
            builder.StartVector(1, len(data), 16)
            builder.head = builder.head - len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if self.data is not None:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


def load(data: bytes | bytearray | memoryview | str | os.PathLike[str]) -> ModelT:
    """Read a model from bytes or a path and check that every index and size in it holds.

    Raises:
        InvalidModel: the bytes are no TFLite model, or a damaged one.
    """
    if isinstance(data, (str, os.PathLike)):
        data = pathlib.Path(data).read_bytes()
    data = bytes(data)
    expected = "Expected a TFLite file (identifier TFL3), got"
    if data[4:8] != b"TFL3":
        raise InvalidModel(f"{expected} {len(data)} bytes that start with {data[:8]!r}; pass a .tflite file")
    try:
        _check_counts(data)
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        _normalize(model)
        check(model)
    except _READ_ERRORS as error:
        detail = error if isinstance(error, InvalidModel) else f"unreadable: {type(error).__name__}"
        got = f"{len(data)} bytes that are damaged or cut short ({detail})"
        raise InvalidModel(f"{expected} {got}; export the model again") from error
    return model


def _check_counts(data: bytes) -> None:
    # Each entry takes an offset of 4 bytes. Without this a damaged length could make the generated code read
    # overlapping tables for hours.
    root = schema.Model.GetRootAs(data, 0)
    count = int(root.OperatorCodesLength() + root.BuffersLength() + root.SubgraphsLength())
    for index in range(min(root.SubgraphsLength(), len(data) // 4)):
        graph = root.Subgraphs(index)
        count += graph.TensorsLength() + graph.OperatorsLength()
    if count > len(data) // 4:
        raise InvalidModel(f"{count} tables")


def _normalize(model: ModelT) -> None:
    def ints(values: Any) -> list[int]:
        return [] if values is None else [int(value) for value in values]

    for graph in model.subgraphs:
        graph.tensors, graph.operators = graph.tensors or [], graph.operators or []
        graph.inputs, graph.outputs = ints(graph.inputs), ints(graph.outputs)
        for tensor in graph.tensors:
            tensor.shape = ints(tensor.shape)
        for op in graph.operators:
            op.inputs, op.outputs = ints(op.inputs), ints(op.outputs)


def dump(model: ModelT) -> bytes:
    """Write a model: the same bytes every time, constants aligned to 16 bytes, equal parts stored once."""
    model = copy.copy(model)
    model.buffers = [_AlignedBuffer(data=buffer.data) for buffer in model.buffers]
    model.subgraphs = [_with_shared_parts(graph) for graph in model.subgraphs]
    builder = SharingBuilder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _with_shared_parts(graph: schema.SubGraphT) -> schema.SubGraphT:
    """A copy of the graph whose equal quantizations, tensors and operator options are packed once."""
    graph = copy.copy(graph)
    graph.tensors = [copy.copy(tensor) for tensor in graph.tensors]
    graph.operators = [copy.copy(op) for op in graph.operators]
    for tensor in graph.tensors:
        if tensor.quantization is not None and shareable(tensor.quantization):
            tensor.quantization = Shared(tensor.quantization)
    graph.tensors = [Shared(tensor) if shareable(tensor) else tensor for tensor in graph.tensors]
    for op in graph.operators:
        if op.builtinOptions is not None and shareable(op.builtinOptions):
            op.builtinOptions = Shared(op.builtinOptions)
    return graph
