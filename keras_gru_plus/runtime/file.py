"""What a `.tflite` file says of itself: inputs, outputs, states, mode, labels; checked before anything maps it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from typing import Any

import numpy as np

from .flatbuffer import DamagedError, Table, in_range

#: Inputs and outputs of `step` files that carry a state have this prefix.
STATE = "state_"
#: Name of the metadata entry with the class names, a JSON list.
LABELS = "keras_gru_plus.labels"

#: TFLite's type numbers.
_DTYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8"}
_VAR_HANDLE = 142


class ModelError(ValueError):
    """A file that is no model, or one that the runtime cannot run."""


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """An input, an output or a state.

    Attributes:
        name: as in Keras; states are `state_<layer>`.
        shape: with the batch of 1.
        dtype: the file's own type, like "int8".
        scale, zero_point: real = scale * (integer - zero_point); None for floats. Tuples with one for each feature
            (the last axis) where the model normalizes them one by one; zero points may be far outside of the type.
        position: among the file's inputs or outputs; two outputs may share one.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | tuple[float, ...] | None
    zero_point: int | tuple[int, ...] | None
    position: int

    @property
    def is_state(self) -> bool:
        """Whether it carries a state from step to step."""
        return self.name.startswith(STATE)

    def zero(self) -> np.ndarray[Any, Any]:
        """Real zero, from which a state starts, or the integer next to it."""
        if self.zero_point is None:
            return np.zeros(self.shape, self.dtype)
        limits = np.iinfo(self.dtype)
        points = np.clip(self.zero_point, limits.min, limits.max)
        return np.broadcast_to(points, self.shape).astype(self.dtype)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON takes them."""
        fields = ("name", "shape", "dtype", "scale", "zero_point")
        plain = {field: getattr(self, field) for field in fields}
        return {field: list(value) if isinstance(value, tuple) else value for field, value in plain.items()}


@dataclasses.dataclass(frozen=True)
class File:
    """A checked file.

    Attributes:
        content: its bytes.
        mode: "sequence", "step" (states are inputs and outputs) or "stateful" (states are variables inside).
        inputs, outputs: in the file's order, states included.
        labels: class names, empty where the file has none.
    """

    content: bytes
    mode: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    labels: tuple[str, ...]


def read(source: str | os.PathLike[str] | bytes) -> File:
    """Reads and checks a file.

    Args:
        source: its path, or its bytes.

    Raises:
        ModelError: there is no such file; it is no TFLite model, or a damaged one; states do not match.
    """
    name = "bytes" if isinstance(source, bytes) else repr(os.fspath(source))
    if isinstance(source, bytes):
        content = source
    else:
        try:
            with open(source, "rb") as file:
                content = file.read()
        except OSError as error:
            raise ModelError(f"Expected a .tflite file, got {name}: {error.strerror}; try another path.") from None
    if content[4:8] != b"TFL3":
        raise ModelError(
            f"Expected a .tflite file (identifier TFL3), got {name}, {len(content)} bytes that start with "
            f"{content[:8]!r}; try the model.tflite of an export."
        )
    try:
        return _read(content, name)
    except DamagedError as error:
        raise ModelError(
            f"Expected a whole .tflite file, got {name}, damaged or cut short ({error}); try to copy it again."
        ) from None


def _read(content: bytes, name: str) -> File:
    root = Table.root(content)
    version = root.number(0, "I")
    if version != 3:
        raise ModelError(f"Expected version 3 of the .tflite format, got {version} in {name}; try a newer package.")
    buffers = [_buffer_size(buffer, len(content)) for buffer in root.tables(4)]
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in root.tables(1)]
    for code in root.tables(1):
        code.text(1)
    graphs = root.tables(2)
    if not graphs:
        raise DamagedError("no graph")
    operators: set[int] = set()
    for graph in graphs:
        operators |= _check_graph(graph, codes, buffers)
    inputs, outputs = _ends(root, graphs)
    variables = _VAR_HANDLE in operators
    states = [{tensor.name for tensor in tensors if tensor.is_state} for tensors in (inputs, outputs)]
    if states[0] != states[1]:
        alone = ", ".join(sorted(states[0] ^ states[1]))
        raise ModelError(
            f"Expected every state to be an input and an output of {name}, got only one of them for {alone}; "
            "try to export it again with --mode step."
        )
    mode = "step" if states[0] else "stateful" if variables else "sequence"
    return File(content, mode, inputs, outputs, _labels(root))


def _buffer_size(buffer: Table, length: int) -> int:
    """Bytes of a buffer, which may lie behind the flatbuffer in files of more than 2 GB."""
    offset, size = buffer.number(1, "Q"), buffer.number(2, "Q")
    if offset > 1 and offset + size > length:
        raise DamagedError(f"a buffer of {size} bytes at byte {offset}")
    return int(size) if offset > 1 else len(buffer.bytes(0))


def _check_graph(graph: Table, codes: list[int], buffers: list[int]) -> set[int]:
    """Checks every index and size; returns the kinds of operators."""
    tensors = graph.tables(0)
    for tensor in tensors:
        shape, buffer = tensor.numbers(0, "<i4"), tensor.number(2, "I")
        tensor.text(3)
        in_range(shape, 2**31, "size")
        in_range([buffer], len(buffers), "buffer")
        _scales(tensor)
        kind = _DTYPES.get(tensor.number(1, "b"))
        wanted = math.prod(shape) * np.dtype(kind).itemsize if kind else 0
        # What a kernel would read beyond the constant's end.
        if buffers[buffer] < wanted and buffers[buffer]:
            raise DamagedError(f"a constant of {buffers[buffer]} bytes for {wanted}")
    for ends in (1, 2):
        in_range(graph.numbers(ends, "<i4"), len(tensors), "tensor")
    found = set()
    for op in graph.tables(3):
        in_range([op.number(0, "I")], len(codes), "operator code")
        in_range([*op.numbers(1, "<i4"), *op.numbers(2, "<i4")], len(tensors), "tensor", least=-1)
        op.table(4)
        op.bytes(5)
        found.add(codes[op.number(0, "I")])
    return found


def _scales(tensor: Table) -> tuple[list[float], list[int], int]:
    """Scales, zero points and the axis that they are along."""
    parameters = tensor.table(4)
    if parameters is None:
        return [], [], 0
    return parameters.numbers(2, "<f4"), parameters.numbers(3, "<i8"), parameters.number(6, "i")


def _ends(root: Table, graphs: list[Table]) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """Inputs and outputs with the SignatureDef's names, or else the tensors' own, in the graph's order."""
    tensors = graphs[0].tables(0)
    signatures = root.tables(7)
    in_range([signature.number(4, "I") for signature in signatures], len(graphs), "graph")
    main = next((signature for signature in signatures if signature.number(4, "I") == 0), None)
    found = []
    for field, entries in ((1, 0), (2, 1)):
        indices = graphs[0].numbers(field, "<i4")
        named = [] if main is None else [(e.text(0), int(e.number(1, "I"))) for e in main.tables(entries)]
        named = named or [(tensors[index].text(3), index) for index in indices]
        in_range([index for _, index in named], len(tensors), "tensor")
        if {index for _, index in named} != set(indices):
            raise ModelError(f"Expected a signature that names all inputs and outputs, got {[n for n, _ in named]}.")
        ordered = sorted(named, key=lambda item: indices.index(item[1]))
        found.append(tuple(_info(name, tensors[index], indices.index(index)) for name, index in ordered))
    return found[0], found[1]


