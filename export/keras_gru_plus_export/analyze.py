"""What is in a .tflite file: bytes, operators, types, multiply-accumulates, ends, float remains."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections import Counter
from typing import Any

from . import tflite
from ._analyze_macs import CONVOLUTIONS, RECURRENT, operator_macs, trip_count
from .tflite import OP, TYPE

_FLOATS = {TYPE.FLOAT16, TYPE.FLOAT32, TYPE.FLOAT64, TYPE.BFLOAT16}
# Their constant inputs, but the first, are weights and biases.
_WEIGHTED = {OP.FULLY_CONNECTED, OP.BATCH_MATMUL, OP.EMBEDDING_LOOKUP} | CONVOLUTIONS | RECURRENT


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """A tensor; of a graph's inputs and outputs the name is the signature's."""

    name: str
    type: str
    shape: tuple[int, ...]
    grid: tflite.Grid | None
    constant: bool = False
    subgraph: int = 0

    def __str__(self) -> str:
        """Type, shape and grid, "int8[1,32] 0.0078125 +0"; "…" stands for several scales or zero points."""
        text = f"{self.type}[{','.join(map(str, self.shape))}]"
        if self.grid is None:
            return text
        scale = "…" if self.grid.per_channel else f"{self.grid.scale:.6g}"
        zero_point = f"{self.grid.zero_points[0]:+d}" if len(set(self.grid.zero_points)) == 1 else "…"
        return f"{text} {scale} {zero_point}"


@dataclasses.dataclass(frozen=True)
class OperatorInfo:
    """An operator; an input that is not given is None. `macs` is without the graphs that it runs."""

    name: str
    inputs: tuple[TensorInfo | None, ...]
    outputs: tuple[TensorInfo, ...]
    macs: int


@dataclasses.dataclass(frozen=True)
class GraphInfo:
    """A subgraph that can be reached: its operators in order, and its role, "main" or like "WHILE body"."""

    subgraph: int
    role: str
    operators: tuple[OperatorInfo, ...]


@dataclasses.dataclass(frozen=True)
class OperatorCount:
    """How often a subgraph has an operator with these types ("-" for an input that is not given)."""

    subgraph: int
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    count: int


@dataclasses.dataclass(frozen=True)
class Loop:
    """A WHILE in a subgraph, with the subgraph of its body; a trip count of None is known only when it runs."""

    subgraph: int
    body: int
    trip_count: int | None
    macs_per_iteration: int


@dataclasses.dataclass(frozen=True)
class Analysis:
    """Contents of a .tflite file.

    `weight_bytes` are constants that feed matrix multiplications, convolutions and embeddings, biases
    included; `table_bytes` are one-dimensional lookup tables; `other_bytes` is all the rest of the file.
    `macs` are multiply-accumulates of matrix multiplications and convolutions per invoke. A loop whose trip
    count is unknown counts as one iteration: see `loops`.
    """

    file_bytes: int
    weight_bytes: int
    table_bytes: int
    other_bytes: int
    macs: int
    loops: tuple[Loop, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    resource_variables: int
    float_tensors: tuple[TensorInfo, ...]
    float_io: tuple[TensorInfo, ...]
    operators: tuple[OperatorCount, ...]
    graphs: tuple[GraphInfo, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as plain dicts, lists, numbers and strings, with a format version."""
        plain: dict[str, Any] = _plain(self)
        return {"format": 1, **plain}


def analyze(source: bytes | str | os.PathLike[str]) -> Analysis:
    """Count what a .tflite file (path or bytes) holds.

    Raises:
        InvalidModel: It is no TFLite file, or a damaged one.
    """
    data = source if isinstance(source, bytes) else pathlib.Path(source).read_bytes()
    walk = _Walk(tflite.load(data))
    weights, tables = walk.constant_bytes()
    inputs, outputs = walk.ends()
    graphs = tuple(GraphInfo(index, role, walk.operators(index)) for index, role in walk.roles.items())
    return Analysis(
        file_bytes=len(data),
        weight_bytes=weights,
        table_bytes=tables,
        other_bytes=len(data) - weights - tables,
        macs=walk.macs(0),
        loops=tuple(walk.loops()),
        inputs=inputs,
        outputs=outputs,
        resource_variables=walk.resource_variables(),
        float_tensors=tuple(walk.float_tensors()),
        float_io=tuple(info for info in (*inputs, *outputs) if info.type.startswith(("float", "bfloat"))),
        operators=tuple(row for graph in graphs for row in _table(graph)),
        graphs=graphs,
    )


