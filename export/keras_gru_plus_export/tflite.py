"""Reading, editing and writing TFLite flatbuffers: the one place that knows the schema.

A model is the object tree of `ai_edge_litert.schema_py_generated` (no TensorFlow) with one convenience: after
`load`, shapes and index vectors are lists of int. Functions change models in place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.schema_py_generated import ModelT, OperatorT, SubGraphT, TensorT

from ._tflite_check import (
    CALLERS,
    DTYPES,
    LINEAR,
    OP,
    OP_NAMES,
    TYPE,
    TYPE_NAMES,
    InvalidModel,
    called_subgraphs,
    op_code,
)
from ._tflite_compact import compact, remove_dead
from ._tflite_file import dump, load

__all__ = [
    "LINEAR",
    "OP",
    "TYPE",
    "Grid",
    "InvalidModel",
    "ModelT",
    "OperatorT",
    "Signature",
    "SubGraphT",
    "TensorT",
    "add_tensor",
    "called_subgraphs",
    "compact",
    "constant",
    "consumers",
    "dtype",
    "dump",
    "grid",
    "is_constant",
    "load",
    "new_operator",
    "op_code",
    "op_name",
    "operator_index",
    "parts",
    "producers",
    "remove_dead",
    "replace_tensor",
    "schema",
    "set_constant",
    "set_grid",
    "signature",
    "text",
    "type_name",
    "while_parts",
    "without_producer",
]


@dataclasses.dataclass(frozen=True)
class Grid:
    """Quantization of a tensor: real = scale * (integer - zero_point), per tensor or along `axis`."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int = 0

    @property
    def per_channel(self) -> bool:
        """Whether there is more than one scale."""
        return len(self.scales) > 1

    @property
    def scale(self) -> float:
        """The one scale of a per-tensor grid."""
        return float(self._only(self.scales))

    @property
    def zero_point(self) -> int:
        """The one zero point of a per-tensor grid."""
        return int(self._only(self.zero_points))

    def _only(self, values: tuple[Any, ...]) -> Any:
        if len(values) != 1:
            raise ValueError(f"Expected a per-tensor grid, got {len(values)} channels; use scales")
        return values[0]

    def same(self, other: Grid | None, rtol: float = 1e-6) -> bool:
        """Whether both give every integer the same value; `rtol` covers the float32 rounding of scales."""
        if other is None or self.zero_points != other.zero_points or len(self.scales) != len(other.scales):
            return False
        if self.per_channel and self.axis != other.axis:
            return False
        return all(abs(a - b) <= rtol * abs(a) for a, b in zip(self.scales, other.scales, strict=True))


@dataclasses.dataclass(frozen=True)
class Signature:
    """Names of the main graph's inputs and outputs with their tensor indices, in the graph's order."""

    inputs: dict[str, int]
    outputs: dict[str, int]


def text(value: bytes | str | None) -> str:
    """A schema string (bytes after `load`, str or bytes when set by hand) as str."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


def op_name(model: ModelT, op: OperatorT) -> str:
    """Name of an operator's kind, "FULLY_CONNECTED"; "CUSTOM:name" for custom ones."""
    name = OP_NAMES[op_code(model, op)]
    return f"CUSTOM:{text(model.operatorCodes[op.opcodeIndex].customCode)}" if name == "CUSTOM" else name


def type_name(tensor: TensorT) -> str:
    """Name of a tensor's type in lower case, like "int8"."""
    return TYPE_NAMES[int(tensor.type)]


def dtype(tensor: TensorT) -> np.dtype[Any]:
    """The numpy type of a tensor's values."""
    return DTYPES[int(tensor.type)]


def is_constant(model: ModelT, tensor: TensorT) -> bool:
    """Whether the tensor's values are in the file."""
    data = model.buffers[tensor.buffer].data
    return data is not None and (len(data) > 0 or 0 in tensor.shape)


def constant(model: ModelT, tensor: TensorT) -> np.ndarray[Any, Any]:
    """Values of a constant tensor, a read-only array of its shape (int4 is unpacked to int8)."""
    if not is_constant(model, tensor):
        raise ValueError(f"Expected a constant tensor, got {text(tensor.name)!r} whose values are computed")
    data = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
    if tensor.type == TYPE.INT4:
        nibbles = np.stack([data << 4, data & 0xF0], -1).view(np.int8) >> 4
        return nibbles.ravel()[: int(np.prod(tensor.shape))].reshape(tensor.shape)
    if tensor.type not in DTYPES:
        raise ValueError(f"Expected a numeric constant, got {text(tensor.name)!r} ({type_name(tensor)})")
    return np.frombuffer(data.tobytes(), DTYPES[tensor.type]).reshape(tensor.shape)


def set_constant(model: ModelT, tensor: TensorT, array: np.ndarray[Any, Any]) -> None:
    """Give a tensor new values, with their type and shape, in a new buffer (others may share the old one)."""
    array = np.asarray(array)
    types = [code for code, dtype in DTYPES.items() if dtype == array.dtype]
    if not types:
        raise TypeError(f"Expected an array of a TFLite type, got {array.dtype}; convert it with astype")
    model.buffers.append(schema.BufferT(data=np.frombuffer(array.tobytes(), np.uint8)))
    tensor.buffer, tensor.type = len(model.buffers) - 1, types[0]
    tensor.shape, tensor.shapeSignature = [int(size) for size in array.shape], None


