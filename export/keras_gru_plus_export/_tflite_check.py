"""Validity of an unpacked TFLite model: indices, sizes and call structure, before anything else uses it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

OP = schema.BuiltinOperator
TYPE = schema.TensorType
OP_NAMES: dict[int, str] = {v: k for k, v in vars(OP).items() if isinstance(v, int)}
TYPE_NAMES: dict[int, str] = {v: k.lower() for k, v in vars(TYPE).items() if isinstance(v, int)}

DTYPES: dict[int, np.dtype[Any]] = {
    TYPE.FLOAT16: np.dtype(np.float16),
    TYPE.FLOAT32: np.dtype(np.float32),
    TYPE.FLOAT64: np.dtype(np.float64),
    TYPE.COMPLEX64: np.dtype(np.complex64),
    TYPE.COMPLEX128: np.dtype(np.complex128),
    TYPE.BOOL: np.dtype(np.bool_),
    TYPE.INT8: np.dtype(np.int8),
    TYPE.INT16: np.dtype(np.int16),
    TYPE.INT32: np.dtype(np.int32),
    TYPE.INT64: np.dtype(np.int64),
    TYPE.UINT8: np.dtype(np.uint8),
    TYPE.UINT16: np.dtype(np.uint16),
    TYPE.UINT32: np.dtype(np.uint32),
    TYPE.UINT64: np.dtype(np.uint64),
}
_BITS: dict[int, int] = {code: 8 * dtype.itemsize for code, dtype in DTYPES.items()} | {
    TYPE.BFLOAT16: 16,
    TYPE.INT4: 4,
    TYPE.UINT4: 4,
    TYPE.INT2: 2,
}

# Operators with a kernel.
LINEAR = (OP.FULLY_CONNECTED, OP.CONV_2D, OP.DEPTHWISE_CONV_2D)

# Operators that run other subgraphs: the options class, and its attributes that hold subgraph indices.
CALLERS: dict[int, tuple[type, tuple[str, ...]]] = {
    OP.WHILE: (schema.WhileOptionsT, ("condSubgraphIndex", "bodySubgraphIndex")),
    OP.IF: (schema.IfOptionsT, ("thenSubgraphIndex", "elseSubgraphIndex")),
    OP.CALL_ONCE: (schema.CallOnceOptionsT, ("initSubgraphIndex",)),
    OP.CALL: (schema.CallOptionsT, ("subgraph",)),
}


class InvalidModel(ValueError):  # noqa: N818 (a state of the file, not of the program)
    """The bytes are not a TFLite model that can be read safely."""


def op_code(model: Any, op: Any) -> int:
    """The builtin code of an operator, whichever of the two schema fields holds it."""
    code = model.operatorCodes[op.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def called_subgraphs(model: Any, op: Any) -> list[int]:
    """Indices of the subgraphs that an operator runs (cond and body of a WHILE, …)."""
    caller = CALLERS.get(op_code(model, op))
    return [] if caller is None else [int(getattr(op.builtinOptions, name)) for name in caller[1]]


def data_size(tensor: Any) -> int | None:
    """Bytes that the tensor's type and shape ask for, None for types without a fixed size."""
    bits = _BITS.get(tensor.type)
    return None if bits is None else (math.prod(tensor.shape) * bits + 7) // 8


def check(model: Any) -> None:
    """Raise InvalidModel with the first fault; after a normal return every index can be trusted."""
    for fault in _faults(model):
        raise InvalidModel(fault)


def _faults(model: Any) -> Iterator[str]:
    if model.version != 3:
        yield f"schema version {model.version}, not 3"
    for name in ("operatorCodes", "subgraphs", "buffers"):
        entries = getattr(model, name)
        if not entries or any(entry is None for entry in entries):
            yield f"no or missing {name}"
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) not in OP_NAMES:
            yield f"unknown operator code {index}"
    if any(buffer.offset > 1 for buffer in model.buffers) or model.externalBuffers:
        yield "constants outside the file, which only files over 2 GB need"
    for index, graph in enumerate(model.subgraphs):
        where = f"subgraph {index}"
        for tensor_index, tensor in enumerate(graph.tensors):
            for fault in _tensor_faults(model, tensor):
                yield f"tensor {tensor_index} of {where}: {fault}"
        yield from _index_faults(f"{where} inputs and outputs", [*graph.inputs, *graph.outputs], graph, 0)
        for op_index, op in enumerate(graph.operators):
            for fault in _operator_faults(model, graph, op):
                yield f"operator {op_index} of {where}: {fault}"
    if _has_call_cycle(model):
        yield "a subgraph that runs itself"
    for metadata in model.metadata or []:
        if metadata is None or not 0 <= metadata.buffer < len(model.buffers):
            yield "metadata without a buffer"
    for signature in model.signatureDefs or []:
        yield from _signature_faults(model, signature)