class _Walk:
    """Questions to a model; only graphs that the main one can reach count."""

    def __init__(self, model: tflite.ModelT) -> None:
        self.model = model
        self.roles = {0: "main"}
        todo = [0]
        for index in todo:
            for op in model.subgraphs[index].operators:
                for called, part in zip(tflite.called_subgraphs(model, op), tflite.parts(model, op), strict=True):
                    if called not in self.roles:
                        self.roles[called] = f"{tflite.op_name(model, op)} {part}"
                        todo.append(called)
        self._bound = self._loop_invariants()

    def _loop_invariants(self) -> dict[tuple[int, int], tflite.TensorT]:
        """Constants of a caller that a loop body sees as an input that it does not change."""
        bound: dict[tuple[int, int], tflite.TensorT] = {}
        for index in self.roles:
            for op in self.model.subgraphs[index].operators:
                if tflite.op_code(self.model, op) == OP.WHILE:
                    body_index = tflite.called_subgraphs(self.model, op)[1]
                    body = self.model.subgraphs[body_index]
                    for outer, entry, leave in zip(op.inputs, body.inputs, body.outputs, strict=True):
                        tensor = None if outer < 0 else self._constant(bound, index, outer)
                        if tensor is not None and entry == leave:
                            bound[body_index, entry] = tensor
        return bound

    def _constant(self, bound: dict[tuple[int, int], Any], graph_index: int, index: int) -> tflite.TensorT | None:
        tensor = self.model.subgraphs[graph_index].tensors[index]
        return tensor if tflite.is_constant(self.model, tensor) else bound.get((graph_index, index))

    def _operators(self) -> list[tuple[int, tflite.OperatorT, int]]:
        return [
            (index, op, tflite.op_code(self.model, op))
            for index in self.roles
            for op in self.model.subgraphs[index].operators
        ]

    def constant_bytes(self) -> tuple[int, int]:
        """Bytes of weights and of lookup tables; a shared buffer counts once."""
        weights: set[int] = set()
        tables: set[int] = set()
        for graph_index, op, code in self._operators():
            found = [self._constant(self._bound, graph_index, index) if index >= 0 else None for index in op.inputs]
            if code in _WEIGHTED:
                weights |= {tensor.buffer for tensor in found[1:] if tensor is not None}
            elif code == OP.GATHER and found[0] is not None:
                # A gate's table has one axis, an embedding two.
                (tables if len(found[0].shape) == 1 else weights).add(found[0].buffer)
        sizes = [0 if buffer.data is None else len(buffer.data) for buffer in self.model.buffers]
        return sum(sizes[index] for index in weights), sum(sizes[index] for index in tables - weights)

    def info(self, graph_index: int, index: int, name: str | None = None) -> TensorInfo:
        """Facts of one tensor."""
        tensor = self.model.subgraphs[graph_index].tensors[index]
        return TensorInfo(
            name=tflite.text(tensor.name) if name is None else name,
            type=tflite.type_name(tensor),
            shape=tuple(tensor.shape),
            grid=tflite.grid(tensor),
            constant=tflite.is_constant(self.model, tensor),
            subgraph=graph_index,
        )

    def ends(self) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
        """Inputs and outputs of the main graph, by their signature names."""
        names = tflite.signature(self.model)
        return (
            tuple(self.info(0, index, name) for name, index in names.inputs.items()),
            tuple(self.info(0, index, name) for name, index in names.outputs.items()),
        )

    def operators(self, graph_index: int) -> tuple[OperatorInfo, ...]:
        """Operators of a graph in order."""
        graph = self.model.subgraphs[graph_index]
        return tuple(
            OperatorInfo(
                name=tflite.op_name(self.model, op),
                inputs=tuple(self.info(graph_index, i) if i >= 0 else None for i in op.inputs),
                outputs=tuple(self.info(graph_index, i) for i in op.outputs),
                macs=operator_macs(tflite.op_code(self.model, op), graph, op),
            )
            for op in graph.operators
        )

    def macs(self, graph_index: int) -> int:
        """Multiply-accumulates of one run of a graph, with the graphs that it runs."""
        graph = self.model.subgraphs[graph_index]
        total = 0
        for op in graph.operators:
            code = tflite.op_code(self.model, op)
            called = [self.macs(index) for index in tflite.called_subgraphs(self.model, op)]
            if code == OP.WHILE:
                count = trip_count(self.model, graph, op)
                total += (1 if count is None else count) * sum(called)
            elif code == OP.IF:
                total += max(called)
            elif code != OP.CALL_ONCE:
                total += sum(called) + operator_macs(code, graph, op)
        return total

    def loops(self) -> list[Loop]:
        """Every WHILE."""
        found = []
        for graph_index, op, code in self._operators():
            if code == OP.WHILE:
                condition, body = tflite.called_subgraphs(self.model, op)
                count = trip_count(self.model, self.model.subgraphs[graph_index], op)
                found.append(Loop(graph_index, body, count, self.macs(condition) + self.macs(body)))
        return found

    def resource_variables(self) -> int:
        """How many variables keep their value between invokes."""
        handles = [op.builtinOptions for _, op, code in self._operators() if code == OP.VAR_HANDLE]
        names = [(getattr(handle, "container", None), getattr(handle, "sharedName", None)) for handle in handles]
        return len(set(names))

    def float_tensors(self) -> list[TensorInfo]:
        """Float tensors that something uses, without the main graph's inputs and outputs."""
        found = []
        for index in self.roles:
            graph = self.model.subgraphs[index]
            ends = {*graph.inputs, *graph.outputs}
            used = ends.union(*(op.inputs for op in graph.operators), *(op.outputs for op in graph.operators))
            inner = used - {-1} - (ends if index == 0 else set())
            found += [self.info(index, i) for i in sorted(inner) if graph.tensors[i].type in _FLOATS]
        return found


def _table(graph: GraphInfo) -> list[OperatorCount]:
    def key(info: OperatorInfo) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        inputs = tuple("-" if entry is None else entry.type for entry in info.inputs)
        return info.name, inputs, tuple(entry.type for entry in info.outputs)

    counts = Counter(key(info) for info in graph.operators)
    return [OperatorCount(graph.subgraph, *kind, count) for kind, count in counts.items()]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value