def _info(name: str, tensor: Table, position: int) -> TensorInfo:
    kind = tensor.number(1, "b")
    if kind not in _DTYPES:
        raise ModelError(f"Expected {name!r} to hold numbers, got TFLite's type {kind}.")
    shape = tuple(tensor.numbers(0, "<i4"))
    if not shape:
        raise ModelError(f"Expected {name!r} to have a batch dimension, got a single number.")
    scale: Any = None
    zero_point: Any = None
    scales, points, axis = _scales(tensor)
    if scales and _DTYPES[kind] in ("int8", "uint8", "int16"):
        points = points if len(points) == len(scales) else (points or [0])[:1] * len(scales)
        if len(scales) == 1:
            scale, zero_point = scales[0], points[0]
        elif axis == len(shape) - 1 and len(scales) == shape[-1]:
            scale, zero_point = tuple(scales), tuple(points)
        else:
            raise ModelError(f"Expected {name!r} with one scale, or one for each feature, got {len(scales)}.")
    return TensorInfo(name, shape, _DTYPES[kind], scale, zero_point, position)


def _labels(root: Table) -> tuple[str, ...]:
    entries = root.tables(6)
    buffers = root.tables(4)
    in_range([entry.number(1, "I") for entry in entries], len(buffers), "buffer")
    for entry in entries:
        if entry.text(0) == LABELS:
            try:
                labels = json.loads(buffers[entry.number(1, "I")].bytes(0))
            except (ValueError, RecursionError):
                raise DamagedError("labels that are no JSON") from None
            if not isinstance(labels, list):
                raise DamagedError("labels that are no list")
            # Half of a pair of surrogates cannot be written anywhere.
            return tuple(str(label).encode("utf-8", "replace").decode() for label in labels)
    return ()