def _tensor_faults(model: Any, tensor: Any) -> Iterator[str]:
    if tensor.type not in TYPE_NAMES:
        yield f"unknown type {tensor.type}"
    if len(tensor.shape) > 16 or any(d < 0 for d in tensor.shape) or math.prod(tensor.shape) >= 2**31:
        yield f"shape {tensor.shape}"
    if not 0 <= tensor.buffer < len(model.buffers):
        yield f"buffer {tensor.buffer} of {len(model.buffers)}"
    if tensor.externalBuffer:
        yield "data outside the file"
    data = model.buffers[tensor.buffer].data
    size, wanted = 0 if data is None else len(data), data_size(tensor)
    if size and wanted is not None and tensor.sparsity is None and size != wanted:
        yield f"{size} bytes of data where type and shape ask for {wanted}"
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or not len(quantization.scale):
        return
    scales = np.asarray(quantization.scale)
    if not np.all(np.isfinite(scales)) or np.any(scales < 0):
        yield "a scale that is negative or not finite"
    points = quantization.zeroPoint
    if points is not None and len(points) not in (0, 1, len(scales)):
        yield f"{len(points)} zero points for {len(scales)} scales"
    axis = quantization.quantizedDimension
    if len(scales) > 1 and not (0 <= axis < len(tensor.shape) and tensor.shape[axis] == len(scales)):
        yield f"{len(scales)} scales along axis {axis} of shape {tensor.shape}"


def _index_faults(what: str, indices: Iterable[int], graph: Any, lowest: int) -> Iterator[str]:
    for index in indices:
        if not lowest <= index < len(graph.tensors):
            yield f"{what}: tensor {index} of {len(graph.tensors)}"


def _operator_faults(model: Any, graph: Any, op: Any) -> Iterator[str]:
    if not 0 <= op.opcodeIndex < len(model.operatorCodes):
        yield f"operator code {op.opcodeIndex} of {len(model.operatorCodes)}"
    yield from _index_faults("inputs", op.inputs, graph, -1)
    yield from _index_faults("outputs", op.outputs, graph, 0)
    yield from _index_faults("intermediates", [] if op.intermediates is None else op.intermediates, graph, -1)
    if op.largeCustomOptionsOffset > 1:
        yield "options outside the file"
    code = op_code(model, op)
    if code not in CALLERS:
        return
    if not isinstance(op.builtinOptions, CALLERS[code][0]):
        yield f"{OP_NAMES[code]} without its options"
    targets = called_subgraphs(model, op)
    if any(not 0 <= target < len(model.subgraphs) for target in targets):
        yield f"{OP_NAMES[code]} of subgraphs {targets} of {len(model.subgraphs)}"
    if code == OP.WHILE:
        condition, body = (model.subgraphs[target] for target in targets)
        counts = {len(op.inputs), len(op.outputs), len(condition.inputs), len(body.inputs), len(body.outputs)}
        if len(counts) != 1 or len(condition.outputs) != 1:
            yield "WHILE whose condition, body and caller carry different numbers of tensors"


def _has_call_cycle(model: Any) -> bool:
    calls = [{t for op in graph.operators for t in called_subgraphs(model, op)} for graph in model.subgraphs]
    remaining = set(range(len(calls)))
    while True:
        leaves = {index for index in remaining if not calls[index] & remaining}
        if not leaves:
            return bool(remaining)
        remaining -= leaves


def _signature_faults(model: Any, signature: Any) -> Iterator[str]:
    if signature is None or not 0 <= signature.subgraphIndex < len(model.subgraphs):
        yield "a signature without subgraph"
    graph = model.subgraphs[signature.subgraphIndex]
    for entry in [*(signature.inputs or []), *(signature.outputs or [])]:
        if entry is None or entry.name is None:
            yield "a signature entry without name"
        yield from _index_faults("signature", [entry.tensorIndex], graph, 0)