def grid(tensor: TensorT) -> Grid | None:
    """The tensor's quantization, None if it has none."""
    parameters = tensor.quantization
    if parameters is None or parameters.scale is None or not len(parameters.scale):
        return None
    scales = tuple(float(scale) for scale in parameters.scale)
    points = () if parameters.zeroPoint is None else tuple(int(point) for point in parameters.zeroPoint)
    # Readers of the format take one zero point for all channels, and none for zero.
    zeros = points if len(points) == len(scales) else (points or (0,))[:1] * len(scales)
    return Grid(scales, zeros, int(parameters.quantizedDimension))


def set_grid(
    tensor: TensorT, scale: float | Sequence[float], zero_point: int | Sequence[int] = 0, axis: int = 0
) -> None:
    """Set a tensor's quantization: a number per tensor, or one per channel along `axis`."""
    scales = np.atleast_1d(np.asarray(scale, np.float32))
    points = np.broadcast_to(np.atleast_1d(np.asarray(zero_point, np.int64)), scales.shape).copy()
    parameters = schema.QuantizationParametersT(scale=scales, zeroPoint=points, quantizedDimension=axis)
    tensor.quantization = parameters


def operator_index(model: ModelT, builtin: int, version: int = 1) -> int:
    """Index of the operator code for a builtin of at least this version, appended if there is none."""
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.version >= version:
            return index
    # Readers from before 2020 look at the deprecated field, an int8 where 127 means "see builtinCode".
    code = schema.OperatorCodeT(builtinCode=builtin, deprecatedBuiltinCode=min(builtin, 127), version=version)
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def new_operator(
    model: ModelT,
    builtin: int,
    inputs: Sequence[int],
    outputs: Sequence[int],
    options: Any = None,
    options_type: int = 0,
    version: int = 1,
) -> OperatorT:
    """An operator that is in no graph yet; the options' type is found from their class where not given."""
    if options is not None and not options_type:
        options_type = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    return schema.OperatorT(
        opcodeIndex=operator_index(model, builtin, version),
        inputs=list(inputs),
        outputs=list(outputs),
        builtinOptions=options,
        builtinOptionsType=options_type,
    )


def add_tensor(
    graph: SubGraphT, name: str, shape: Sequence[int], type: int, grid: Grid | None = None, buffer: int = 0
) -> int:
    """Append a tensor to a graph and return its index."""
    sizes = [int(size) for size in shape]
    tensor = schema.TensorT(name=name, shape=sizes, type=type, buffer=buffer, hasRank=True)
    if grid is not None:
        set_grid(tensor, grid.scales, grid.zero_points, grid.axis)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def producers(graph: SubGraphT, tensor_index: int) -> list[OperatorT]:
    """Operators that write a tensor."""
    return [op for op in graph.operators if tensor_index in op.outputs]


def consumers(graph: SubGraphT, tensor_index: int) -> list[OperatorT]:
    """Operators that read a tensor."""
    return [op for op in graph.operators if tensor_index in op.inputs]


def parts(model: ModelT, op: OperatorT) -> list[str]:
    """What the subgraphs of `called_subgraphs` are to an operator: "cond" and "body" of a WHILE."""
    caller = CALLERS.get(op_code(model, op))
    return [] if caller is None else [name.removesuffix("SubgraphIndex") for name in caller[1]]


def replace_tensor(model: ModelT, graph: SubGraphT, old: int, new: int) -> None:
    """Let everything that reads tensor `old` read `new`: operators, the graph's outputs, signatures."""
    for op in graph.operators:
        op.inputs = [new if index == old else index for index in op.inputs]
    graph.outputs = [new if index == old else index for index in graph.outputs]
    for definition in model.signatureDefs or []:
        if model.subgraphs[definition.subgraphIndex] is graph:
            for entry in definition.outputs or []:
                entry.tensorIndex = new if entry.tensorIndex == old else entry.tensorIndex


def while_parts(model: ModelT, op: OperatorT) -> tuple[SubGraphT, SubGraphT]:
    """Condition and body of a WHILE."""
    if op_code(model, op) != OP.WHILE:
        raise ValueError(f"Expected a WHILE, got {op_name(model, op)}")
    condition, body = called_subgraphs(model, op)
    return model.subgraphs[condition], model.subgraphs[body]


def without_producer(model: ModelT) -> list[str]:
    """What is read before anything writes it, "subgraph 0: ADD reads 'h'"; the converter can leave such."""
    found = []
    for number, graph in enumerate(model.subgraphs):
        given = [tensor.isVariable or is_constant(model, tensor) for tensor in graph.tensors]
        written = {-1, *graph.inputs, *(index for index, is_given in enumerate(given) if is_given)}
        reads = [(op_name(model, op), op.inputs, op.outputs) for op in graph.operators]
        for reader, inputs, outputs in [*reads, ("output", graph.outputs, [])]:
            missing = [index for index in inputs if index not in written]
            found += [f"subgraph {number}: {reader} reads {text(graph.tensors[i].name)!r}" for i in missing]
            written.update(outputs)
    return found


def signature(model: ModelT) -> Signature:
    """Names of the main graph's inputs and outputs: its SignatureDef's, or else the tensors' own."""
    graph = model.subgraphs[0]
    defined = next((entry for entry in model.signatureDefs or [] if entry.subgraphIndex == 0), None)

    def names(entries: Any, indices: list[int]) -> dict[str, int]:
        if not entries:
            return {text(graph.tensors[index].name): index for index in indices}
        order = {index: position for position, index in reversed(list(enumerate(indices)))}
        found = {text(entry.name): int(entry.tensorIndex) for entry in entries}
        return dict(sorted(found.items(), key=lambda item: order.get(item[1], len(order))))

    return Signature(
        names(defined and defined.inputs, graph.inputs), names(defined and defined.outputs, graph.outputs)
    )
